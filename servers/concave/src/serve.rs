//! `concave serve`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use concave_sqlite::{SqliteOptions, SqlitePersistence};

use crate::cli::{InstanceOptions, ServeOptions};
use crate::instance::{DEFAULT_NAME, Instance, file_beside};
use crate::output::say;
use crate::problem::Problem;
use crate::server::{Listeners, Server, ServerOptions, listen};
use crate::signals::StopSignals;

pub async fn run(options: ServeOptions) -> Result<(), Problem> {
    let mut signals = StopSignals::listen()?;
    let persistence = SqliteOptions::parse_url(&options.instance.persistence)?;
    let limits = options.limits.limits()?;
    let listeners = Listeners {
        api: listen(options.listen).await?,
        site: listen(options.site_listen).await?,
    };
    let database = persistence.path.clone();
    let is_new = !database.exists();
    let persistence = SqlitePersistence::open(persistence)?;
    if let Some(folder) = &options.static_files {
        check_not_served(&database, folder)?;
    }
    let (instance, file) = instance(&options.instance, &database)?;
    let server = Server::open(
        listeners,
        ServerOptions {
            persistence,
            instance,
            cloud_url: options.cloud_url,
            site_url: options.site_url,
            static_files: options.static_files,
            limits,
            access: options.access,
            engine: options.engine,
        },
    )
    .await?;
    let config = server.backend().config();
    say(format!(
        "Concave {} serves {}\n  API           {}\n  HTTP actions  {} (not there yet)",
        env!("CARGO_PKG_VERSION"),
        config.instance_name,
        config.cloud_url,
        config.site_url
    ));
    let newly = if is_new { ", made now" } else { "" };
    say(format!("  Data          in {}{newly}", database.display()));
    match file {
        Some(file) => say(format!("  Secret        in {}", file.display())),
        None => say("  Secret        as given"),
    }
    say(format!("  Errors        {}", server.who_sees_errors()));
    server
        .run(async move {
            signals.next().await;
            signals.exit_at_next();
        })
        .await
}

/// Which deployment this is, and the file that keeps its secret unless the options give it. The database is open, and
/// nobody else's.
fn instance(
    options: &InstanceOptions,
    database: &Path,
) -> Result<(Instance, Option<PathBuf>), Problem> {
    let name = options.instance_name.as_deref();
    if let Some(secret) = options.instance_secret.clone() {
        let name = name.unwrap_or(DEFAULT_NAME).to_owned();
        return Ok((Instance { name, secret }, None));
    }
    let file = file_beside(database);
    let app = database.file_stem().unwrap_or_default().to_string_lossy();
    let instance = Instance::load_or_create(&file, name, &app)?;
    Ok((instance, Some(file)))
}

/// Fails if the database, and its secret with it, would be served as static files.
fn check_not_served(database: &Path, static_files: &Path) -> Result<(), Problem> {
    let (Ok(database), Ok(folder)) = (database.canonicalize(), static_files.canonicalize()) else {
        // What does not exist is not served, and told of elsewhere.
        return Ok(());
    };
    let Ok(within) = database.strip_prefix(&folder) else {
        return Ok(());
    };
    let is_hidden = |part: &OsStr| part.as_encoded_bytes().starts_with(b".");
    if within.iter().any(is_hidden) {
        return Ok(());
    }
    Err(Problem::new(format!(
        "the data, {}, lies in the folder of static files: everybody could read it",
        database.display()
    ))
    .hint("Keep it elsewhere (--persistence), or serve another folder (--static)."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_not_served() {
        let root = tempfile::tempdir().unwrap();
        let public = root.path().join("public");
        std::fs::create_dir_all(public.join(".data")).unwrap();
        let check = |database: &str| {
            let database = root.path().join(database);
            std::fs::write(&database, "").unwrap();
            check_not_served(&database, &public)
        };
        assert!(check("data.sqlite3").is_ok());
        assert!(check("public/.data/data.sqlite3").is_ok());
        let problem = check("public/data.sqlite3").unwrap_err().to_string();
        assert!(problem.contains("everybody could read it"), "{problem}");
    }
}
