//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};
use concave_core::limits::{BadLimit, Limits};
use concave_core::origin::host_of;

use crate::engine::EngineKind;
use crate::instance::InstanceSecret;

const EXAMPLES: &str = "\
Examples:
  concave dev my-app
      Run an app: install its packages, deploy its functions, and again whenever they change.

  concave serve --persistence sqlite:///var/lib/my-app.sqlite3
      Run a deployment. Its secret is made at the first start and kept beside the data:
      admin keys are made from it.

  concave admin-key --persistence sqlite:///var/lib/my-app.sqlite3
      Print a key for the official CLI:
        export CONVEX_SELF_HOSTED_URL=http://127.0.0.1:3210
        export CONVEX_SELF_HOSTED_ADMIN_KEY='<the key>'
        npx convex deploy

Set CONCAVE_LOG=info (or debug, or warn,concave_core=debug) to see what the server does.";

/// A reactive database and function backend for apps written for Convex: their functions, clients and the official
/// CLI run on it unchanged.
#[derive(Debug, Parser)]
#[command(name = "concave", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the app in a folder, and deploy its functions whenever they change
    Dev(DevOptions),
    /// Run a deployment
    Serve(ServeOptions),
    /// Print a new admin key of a deployment
    AdminKey(AdminKeyOptions),
    /// Print the limits: what clients can make the server hold or do at most
    Limits(LimitOptions),
}

/// Runs the app in a folder for development.
///
/// Data and the deployment's secret are kept in DIR/.concave. Packages are installed with npm when they are missing
/// or older than package.json. Functions are deployed by the app's own Convex CLI, which keeps watching them. Files
/// in DIR/public are served at the root of the API address.
#[derive(Debug, Args)]
pub struct DevOptions {
    /// The app: a folder with a package.json and a convex folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// Address of the API [default: 127.0.0.1:3210, or the next free port]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Address of HTTP actions [default: 127.0.0.1:3211, or the next free port]
    #[arg(long, value_name = "ADDRESS")]
    pub site_listen: Option<SocketAddr>,
    /// Folder of files to serve at the root of the API address [default: DIR/public, if there is one]
    #[arg(long = "static", value_name = "DIR")]
    pub static_files: Option<PathBuf>,
    /// What runs functions
    #[arg(long, value_name = "ENGINE", env = "CONCAVE_ENGINE", default_value_t)]
    pub engine: EngineKind,
    #[command(flatten)]
    pub limits: LimitOptions,
    #[command(flatten)]
    pub access: AccessOptions,
}

/// Runs a deployment until it is told to stop (SIGTERM or Ctrl-C).
#[derive(Debug, Args)]
pub struct ServeOptions {
    #[command(flatten)]
    pub instance: InstanceOptions,
    /// Address of the API
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "CONCAVE_LISTEN",
        default_value = "127.0.0.1:3210"
    )]
    pub listen: SocketAddr,
    /// Address of HTTP actions
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "CONCAVE_SITE_LISTEN",
        default_value = "127.0.0.1:3211"
    )]
    pub site_listen: SocketAddr,
    /// Where clients reach the API, if not at its own address: functions see it as CONVEX_CLOUD_URL
    #[arg(long, value_name = "URL", env = "CONCAVE_CLOUD_URL", value_parser = parse_origin)]
    pub cloud_url: Option<String>,
    /// Where clients reach HTTP actions, if not at their own address: functions see it as CONVEX_SITE_URL
    #[arg(long, value_name = "URL", env = "CONCAVE_SITE_URL", value_parser = parse_origin)]
    pub site_url: Option<String>,
    /// Folder of files to serve at the root of the API address
    #[arg(long = "static", value_name = "DIR", env = "CONCAVE_STATIC")]
    pub static_files: Option<PathBuf>,
    /// What runs functions
    #[arg(long, value_name = "ENGINE", env = "CONCAVE_ENGINE", default_value_t)]
    pub engine: EngineKind,
    #[command(flatten)]
    pub limits: LimitOptions,
    #[command(flatten)]
    pub access: AccessOptions,
}

/// Bounds on what clients can make the server hold or do.
#[derive(Debug, Args)]
pub struct LimitOptions {
    /// Set a limit, such as result_cache=200MiB; can be given several times. `concave limits` prints all of them
    #[arg(
        long = "limit",
        value_name = "NAME=VALUE",
        env = "CONCAVE_LIMITS",
        value_delimiter = ','
    )]
    settings: Vec<String>,
}

impl LimitOptions {
    /// The limits with these settings.
    pub fn limits(&self) -> Result<Limits, BadLimit> {
        let mut limits = Limits::default();
        for setting in &self.settings {
            limits.apply(setting)?;
        }
        Ok(limits)
    }
}

/// Prints a new admin key. Keys do not expire; they are void once the deployment has another secret.
#[derive(Debug, Args)]
pub struct AdminKeyOptions {
    #[command(flatten)]
    pub instance: InstanceOptions,
    /// Make a key with which one can look but not change
    #[arg(long)]
    pub read_only: bool,
}

/// Which deployment it is, and where its data is.
#[derive(Debug, Args)]
pub struct InstanceOptions {
    /// Where the data is: sqlite:///absolute/path or sqlite://relative/path, with ?synchronous=normal to trade the
    /// newest writes in a power failure for speed
    #[arg(
        long,
        value_name = "URL",
        env = "CONCAVE_PERSISTENCE",
        default_value = "sqlite://concave.sqlite3"
    )]
    pub persistence: String,
    /// Name of the deployment: the part of its admin keys before the bar [default: the one kept beside the data, or
    /// concave if the secret is given]
    #[arg(
        long,
        value_name = "NAME",
        env = "CONCAVE_INSTANCE_NAME",
        value_parser = crate::instance::parse_name
    )]
    pub instance_name: Option<String>,
    /// Secret of the deployment: 64 hexadecimal digits [default: a random one, made at the first start and kept beside
    /// the data, in a file whose name ends in .instance.json]
    #[arg(
        long,
        value_name = "HEX",
        env = "CONCAVE_INSTANCE_SECRET",
        hide_env_values = true
    )]
    pub instance_secret: Option<InstanceSecret>,
}

/// Who may do and see what: for every command that runs a server.
#[derive(Debug, Default, Args)]
pub struct AccessOptions {
    /// Another name of this machine that clients use, such as one in /etc/hosts or that of a proxy. A server that
    /// listens on loopback refuses all names but localhost and those of its URLs
    #[arg(
        long = "allow-host",
        value_name = "NAME",
        env = "CONCAVE_ALLOW_HOST",
        value_delimiter = ',',
        value_parser = parse_host
    )]
    pub hosts: Vec<String>,
    /// Another origin whose pages may use admin keys, such as that of a dashboard. Otherwise only programs, pages of
    /// this machine and pages of the deployment's own URLs may
    #[arg(
        long = "allow-admin-origin",
        value_name = "ORIGIN",
        env = "CONCAVE_ALLOW_ADMIN_ORIGIN",
        value_delimiter = ',',
        value_parser = parse_origin
    )]
    pub admin_origins: Vec<String>,
    /// Hide error texts and log lines of functions from clients that are not admins [default: true if others than this
    /// machine can connect]
    #[arg(
        long,
        value_name = "BOOL",
        env = "CONCAVE_REDACT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub redact: Option<bool>,
}

fn parse_host(text: &str) -> Result<String, String> {
    let host = host_of(text);
    let is_ipv6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    if host.is_empty()
        || host != text.trim_matches(['[', ']'])
        || !is_ipv6 && text.contains([':', '/'])
    {
        return Err("it must be a name such as app.example, without http:// and port".to_owned());
    }
    Ok(host.to_owned())
}

fn parse_origin(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .ok_or("it must begin with http:// or https://")?;
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() || rest.contains(['/', '?', '#']) {
        return Err("it must be http:// or https://, a host and perhaps a port".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn origins_lose_their_last_slash() {
        assert_eq!(
            parse_origin("https://a.example/"),
            Ok("https://a.example".to_owned())
        );
        for bad in ["a.example", "https://", "https://a.example/x", "null"] {
            assert!(parse_origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_have_no_port() {
        for (text, host) in [
            ("a.example", "a.example"),
            ("[fe80::1]", "fe80::1"),
            ("::2", "::2"),
        ] {
            assert_eq!(parse_host(text), Ok(host.to_owned()));
        }
        for bad in ["", "a.example:80", "http://a.example", "a/b", "[::1]:80"] {
            assert!(parse_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn redaction_is_said_or_left_open() {
        for (args, redact) in [
            (&[][..], None),
            (&["--redact"], Some(true)),
            (&["--redact=true"], Some(true)),
            (&["--redact=false"], Some(false)),
        ] {
            for command in ["serve", "dev"] {
                let args = ["concave", command].into_iter().chain(args.iter().copied());
                let access = match Cli::parse_from(args).command {
                    Command::Serve(options) => options.access,
                    Command::Dev(options) => options.access,
                    _ => unreachable!(),
                };
                assert_eq!(access.redact, redact);
            }
        }
    }
}
