//! Mutations and actions of a connection: what the session asks for, in terms of the function layer.
//!
//! While they wait to be run they belong to the connection, and go with it. Once they run, they run to their end.
//!
//! What is wrong with a call, or with the server while it runs it, fails that call: the connection, and with it all else
//! that the client has under way, lives on. Where trying again helps, it is tried again here, since the connection can
//! wait better than the client.

use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::TryFutureExt;
use futures_util::future::FutureExt;
use serde_json::Value as Json;

use crate::driver::functions::Admitted;
use crate::driver::intake::{LONG_BYTES, Parsed};
use crate::driver::{Backend, CallContext, Client, MutationKey, RequestSource};
use crate::engine::{Failure, LogLine};
use crate::error::{Error, ErrorClass, ErrorKind, Result};
use crate::identity::Identity;
use crate::request_id::RequestId;
use crate::runtime::Heavy;
use crate::sync::{ActionOutcome, CallRequest, Committed, FunctionError, MutationOutcome};

/// For how long a mutation that could not be run is tried again, and the first pause between tries.
const PATIENCE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Runs a mutation, or finds out how the same request ended before.
///
/// # Errors
/// Only if it is unknown whether it committed, and cannot be found out now.
pub(super) async fn run_mutation(
    backend: Arc<Backend>,
    client: Client,
    source: Arc<RequestSource>,
    request: CallRequest,
) -> Result<MutationOutcome> {
    let call = Arc::new(Call::new(backend, client, source, request));
    let runtime = call.backend.database().runtime();
    let begun = runtime.monotonic();
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match try_mutation(&call).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        let may_help = match error.class {
            // It is found out when the request comes again.
            ErrorClass::Operational => return Err(error),
            // It has been tried again for long.
            ErrorClass::OptimisticConcurrencyControl => false,
            _ => error.kind() == ErrorKind::Transient,
        };
        if !may_help || runtime.monotonic() - begun >= PATIENCE {
            return Ok(MutationOutcome {
                result: Err(call.failed(&error)),
                log_lines: Arc::default(),
            });
        }
        runtime.sleep(pause).await;
        pause *= 2;
    }
}

async fn try_mutation(call: &Arc<Call>) -> Result<MutationOutcome> {
    let request = &call.request;
    check_component(&request.identity, request.component.as_deref())?;
    let key = request.session_id.as_deref().map(|session_id| MutationKey {
        session_id: session_id.to_owned(),
        request: request.request_id,
    });
    let functions = call.backend.functions();
    let admitted = functions.admit_mutation(&call.context, request.bytes(), key.as_ref());
    let admitted = admitted.await?;
    let running = call.clone();
    let run = async move {
        let request = &running.request;
        let Parsed {
            value: args,
            share: _held,
        } = parse_args(&running.backend, &request.args).await?;
        let functions = running.backend.functions();
        let done = functions.admitted_mutation(
            admitted,
            &running.context,
            &request.path,
            args,
            key.as_ref(),
        );
        let done = done.await?;
        let result = match &done.result {
            Ok(value) => Ok(Committed {
                value: value.to_json_string().into(),
                ts: done.ts,
            }),
            Err(failure) => Err(running.error(failure)),
        };
        Ok(MutationOutcome {
            result,
            log_lines: running.log_lines(&done.logs),
        })
    };
    run_to_end(call, run).await
}

/// An action that waits to be run, or may be.
pub(super) struct Action(Call);

impl Action {
    pub(super) fn new(
        backend: Arc<Backend>,
        client: Client,
        source: Arc<RequestSource>,
        request: CallRequest,
    ) -> Self {
        Self(Call::new(backend, client, source, request))
    }

    /// Waits until the action may run. Gives the action back, or how it ended.
    pub(super) async fn admit(self) -> Result<(Self, Admitted), ActionOutcome> {
        let Self(call) = &self;
        let request = &call.request;
        let admitted = async {
            check_component(&request.identity, request.component.as_deref())?;
            let functions = call.backend.functions();
            functions.admit_action(&call.context, request.bytes()).await
        };
        match admitted.await {
            Ok(admitted) => Ok((self, admitted)),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Runs the action, to its end even if nobody waits for it.
    pub(super) async fn run(self, admitted: Admitted) -> ActionOutcome {
        let call = Arc::new(self.0);
        let running = call.clone();
        let run = async move {
            let request = &running.request;
            // Actions take long, and keep their arguments in a form of their own.
            let args = parse_args(&running.backend, &request.args).await?.value;
            let functions = running.backend.functions();
            let done = functions.admitted_action(admitted, &running.context, &request.path, args);
            let done = done.await?;
            let result = match &done.result {
                Ok(value) => Ok(value.to_json_string().into()),
                Err(failure) => Err(running.error(failure)),
            };
            Ok(ActionOutcome {
                result,
                log_lines: running.log_lines(&done.logs),
            })
        };
        let done = run_to_end(&call, run).await;
        done.unwrap_or_else(|error| ActionOutcome {
            result: Err(call.failed(&error)),
            log_lines: Arc::default(),
        })
    }

    fn failed(&self, error: &Error) -> ActionOutcome {
        ActionOutcome {
            result: Err(self.0.failed(error)),
            log_lines: Arc::default(),
        }
    }
}

/// Runs a call beside the connection, so that it ends even if the connection ends before.
async fn run_to_end<R: Send + 'static>(
    call: &Call,
    run: impl Future<Output = Result<R>> + Send + 'static,
) -> Result<R> {
    let (sender, receiver) = oneshot::channel();
    let task = run.map(|result| {
        // The client may be gone.
        let _ = sender.send(result);
    });
    let runtime = call.backend.database().runtime();
    runtime.spawn(match call.request.args.len() > LONG_BYTES {
        true => Heavy::new(runtime.clone(), task).boxed(),
        false => task.boxed(),
    });
    receiver
        .unwrap_or_else(|oneshot::Canceled| Err(Error::internal("a call was abandoned")))
        .await
}

/// Refuses functions of components.
///
/// # Errors
/// `ComponentAccessDenied` for all but admins; for them, there are none yet.
pub(super) fn check_component(identity: &Identity, component: Option<&str>) -> Result<()> {
    match component {
        None | Some("") => Ok(()),
        Some(_) if identity.is_admin() => Err(Error::bad_request(
            "InvalidComponentPath",
            "Components are not available yet.",
        )),
        Some(_) => Err(Error::new(
            ErrorClass::Forbidden,
            "ComponentAccessDenied",
            "Only an admin may call functions of components.",
        )),
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
    backend: Arc<Backend>,
    context: CallContext,
    request: CallRequest,
    redacted: bool,
}

impl Call {
    fn new(
        backend: Arc<Backend>,
        client: Client,
        source: Arc<RequestSource>,
        request: CallRequest,
    ) -> Self {
        let request_id = request.log_id().unwrap_or_else(|| new_request_id(&backend));
        Self {
            context: CallContext::new(Arc::clone(&request.identity), request_id, client)
                .with_source(source),
            redacted: backend.hides_from(&request.identity),
            request,
            backend,
        }
    }

    fn error(&self, failure: &Failure) -> FunctionError {
        FunctionError::new(self.context.request_id.clone(), failure, self.redacted)
    }

    /// How a call ended that could not be run.
    fn failed(&self, error: &Error) -> FunctionError {
        self.backend.functions().report(&self.request.path, error);
        self.error(&Failure::new(error.to_string()))
    }

    fn log_lines(&self, logs: &[LogLine]) -> Arc<[String]> {
        match self.redacted {
            true => Arc::default(),
            false => logs.iter().map(LogLine::to_string).collect(),
        }
    }
}
