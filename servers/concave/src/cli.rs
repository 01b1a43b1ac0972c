//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::secret::InstanceSecret;

/// A reactive database and function backend that runs Convex apps.
///
/// Functions written for Convex run in it unchanged: the official clients connect, the official CLI deploys, and every
/// query that a screen shows stays live.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  concave dev examples/chat
      Run an app on this machine: server, database and hot reload in one command.

  concave serve --persistence sqlite:///var/lib/concave/app.db \\
      --instance-name app --instance-secret \"$SECRET\"
      Run a server for others to deploy to. Make a secret with: openssl rand -hex 32

  concave admin-key --instance-name app --instance-secret \"$SECRET\"
      Print a key for CONVEX_SELF_HOSTED_ADMIN_KEY.

Environment:
  CONCAVE_LOG   what to log to stderr, for example `info` or `concave_core=debug` (default: warn)";

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run an app from its folder, deploying its functions whenever they change
    Dev(DevOptions),
    /// Run a server
    Serve(ServeOptions),
    /// Print an admin key for a deployment
    AdminKey(InstanceOptions),
}

/// Where a server listens.
#[derive(Args, Clone)]
pub struct ListenOptions {
    /// Address of the API: clients, the CLI, static files
    #[arg(long, env = "CONCAVE_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Address of the app's HTTP actions
    #[arg(long, env = "CONCAVE_SITE_LISTEN", value_name = "ADDRESS:PORT")]
    pub site_listen: Option<SocketAddr>,
}

/// Options of `concave dev`.
#[derive(Args)]
pub struct DevOptions {
    /// Folder of the app: it has a package.json that depends on `convex`, and a `convex/` folder
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub listen: ListenOptions,
}

/// Which deployment.
#[derive(Args, Clone)]
pub struct InstanceOptions {
    /// Name of the deployment: letters, digits and dashes
    #[arg(long, env = "CONCAVE_INSTANCE_NAME", value_name = "NAME", default_value = "concave", value_parser = instance_name)]
    pub instance_name: String,
    /// Secret of the deployment, 64 hexadecimal digits. Admin keys are made from it; whoever knows it controls the
    /// deployment. Without one a well-known secret is used, and the server only listens on this machine
    #[arg(
        long,
        env = "CONCAVE_INSTANCE_SECRET",
        value_name = "HEX",
        hide_env_values = true
    )]
    pub instance_secret: Option<InstanceSecret>,
}

/// Options of `concave serve`.
#[derive(Args)]
pub struct ServeOptions {
    /// Where the data is: sqlite:///absolute/path or sqlite://relative/path. Append ?synchronous=normal to trade the
    /// last moments before a power failure for speed
    #[arg(long, env = "CONCAVE_PERSISTENCE", value_name = "URL")]
    pub persistence: String,
    #[command(flatten)]
    pub listen: ListenOptions,
    #[command(flatten)]
    pub instance: InstanceOptions,
    /// Address of the API as clients reach it, if it is not the one listened on
    #[arg(long, env = "CONCAVE_CLOUD_URL", value_name = "URL")]
    pub cloud_url: Option<String>,
    /// Address of the HTTP actions as clients reach it, if it is not the one listened on
    #[arg(long, env = "CONCAVE_SITE_URL", value_name = "URL")]
    pub site_url: Option<String>,
    /// Folder of static files to serve at / beside the API
    #[arg(long = "static", env = "CONCAVE_STATIC", value_name = "DIR")]
    pub static_files: Option<PathBuf>,
    /// Hide error texts and log lines of functions from clients that are not admins
    #[arg(long, env = "CONCAVE_REDACT")]
    pub redact: bool,
}

fn instance_name(name: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
        return Err("use 1 to 64 letters, digits, dashes and underscores".into());
    }
    Ok(name.to_owned())
}
