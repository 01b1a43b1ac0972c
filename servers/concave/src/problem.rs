//! Errors for the person at the terminal.

use std::fmt;

/// What went wrong, in a line, and perhaps what to do about it.
#[derive(Debug)]
pub struct Problem {
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// What went wrong.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n hint: {hint}")?;
        }
        Ok(())
    }
}

impl From<concave_core::limits::BadLimit> for Problem {
    fn from(error: concave_core::limits::BadLimit) -> Self {
        Self::new(error.to_string())
    }
}

impl From<concave_core::Error> for Problem {
    fn from(error: concave_core::Error) -> Self {
        Self::new(error.message)
    }
}
