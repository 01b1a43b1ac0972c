//! Who makes a request, and what of that a function may see.

use std::fmt;

use serde_json::{Map, Value as Json};

use crate::error::{Error, ErrorClass, Result};
use crate::timestamp::Timestamp;

/// A verified identity. Verifying credentials is the business of whoever creates one.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Identity {
    /// No credentials were sent.
    #[default]
    Anonymous,
    /// The holder of a valid token.
    User {
        /// What the token says of its holder.
        attributes: UserIdentity,
        /// When the token ceases to be valid; `None` for never.
        expires: Option<Timestamp>,
    },
    /// The holder of an admin key.
    Admin {
        /// The key allows looking but not changing.
        read_only: bool,
        /// The user whose identity functions are shown.
        acting_as: Option<UserIdentity>,
    },
    /// The server itself.
    System,
}

impl Identity {
    /// Whether internal functions and functions of components may be called.
    pub fn is_admin(&self) -> bool {
        matches!(self, Identity::Admin { .. } | Identity::System)
    }

    /// Fails with `BadDeployKey` for the holder of a key that allows only to look.
    pub fn check_may_write(&self) -> Result<()> {
        match self {
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

    /// The user that functions see, if any.
    pub fn user(&self) -> Option<&UserIdentity> {
        match self {
            Identity::User { attributes, .. } => Some(attributes),
            Identity::Admin { acting_as, .. } => acting_as.as_ref(),
            Identity::Anonymous | Identity::System => None,
        }
    }

    /// What `ctx.auth.getUserIdentity()` gives: an object, or null.
    pub fn user_json(&self) -> Json {
        match self.user() {
            Some(user) => user.to_json(),
            None => Json::Null,
        }
    }

    /// All that a function can learn from `ctx.auth`, as text: two identities with the same key are
    /// indistinguishable to functions. (What an identity may *call* is not in it, see
    /// [`is_admin`](Self::is_admin).)
    pub fn cache_key(&self) -> String {
        self.user_json().to_string()
    }

    /// Whether a function that was run for `self` would have given the same result for `other`.
    pub fn is_equivalent(&self, other: &Identity) -> bool {
        self.is_admin() == other.is_admin() && self.user() == other.user()
    }

    /// Fails with `TokenExpired` once the identity may not be used any more.
    pub fn check_current(&self, now: Timestamp) -> Result<()> {
        match self {
            Identity::User {
                expires: Some(expires),
                ..
            } if now >= *expires => Err(Error::new(
                ErrorClass::Unauthenticated,
                "TokenExpired",
                "the token has expired; fetch a new one",
            )),
            _ => Ok(()),
        }
    }
}

/// What functions see of a user: a JSON object with at least a string `tokenIdentifier`.
#[derive(Clone, PartialEq)]
pub struct UserIdentity(Map<String, Json>);

impl UserIdentity {
    /// Reads the object that an admin sends to act as a user, or that token validation assembled.
    ///
    /// It needs `tokenIdentifier`, or `issuer` and `subject`, from which `tokenIdentifier` is then made; these three
    /// are strings. All other keys are claims with any JSON value.
    pub fn from_json(json: Json) -> Result<Self> {
        let invalid = |message: &str| Error::bad_request("InvalidUserIdentity", message);
        let Json::Object(mut attributes) = json else {
            return Err(invalid("a user identity is an object"));
        };
        for key in ["tokenIdentifier", "issuer", "subject"] {
            if attributes.get(key).is_some_and(|value| !value.is_string()) {
                return Err(invalid(&format!(
                    "`{key}` of a user identity is not a string"
                )));
            }
        }
        if !attributes.contains_key("tokenIdentifier") {
            let text = |key| attributes.get(key).and_then(Json::as_str);
            let (Some(issuer), Some(subject)) = (text("issuer"), text("subject")) else {
                return Err(invalid(
                    "a user identity needs `tokenIdentifier`, or both `issuer` and `subject`",
                ));
            };
            let token_identifier = format!("{issuer}|{subject}");
            attributes.insert("tokenIdentifier".to_owned(), token_identifier.into());
        }
        Ok(Self(attributes))
    }

    /// The globally unique name of the user.
    pub fn token_identifier(&self) -> &str {
        self.0
            .get("tokenIdentifier")
            .and_then(Json::as_str)
            .expect("checked when the identity was made")
    }

    /// The object that `ctx.auth.getUserIdentity()` gives.
    pub fn to_json(&self) -> Json {
        Json::Object(self.0.clone())
    }
}

impl fmt::Debug for UserIdentity {
    /// Only the identifier: claims are personal data and debug output ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UserIdentity")
            .field(&self.token_identifier())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn user(json: Json) -> UserIdentity {
        UserIdentity::from_json(json).unwrap()
    }

    #[test]
    fn token_identifier_is_given_or_made_of_issuer_and_subject() {
        let given = user(json!({"tokenIdentifier": "convex|fake_user", "name": "N", "role": "x"}));
        assert_eq!(given.token_identifier(), "convex|fake_user");
        let made = user(json!({"issuer": "https://id.example", "subject": "u1"}));
        assert_eq!(made.token_identifier(), "https://id.example|u1");
        assert_eq!(
            made.to_json(),
            json!({"issuer": "https://id.example", "subject": "u1", "tokenIdentifier": "https://id.example|u1"})
        );
    }

    #[test]
    fn incomplete_or_mistyped_identities_are_refused() {
        for bad in [
            json!(null),
            json!("u1"),
            json!({}),
            json!({"issuer": "https://id.example"}),
            json!({"subject": "u1"}),
            json!({"tokenIdentifier": 1}),
            json!({"tokenIdentifier": "a|b", "subject": null}),
        ] {
            let error = UserIdentity::from_json(bad.clone()).expect_err(&bad.to_string());
            assert_eq!(error.class, ErrorClass::BadRequest);
        }
    }

    #[test]
    fn functions_see_the_user_and_nothing_else() {
        let ann = user(json!({"tokenIdentifier": "a|ann"}));
        let plain = Identity::User {
            attributes: ann.clone(),
            expires: None,
        };
        let refreshed = Identity::User {
            attributes: ann.clone(),
            expires: Some(Timestamp(9)),
        };
        let acting = Identity::Admin {
            read_only: false,
            acting_as: Some(ann),
        };
        assert_eq!(plain.cache_key(), acting.cache_key());
        assert_eq!(plain.cache_key(), r#"{"tokenIdentifier":"a|ann"}"#);
        assert!(plain.is_equivalent(&refreshed));
        assert!(!plain.is_equivalent(&acting), "an admin may call more");
        assert_eq!(
            Identity::Anonymous.cache_key(),
            Identity::System.cache_key()
        );
        assert_eq!(Identity::System.user_json(), Json::Null);
        assert!(Identity::System.is_admin() && acting.is_admin() && !plain.is_admin());
    }

    #[test]
    fn read_only_admins_may_not_write() {
        let admin = |read_only| Identity::Admin {
            read_only,
            acting_as: None,
        };
        assert_eq!(admin(false).check_may_write(), Ok(()));
        assert_eq!(Identity::Anonymous.check_may_write(), Ok(()));
        let error = admin(true).check_may_write().unwrap_err();
        assert_eq!(error.class, ErrorClass::Forbidden);
    }

    #[test]
    fn tokens_expire_at_their_expiry() {
        let identity = Identity::User {
            attributes: user(json!({"tokenIdentifier": "a|ann"})),
            expires: Some(Timestamp(100)),
        };
        assert_eq!(identity.check_current(Timestamp(99)), Ok(()));
        let error = identity.check_current(Timestamp(100)).unwrap_err();
        assert_eq!(error.code, "TokenExpired");
        assert_eq!(error.class, ErrorClass::Unauthenticated);
        assert_eq!(
            Identity::Anonymous.check_current(Timestamp(u64::MAX)),
            Ok(())
        );
    }
}
