//! Names and secrets of deployments.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use concave_core::admin_key::AdminKeys;
use concave_core::driver::BackendConfig;
use concave_core::limits::Limits;
use concave_core::retention::WINDOW;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

const NAME_BYTES_MAX: usize = 64;
/// The name of deployments whose secret is given and whose name is not.
pub const DEFAULT_NAME: &str = "concave";

/// Thirty-two secret bytes, written as 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct InstanceSecret(pub [u8; 32]);

impl FromStr for InstanceSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "it must be 64 hexadecimal digits, as `openssl rand -hex 32` prints them";
        let digits: Option<Vec<u8>> = text
            .trim()
            .chars()
            .map(|c| c.to_digit(16).map(|digit| digit as u8))
            .collect();
        let digits: [u8; 64] = digits.and_then(|d| d.try_into().ok()).ok_or_else(bad)?;
        Ok(Self(std::array::from_fn(|i| {
            digits[2 * i] << 4 | digits[2 * i + 1]
        })))
    }
}

impl fmt::Debug for InstanceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstanceSecret(..)")
    }
}

/// Checks a deployment's name: it stands before the bar of admin keys, where `|` and `:` mean something.
pub fn parse_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(allowed) {
        return Err(format!(
            "it must be 1 to {NAME_BYTES_MAX} letters, digits, dashes, dots or underscores"
        ));
    }
    Ok(text.to_owned())
}

/// Which deployment a server is.
#[derive(Clone, Debug)]
pub struct Instance {
    pub name: String,
    pub secret: InstanceSecret,
}

/// As it is kept in a file.
#[derive(Serialize, Deserialize)]
struct Stored {
    name: String,
    secret: String,
}

/// The file that keeps the name and the secret of the deployment in this database.
pub fn file_beside(database: &Path) -> PathBuf {
    let mut file = OsString::from(database);
    file.push(".instance.json");
    file.into()
}

impl Instance {
    /// Issues the deployment's admin keys.
    pub fn admin_keys(&self) -> AdminKeys {
        // Nothing else of the settings matters for keys.
        let config = self.clone();
        config
            .config(
                String::new(),
                String::new(),
                Vec::new(),
                true,
                Limits::default(),
            )
            .admin_keys()
    }

    /// The settings of this deployment at these addresses.
    pub fn config(
        self,
        cloud_url: String,
        site_url: String,
        admin_origins: Vec<String>,
        redact: bool,
        limits: Limits,
    ) -> BackendConfig {
        BackendConfig {
            instance_name: self.name,
            instance_secret: self.secret.0,
            cloud_url,
            site_url,
            admin_origins,
            redact,
            retention: Some(WINDOW),
            limits,
        }
    }

    /// The deployment that `file` keeps, if there is one.
    pub fn load(file: &Path) -> Result<Option<Self>, Problem> {
        match fs::read_to_string(file) {
            Ok(text) => Self::parse(&text).map(Some).ok_or_else(|| {
                Problem::new(format!("{} is damaged", file.display())).hint(
                    "It holds the name and the secret of this deployment. Delete it to get new ones.",
                )
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Problem::new(format!(
                "{} cannot be read: {error}",
                file.display()
            ))),
        }
    }

    /// The deployment that `file` keeps, under a new name if one is given; on first use, a new one with a random secret,
    /// named after `app` if no name is given. Only the owner of the file can read it.
    ///
    /// Whoever calls this holds the database, so that no other server makes a secret at the same time.
    pub fn load_or_create(file: &Path, name: Option<&str>, app: &str) -> Result<Self, Problem> {
        let kept = Self::load(file)?;
        let is_kept = |name: &str| kept.as_ref().is_some_and(|kept| kept.name == name);
        let is_new = kept.is_none() || name.is_some_and(|name| !is_kept(name));
        let mut instance = match kept {
            Some(kept) => kept,
            None => Self::generate(app)?,
        };
        if let Some(name) = name {
            instance.name = name.to_owned();
        }
        if is_new {
            instance.store(file).map_err(|error| {
                Problem::new(format!("{} cannot be written: {error}", file.display())).hint(
                    "It is to keep the secret of this deployment. Make its folder writable, or give --instance-secret.",
                )
            })?;
        }
        Ok(instance)
    }

    fn parse(text: &str) -> Option<Self> {
        let stored: Stored = serde_json::from_str(text).ok()?;
        Some(Self {
            name: parse_name(&stored.name).ok()?,
            secret: stored.secret.parse().ok()?,
        })
    }

    fn generate(app: &str) -> Result<Self, Problem> {
        let mut entropy = [0; 35];
        getrandom::fill(&mut entropy)
            .map_err(|error| Problem::new(format!("the system gives no entropy: {error}")))?;
        let [secret @ .., a, b, c] = entropy;
        let word: String = app
            .to_ascii_lowercase()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(24)
            .collect();
        let word = if word.is_empty() { "app" } else { &word };
        Ok(Self {
            name: format!("{word}-{a:02x}{b:02x}{c:02x}"),
            secret: InstanceSecret(secret),
        })
    }

    fn store(&self, file: &Path) -> std::io::Result<()> {
        let secret = self.secret.0.iter().map(|byte| format!("{byte:02x}"));
        let stored = Stored {
            name: self.name.clone(),
            secret: secret.collect(),
        };
        // Whole or not at all: a second file, renamed.
        let new = file.with_extension("new");
        let mut writer = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        writer.set_permissions(Permissions::from_mode(0o600))?;
        writer.write_all(serde_json::to_string_pretty(&stored)?.as_bytes())?;
        writer.sync_all()?;
        fs::rename(new, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_the_deployment_for_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let file = file_beside(&root.path().join("data.sqlite3"));
        assert!(file.ends_with("data.sqlite3.instance.json"));
        assert!(Instance::load(&file).unwrap().is_none());
        let first = Instance::load_or_create(&file, None, "My App!").unwrap();
        assert!(first.name.starts_with("myapp-"), "{}", first.name);
        let again = Instance::load_or_create(&file, None, "Other").unwrap();
        assert_eq!((first.name, &first.secret), (again.name, &again.secret));
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        // A new name keeps the secret, and is kept.
        let named = Instance::load_or_create(&file, Some("renamed"), "x").unwrap();
        assert_eq!((&*named.name, &named.secret), ("renamed", &first.secret));
        let loaded = Instance::load(&file).unwrap().unwrap();
        assert_eq!((&*loaded.name, loaded.secret), ("renamed", first.secret));

        let other = file_beside(&root.path().join("other.sqlite3"));
        let other = Instance::load_or_create(&other, None, "").unwrap();
        assert!(other.secret != named.secret && other.name.starts_with("app-"));

        fs::write(&file, "{").unwrap();
        assert!(Instance::load(&file).is_err());
        assert!(Instance::load_or_create(&file, None, "x").is_err());
    }

    #[test]
    fn secrets_are_64_digits() {
        let secret: InstanceSecret = "0f".repeat(32).parse().unwrap();
        assert_eq!(secret.0, [15; 32]);
        for bad in ["", "00", &"0g".repeat(32), &"0".repeat(65), "é"] {
            assert!(bad.parse::<InstanceSecret>().is_err(), "{bad}");
        }
        assert_eq!(format!("{secret:?}"), "InstanceSecret(..)");
    }

    #[test]
    fn names_fit_into_admin_keys() {
        assert_eq!(
            parse_name("happy-otter-12"),
            Ok("happy-otter-12".to_owned())
        );
        for bad in ["", "a|b", "a:b", "a b", &"a".repeat(65)] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }
}
