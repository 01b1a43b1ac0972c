//! A job's record: the document in `_scheduled_functions`.

use crate::catalog::object;
use crate::error::{Error, Result};
use crate::timestamp::Timestamp;
use crate::value::{Object, Value};

/// Where a job is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It waits for its time, or for its turn.
    Pending,
    /// It is running. Of a mutation only the mutation itself sees this.
    InProgress,
    /// Its function returned.
    Success,
    /// Its function threw, or there is no such function, or what became of the action is not known.
    Failed {
        /// Why, for the developer.
        error: String,
    },
    /// It was canceled before it was finished.
    Canceled,
}

impl JobState {
    /// Whether this is how it ended: a finished job does not change any more.
    pub fn is_finished(&self) -> bool {
        !matches!(self, JobState::Pending | JobState::InProgress)
    }

    /// The transitions that there are. A job whose transaction does not commit never left its state, so there is no way
    /// back from being in progress.
    pub fn may_become(&self, next: &JobState) -> bool {
        match self {
            JobState::Pending => matches!(
                next,
                JobState::InProgress | JobState::Failed { .. } | JobState::Canceled
            ),
            JobState::InProgress => next.is_finished(),
            JobState::Success | JobState::Failed { .. } | JobState::Canceled => false,
        }
    }

    fn to_value(&self) -> Value {
        let kind = match self {
            JobState::Pending => "pending",
            JobState::InProgress => "inProgress",
            JobState::Success => "success",
            JobState::Failed { .. } => "failed",
            JobState::Canceled => "canceled",
        };
        let kind = ("kind", Value::from(kind));
        Value::Object(match self {
            JobState::Failed { error } => object([kind, ("error", Value::from(error.as_str()))]),
            _ => object([kind]),
        })
    }

    fn from_value(value: &Value) -> Option<Self> {
        let Value::Object(fields) = value else {
            return None;
        };
        Some(match fields.get("kind")?.as_str()? {
            "pending" => JobState::Pending,
            "inProgress" => JobState::InProgress,
            "success" => JobState::Success,
            "failed" => JobState::Failed {
                error: fields.get("error")?.as_str()?.to_owned(),
            },
            "canceled" => JobState::Canceled,
            _ => return None,
        })
    }
}

/// A function that is to run later, is running, or has run.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Canonical path of the function.
    pub name: String,
    /// Its argument.
    pub args: Object,
    /// The time that was asked for, milliseconds since the epoch.
    pub scheduled_time: f64,
    /// When it was finished, milliseconds since the epoch.
    completed_time: Option<f64>,
    state: JobState,
}

impl Job {
    /// A job that waits.
    pub fn new(name: String, args: Object, scheduled_time: f64) -> Self {
        Self {
            name,
            args,
            scheduled_time,
            completed_time: None,
            state: JobState::Pending,
        }
    }

    /// Where it is in its life.
    pub fn state(&self) -> &JobState {
        &self.state
    }

    /// Takes a step in its life.
    ///
    /// # Errors
    /// Internal, if there is no such step: whoever finishes a job has looked whether it is finished.
    pub fn enter(&mut self, next: JobState, now: Timestamp) -> Result<()> {
        if !self.state.may_become(&next) {
            return Err(Error::internal(format!(
                "A scheduled function that is {:?} cannot become {next:?}.",
                self.state
            )));
        }
        if next.is_finished() {
            self.completed_time = Some(now.as_millis_f64());
        }
        self.state = next;
        Ok(())
    }

    /// Its document, without system fields.
    pub fn to_document(&self) -> Object {
        let args = Value::Array(vec![Value::Object(self.args.clone())]);
        let mut document = object([
            ("name", Value::from(self.name.as_str())),
            ("args", args),
            ("scheduledTime", Value::Float64(self.scheduled_time)),
            ("state", self.state.to_value()),
        ]);
        if let Some(time) = self.completed_time {
            document
                .insert("completedTime", Value::Float64(time))
                .expect("the name of the field is valid");
        }
        document
    }

    /// Reads its document.
    ///
    /// # Errors
    /// Internal, if it is damaged.
    pub fn from_document(document: &Object) -> Result<Self> {
        Self::parse(document)
            .ok_or_else(|| Error::internal("The record of a scheduled function is damaged."))
    }

    fn parse(document: &Object) -> Option<Self> {
        let float = |value: &Value| match value {
            Value::Float64(number) => Some(*number),
            _ => None,
        };
        let [Value::Object(args)] = document.get("args")?.as_array()? else {
            return None;
        };
        Some(Self {
            name: document.get("name")?.as_str()?.to_owned(),
            args: args.clone(),
            scheduled_time: float(document.get("scheduledTime")?)?,
            completed_time: document.get("completedTime").and_then(float),
            state: JobState::from_value(document.get("state")?)?,
        })
    }
}
