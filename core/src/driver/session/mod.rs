//! The driver of one client's connection: carries messages between a socket and the [session
//! machine](crate::sync::Session), and runs for it what it asks for.
//!
//! A connection is one task. Queries run inside it: when it ends, nobody waits for them. Mutations and actions run
//! beside it, to their end, whatever becomes of the socket: a client that sends a mutation again must find out how
//! the first one ended, and an action must not stop between two effects because somebody closed a lid.

mod call;
mod outbound;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_channel::{mpsc, oneshot};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use futures_util::{Sink, TryFutureExt};

use super::intake::{LONG_BYTES, Parsed};
use super::{Backend, CallContext, LiveQuery, Watcher};
use crate::error::{Error, Result};
use crate::origin::AdminAccess;
use crate::planted::{Bug, planted};
use crate::runtime::{Heavy, RuntimeHandle};
use crate::sync::session::SessionConfig;
use crate::sync::{
    ClientVersion, CloseFrame, Effect, Input, Limits, Now, QueryId, QueryOutcome, QueryRun, Session,
};
use crate::transaction::Snapshot;
use outbound::Outbound;

/// What comes from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text message.
    Text(String),
    /// Another sign of life: any other frame, or progress in sending a large message.
    Activity,
    /// Something that cannot be taken, and why. It is the last.
    Refused(Error),
}

/// What goes to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A text message.
    Text(String),
    /// A ping frame.
    Ping,
    /// The close frame; nothing comes after it.
    Close(CloseFrame),
}

/// How long the client may take to receive the last messages and to close its side.
const CLOSE_TIME: Duration = Duration::from_secs(10);

/// Serves one client until the connection ends.
///
/// `socket` is both directions: a stream that ends, and a sink that fails, when the client is gone. Flushing the sink
/// means that the network has taken what was sent; the driver's memory is bounded by that. `access` says whether admin
/// keys are taken from this client.
pub async fn serve<T>(backend: Arc<Backend>, client: ClientVersion, access: AdminAccess, socket: T)
where
    T: Stream<Item = Incoming> + Sink<Outgoing> + Unpin,
{
    let runtime = backend.database().runtime().clone();
    let connection = Connection::new(backend, client, access, socket);
    if let Some((socket, outbound)) = connection.converse().await {
        part(&runtime, socket, outbound).await;
    }
}

/// Sends what is left, the close frame last, and waits for the client to close its side: closing a TCP connection
/// with unread data in it would destroy what the client has not received yet.
async fn part<T>(runtime: &RuntimeHandle, mut socket: T, mut outbound: Outbound)
where
    T: Stream<Item = Incoming> + Sink<Outgoing> + Unpin,
{
    let mut deadline = runtime.sleep(CLOSE_TIME);
    poll_fn(|cx| {
        if deadline.poll_unpin(cx).is_ready() {
            return Poll::Ready(());
        }
        while let Poll::Ready(result) = outbound.poll(cx, &mut socket) {
            if result.is_err() {
                return Poll::Ready(());
            }
        }
        while let Poll::Ready(message) = socket.poll_next_unpin(cx) {
            if message.is_none() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

struct Connection<T> {
    backend: Arc<Backend>,
    runtime: RuntimeHandle,
    session: Session,
    access: AdminAccess,
    socket: T,
    outbound: Outbound,
    /// The snapshot of the transition under way. Kept no longer than its queries run, since the database remembers
    /// recent writes for as long as a snapshot is in use.
    snapshot: Option<Snapshot>,
    held: BTreeMap<QueryId, Held>,
    /// Ids of queries whose results ceased to hold.
    invalidations: mpsc::UnboundedReceiver<u64>,
    /// Where watchers send them.
    invalidation_sender: mpsc::UnboundedSender<u64>,
    /// All that is waited for; each is polled only when it is woken.
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    running_queries: usize,
    alarm: Option<Alarm>,
}

/// A query's last result, watched.
struct Held {
    query: Arc<LiveQuery>,
    /// Told as long as it is here.
    _watcher: Arc<Watcher>,
}

struct Alarm {
    at: Duration,
    sleep: BoxFuture<'static, ()>,
}

/// Something that the session had asked for is done.
enum Done {
    /// A query, and whether its texts are hidden from this client.
    Query(QueryId, bool, Result<Arc<LiveQuery>>),
    /// Anything else.
    Other(Input),
}

enum Event {
    Done(Done),
    /// Results ceased to hold.
    Invalidated,
    /// The socket has taken so many messages.
    Taken(usize),
    Received(Incoming),
    Alarm,
    /// The client is gone.
    Gone,
}

impl<T> Connection<T>
where
    T: Stream<Item = Incoming> + Sink<Outgoing> + Unpin,
{
    fn new(backend: Arc<Backend>, client: ClientVersion, access: AdminAccess, socket: T) -> Self {
        let runtime = backend.database().runtime().clone();
        let config = SessionConfig {
            client,
            limits: Limits::default(),
        };
        let (invalidation_sender, invalidations) = mpsc::unbounded();
        let connection = Self {
            session: Session::new(config, now(&runtime)),
            access,
            socket,
            outbound: Outbound::default(),
            snapshot: None,
            held: BTreeMap::new(),
            invalidations,
            invalidation_sender,
            running: FuturesUnordered::new(),
            running_queries: 0,
            alarm: None,
            runtime,
            backend,
        };
        let stopping = connection.backend.database().stopping();
        connection.wait_for(stopping.map(|()| Input::Shutdown));
        connection
    }

    /// Goes on until the session ends the connection, and gives what is needed to part, or until the client is gone.
    async fn converse(mut self) -> Option<(T, Outbound)> {
        while !self.session.is_closed() {
            self.set_alarm();
            assert!(self.alarm.is_some(), "silence is noticed");
            match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Done(Done::Other(input)) => self.handle(input),
                Event::Done(Done::Query(query_id, redacted, result)) => {
                    assert!(self.running_queries > 0, "a query that ends was running");
                    self.running_queries -= 1;
                    let result = result.map(|query| self.hold(query_id, query, redacted));
                    self.handle(Input::QueryDone { query_id, result });
                }
                Event::Invalidated => self.handle(Input::Invalidated),
                Event::Taken(messages) => (0..messages).for_each(|_| self.handle(Input::Sent)),
                Event::Received(Incoming::Text(text)) => {
                    let latest = self.backend.database().snapshot().ts;
                    let runtime = self.runtime.clone();
                    let is_long = text.len() > LONG_BYTES;
                    let mut input = Some(Input::Text { text, latest });
                    let mut handle = || self.handle(input.take().expect("it is handled once"));
                    match is_long {
                        true => runtime.heavy(&mut handle),
                        false => handle(),
                    }
                }
                Event::Received(Incoming::Activity) => self.handle(Input::Activity),
                Event::Received(Incoming::Refused(error)) => self.handle(Input::Refused(error)),
                Event::Alarm => self.handle(Input::Timeout),
                Event::Gone => return None,
            }
        }
        Some((self.socket, self.outbound))
    }

    /// What happens next. What the client causes comes last, so that no flood of messages delays anything else; the
    /// session looks at its timers with every input, so the alarm can wait behind even that.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(Some(done)) = self.running.poll_next_unpin(cx) {
            return Poll::Ready(Event::Done(done));
        }
        // One input for however many there are; those of results that are no longer held are old news.
        let mut is_invalidated = false;
        while let Poll::Ready(Some(query_id)) = self.invalidations.poll_next_unpin(cx) {
            let held = QueryId::try_from(query_id).ok();
            let held = held.and_then(|query_id| self.held.get(&query_id));
            is_invalidated |=
                held.is_some_and(|held| held.query.subscription.invalidated_at().is_some());
        }
        if is_invalidated {
            return Poll::Ready(Event::Invalidated);
        }
        match self.outbound.poll(cx, &mut self.socket) {
            Poll::Ready(Ok(messages)) => return Poll::Ready(Event::Taken(messages)),
            Poll::Ready(Err(_)) => return Poll::Ready(Event::Gone),
            Poll::Pending => {}
        }
        if let Poll::Ready(message) = self.socket.poll_next_unpin(cx) {
            return Poll::Ready(message.map_or(Event::Gone, Event::Received));
        }
        if let Some(alarm) = &mut self.alarm
            && alarm.sleep.poll_unpin(cx).is_ready()
        {
            self.alarm = None;
            return Poll::Ready(Event::Alarm);
        }
        Poll::Pending
    }

    /// Sees to it that the alarm rings when the session's next timer does. It may ring too early, which is harmless,
    /// and saves a new sleep for each timer that moves on before it comes.
    fn set_alarm(&mut self) {
        let Some(at) = self.session.next_timeout() else {
            return;
        };
        if self.alarm.as_ref().is_none_or(|alarm| at < alarm.at) {
            let sleep = self
                .runtime
                .sleep(at.saturating_sub(self.runtime.monotonic()));
            self.alarm = Some(Alarm { at, sleep });
        }
        let alarm = self.alarm.as_ref();
        assert!(
            alarm.is_some_and(|alarm| alarm.at <= at),
            "the alarm rings in time"
        );
    }

    /// Feeds the session, and does what it wants done.
    fn handle(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.session.handle(now(&self.runtime), input);
            while let Some(effect) = self.session.poll() {
                inputs.extend(self.carry_out(effect));
            }
        }
        // The session starts queries as long as there are any, so none is left for this snapshot.
        if self.running_queries == 0 {
            self.snapshot = None;
        }
        assert!(
            self.running_queries <= Limits::default().running_queries,
            "queries at once are bounded"
        );
        assert!(
            self.running_queries <= self.running.len(),
            "what runs is waited for"
        );
    }

    /// Does one thing that the session wants done. Gives the answer if there is one at once.
    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Send(text) => self.outbound.push(Outgoing::Text(text)),
            Effect::Ping => self.outbound.push(Outgoing::Ping),
            Effect::Close(frame) => self.outbound.push(Outgoing::Close(frame)),
            Effect::BeginTransition => return Some(self.begin_transition()),
            Effect::RunQuery(run) => return self.run_query(run),
            Effect::Unsubscribe(query_id) => {
                assert_eq!(self.running_queries, 0, "no one is told twice");
                self.held.remove(&query_id);
            }
            Effect::Authenticate(credential) => {
                let (backend, access) = (self.backend.clone(), self.access.clone());
                self.wait_for(async move {
                    Input::AuthDone(backend.authenticate(credential, &access).await)
                });
            }
            Effect::RunMutation(request) => {
                let request_id = request.request_id;
                let is_long = request.args.len() > LONG_BYTES;
                let call = call::run_mutation(self.backend.clone(), request);
                let outcome = run_to_end(&self.runtime, self.aside(is_long, call));
                self.wait_for(
                    outcome.map(move |result| Input::MutationDone { request_id, result }),
                );
            }
            Effect::RunAction(request) => {
                let request_id = request.request_id;
                let is_long = request.args.len() > LONG_BYTES;
                let call = call::run_action(self.backend.clone(), request);
                let outcome = run_to_end(&self.runtime, self.aside(is_long, call));
                self.wait_for(outcome.map(move |result| Input::ActionDone { request_id, result }));
            }
        }
        None
    }

    /// Chooses the newest snapshot for a transition.
    ///
    /// The database advances its snapshot and marks the subscriptions that the commits in it touch under one lock. So
    /// once the snapshot is read, all marks of commits up to it are there to be seen; marks of later commits, which
    /// may be there too, are told apart by their timestamp.
    fn begin_transition(&mut self) -> Input {
        assert_eq!(self.running_queries, 0, "one transition at a time");
        let snapshot = self.backend.database().snapshot();
        let ts = snapshot.ts;
        // What does not hold is let go: the session has it run again.
        let invalidated = self
            .held
            .extract_if(.., |_, held| {
                !held.query.is_valid_at(ts) && !planted(Bug::HeldResultsNotChecked)
            })
            .map(|(query_id, _)| query_id)
            .collect();
        debug_assert!(self.held.values().all(|held| held.query.is_valid_at(ts)));
        let before = self.snapshot.replace(snapshot);
        assert!(before.is_none_or(|before| before.ts <= ts), "time goes on");
        Input::TransitionBegun { ts, invalidated }
    }

    fn run_query(&mut self, run: QueryRun) -> Option<Input> {
        let query_id = run.query_id;
        let snapshot = match &self.snapshot {
            Some(snapshot) if snapshot.ts == run.ts => snapshot.clone(),
            _ => {
                let error = Error::internal("a query was to run outside of a transition");
                let result = Err(error);
                return Some(Input::QueryDone { query_id, result });
            }
        };
        self.running_queries += 1;
        assert!(
            self.snapshot.is_some(),
            "queries run at the snapshot of the transition"
        );
        let backend = self.backend.clone();
        let redacted = backend.hides_from(&run.identity);
        let is_long = run.args.len() > LONG_BYTES;
        let query = async move {
            let result = query_at(&backend, &run, &snapshot).await;
            Done::Query(query_id, redacted, result)
        };
        self.running.push(self.aside(is_long, query));
        None
    }

    /// Keeps a result and watches what it read. Gives it in the form for the client.
    fn hold(
        &mut self,
        query_id: QueryId,
        query: Arc<LiveQuery>,
        redacted: bool,
    ) -> Arc<QueryOutcome> {
        let watcher = Arc::new(Watcher {
            sender: self.invalidation_sender.clone(),
            token: query_id.into(),
        });
        if !planted(Bug::HeldResultsNotWatched) {
            query.subscription.watch(&watcher);
        }
        let outcome = query.outcome(redacted).clone();
        assert!(self.snapshot.is_some(), "results belong to a transition");
        let held = Held {
            query,
            _watcher: watcher,
        };
        self.held.insert(query_id, held);
        outcome
    }

    /// A future that, if it `is_long`, works long at each step.
    fn aside<F>(&self, is_long: bool, future: F) -> BoxFuture<'static, F::Output>
    where
        F: Future + Send + 'static,
    {
        match is_long {
            true => Heavy::new(self.runtime.clone(), future).boxed(),
            false => future.boxed(),
        }
    }

    fn wait_for(&self, answer: impl Future<Output = Input> + Send + 'static) {
        self.running.push(answer.map(Done::Other).boxed());
    }
}

/// Runs a call beside the connection, so that it ends even if the connection ends before.
fn run_to_end<R: Send + 'static>(
    runtime: &RuntimeHandle,
    call: impl Future<Output = Result<R>> + Send + 'static,
) -> impl Future<Output = Result<R>> + Send + 'static {
    let (sender, receiver) = oneshot::channel();
    let task = call.map(|result| {
        // The client may be gone.
        let _ = sender.send(result);
    });
    runtime.spawn(task.boxed());
    receiver.unwrap_or_else(|oneshot::Canceled| Err(Error::internal("a call was abandoned")))
}

async fn query_at(
    backend: &Backend,
    run: &QueryRun,
    snapshot: &Snapshot,
) -> Result<Arc<LiveQuery>> {
    let functions = backend.functions();
    let context = CallContext::new(Arc::clone(&run.identity), call::new_request_id(backend));
    if let Err(failure) = call::check_component(run.component.as_deref()) {
        return Ok(functions.failed_query(&context, failure, snapshot));
    }
    let Parsed {
        value: args,
        share: _held,
    } = call::parse_args(backend, &run.args).await?;
    let journal = run.journal.as_deref().map(str::to_owned);
    functions
        .query(&context, &run.path, args, journal, snapshot)
        .await
}

fn now(runtime: &RuntimeHandle) -> Now {
    Now {
        monotonic: runtime.monotonic(),
        wall: runtime.now(),
    }
}
