//! `concave serve`.

use concave_sqlite::SqliteOptions;

use crate::cli::ServeOptions;
use crate::instance::{Instance, InstanceSecret};
use crate::output::say;
use crate::problem::Problem;
use crate::server::{Listeners, Server, ServerOptions, listen};
use crate::signals::StopSignals;

pub async fn run(options: ServeOptions) -> Result<(), Problem> {
    let mut signals = StopSignals::listen()?;
    let secret = options
        .instance_secret
        .clone()
        .unwrap_or(InstanceSecret::WELL_KNOWN);
    check_exposure(&options, &secret)?;
    let persistence = SqliteOptions::parse_url(&options.persistence)?;
    let listeners = Listeners {
        api: listen(options.listen).await?,
        site: listen(options.site_listen).await?,
    };
    let server = Server::open(
        listeners,
        ServerOptions {
            persistence,
            instance: Instance {
                name: options.instance_name,
                secret,
            },
            cloud_url: options.cloud_url,
            site_url: options.site_url,
            static_files: options.static_files,
            redact: options.redact,
            limits: options.limits.limits()?,
            engine: options.engine,
        },
    )
    .await?;
    let config = server.backend().config();
    say(format!(
        "Concave {} serves {}\n  API           {}\n  HTTP actions  {}",
        env!("CARGO_PKG_VERSION"),
        config.instance_name,
        config.cloud_url,
        config.site_url
    ));
    server
        .run(async move {
            signals.next().await;
            signals.exit_at_next();
        })
        .await
}

/// Whoever knows the secret owns the deployment, and the default one is in the source of this program.
fn check_exposure(options: &ServeOptions, secret: &InstanceSecret) -> Result<(), Problem> {
    let is_public = |address: std::net::SocketAddr| !address.ip().is_loopback();
    let exposed = [options.listen, options.site_listen]
        .into_iter()
        .find(|address| is_public(*address));
    match exposed {
        Some(address) if *secret == InstanceSecret::WELL_KNOWN => Err(Problem::new(format!(
            "refusing to listen on {address}, where others can connect, with the default secret"
        ))
        .hint("Give --instance-secret (or CONCAVE_INSTANCE_SECRET) the output of `openssl rand -hex 32`.")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_default_secret_stays_on_this_machine() {
        let secret = "00".repeat(32);
        for (args, allowed) in [
            (vec![], true),
            (
                vec!["--listen", "[::1]:1", "--site-listen", "127.0.0.9:1"],
                true,
            ),
            (vec!["--listen", "0.0.0.0:1"], false),
            (vec!["--site-listen", "192.168.0.1:1"], false),
            (vec!["--listen", "[::]:1"], false),
            (
                vec!["--listen", "0.0.0.0:1", "--instance-secret", &secret],
                true,
            ),
        ] {
            let Command::Serve(options) =
                Cli::parse_from(["concave", "serve"].into_iter().chain(args.clone())).command
            else {
                unreachable!()
            };
            let secret = options.instance_secret.clone();
            let secret = secret.unwrap_or(InstanceSecret::WELL_KNOWN);
            let checked = check_exposure(&options, &secret);
            assert_eq!(checked.is_ok(), allowed, "{args:?}");
        }
    }
}
