//! Mutations and actions of a connection: what the session asks for, in terms of the function layer.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::driver::intake::Parsed;
use crate::driver::{Backend, CallContext, MutationKey};
use crate::engine::{Failure, LogLine};
use crate::error::Result;
use crate::request_id::RequestId;
use crate::sync::{ActionOutcome, CallRequest, Committed, FunctionError, MutationOutcome};

/// Runs a mutation, or finds out how the same request ended before.
pub(super) async fn run_mutation(
    backend: Arc<Backend>,
    request: CallRequest,
) -> Result<MutationOutcome> {
    let call = Call::new(&backend, &request);
    if let Err(failure) = check_component(request.component.as_deref()) {
        return Ok(MutationOutcome {
            result: Err(call.error(&failure)),
            log_lines: Arc::default(),
        });
    }
    let key = request.session_id.as_deref().map(|session_id| MutationKey {
        session_id: session_id.to_owned(),
        request: request.request_id,
    });
    let Parsed {
        value: args,
        share: _held,
    } = parse_args(&backend, &request.args).await?;
    let functions = backend.functions();
    let done = functions
        .mutation(&call.context, &request.path, args, key.as_ref())
        .await?;
    let result = match &done.result {
        Ok(value) => Ok(Committed {
            value: value.to_json_string().into(),
            ts: done.ts,
        }),
        Err(failure) => Err(call.error(failure)),
    };
    Ok(MutationOutcome {
        result,
        log_lines: call.log_lines(&done.logs),
    })
}

/// Runs an action.
pub(super) async fn run_action(
    backend: Arc<Backend>,
    request: CallRequest,
) -> Result<ActionOutcome> {
    let call = Call::new(&backend, &request);
    if let Err(failure) = check_component(request.component.as_deref()) {
        return Ok(ActionOutcome {
            result: Err(call.error(&failure)),
            log_lines: Arc::default(),
        });
    }
    // Actions take long, and keep their arguments in a form of their own.
    let args = parse_args(&backend, &request.args).await?.value;
    let functions = backend.functions();
    let done = functions.action(&call.context, &request.path, args).await?;
    let result = match &done.result {
        Ok(value) => Ok(value.to_json_string().into()),
        Err(failure) => Err(call.error(failure)),
    };
    Ok(ActionOutcome {
        result,
        log_lines: call.log_lines(&done.logs),
    })
}

/// Fails for functions of components.
pub(super) fn check_component(component: Option<&str>) -> Result<(), Failure> {
    match component {
        None | Some("") => Ok(()),
        Some(_) => Err(Failure::new("Components are not available yet.")),
    }
}

/// The arguments of a call, from the text of a message, and the room they take.
pub(super) async fn parse_args(backend: &Backend, text: &str) -> Result<Parsed<Json>> {
    let intake = backend.intake();
    intake.parse("WSMessageInvalidJson", text.as_bytes()).await
}

/// A name for a request that has none.
pub(super) fn new_request_id(backend: &Backend) -> RequestId {
    let entropy = backend.database().runtime().entropy();
    RequestId::from_bytes(std::array::from_fn(|i| entropy[i]))
}

struct Call {
    context: CallContext,
    redacted: bool,
}

impl Call {
    fn new(backend: &Backend, request: &CallRequest) -> Self {
        let request_id = request.log_id().unwrap_or_else(|| new_request_id(backend));
        Self {
            context: CallContext::new(Arc::clone(&request.identity), request_id),
            redacted: backend.hides_from(&request.identity),
        }
    }

    fn error(&self, failure: &Failure) -> FunctionError {
        FunctionError::new(self.context.request_id.clone(), failure, self.redacted)
    }

    fn log_lines(&self, logs: &[LogLine]) -> Arc<[String]> {
        match self.redacted {
            true => Arc::default(),
            false => logs.iter().map(LogLine::to_string).collect(),
        }
    }
}
