//! Who may call an endpoint. These extractors verify credentials before a body is read: a key that does not hold is
//! refused wherever credentials are taken, even where none are needed, and nobody makes the server read what they may
//! not send.
//!
//! The endpoints of `plain` and static files answer everybody the same, and do not look at credentials.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use concave_core::driver::{Backend, Caller};

use crate::error::ApiError;
use crate::requester::Requester;

/// Anybody: a user, an admin, or nobody in particular.
pub struct Anyone {
    /// What the request says of itself.
    pub requester: Requester,
    /// Who it is, verified.
    pub caller: Caller,
}

/// An admin, by the headers.
pub struct Admin {
    /// What the request says of itself.
    pub requester: Requester,
    /// Who it is, verified.
    pub caller: Caller,
}

/// An admin who may change things, by the headers.
pub struct Writer;

impl FromRequestParts<Arc<Backend>> for Anyone {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        backend: &Arc<Backend>,
    ) -> Result<Self, ApiError> {
        let requester = Requester::from_request_parts(parts, backend).await?;
        let caller = requester.caller(backend).await?;
        Ok(Self { requester, caller })
    }
}

impl FromRequestParts<Arc<Backend>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        backend: &Arc<Backend>,
    ) -> Result<Self, ApiError> {
        let requester = Requester::from_request_parts(parts, backend).await?;
        let caller = requester.admin(backend).await?;
        Ok(Self { requester, caller })
    }
}

impl FromRequestParts<Arc<Backend>> for Writer {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        backend: &Arc<Backend>,
    ) -> Result<Self, ApiError> {
        let Admin { caller, .. } = Admin::from_request_parts(parts, backend).await?;
        caller.identity.check_may_write()?;
        Ok(Self)
    }
}
