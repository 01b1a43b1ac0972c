//! Who makes a request: credentials and request ids.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use concave_core::driver::{Backend, Caller};
use concave_core::identity::{Identity, UserIdentity};
use concave_core::request_id::RequestId;
use concave_core::sync::ClientVersion;
use concave_core::{Error, ErrorClass, Result};
use percent_encoding::percent_decode_str;

use crate::ApiError;

/// Anyone, with the credentials that came along verified.
pub(crate) struct AnyCaller(pub Caller, pub ClientVersion);

/// The holder of an admin key.
pub(crate) struct AdminCaller(pub Caller, pub ClientVersion);

impl<S: Send + Sync> FromRequestParts<S> for AnyCaller
where
    Arc<Backend>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let backend = Arc::<Backend>::from_ref(state);
        let client = client_version(&parts.headers)?;
        let identity = identity(&backend, &parts.headers, parts.uri.query())?;
        let request_id = match text(&parts.headers, "convex-request-id") {
            Some(chosen) => RequestId::chosen(chosen),
            None => backend.new_request_id(),
        };
        Ok(Self(
            Caller {
                identity,
                request_id,
            },
            client,
        ))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AdminCaller
where
    Arc<Backend>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let AnyCaller(caller, client) = AnyCaller::from_request_parts(parts, state).await?;
        check_admin(&caller.identity)?;
        Ok(Self(caller, client))
    }
}

/// Refuses everyone but admins.
pub(crate) fn check_admin(identity: &Identity) -> Result<()> {
    if identity.is_admin() {
        return Ok(());
    }
    Err(Error::new(
        ErrorClass::Forbidden,
        "BadDeployKey",
        "This needs an admin key: send `Authorization: Convex <key>`. `concave admin-key` prints one.",
    ))
}

/// Refuses admins whose key is only good for looking.
pub(crate) fn check_may_write(identity: &Identity) -> Result<()> {
    check_admin(identity)?;
    match identity {
        Identity::Admin {
            read_only: true, ..
        } => Err(Error::new(
            ErrorClass::Forbidden,
            "BadDeployKey",
            "You do not have permission to perform this operation: the admin key is read-only.",
        )),
        _ => Ok(()),
    }
}

fn client_version(headers: &HeaderMap) -> Result<ClientVersion> {
    let client = ClientVersion::negotiate(None, text(headers, "convex-client"))?;
    client.check_supported()?;
    Ok(client)
}

fn identity(backend: &Backend, headers: &HeaderMap, query: Option<&str>) -> Result<Identity> {
    let Some(authorization) = headers.get(header::AUTHORIZATION) else {
        return match query.and_then(admin_key_parameter) {
            Some(key) => backend.admin_keys().verify(&key),
            None => Ok(Identity::Anonymous),
        };
    };
    let invalid = || {
        Error::bad_request(
            "InvalidHeaderFailure",
            "The Authorization header is neither `Bearer …` nor `Convex …`.",
        )
    };
    let authorization = authorization.to_str().map_err(|_| invalid())?;
    let (scheme, credential) = authorization.split_once(' ').ok_or_else(invalid)?;
    let credential = credential.trim();
    if scheme.eq_ignore_ascii_case("convex") {
        admin(backend, credential)
    } else if scheme.eq_ignore_ascii_case("bearer") {
        backend.verify_token(credential)
    } else {
        Err(invalid())
    }
}

/// `<key>`, or `<key>:<base64 of the JSON of the user to act as>`.
fn admin(backend: &Backend, credential: &str) -> Result<Identity> {
    // A type prefix such as `prod:` stands before the name, hence before the bar.
    let bar = credential.find('|').unwrap_or(0);
    let Some(colon) = credential[bar..].find(':').map(|at| bar + at) else {
        return backend.admin_keys().verify(credential);
    };
    let identity = backend.admin_keys().verify(&credential[..colon])?;
    let invalid = |cause: &dyn std::fmt::Display| {
        Error::bad_request(
            "InvalidUserIdentity",
            format!("The identity to act as is not valid: {cause}"),
        )
    };
    let json = STANDARD
        .decode(&credential[colon + 1..])
        .map_err(|error| invalid(&error))?;
    let json = serde_json::from_slice(&json).map_err(|error| invalid(&error))?;
    let user = UserIdentity::from_json(json)?;
    match identity {
        Identity::Admin { read_only, .. } => Ok(Identity::Admin {
            read_only,
            acting_as: Some(user),
        }),
        other => Ok(other),
    }
}

fn admin_key_parameter(query: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("adminKey="))?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
