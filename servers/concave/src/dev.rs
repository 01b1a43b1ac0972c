//! `concave dev`: an app on this machine, with everything it needs.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::cli::{DevOptions, InstanceOptions};
use crate::deployment::{self, url};
use crate::secret::InstanceSecret;
use crate::server::{Listeners, run, stop_signal};

/// Pause before the CLI is started again after it has ended by itself.
const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// `concave dev DIR`.
pub async fn dev(options: DevOptions) -> Result<(), String> {
    let app = App::at(&options.dir)?;
    app.install().await?;
    let instance = app.instance()?;
    let listeners = Listeners::bind(&options.listen, options.listen.listen.is_none()).await?;
    let (cloud_url, site_url) = (url(listeners.api()?), url(listeners.site()?));
    let config = deployment::config(&instance, cloud_url.clone(), site_url.clone(), false);
    let persistence = format!("sqlite://{}", app.data().join("data.sqlite").display());
    let backend = deployment::open(&persistence, config).await?;
    let admin_key = deployment::admin_key(&instance);
    let public = Some(app.dir.join("public")).filter(|folder| folder.is_dir());

    println!();
    match &public {
        Some(_) => println!("  Your app       {cloud_url}"),
        None => println!("  API            {cloud_url}"),
    }
    println!("  HTTP actions   {site_url}");
    println!(
        "  Data           {}",
        app.data().join("data.sqlite").display()
    );
    println!("  Admin key      {admin_key}");
    println!();
    println!("  For other tools of this app, such as `npx convex run` or `npx convex data`:");
    println!();
    println!("  CONVEX_SELF_HOSTED_URL={cloud_url}");
    println!("  CONVEX_SELF_HOSTED_ADMIN_KEY='{admin_key}'");
    println!();

    let watch = tokio::spawn(watch(app, cloud_url, admin_key));
    let result = run(backend, listeners, public, stop_signal()).await;
    // Ends the CLI, too: it is killed when its handle is dropped.
    watch.abort();
    let _ = watch.await;
    result
}

/// An app's folder.
struct App {
    dir: PathBuf,
}

impl App {
    fn at(dir: &Path) -> Result<Self, String> {
        let dir = dir
            .canonicalize()
            .map_err(|error| format!("{}: {error}", dir.display()))?;
        if !dir.join("package.json").is_file() {
            return Err(format!(
                "{} is not a Convex app: it has no package.json. Name the app's folder, for example: concave dev \
                 examples/chat",
                dir.display()
            ));
        }
        Ok(Self { dir })
    }

    /// Where the server keeps this app's data and secret.
    fn data(&self) -> PathBuf {
        self.dir.join(".concave")
    }

    /// Runs `npm install` unless the packages are there and newer than what asks for them.
    async fn install(&self) -> Result<(), String> {
        let modified = |path: &str| {
            fs::metadata(self.dir.join(path))
                .and_then(|data| data.modified())
                .ok()
        };
        // npm writes this file last.
        let installed = modified("node_modules/.package-lock.json");
        let asked = modified("package.json").max(modified("package-lock.json"));
        let has_cli = self.dir.join("node_modules/convex").is_dir();
        if has_cli && installed >= asked {
            return Ok(());
        }
        println!("Installing the app's npm packages ...");
        let status = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .status()
            .await
            .map_err(|error| missing_node("npm", &error))?;
        if !status.success() {
            return Err(format!(
                "`npm install` failed in {} ({status}); see above",
                self.dir.display()
            ));
        }
        if !self.dir.join("node_modules/convex").is_dir() {
            return Err(
                "the app does not depend on the npm package `convex`. Add it: npm install convex"
                    .into(),
            );
        }
        Ok(())
    }

    /// The app's own name and secret, made at the first start and kept.
    fn instance(&self) -> Result<InstanceOptions, String> {
        let data = self.data();
        let failed = |error: io::Error| format!("{}: {error}", data.display());
        fs::create_dir_all(&data).map_err(failed)?;
        let path = data.join("secret");
        let secret = match fs::read_to_string(&path) {
            Ok(text) => text
                .trim()
                .parse()
                .map_err(|error: String| format!("{}: {error}", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = InstanceSecret::generate()?;
                let file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path);
                io::Write::write_all(&mut file.map_err(failed)?, secret.to_hex().as_bytes())
                    .map_err(failed)?;
                secret
            }
            Err(error) => return Err(failed(error)),
        };
        Ok(InstanceOptions {
            instance_name: "dev".into(),
            instance_secret: Some(secret),
        })
    }

    /// Starts the app's own CLI, which deploys now and whenever the code changes.
    fn start_cli(&self, cloud_url: &str, admin_key: &str) -> Result<Child, String> {
        // Not through npx: that would be one more process to end.
        Command::new(self.dir.join("node_modules/.bin/convex"))
            .args(["dev", "--tail-logs", "disable"])
            .current_dir(&self.dir)
            .env("CONVEX_SELF_HOSTED_URL", cloud_url)
            .env("CONVEX_SELF_HOSTED_ADMIN_KEY", admin_key)
            .env_remove("CONVEX_DEPLOYMENT")
            .env_remove("CONVEX_DEPLOY_KEY")
            .env("CI", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| missing_node("node", &error))
    }
}

/// Keeps the CLI running.
async fn watch(app: App, cloud_url: String, admin_key: String) {
    loop {
        match app.start_cli(&cloud_url, &admin_key) {
            Err(message) => {
                eprintln!("concave: {message}");
                return;
            }
            Ok(mut cli) => match cli.wait().await {
                Ok(status) => {
                    eprintln!("concave: the app's CLI ended ({status}); starting it again")
                }
                Err(error) => eprintln!("concave: the app's CLI: {error}"),
            },
        }
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

fn missing_node(command: &str, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        format!(
            "`{command}` was not found. Install Node.js 20 or newer (https://nodejs.org), which brings it."
        )
    } else {
        format!("cannot run `{command}`: {error}")
    }
}
