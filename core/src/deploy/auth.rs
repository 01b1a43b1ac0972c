//! The providers of `auth.config.js`.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::engine::Failure;
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Config {
    providers: Vec<Json>,
}

#[derive(Deserialize)]
struct OpenIdConnect {
    domain: String,
    #[serde(rename = "applicationID")]
    application_id: String,
}

#[derive(Deserialize)]
struct CustomJwt {
    issuer: String,
    jwks: String,
    algorithm: String,
    #[serde(rename = "applicationID")]
    application_id: Option<String>,
}

/// The providers of an evaluated auth configuration, in the form in which deployments keep them.
///
/// # Errors
/// `AuthConfigNotMatchingSchemaError`.
pub fn auth_providers(config: Json) -> Result<Vec<Json>> {
    let config: Config = serde_json::from_value(config).map_err(mismatch)?;
    config.providers.into_iter().map(provider).collect()
}

fn provider(json: Json) -> Result<Json> {
    match json.get("type").and_then(Json::as_str) {
        None | Some("oidc") => {
            let provider: OpenIdConnect = serde_json::from_value(json).map_err(mismatch)?;
            Ok(json!({"applicationID": provider.application_id, "domain": provider.domain}))
        }
        Some("customJwt") => {
            let provider: CustomJwt = serde_json::from_value(json).map_err(mismatch)?;
            if !matches!(provider.algorithm.as_str(), "RS256" | "ES256") {
                return Err(mismatch(format!(
                    "the algorithm is `{}`, not RS256 or ES256",
                    provider.algorithm
                )));
            }
            Ok(
                json!({"type": "customJwt", "applicationID": provider.application_id,
                "issuer": provider.issuer, "jwks": provider.jwks, "algorithm": provider.algorithm}),
            )
        }
        Some(other) => Err(mismatch(format!("there is no provider type `{other}`"))),
    }
}

fn mismatch(reason: impl std::fmt::Display) -> Error {
    Error::bad_request(
        "AuthConfigNotMatchingSchemaError",
        format!("The providers in auth.config are not as they should be: {reason}"),
    )
}

/// Refuses providers, since nobody's tokens are verified: an app would take its users for strangers.
///
/// # Errors
/// `InvalidAuthConfig`.
pub fn check_no_providers(providers: &[Json]) -> Result<()> {
    if providers.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = providers
        .iter()
        .filter_map(|provider| provider["domain"].as_str().or(provider["issuer"].as_str()))
        .map(|name| format!("`{name}`"))
        .collect();
    Err(Error::bad_request(
        "InvalidAuthConfig",
        format!(
            "This server does not verify tokens of users yet. Remove the providers from `auth.config.ts`: {}.",
            names.join(", ")
        ),
    ))
}

/// The error for an auth configuration that could not be evaluated. That a variable is not set is told apart, because
/// the command-line client then says how to set it.
pub fn auth_failure(failure: &Failure) -> Error {
    let code = if failure.message.contains("Environment variable ") {
        "AuthConfigMissingEnvironmentVariable"
    } else {
        "InvalidAuthConfig"
    };
    Error::bad_request(code, failure.to_string().trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_normalised_and_checked() {
        let providers = auth_providers(json!({"providers": [
            {"domain": "https://a.example", "applicationID": "web", "extra": 1},
            {"type": "customJwt", "issuer": "i", "jwks": "j", "algorithm": "ES256"},
        ]}));
        assert_eq!(
            providers.as_deref().unwrap(),
            [
                json!({"applicationID": "web", "domain": "https://a.example"}),
                json!({"type": "customJwt", "applicationID": null, "issuer": "i", "jwks": "j", "algorithm": "ES256"}),
            ]
        );
        let refused = check_no_providers(&providers.unwrap()).unwrap_err();
        assert!(
            refused
                .message
                .ends_with("`auth.config.ts`: `https://a.example`, `i`."),
            "{refused}"
        );
        assert_eq!(check_no_providers(&[]), Ok(()));
        for bad in [
            json!({}),
            json!({"providers": [{"domain": "d"}]}),
            json!({"providers": [{"type": "saml"}]}),
            json!({"providers": [{"type": "customJwt", "issuer": "i", "jwks": "j", "algorithm": "none"}]}),
        ] {
            let error = auth_providers(bad).unwrap_err();
            assert_eq!(error.code, "AuthConfigNotMatchingSchemaError");
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_told_apart() {
        let code = |text: &str| auth_failure(&Failure::new(text)).code;
        let unset = "Environment variable ISSUER is used in auth config but its value was not set";
        assert_eq!(code(unset), "AuthConfigMissingEnvironmentVariable");
        assert_eq!(code("Uncaught Error: no"), "InvalidAuthConfig");
    }
}
