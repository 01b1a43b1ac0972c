//! The app's folder: what must be there, and its packages.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value as Json;
use tokio::process::Command;

use super::child;
use crate::output::say;
use crate::problem::Problem;

/// Lock files of other package managers, and the command that installs what they list.
const OTHER_MANAGERS: [(&str, &str); 4] = [
    ("pnpm-lock.yaml", "pnpm install"),
    ("yarn.lock", "yarn install"),
    ("bun.lock", "bun install"),
    ("bun.lockb", "bun install"),
];

/// An app to develop.
pub struct Project {
    folder: PathBuf,
    name: String,
}

/// An app whose packages are there.
pub struct Prepared {
    /// The app's own Convex CLI.
    pub convex_cli: PathBuf,
    /// Whether the CLI takes the deployment from environment variables.
    pub knows_variables: bool,
}

/// The first version of npm `convex` that takes the deployment from environment variables, `CONVEX_SELF_HOSTED_URL` and
/// the key: major and minor.
const VARIABLES_SINCE: (u32, u32) = (1, 18);

impl Project {
    /// Looks at a folder.
    pub fn open(folder: &Path) -> Result<Self, Problem> {
        let shown = folder.display();
        const WHAT: &str =
            "Name the folder of an app: one with a package.json and a folder convex.";
        let folder = folder.canonicalize().map_err(|error| {
            Problem::new(format!("the folder {shown} cannot be opened: {error}")).hint(WHAT)
        })?;
        if !folder.is_dir() {
            return Err(Problem::new(format!("{shown} is not a folder")).hint(WHAT));
        }
        if !folder.join("package.json").is_file() {
            return Err(Problem::new(format!("{shown} has no package.json")).hint(
                "Name the folder of an app, or begin one with `npm init` and `npm install convex` there.",
            ));
        }
        let functions = functions_folder(&folder)?;
        if !folder.join(&functions).is_dir() {
            return Err(Problem::new(format!("{shown} has no folder {functions}"))
                .hint("That is where the app's functions are; create it with a first function."));
        }
        let name = folder.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        Ok(Self { folder, name })
    }

    /// The folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Installs packages if need be, and finds the Convex CLI among them.
    pub async fn prepare(&self) -> Result<Prepared, Problem> {
        let node = require("node", "Install Node.js 22 or newer: https://nodejs.org").await?;
        let other = OTHER_MANAGERS
            .iter()
            .find(|(lock_file, _)| self.folder.join(lock_file).exists());
        match other {
            Some((lock_file, command)) if !self.folder.join("node_modules").exists() => {
                return Err(Problem::new(format!(
                    "the app's packages are not installed, and {lock_file} says that npm is not to install them"
                ))
                .hint(format!("Run `{command}` in {}.", self.folder.display())));
            }
            Some(_) => {}
            None if self.must_install() => self.install().await?,
            None => {}
        }
        let packages = self
            .folder
            .ancestors()
            .map(|folder| folder.join("node_modules"))
            .find(|packages| packages.join(".bin/convex").exists())
            .ok_or_else(|| {
                Problem::new("the app does not have the package `convex`").hint(format!(
                    "Run `npm install convex` in {}.",
                    self.folder.display()
                ))
            })?;
        let description = std::fs::read(packages.join("convex/package.json")).unwrap_or_default();
        // What cannot be read is the CLI's own to complain about.
        let description: Json = serde_json::from_slice(&description).unwrap_or_default();
        let version = description["version"].as_str().unwrap_or_default();
        let wanted = description["engines"]["node"].as_str().and_then(numbers);
        if let (Some(wanted), Some(has)) = (wanted, numbers(&node))
            && has < wanted
        {
            return Err(Problem::new(format!(
                "the app's package `convex` {version} needs Node.js {} or newer, and this is {node}",
                wanted.0
            ))
            .hint("Install a newer one: https://nodejs.org. Or use an older version of `convex` in the app."));
        }
        Ok(Prepared {
            convex_cli: packages.join(".bin/convex"),
            knows_variables: numbers(version).is_none_or(|version| version >= VARIABLES_SINCE),
        })
    }

    /// Whether packages are missing, or older than what lists them.
    fn must_install(&self) -> bool {
        let modified = |name: &str| -> Option<SystemTime> {
            self.folder.join(name).metadata().ok()?.modified().ok()
        };
        // npm writes the hidden one last.
        let installed =
            modified("node_modules/.package-lock.json").or_else(|| modified("node_modules"));
        let Some(installed) = installed else {
            // An app without a list of its own may use packages of a folder above.
            return true;
        };
        ["package.json", "package-lock.json"]
            .into_iter()
            .filter_map(modified)
            .any(|listed| listed > installed)
    }

    async fn install(&self) -> Result<(), Problem> {
        require("npm", "It comes with Node.js: https://nodejs.org").await?;
        say("Installing packages (npm install).");
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund"])
            .current_dir(&self.folder);
        let status = match child::spawn(&mut npm, "npm") {
            Ok(mut npm) => npm.wait().await,
            Err(error) => Err(error),
        };
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Problem::new(format!("`npm install` failed ({status})"))
                .hint("What it printed is above.")),
            Err(error) => Err(Problem::new(format!("`npm install` cannot run: {error}"))),
        }
    }
}

/// The folder of functions: `convex`, unless convex.json says otherwise.
fn functions_folder(folder: &Path) -> Result<String, Problem> {
    let Ok(text) = std::fs::read_to_string(folder.join("convex.json")) else {
        return Ok("convex".to_owned());
    };
    let json: Json = serde_json::from_str(&text)
        .map_err(|error| Problem::new(format!("convex.json is not JSON: {error}")))?;
    Ok(json["functions"].as_str().unwrap_or("convex").to_owned())
}

/// Major and minor number of a version such as `v20.11.1`, or of the least one of a range such as `>=20.0`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut parts = digits.split(|c: char| !c.is_ascii_digit());
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next().and_then(|minor| minor.parse().ok());
    Some((major, minor.unwrap_or(0)))
}

/// The version of a program. Fails if it is not installed.
async fn require(program: &str, hint: &str) -> Result<String, Problem> {
    let version = Command::new(program).arg("--version").output().await;
    match version {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        _ => Err(Problem::new(format!("`{program}` is not installed")).hint(hint)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::Duration;

    use super::*;

    fn problem(folder: &Path) -> String {
        match Project::open(folder) {
            Ok(_) => panic!("{} is no app", folder.display()),
            Err(problem) => problem.to_string(),
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("app");
        assert!(problem(&folder).contains("cannot be opened"));
        fs::create_dir(&folder).unwrap();
        assert!(problem(&folder).contains("package.json"));
        fs::write(folder.join("package.json"), "{}").unwrap();
        assert!(problem(&folder).contains("no folder convex"));
        fs::write(
            folder.join("convex.json"),
            r#"{"functions": "src/convex/"}"#,
        )
        .unwrap();
        assert!(problem(&folder).contains("no folder src/convex/"));
        fs::create_dir_all(folder.join("src/convex")).unwrap();
        assert_eq!(Project::open(&folder).unwrap().name(), "app");
        assert!(problem(&folder.join("package.json")).contains("is not a folder"));
    }

    #[test]
    fn versions_have_numbers() {
        for (version, expected) in [
            ("v20.11.1", Some((20, 11))),
            (">=22.0.0", Some((22, 0))),
            (">= 18", Some((18, 0))),
            ("1.17.4", Some((1, 17))),
            ("1.50.0-alpha.1", Some((1, 50))),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(numbers(version), expected, "{version}");
        }
    }

    #[tokio::test]
    async fn an_old_node_is_told_at_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path();
        let packages = folder.join("node_modules");
        fs::create_dir_all(packages.join(".bin")).unwrap();
        fs::create_dir_all(packages.join("convex")).unwrap();
        fs::create_dir(folder.join("convex")).unwrap();
        fs::write(folder.join("package.json"), "{}").unwrap();
        fs::write(packages.join(".package-lock.json"), "{}").unwrap();
        fs::write(packages.join(".bin/convex"), "").unwrap();
        let prepare = async |version: &str, node: &str| {
            let text = format!(r#"{{"version": "{version}", "engines": {{"node": "{node}"}}}}"#);
            fs::write(packages.join("convex/package.json"), text).unwrap();
            Project::open(folder).unwrap().prepare().await
        };
        assert!(prepare("1.49.0", ">=18.0.0").await.unwrap().knows_variables);
        assert!(!prepare("1.17.4", ">=18.0.0").await.unwrap().knows_variables);
        let Err(problem) = prepare("9.9.0", ">=999.0.0").await else {
            panic!("no Node.js is so new");
        };
        let problem = problem.to_string();
        assert!(problem.contains("`convex` 9.9.0 needs Node.js 999 or newer, and this is v"));
    }

    #[test]
    fn packages_are_installed_when_they_are_missing_or_old() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path();
        fs::write(folder.join("package.json"), "{}").unwrap();
        fs::create_dir(folder.join("convex")).unwrap();
        let project = Project::open(folder).unwrap();
        assert!(project.must_install());
        fs::create_dir(folder.join("node_modules")).unwrap();
        let installed = folder.join("node_modules/.package-lock.json");
        fs::write(&installed, "{}").unwrap();
        let later = SystemTime::now() + Duration::from_secs(10);
        let touch = |path: &Path, time| {
            File::options()
                .append(true)
                .open(path)
                .unwrap()
                .set_modified(time)
                .unwrap()
        };
        touch(&installed, later);
        assert!(!project.must_install());
        touch(&folder.join("package.json"), later + Duration::from_secs(1));
        assert!(project.must_install());
    }
}
