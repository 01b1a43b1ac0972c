//! Who sends a request, by its headers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use concave_core::driver::{Backend, Caller, Client, RequestSource};
use concave_core::identity::{Identity, UserIdentity};
use concave_core::origin::AdminAccess;
use concave_core::request_id::RequestId;
use concave_core::sync::{ClientVersion, Credential};
use concave_core::{Error, ErrorClass, Result};

use crate::error::ApiError;

const CLIENT: HeaderName = HeaderName::from_static("convex-client");
const REQUEST_ID: HeaderName = HeaderName::from_static("convex-request-id");
/// Longest request id that is taken from a client, bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Who sends a request: what it claims, not verified yet.
pub struct Requester {
    /// The program that sends it.
    pub client: ClientVersion,
    request_id: RequestId,
    credential: Option<Credential>,
    /// Whether admin keys are taken from where it comes from.
    access: AdminAccess,
    address: Option<IpAddr>,
    source: Arc<RequestSource>,
}

impl Requester {
    /// The caller, verified.
    ///
    /// # Errors
    /// If the credentials do not hold.
    pub async fn caller(&self, backend: &Backend) -> Result<Caller> {
        let identity = match self.credential.clone() {
            None => Identity::Anonymous,
            Some(credential) => backend.authenticate(credential, &self.access).await?,
        };
        Ok(Caller {
            identity,
            request_id: self.request_id.clone(),
            client: Client::Http(self.address),
            source: self.source.clone(),
        })
    }

    /// The caller, who must be an admin.
    ///
    /// # Errors
    /// `BadDeployKey` if it is somebody else; or if the credentials do not hold.
    pub async fn admin(&self, backend: &Backend) -> Result<Caller> {
        let caller = self.caller(backend).await?;
        if !caller.identity.is_admin() {
            return Err(Error::new(
                ErrorClass::Forbidden,
                "BadDeployKey",
                "This needs an admin key: send `Authorization: Convex <key>`. `concave admin-key` prints one.",
            ));
        }
        Ok(caller)
    }

    /// Whether log lines go to this client as objects rather than text.
    pub fn wants_structured_logs(&self) -> bool {
        matches!(self.client.name(), "npm-cli" | "dashboard")
    }
}

impl FromRequestParts<Arc<Backend>> for Requester {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        backend: &Arc<Backend>,
    ) -> Result<Self, ApiError> {
        let client = client(&parts.headers)?;
        // Not from the query string: those are kept in logs of proxies and in histories.
        let credential = header(&parts.headers, &AUTHORIZATION)?
            .map(authorization)
            .transpose()?;
        let access = backend.admin_access(
            header(&parts.headers, &ORIGIN)?,
            header(&parts.headers, &HOST)?,
        );
        let chosen = header(&parts.headers, &REQUEST_ID)?
            .filter(|id| !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX);
        let request_id = match chosen {
            Some(id) => RequestId::chosen(id),
            None => backend.new_request_id(),
        };
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = peer.map(|peer| peer.ip().to_canonical());
        let header = |name| {
            let value = parts.headers.get(name);
            value.and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let source = RequestSource::new(
            address.map(|address| address.to_string()),
            address.is_some_and(|address| address.is_loopback()),
            header("x-forwarded-for"),
            header("user-agent"),
        );
        Ok(Self {
            client,
            request_id,
            credential,
            access,
            address,
            source: Arc::new(source),
        })
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>> {
    headers
        .get(name)
        .map(|value| {
            value.to_str().map_err(|_| {
                Error::bad_request(
                    "InvalidHeaderFailure",
                    format!("The header `{name}` is not ASCII text."),
                )
            })
        })
        .transpose()
}

fn client(headers: &HeaderMap) -> Result<ClientVersion> {
    let Some(text) = header(headers, &CLIENT)? else {
        return Ok(ClientVersion::unknown());
    };
    if !text.contains('-') {
        return Err(Error::bad_request(
            "InvalidClientVersion",
            format!("`Convex-Client: {text}` is not of the form `name-version`."),
        ));
    }
    let client = ClientVersion::from_header(text);
    client.check_supported()?;
    Ok(client)
}

/// Reads an `Authorization` header.
fn authorization(text: &str) -> Result<Credential> {
    let Some((scheme, secret)) = text.trim().split_once(' ') else {
        return Err(Error::bad_request(
            "InvalidAuthHeader",
            "`Authorization` has the form `Bearer <token>` or `Convex <admin key>`.",
        ));
    };
    let secret = secret.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Credential::User(secret.to_owned()))
    } else if scheme.eq_ignore_ascii_case("convex") {
        admin_credential(secret)
    } else {
        Err(Error::bad_request(
            "InvalidAdminKey",
            format!("`Authorization: {scheme} …` is unknown here: use `Bearer` or `Convex`."),
        ))
    }
}

/// `<admin key>`, or `<admin key>:<base64 of the JSON of the user to act as>`.
fn admin_credential(text: &str) -> Result<Credential> {
    // A type such as `prod:` may stand before the name, hence before the bar.
    let bar = text.find('|').unwrap_or(0);
    let (key, acting_as) = match text[bar..].find(':').map(|colon| bar + colon) {
        None => (text, None),
        Some(colon) => {
            let (key, user) = (&text[..colon], &text[colon + 1..]);
            let user = BASE64.decode(user).ok();
            let user = user.and_then(|json| serde_json::from_slice(&json).ok());
            let user = user.ok_or_else(|| {
                Error::bad_request(
                    "InvalidAuthHeader",
                    "What follows the colon after an admin key is base64 of a JSON object.",
                )
            })?;
            (key, Some(UserIdentity::from_json(user)?))
        }
    };
    Ok(Credential::Admin {
        key: key.to_owned(),
        acting_as,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorization_names_users_and_admins() {
        let admin = |key: &str, acting_as| Credential::Admin {
            key: key.to_owned(),
            acting_as,
        };
        assert_eq!(
            authorization("bearer a.b.c"),
            Ok(Credential::User("a.b.c".to_owned()))
        );
        assert_eq!(authorization("CONVEX a|0"), Ok(admin("a|0", None)));
        let json = r#"{"tokenIdentifier":"i|s"}"#;
        let user = UserIdentity::from_json(serde_json::from_str(json).unwrap()).unwrap();
        for prefix in ["", "prod:"] {
            let key = format!("{prefix}a|0");
            let text = format!("Convex {key}:{}", BASE64.encode(json));
            assert_eq!(authorization(&text), Ok(admin(&key, Some(user.clone()))));
        }
        for (text, code) in [
            ("Basic abc", "InvalidAdminKey"),
            ("Convex", "InvalidAuthHeader"),
            ("", "InvalidAuthHeader"),
            ("Convex a|0:%%", "InvalidAuthHeader"),
            ("Convex a|0:e30=", "InvalidUserIdentity"),
        ] {
            assert_eq!(authorization(text).unwrap_err().code, code, "{text}");
        }
    }
}
