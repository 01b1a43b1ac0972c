//! `concave dev`.

mod child;
mod convex_cli;
mod project;

use std::fs::{self, DirBuilder};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use concave_sqlite::{SqliteOptions, SqlitePersistence};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::cli::DevOptions;
use crate::instance::{Instance, file_beside};
use crate::output::say;
use crate::problem::Problem;
use crate::server::{Listeners, Server, ServerOptions, listen};
use crate::signals::StopSignals;
use convex_cli::ConvexCli;
use project::Project;

/// First of the default ports; the site's is the next one.
const API_PORT: u16 = 3210;
/// How many pairs of ports are tried.
const PORTS_TRIED: u16 = 100;

pub async fn run(options: DevOptions) -> Result<(), Problem> {
    let mut signals = StopSignals::listen()?;
    let project = Project::open(&options.folder)?;
    let prepared = tokio::select! {
        prepared = project.prepare() => prepared?,
        () = signals.next() => return Ok(()),
    };
    let state = project.folder().join(".concave");
    make_private(&state)
        .map_err(|error| Problem::new(format!("{} cannot be made: {error}", state.display())))?;
    let listeners = listeners(&options).await?;
    let database = state.join("data.sqlite");
    let persistence = SqlitePersistence::open(SqliteOptions::new(&database)).map_err(|error| {
        let is_in_use = error.code == "DatabaseLocked";
        let problem = Problem::from(error);
        match is_in_use {
            true => problem.hint("Perhaps `concave dev` runs for this folder in another terminal."),
            false => problem,
        }
    })?;
    // Where `concave serve` and `concave admin-key` find it, too.
    let file = file_beside(&database);
    let instance = Instance::load_or_create(&file, None, project.name())?;
    let public = project.folder().join("public");
    let static_files = options
        .static_files
        .or_else(|| Some(public).filter(|folder| folder.is_dir()));
    let has_files = static_files.is_some();
    let server = Server::open(
        listeners,
        ServerOptions {
            persistence,
            instance,
            cloud_url: None,
            site_url: None,
            static_files,
            limits: options.limits.limits()?,
            access: options.access,
            engine: options.engine,
        },
    )
    .await?;
    let backend = server.backend().clone();
    let admin_key = backend
        .admin_keys()
        .issue(backend.database().runtime().now(), false);
    print_addresses(&server, &admin_key, has_files);
    let cli = ConvexCli {
        program: prepared.convex_cli,
        knows_variables: prepared.knows_variables,
        folder: project.folder().to_owned(),
        url: backend.config().cloud_url.clone(),
        admin_key,
    };
    drop(backend);

    // First the CLI ends, then the server that it talks to.
    let (stop_cli, cli_stopped) = oneshot::channel();
    let cli = tokio::spawn(cli.keep_running(async {
        // An error means that the sender is gone: then too, it is over.
        drop(cli_stopped.await);
    }));
    let stop = async move {
        signals.next().await;
        signals.exit_at_next();
        say("Stopping.");
        let _ = stop_cli.send(());
        drop(cli.await);
    };
    server.run(stop).await
}

/// Makes the folder of a deployment for its owner's eyes, and keeps it out of version control.
fn make_private(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    fs::write(folder.join(".gitignore"), "*\n")
}

/// The addresses asked for, or the first free default ones.
async fn listeners(options: &DevOptions) -> Result<Listeners, Problem> {
    match (options.listen, options.site_listen) {
        (Some(api), Some(site)) => Ok(Listeners {
            api: listen(api).await?,
            site: listen(site).await?,
        }),
        (Some(api), None) => Ok(Listeners {
            api: listen(api).await?,
            site: next_free(API_PORT + 1).await?,
        }),
        (None, Some(site)) => {
            let site = listen(site).await?;
            let api = next_free(API_PORT).await?;
            Ok(Listeners { api, site })
        }
        (None, None) => {
            for port in (API_PORT..).step_by(2).take(PORTS_TRIED.into()) {
                if let (Ok(api), Ok(site)) = (bind(port).await, bind(port + 1).await) {
                    return Ok(Listeners { api, site });
                }
            }
            Err(no_free_port())
        }
    }
}

async fn next_free(first: u16) -> Result<TcpListener, Problem> {
    for port in (first..).take(PORTS_TRIED.into()) {
        if let Ok(listener) = bind(port).await {
            return Ok(listener);
        }
    }
    Err(no_free_port())
}

async fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

fn no_free_port() -> Problem {
    Problem::new(format!("no port from {API_PORT} on is free"))
        .hint("Choose ports with --listen and --site-listen.")
}

fn print_addresses(server: &Server, admin_key: &str, has_files: bool) {
    let config = server.backend().config();
    let (url, site) = (&config.cloud_url, &config.site_url);
    let version = env!("CARGO_PKG_VERSION");
    say(format!(
        "\nConcave {version} runs {}\n",
        config.instance_name
    ));
    if has_files {
        say(format!("  App           {url}/"));
    }
    say(format!("  API           {url}"));
    say(format!("  HTTP actions  {site} (not there yet)"));
    say(format!("  Admin key     {admin_key}"));
    say(format!("  Errors        {}", server.who_sees_errors()));
    say("\n  For the Convex CLI in another terminal:\n");
    say(format!("  export CONVEX_SELF_HOSTED_URL='{url}'"));
    say(format!(
        "  export CONVEX_SELF_HOSTED_ADMIN_KEY='{admin_key}'\n"
    ));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_of_a_deployment_is_private() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("app/.concave");
        for _ in 0..2 {
            make_private(&folder).unwrap();
            let mode = fs::metadata(&folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
            let ignored = fs::read_to_string(folder.join(".gitignore")).unwrap();
            assert_eq!(ignored, "*\n");
        }
    }
}
