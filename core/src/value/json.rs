//! JSON forms of values.
//!
//! The encoded form (`convex_encoded_json`) loses nothing: what JSON lacks is an object with one field whose name
//! begins with `$`: `{"$integer": base64}`, `{"$float": base64}` (only for -0, infinities and NaN), `{"$bytes":
//! base64}`; numbers are eight little-endian bytes. A plain JSON number is always a double. Output is canonical:
//! object keys ascend bytewise, doubles always show a fraction or exponent (some clients keep `1` and `1.0` apart).
//! Equal values therefore have equal texts. Functions alone may also write `{"$commitTs": null}`, for
//! [`Value::CommitTs`].
//!
//! The other forms are for output only: `json` is for people, `export_json` for data pipelines.

mod escapes;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{
    MAX_NESTING, Object, Value, check_array_length, check_field_count, check_field_name,
    check_size, too_nested,
};
use crate::{Error, Result};

pub use escapes::well_formed_json;

const INTEGER: &str = "$integer";
const FLOAT: &str = "$float";
const BYTES: &str = "$bytes";
const COMMIT_TS: &str = "$commitTs";
const UNDEFINED: &str = "$undefined";

/// Code of errors about JSON that is no value.
const INVALID: &str = "InvalidConvexValue";

/// Which JSON form a caller asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonFormat {
    /// Lossless; what clients speak.
    #[default]
    Encoded,
    /// For people: integers, bytes (base64) and special doubles become strings.
    Clean,
    /// For pipelines: like the encoded form, but integers are bare and -0 is a plain `-0.0`.
    Export,
}

impl JsonFormat {
    /// Reads a format's name or alias.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "convex_encoded_json" | "convex_json" => Some(Self::Encoded),
            "json" | "convex_clean_json" => Some(Self::Clean),
            "export_json" => Some(Self::Export),
            _ => None,
        }
    }
}

impl Value {
    /// Reads the encoded form. The result is within the limits of [`Value::check_limits`].
    ///
    /// # Errors
    /// `InvalidConvexValue`, `InvalidFieldName`, or the code of the limit that is exceeded.
    pub fn from_json(json: Json) -> Result<Self> {
        from_deserializer(json, false)
    }

    /// Reads the encoded form from text. Like [`Self::from_json`], without the intermediate tree.
    ///
    /// # Errors
    /// As [`Self::from_json`]; text that is not JSON gives `InvalidConvexValue`.
    pub fn from_json_str(text: &str) -> Result<Self> {
        Self::read_str(text, false)
    }

    /// Reads the encoded form from the text of a function, in which there may be [`Value::CommitTs`].
    ///
    /// # Errors
    /// As [`Self::from_json_str`].
    pub fn from_unresolved_str(text: &str) -> Result<Self> {
        Self::read_str(text, true)
    }

    fn read_str(text: &str, commit_ts: bool) -> Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = from_deserializer(&mut deserializer, commit_ts)?;
        deserializer.end().map_err(invalid)?;
        Ok(value)
    }

    /// The encoded form.
    pub fn to_json(&self) -> Json {
        self.format_json(JsonFormat::Encoded)
    }

    /// The encoded form as canonical text, without white space.
    pub fn to_json_string(&self) -> String {
        serde_json::to_string(self).expect("values serialise: keys are strings, nothing fails")
    }

    /// The `json` form.
    pub fn to_clean_json(&self) -> Json {
        self.format_json(JsonFormat::Clean)
    }

    /// The `export_json` form.
    pub fn to_export_json(&self) -> Json {
        self.format_json(JsonFormat::Export)
    }

    /// The form asked for.
    pub fn format_json(&self, format: JsonFormat) -> Json {
        serde_json::to_value(Formatted(self, format))
            .expect("values serialise: keys are strings, nothing fails")
    }
}

/// Reads the encoded form as functions write it: with [`Value::CommitTs`], or `None` from `{"$undefined": null}`, by
/// which they say "no value".
///
/// # Errors
/// As [`Value::from_json`].
pub fn maybe_from_json(json: Json) -> Result<Option<Value>> {
    let undefined = json
        .as_object()
        .is_some_and(|fields| fields.len() == 1 && fields.get(UNDEFINED) == Some(&Json::Null));
    if undefined {
        Ok(None)
    } else {
        from_deserializer(json, true).map(Some)
    }
}

/// Reads a patch: an object whose fields are to be set, or with `{"$undefined": null}` to be removed (`None`).
///
/// # Errors
/// As [`Value::from_json`]; `InvalidConvexValue` for anything but an object.
pub fn patch_from_json(json: Json) -> Result<BTreeMap<String, Option<Value>>> {
    let Json::Object(fields) = json else {
        return Err(invalid("a patch is an object"));
    };
    check_field_count(fields.len())?;
    fields
        .into_iter()
        .map(|(name, value)| {
            check_field_name(&name)?;
            Ok((name, maybe_from_json(value)?))
        })
        .collect()
}

fn invalid(reason: impl fmt::Display) -> Error {
    Error::bad_request(INVALID, format!("Not a valid Convex value: {reason}"))
}

struct Formatted<'a>(&'a Value, JsonFormat);

impl Serialize for Formatted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(value, format) = *self;
        match value {
            Value::Null => serializer.serialize_unit(),
            Value::Boolean(truth) => serializer.serialize_bool(*truth),
            Value::String(text) => serializer.serialize_str(text),
            Value::Int64(number) => match format {
                JsonFormat::Encoded => {
                    serialize_wrapped(serializer, INTEGER, &number.to_le_bytes())
                }
                JsonFormat::Clean => serializer.collect_str(number),
                JsonFormat::Export => serializer.serialize_i64(*number),
            },
            Value::Float64(number) => match format {
                JsonFormat::Encoded if needs_wrapper(*number) => {
                    serialize_wrapped(serializer, FLOAT, &number.to_le_bytes())
                }
                JsonFormat::Export if !number.is_finite() => {
                    serialize_wrapped(serializer, FLOAT, &number.to_le_bytes())
                }
                JsonFormat::Clean if number.is_nan() => serializer.serialize_str("NaN"),
                JsonFormat::Clean if number.is_infinite() => {
                    serializer.serialize_str(if *number > 0.0 {
                        "Infinity"
                    } else {
                        "-Infinity"
                    })
                }
                // serde_json always writes a fraction or an exponent.
                _ => serializer.serialize_f64(*number),
            },
            Value::Bytes(bytes) => match format {
                JsonFormat::Clean => serializer.serialize_str(&BASE64.encode(bytes)),
                JsonFormat::Encoded | JsonFormat::Export => {
                    serialize_wrapped(serializer, BYTES, bytes)
                }
            },
            Value::Array(elements) => {
                let mut sequence = serializer.serialize_seq(Some(elements.len()))?;
                for element in elements {
                    sequence.serialize_element(&Formatted(element, format))?;
                }
                sequence.end()
            }
            Value::Object(object) => serialize_object(serializer, object, format),
            Value::CommitTs => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(COMMIT_TS, &())?;
                map.end()
            }
        }
    }
}

fn serialize_object<S: Serializer>(
    serializer: S,
    object: &Object,
    format: JsonFormat,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(object.len()))?;
    for (name, value) in object.iter() {
        map.serialize_entry(name, &Formatted(value, format))?;
    }
    map.end()
}

fn serialize_wrapped<S: Serializer>(
    serializer: S,
    name: &'static str,
    bytes: &[u8],
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(name, &BASE64.encode(bytes))?;
    map.end()
}

/// Whether JSON has no number for it.
fn needs_wrapper(number: f64) -> bool {
    !number.is_finite() || (number == 0.0 && number.is_sign_negative())
}

/// The encoded form.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Formatted(self, JsonFormat::Encoded).serialize(serializer)
    }
}

/// The encoded form.
impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_object(serializer, self, JsonFormat::Encoded)
    }
}

/// The encoded form, as [`Value::from_json`].
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let failure = RefCell::new(None);
        let value = Encoded::root(&failure, false).deserialize(deserializer)?;
        check_size(value.size()).map_err(D::Error::custom)?;
        Ok(value)
    }
}

/// The encoded form of an object; other values are refused.
impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Object(object) => Ok(object),
            other => Err(D::Error::custom(format_args!(
                "expected an object, found {}",
                other.type_name()
            ))),
        }
    }
}

fn from_deserializer<'de, D>(deserializer: D, commit_ts: bool) -> Result<Value>
where
    D: Deserializer<'de>,
    D::Error: fmt::Display,
{
    let failure = RefCell::new(None);
    let value = Encoded::root(&failure, commit_ts)
        .deserialize(deserializer)
        .map_err(|error| failure.take().unwrap_or_else(|| invalid(error)))?;
    check_size(value.size())?;
    Ok(value)
}

/// Reads one value of the encoded form.
#[derive(Clone, Copy)]
struct Encoded<'a> {
    /// How many more levels of containers are allowed.
    levels: usize,
    /// Whether [`Value::CommitTs`] is allowed.
    commit_ts: bool,
    /// Where our own error goes: serde's error types carry only text.
    failure: &'a RefCell<Option<Error>>,
}

impl<'a> Encoded<'a> {
    fn root(failure: &'a RefCell<Option<Error>>, commit_ts: bool) -> Self {
        Self {
            levels: MAX_NESTING,
            commit_ts,
            failure,
        }
    }

    /// The reader of what is inside a container.
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Self { levels, ..self }),
            None => Err(self.fail(too_nested())),
        }
    }

    fn fail<E: serde::de::Error>(self, error: Error) -> E {
        let text = E::custom(&error);
        self.failure.replace(Some(error));
        text
    }

    fn check<T, E: serde::de::Error>(self, result: Result<T>) -> Result<T, E> {
        result.map_err(|error| self.fail(error))
    }

    /// The value of an object whose first key begins with `$`.
    fn wrapped<'de, A: MapAccess<'de>>(self, name: &str, mut map: A) -> Result<Value, A::Error> {
        if name == COMMIT_TS && self.commit_ts {
            let payload: Option<IgnoredAny> = map.next_value()?;
            if payload.is_some() || map.next_key::<String>()?.is_some() {
                return Err(self.fail(invalid("a commit timestamp is {\"$commitTs\": null}")));
            }
            return Ok(Value::CommitTs);
        }
        if !matches!(name, INTEGER | FLOAT | BYTES) {
            return Err(self.fail(invalid(format_args!(
                "field name {name:?} starts with '$', which is reserved"
            ))));
        }
        let text: String = map.next_value()?;
        if map.next_key::<String>()?.is_some() {
            return Err(self.fail(invalid(format_args!(
                "{name:?} must be the only field of its object"
            ))));
        }
        self.check(unwrap(name, &text))
    }
}

/// Decodes the payload of a wrapper.
fn unwrap(name: &str, text: &str) -> Result<Value> {
    let bytes = BASE64
        .decode(text)
        .map_err(|error| invalid(format_args!("{name:?} holds no base64: {error}")))?;
    if name == BYTES {
        return Ok(Value::Bytes(bytes));
    }
    let bytes: [u8; 8] = bytes
        .try_into()
        .map_err(|_| invalid(format_args!("{name:?} holds exactly eight bytes")))?;
    if name == INTEGER {
        return Ok(Value::Int64(i64::from_le_bytes(bytes)));
    }
    let number = f64::from_le_bytes(bytes);
    if !needs_wrapper(number) {
        return Err(invalid(format_args!(
            "{name:?} holds {number}, which is to be a plain number"
        )));
    }
    Ok(Value::Float64(number))
}

impl<'de> DeserializeSeed<'de> for Encoded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Encoded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Convex value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Boolean(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Float64(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Float64(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float64(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element_seed(inner)? {
            elements.push(element);
            self.check(check_array_length(elements.len()))?;
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut name: Option<String> = map.next_key()?;
        if let Some(name) = &name
            && name.starts_with('$')
        {
            return self.wrapped(name, map);
        }
        let inner = self.inner()?;
        let mut fields = Vec::new();
        while let Some(field) = name {
            self.check(check_field_name(&field))?;
            fields.push((field, map.next_value_seed(inner)?));
            self.check(check_field_count(fields.len()))?;
            name = map.next_key()?;
        }
        Ok(Value::Object(Object::from_valid_fields(fields)))
    }
}

#[cfg(test)]
mod tests;
