//! Commit timestamps: nanoseconds since the Unix epoch, unique per commit and strictly increasing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in the database's total order of commits, in nanoseconds since the Unix epoch.
///
/// Serialises as clients expect it: base64 of the eight little-endian bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Before every commit.
    pub const ZERO: Timestamp = Timestamp(0);

    /// The next possible timestamp.
    ///
    /// # Panics
    /// At the end of time, in the year 2554; reaching it is a defect.
    pub fn next(self) -> Timestamp {
        Timestamp(
            self.0
                .checked_add(1)
                .expect("timestamps end in the year 2554"),
        )
    }

    /// Milliseconds since the Unix epoch, with fraction.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The wire form: base64 of the little-endian bytes.
    pub fn to_wire(self) -> String {
        STANDARD.encode(self.0.to_le_bytes())
    }

    /// Reads the wire form.
    pub fn from_wire(text: &str) -> Option<Timestamp> {
        let bytes: [u8; 8] = STANDARD.decode(text).ok()?.try_into().ok()?;
        Some(Timestamp(u64::from_le_bytes(bytes)))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_wire())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::from_wire(&text).ok_or_else(|| {
            serde::de::Error::custom("a timestamp is base64 of eight little-endian bytes")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_form_is_what_clients_send() {
        assert_eq!(Timestamp(1000).to_wire(), "6AMAAAAAAAA=");
        assert_eq!(
            Timestamp::from_wire("gG4ZJsXm6Rg="),
            Some(Timestamp(1795219660906000000))
        );
        assert_eq!(Timestamp::from_wire("AAAA"), None);
    }
}
