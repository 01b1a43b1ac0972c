//! Environment variables: names, limits, and what an app declares about them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::schema::{TableNames, Validator};
use crate::value::{Value, check_environment_variable_name};

/// Most bytes of a value.
pub const VALUE_BYTES_MAX: usize = 8 << 10;
/// Most variables that a user can set.
pub const VARIABLES_MAX: usize = 512;
/// Most bytes of all names and values.
pub const TOTAL_BYTES_MAX: usize = 512 << 10;

/// Variables that the server sets.
pub const BUILT_IN: [&str; 2] = ["CONVEX_CLOUD_URL", "CONVEX_SITE_URL"];

/// One change of `/api/update_environment_variables`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EnvironmentChange {
    /// The variable.
    pub name: String,
    /// Its new value; `None` deletes it.
    #[serde(default)]
    pub value: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    changes: Vec<EnvironmentChange>,
}

/// Reads the body of `/api/update_environment_variables`.
///
/// # Errors
/// `BadJsonBody`.
pub fn parse_environment_changes(body: Json) -> Result<Vec<EnvironmentChange>> {
    let body: Body = serde_json::from_value(body)
        .map_err(|error| Error::bad_request("BadJsonBody", error.to_string()))?;
    Ok(body.changes)
}

/// Applies changes to the user's variables, all or nothing.
///
/// # Errors
/// `EnvVarNameNotUnique` for two changes of one variable, `EnvVarNameForbidden`, or the code of the limit.
pub fn change_environment(
    variables: &mut BTreeMap<String, String>,
    changes: Vec<EnvironmentChange>,
) -> Result<()> {
    let bad = |code: &'static str, message: String| Err(Error::bad_request(code, message));
    let mut changed = variables.clone();
    let mut names = BTreeSet::new();
    for EnvironmentChange { name, value } in changes {
        check_environment_variable_name(&name)?;
        if BUILT_IN.contains(&name.as_str()) {
            let message = format!("Environment variable {name:?} is set by the server");
            return bad("EnvVarNameForbidden", message);
        }
        if !names.insert(name.clone()) {
            let message = format!("Environment variable {name:?} is changed twice");
            return bad("EnvVarNameNotUnique", message);
        }
        match value {
            Some(value) if value.len() > VALUE_BYTES_MAX => {
                let message = format!(
                    "The value of environment variable {name:?} has {} bytes, but the maximum is {VALUE_BYTES_MAX}",
                    value.len()
                );
                return bad("EnvironmentVariableValueTooLarge", message);
            }
            Some(value) => changed.insert(name, value),
            None => changed.remove(&name),
        };
    }
    if changed.len() > VARIABLES_MAX {
        let message = format!("There can be at most {VARIABLES_MAX} environment variables");
        return bad("EnvVarLimitMet", message);
    }
    let total: usize = changed.iter().map(|(n, v)| n.len() + v.len()).sum();
    if total > TOTAL_BYTES_MAX {
        let message = format!(
            "All environment variables together would have {total} bytes, but the maximum is {TOTAL_BYTES_MAX}"
        );
        return bad("EnvVarTotalSizeLimitMet", message);
    }
    *variables = changed;
    Ok(())
}

/// Checks what an app's definition declares about variables: their values are text, so validators must be of strings.
///
/// # Errors
/// `InvalidEnvVarDeclaration`.
pub fn check_declarations(definition: &Json) -> Result<()> {
    for entry in definition["envVars"].as_array().into_iter().flatten() {
        let name = entry[0].as_str().unwrap_or_default();
        let validator = entry[1]["value"].as_str();
        let validator = validator.and_then(|text| serde_json::from_str(text).ok());
        let validator = validator.and_then(|json| Validator::from_json(&json).ok());
        if !validator.as_ref().is_some_and(describes_text) {
            let validator = validator.map_or("it".to_owned(), |found| format!("`{found}`"));
            return Err(Error::bad_request(
                "InvalidEnvVarDeclaration",
                format!(
                    "The environment variable {name:?} is text, but {validator} is no validator of strings: use \
                     `v.string()`, literal strings, or unions of them"
                ),
            ));
        }
    }
    Ok(())
}

fn describes_text(validator: &Validator) -> bool {
    match validator {
        Validator::String | Validator::Literal(Value::String(_)) => true,
        Validator::Union(members) => members.iter().all(describes_text),
        _ => false,
    }
}

/// Checks the variables that an app's definition declares: required ones are set, and values match their validators.
///
/// # Errors
/// `MissingEnvironmentVariables` or `InvalidEnvironmentVariable`.
pub fn check_declared_environment(
    definition: &Json,
    variables: &BTreeMap<String, String>,
    tables: &dyn TableNames,
) -> Result<()> {
    let declared = definition["envVars"].as_array();
    let mut missing = Vec::new();
    for entry in declared.into_iter().flatten() {
        let Some(name) = entry[0].as_str() else {
            continue;
        };
        let Some(value) = variables.get(name) else {
            if entry[1]["optional"].as_bool() != Some(true) {
                missing.push(name);
            }
            continue;
        };
        let validator = entry[1]["value"].as_str();
        let validator = validator.and_then(|text| serde_json::from_str(text).ok());
        if let Some(validator) = validator {
            let matches = Validator::from_json(&validator)?;
            if let Err(error) = matches.check(&Value::from(value.as_str()), tables) {
                return Err(Error::bad_request(
                    "InvalidEnvironmentVariable",
                    format!(
                        "Environment variable {name:?} does not match its declaration: {error}"
                    ),
                ));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::bad_request(
        "MissingEnvironmentVariables",
        format!(
            "Environment variables that the app requires are not set: {}.",
            missing.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::Catalog;

    fn code(changes: &[(&str, Option<&str>)], variables: &mut BTreeMap<String, String>) -> String {
        let changes = changes
            .iter()
            .map(|(name, value)| EnvironmentChange {
                name: name.to_string(),
                value: value.map(str::to_owned),
            })
            .collect();
        match change_environment(variables, changes) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.code.into_owned(),
        }
    }

    #[test]
    fn changes_are_all_or_nothing() {
        let mut variables = BTreeMap::new();
        assert_eq!(
            code(&[("A", Some("1")), ("B", Some("2"))], &mut variables),
            "ok"
        );
        let before = variables.clone();
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        for (changes, expected) in [
            (vec![("C", Some("1")), ("C", None)], "EnvVarNameNotUnique"),
            (
                vec![("A", None), ("CONVEX_SITE_URL", Some("x"))],
                "EnvVarNameForbidden",
            ),
            (
                vec![("A", None), ("a-b", Some("x"))],
                "EnvironmentVariableNameInvalid",
            ),
            (
                vec![("A", Some(long.as_str()))],
                "EnvironmentVariableValueTooLarge",
            ),
        ] {
            assert_eq!(code(&changes, &mut variables), expected);
            assert_eq!(variables, before);
        }
        let names: Vec<_> = (0..VARIABLES_MAX).map(|n| format!("V{n}")).collect();
        let full: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), Some("v")))
            .collect();
        assert_eq!(code(&full, &mut variables), "EnvVarLimitMet");
        let most = "x".repeat(VALUE_BYTES_MAX);
        let big: Vec<_> = names[..64]
            .iter()
            .map(|name| (name.as_str(), Some(most.as_str())))
            .collect();
        assert_eq!(code(&big, &mut variables), "EnvVarTotalSizeLimitMet");
        assert_eq!(code(&[("A", None), ("none", None)], &mut variables), "ok");
        assert_eq!(variables.keys().collect::<Vec<_>>(), ["B"]);
    }

    #[test]
    fn declarations_are_of_text() {
        let check = |validator: Json| {
            let declared = json!(["A", {"type": "value", "value": validator.to_string()}]);
            check_declarations(&json!({"envVars": [declared]}))
        };
        let on = json!({"type": "literal", "value": "on"});
        for good in [
            json!({"type": "string"}),
            json!({"type": "union", "value": [on, on]}),
        ] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in [
            json!({"type": "number"}),
            json!({"type": "literal", "value": 1.0}),
            json!({"type": "union", "value": [on, {"type": "null"}]}),
            json!({"type": "oops"}),
        ] {
            let error = check(bad).unwrap_err();
            assert_eq!(error.code, "InvalidEnvVarDeclaration");
            assert!(error.message.contains("\"A\""), "{error}");
        }
        assert_eq!(check_declarations(&Json::Null), Ok(()));
    }

    #[test]
    fn declared_variables_are_set_and_match() {
        let definition = json!({"envVars": [
            ["A", {"type": "value", "value": "{\"type\":\"string\"}"}],
            ["B", {"type": "value", "value": "{\"type\":\"literal\",\"value\":\"on\"}", "optional": true}],
            ["C", {"type": "value", "value": "{\"type\":\"string\"}"}],
        ]});
        let check = |variables: &[(&str, &str)]| {
            let variables = variables
                .iter()
                .map(|(n, v)| (n.to_string(), v.to_string()))
                .collect();
            check_declared_environment(&definition, &variables, &Catalog::default())
        };
        let missing = check(&[]).unwrap_err();
        assert_eq!(missing.code, "MissingEnvironmentVariables");
        assert!(missing.message.contains("are not set: A, C."));
        assert_eq!(check(&[("A", "x"), ("C", "y"), ("B", "on")]), Ok(()));
        let invalid = check(&[("A", "x"), ("C", "y"), ("B", "off")]).unwrap_err();
        assert_eq!(invalid.code, "InvalidEnvironmentVariable");
        assert_eq!(
            check_declared_environment(&Json::Null, &BTreeMap::new(), &Catalog::default()),
            Ok(())
        );
    }
}
