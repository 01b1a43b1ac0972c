//! Reading the JSON arguments of system calls, with errors in the words that function authors know.

use serde_json::{Map, Value as Json};

use crate::engine::SystemError;
use crate::error::Error;
use crate::value::{DocumentId, Object, Value, maybe_from_json};

/// The arguments object of a system call.
#[derive(Debug)]
pub struct Arguments {
    /// The API method that made the call, such as `db.get`; named in errors.
    method: &'static str,
    fields: Map<String, Json>,
}

impl Arguments {
    /// Parses the arguments of `method`.
    ///
    /// # Errors
    /// If they are not a JSON object.
    pub fn parse(method: &'static str, text: &str) -> Result<Self, SystemError> {
        match serde_json::from_str(text) {
            Ok(Json::Object(fields)) => Ok(Self { method, fields }),
            Ok(_) => Err(SystemError::new(format!(
                "Invalid arguments for `{method}`: expected an object"
            ))),
            Err(error) => Err(SystemError::new(format!("Received invalid json: {error}"))),
        }
    }

    /// The error for a bad argument.
    pub fn error(&self, name: &str, cause: impl std::fmt::Display) -> SystemError {
        argument_error(self.method, name, cause)
    }

    /// Takes an argument out; `None` if it is missing or null.
    pub fn take(&mut self, name: &str) -> Option<Json> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    /// Takes an argument that must be there (null counts).
    ///
    /// # Errors
    /// If it is missing.
    pub fn required(&mut self, name: &str) -> Result<Json, SystemError> {
        self.fields
            .remove(name)
            .ok_or_else(|| self.error(name, "the argument is missing"))
    }

    /// Takes a string that may be missing.
    ///
    /// # Errors
    /// If it is something else.
    pub fn optional_string(&mut self, name: &str) -> Result<Option<String>, SystemError> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(name, "expected a string")),
        }
    }

    /// Takes a string.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn string(&mut self, name: &str) -> Result<String, SystemError> {
        self.optional_string(name)?
            .ok_or_else(|| self.error(name, "expected a string"))
    }

    /// Takes a whole number that is not negative, if it is there.
    ///
    /// # Errors
    /// If it is something else.
    pub fn optional_count(&mut self, name: &str) -> Result<Option<usize>, SystemError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if number >= 0.0 && number.fract() == 0.0 && number <= u32::MAX.into() => {
                Ok(Some(number as usize))
            }
            _ => Err(self.error(name, "expected a whole number that is not negative")),
        }
    }

    /// Takes a boolean, `false` if it is missing.
    pub fn flag(&mut self, name: &str) -> bool {
        matches!(self.take(name), Some(Json::Bool(true)))
    }

    /// Takes a document id.
    ///
    /// # Errors
    /// If it is not one.
    pub fn id(&mut self, name: &str) -> Result<DocumentId, SystemError> {
        let text = self.string(name)?;
        DocumentId::decode(&text).ok_or_else(|| {
            self.error(
                name,
                format!("Unable to decode ID: Invalid ID length or content \"{text}\""),
            )
        })
    }

    /// Takes a Convex object.
    ///
    /// # Errors
    /// If it is not one.
    pub fn object(&mut self, name: &str) -> Result<Object, SystemError> {
        let json = self.required(name)?;
        match maybe_from_json(json).map_err(|error| self.error(name, error.message))? {
            Some(Value::Object(object)) => Ok(object),
            Some(other) => Err(self.error(
                name,
                format!("expected an object, got {}", other.type_name()),
            )),
            None => Err(self.error(name, "expected an object, got undefined")),
        }
    }
}

/// The error for a bad argument of an API method.
pub fn argument_error(method: &str, name: &str, cause: impl std::fmt::Display) -> SystemError {
    SystemError::new(format!("Invalid argument `{name}` for `{method}`: {cause}"))
}

impl From<Error> for SystemError {
    /// For errors that are the function's own fault.
    fn from(error: Error) -> Self {
        SystemError::new(error.message)
    }
}
