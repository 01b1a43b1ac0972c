//! Names and secrets of deployments.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;

use concave_core::driver::BackendConfig;
use concave_core::limits::Limits;
use concave_core::retention::WINDOW;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

const NAME_BYTES_MAX: usize = 64;

/// Thirty-two secret bytes, written as 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct InstanceSecret(pub [u8; 32]);

impl InstanceSecret {
    /// The secret of servers that were given none. Everybody knows it: it protects nothing.
    pub const WELL_KNOWN: Self = Self(*b"concave: no secret, for dev only");
}

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

impl Instance {
    /// The settings of this deployment at these addresses.
    pub fn config(
        self,
        cloud_url: String,
        site_url: String,
        redact: bool,
        limits: Limits,
    ) -> BackendConfig {
        BackendConfig {
            instance_name: self.name,
            instance_secret: self.secret.0,
            cloud_url,
            site_url,
            redact,
            retention: Some(WINDOW),
            limits,
        }
    }

    /// The deployment whose data is in `folder`; on first use, a new one named after `app`. The folder is kept out of
    /// version control, and its secret readable by its owner only.
    pub fn load_or_create(folder: &Path, app: &str) -> Result<Self, Problem> {
        let file = folder.join("instance.json");
        match fs::read_to_string(&file) {
            Ok(text) => Self::parse(&text).ok_or_else(|| {
                Problem::new(format!("{} is damaged", file.display())).hint(
                    "It holds the name and the secret of this deployment. Delete it to get new ones.",
                )
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let instance = Self::generate(app)?;
                instance.store(folder, &file).map_err(|error| {
                    Problem::new(format!("{} cannot be written: {error}", file.display()))
                })?;
                Ok(instance)
            }
            Err(error) => Err(Problem::new(format!(
                "{} cannot be read: {error}",
                file.display()
            ))),
        }
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

    fn store(&self, folder: &Path, file: &Path) -> std::io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        fs::write(folder.join(".gitignore"), "*\n")?;
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
    fn a_folder_keeps_its_deployment() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(".concave");
        let first = Instance::load_or_create(&folder, "My App!").unwrap();
        assert!(first.name.starts_with("myapp-"), "{}", first.name);
        let again = Instance::load_or_create(&folder, "Other").unwrap();
        assert_eq!((first.name, first.secret), (again.name, again.secret));
        let file = folder.join("instance.json");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            fs::read_to_string(folder.join(".gitignore")).unwrap(),
            "*\n"
        );
        fs::write(&file, "{").unwrap();
        assert!(Instance::load_or_create(&folder, "x").is_err());
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
