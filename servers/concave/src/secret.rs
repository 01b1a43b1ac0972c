//! Instance secrets.

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// Thirty-two bytes that everything a deployment signs or seals is derived from.
#[derive(Clone, PartialEq, Eq)]
pub struct InstanceSecret(pub [u8; 32]);

impl InstanceSecret {
    /// The secret of those who give none. Anyone can know it.
    pub const WELL_KNOWN: Self = Self(*b"a well-known secret for this box");

    /// A fresh secret.
    ///
    /// # Errors
    /// If the system gives no entropy.
    pub fn generate() -> Result<Self, String> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| format!("cannot make a secret: {error}"))?;
        Ok(Self(bytes))
    }

    /// The form that [`FromStr`] reads.
    pub fn to_hex(&self) -> String {
        self.0.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("strings take all that is written to them");
            hex
        })
    }
}

impl fmt::Debug for InstanceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstanceSecret(..)")
    }
}

impl FromStr for InstanceSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid =
            || "a secret is 64 hexadecimal digits; make one with: openssl rand -hex 32".to_owned();
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_as_they_are_written() {
        let secret = InstanceSecret::generate().expect("entropy");
        assert_eq!(secret.to_hex().parse(), Ok(secret));
        for bad in ["", "00", &"g".repeat(64), &"é".repeat(32)] {
            assert!(bad.parse::<InstanceSecret>().is_err());
        }
    }
}
