//! `concave admin-key`.

use std::time::SystemTime;

use concave_core::Timestamp;
use concave_core::admin_key::AdminKeys;
use concave_sqlite::SqliteOptions;

use crate::cli::{AdminKeyOptions, InstanceOptions};
use crate::instance::{DEFAULT_NAME, Instance, file_beside};
use crate::problem::Problem;

pub fn run(options: &AdminKeyOptions) -> Result<(), Problem> {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|_| Problem::new("the clock of this machine stands before 1970"))?;
    let now = Timestamp(since_epoch.as_nanos() as u64);
    let keys: AdminKeys = find(&options.instance)?.admin_keys();
    println!("{}", keys.issue(now, options.read_only));
    Ok(())
}

/// The deployment that these options name.
fn find(options: &InstanceOptions) -> Result<Instance, Problem> {
    let name = options.instance_name.clone();
    if let Some(secret) = options.instance_secret.clone() {
        let name = name.unwrap_or_else(|| DEFAULT_NAME.to_owned());
        return Ok(Instance { name, secret });
    }
    let database = SqliteOptions::parse_url(&options.persistence)?.path;
    let file = file_beside(&database);
    let kept = Instance::load(&file)?.ok_or_else(|| {
        Problem::new(format!(
            "there is no deployment with its data in {}: {} does not exist",
            database.display(),
            file.display()
        ))
        .hint(
            "Name its data as `concave serve` does, with --persistence; the first start makes the secret. If the server \
             was given a secret, give the same one.",
        )
    })?;
    Ok(Instance {
        name: name.unwrap_or(kept.name),
        ..kept
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::InstanceSecret;

    #[test]
    fn the_deployment_is_found_by_its_data_or_its_secret() {
        let root = tempfile::tempdir().unwrap();
        let database = root.path().join("data.sqlite3");
        let mut options = InstanceOptions {
            persistence: format!("sqlite://{}", database.display()),
            instance_name: None,
            instance_secret: None,
        };
        let problem = find(&options).unwrap_err().to_string();
        assert!(problem.contains("data.sqlite3.instance.json does not exist"));
        let kept = Instance::load_or_create(&file_beside(&database), None, "kept").unwrap();
        let found = find(&options).unwrap();
        assert_eq!((&found.name, &found.secret), (&kept.name, &kept.secret));

        options.instance_secret = Some(InstanceSecret([7; 32]));
        let found = find(&options).unwrap();
        assert_eq!((&*found.name, found.secret.0), (DEFAULT_NAME, [7; 32]));
        options.instance_name = Some("named".to_owned());
        assert_eq!(find(&options).unwrap().name, "named");
    }
}
