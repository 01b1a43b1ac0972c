//! Admin keys: what the CLI and the dashboard authenticate with.
//!
//! A key reads `name|secret`: the deployment's name, and in hexadecimal the time of issue, a flag and an
//! authentication code (HMAC-SHA-256, RFC 2104) over both under the instance secret. Nothing is stored: whoever has
//! the instance secret can issue and verify keys, and changing it revokes them all.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::{Error, ErrorClass, Result};
use crate::identity::Identity;
use crate::timestamp::Timestamp;

/// Version byte, seconds since the epoch, flags.
const HEADER: usize = 1 + 8 + 1;
const CODE: usize = 32;
const VERSION: u8 = 1;
const READ_ONLY: u8 = 1;

/// Issues and verifies the admin keys of one deployment.
#[derive(Clone)]
pub struct AdminKeys {
    instance_name: String,
    secret: [u8; 32],
}

impl AdminKeys {
    /// For the deployment of that name; `secret` is used for nothing else.
    pub fn new(instance_name: impl Into<String>, secret: [u8; 32]) -> Self {
        Self {
            instance_name: instance_name.into(),
            secret,
        }
    }

    /// A new key.
    pub fn issue(&self, now: Timestamp, read_only: bool) -> String {
        let mut bytes = Vec::with_capacity(HEADER + CODE);
        bytes.push(VERSION);
        bytes.extend((now.0 / 1_000_000_000).to_be_bytes());
        bytes.push(if read_only { READ_ONLY } else { 0 });
        bytes.extend_from_slice(&self.mac(&bytes).finalize().into_bytes());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}|{hex}", self.instance_name)
    }

    /// Whom a key stands for. A prefix such as `prod:` before the name is ignored.
    ///
    /// # Errors
    /// Code `BadAdminKey`, whatever is wrong with it.
    pub fn verify(&self, key: &str) -> Result<Identity> {
        let read_only = self.check(key).ok_or_else(|| {
            Error::new(
                ErrorClass::Unauthenticated,
                "BadAdminKey",
                format!(
                    "The admin key is not valid for the deployment \"{}\". Make one with `concave admin-key`.",
                    self.instance_name
                ),
            )
        })?;
        Ok(Identity::Admin {
            read_only,
            acting_as: None,
        })
    }

    fn check(&self, key: &str) -> Option<bool> {
        let (name, secret) = key.split_once('|')?;
        let name = name.split_once(':').map_or(name, |(_, name)| name);
        // Rust reads `+1` and `0A` as numbers, too; a key has one text.
        let is_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if name != self.instance_name
            || secret.len() != 2 * (HEADER + CODE)
            || !secret.bytes().all(is_hex)
        {
            return None;
        }
        let bytes: Option<Vec<u8>> = (0..secret.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&secret[at..at + 2], 16).ok())
            .collect();
        let bytes = bytes?;
        let (header, code) = bytes.split_at(HEADER);
        // Compared in constant time.
        self.mac(header).verify_slice(code).ok()?;
        (header[0] == VERSION).then_some(header[HEADER - 1] & READ_ONLY != 0)
    }

    fn mac(&self, header: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(self.instance_name.as_bytes());
        mac.update(header);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_good_for_their_deployment_only() {
        let keys = AdminKeys::new("happy-otter", [1; 32]);
        let key = keys.issue(Timestamp(1_795_219_660_906_000_000), false);
        assert_eq!(
            keys.verify(&key),
            Ok(Identity::Admin {
                read_only: false,
                acting_as: None
            })
        );
        assert_eq!(keys.verify(&format!("prod:{key}")), keys.verify(&key));
        let reader = keys.issue(Timestamp(0), true);
        assert_eq!(
            keys.verify(&reader),
            Ok(Identity::Admin {
                read_only: true,
                acting_as: None
            })
        );
        assert!(AdminKeys::new("other", [1; 32]).verify(&key).is_err());
        assert!(AdminKeys::new("happy-otter", [2; 32]).verify(&key).is_err());
    }

    #[test]
    fn every_changed_character_spoils_a_key() {
        let keys = AdminKeys::new("a", [1; 32]);
        let key = keys.issue(Timestamp(5), false);
        for at in 0..key.len() {
            let mut changed = key.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert!(
                keys.verify(&String::from_utf8(changed).unwrap()).is_err(),
                "{at}"
            );
        }
        // The version, `01`, in other spellings of the same number.
        assert!(keys.verify(&key.replacen("|01", "|+1", 1)).is_err());
        let upper = format!("a|{}", key[2..].to_ascii_uppercase());
        assert!(keys.verify(&upper).is_err());
        for hostile in ["", "|", "a|", "a|zz", "a|\u{e9}\u{e9}", "a"] {
            assert!(keys.verify(hostile).is_err());
        }
    }
}
