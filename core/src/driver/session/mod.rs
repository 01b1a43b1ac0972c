//! The driver of one client's connection: carries messages between a socket and the [session
//! machine](crate::sync::Session), and runs for it what it asks for.
//!
//! A connection is one task. Queries run inside it: when it ends, nobody waits for them. Mutations and actions wait in it
//! for their turn, and are dropped with it; once they have begun they run beside it, to their end, whatever becomes of
//! the socket: a client that sends a mutation again must find out how the first one ended, and an action must not stop
//! between two effects because somebody closed a lid.
//!
//! The socket is read only as fast as the session can take what comes: so a client that sends more waits, and the
//! server's memory is bounded.

mod call;
mod outbound;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_channel::mpsc;
use futures_util::Sink;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};

use super::functions::Admitted;
use super::intake::{LONG_BYTES, Parsed};
use super::{
    Backend, CallContext, Client, Holding, LiveQuery, RequestSource, Subscription, Watcher,
};
use crate::engine::Failure;
use crate::error::{Error, ErrorClass, ErrorKind, Result};
use crate::origin::AdminAccess;
use crate::planted::{Bug, planted};
use crate::runtime::{Heavy, RuntimeHandle};
use crate::sync::session::SessionConfig;
use crate::sync::{
    ActionOutcome, ClientVersion, CloseFrame, Effect, Input, Limits, Now, QueryId, QueryOutcome,
    QueryRun, RequestNumber, Session,
};
use crate::timestamp::Timestamp;
use crate::transaction::Snapshot;
use call::Action;
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
pub async fn serve<T>(
    backend: Arc<Backend>,
    client: ClientVersion,
    access: AdminAccess,
    source: RequestSource,
    socket: T,
) where
    T: Stream<Item = Incoming> + Sink<Outgoing> + Unpin,
{
    let runtime = backend.database().runtime().clone();
    let connection = Connection::new(backend, client, access, source, socket);
    if let Some((socket, outbound, holding)) = connection.converse().await {
        part(&runtime, socket, outbound, holding).await;
    }
}

/// Sends what is left, the close frame last, and waits for the client to close its side: closing a TCP connection
/// with unread data in it would destroy what the client has not received yet.
async fn part<T>(
    runtime: &RuntimeHandle,
    mut socket: T,
    mut outbound: Outbound,
    mut holding: Holding,
) where
    T: Stream<Item = Incoming> + Sink<Outgoing> + Unpin,
{
    let mut deadline = runtime.sleep(CLOSE_TIME);
    poll_fn(|cx| {
        if deadline.poll_unpin(cx).is_ready() || holding.poll_end(cx).is_ready() {
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
    client: Client,
    source: Arc<RequestSource>,
    session: Session,
    access: AdminAccess,
    limits: Limits,
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
    /// What it holds, as all connections together are bounded.
    holding: Holding,
}

/// What a query's last result depends on, watched. The result itself is not kept: the client has it.
struct Held {
    /// The snapshot that it ran at.
    ts: Timestamp,
    subscription: Arc<Subscription>,
    /// Told as long as it is here.
    _watcher: Arc<Watcher>,
}

impl Held {
    fn is_valid_at(&self, ts: Timestamp) -> bool {
        self.ts <= ts && self.subscription.is_valid_at(ts)
    }
}

struct Alarm {
    at: Duration,
    sleep: BoxFuture<'static, ()>,
}

/// Something that the session had asked for is done.
enum Done {
    /// A query, and whether its texts are hidden from this client.
    Query(QueryId, bool, Result<Arc<LiveQuery>>),
    /// The wait of an action for its turn; boxed, being large.
    Admitted(
        RequestNumber,
        Box<Result<(Action, Admitted), ActionOutcome>>,
    ),
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
    fn new(
        backend: Arc<Backend>,
        client: ClientVersion,
        access: AdminAccess,
        source: RequestSource,
        socket: T,
    ) -> Self {
        let runtime = backend.database().runtime().clone();
        let limits = Limits::from(&backend.config().limits);
        let config = SessionConfig {
            client,
            limits: limits.clone(),
        };
        let (invalidation_sender, invalidations) = mpsc::unbounded();
        let connection = Self {
            client: backend.functions().new_session(),
            source: Arc::new(source),
            session: Session::new(config, now(&runtime)),
            access,
            limits,
            socket,
            outbound: Outbound::default(),
            snapshot: None,
            held: BTreeMap::new(),
            invalidations,
            invalidation_sender,
            running: FuturesUnordered::new(),
            running_queries: 0,
            alarm: None,
            holding: backend.holdings().enter(),
            runtime,
            backend,
        };
        let stopping = connection.backend.database().stopping();
        connection.wait_for(stopping.map(|()| Input::Shutdown));
        connection
    }

    /// Goes on until the session ends the connection, and gives what is needed to part, or until the client is gone.
    async fn converse(mut self) -> Option<(T, Outbound, Holding)> {
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
                Event::Done(Done::Admitted(request_id, admitted)) => match *admitted {
                    Ok((action, admitted)) => {
                        let outcome = action.run(admitted);
                        self.wait_for(outcome.map(move |outcome| Input::ActionDone {
                            request_id,
                            result: Ok(outcome),
                        }));
                        self.handle(Input::ActionBegun { request_id });
                    }
                    Err(outcome) => self.handle(Input::ActionDone {
                        request_id,
                        result: Ok(outcome),
                    }),
                },
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
        Some((self.socket, self.outbound, self.holding))
    }

    /// What happens next. What the client causes comes last, so that no flood of messages delays anything else; the
    /// session looks at its timers with every input, so the alarm can wait behind even that.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.holding.poll_end(cx).is_ready() {
            // Whoever does not read would not take a reason either.
            return Poll::Ready(Event::Gone);
        }
        if let Poll::Ready(Some(done)) = self.running.poll_next_unpin(cx) {
            return Poll::Ready(Event::Done(done));
        }
        // One input for however many there are; those of results that are no longer held are old news.
        let mut is_invalidated = false;
        while let Poll::Ready(Some(query_id)) = self.invalidations.poll_next_unpin(cx) {
            let held = QueryId::try_from(query_id).ok();
            let held = held.and_then(|query_id| self.held.get(&query_id));
            is_invalidated |= held.is_some_and(|held| held.subscription.invalidated_at().is_some());
        }
        if is_invalidated {
            return Poll::Ready(Event::Invalidated);
        }
        match self.outbound.poll(cx, &mut self.socket) {
            Poll::Ready(Ok(messages)) => return Poll::Ready(Event::Taken(messages)),
            Poll::Ready(Err(_)) => return Poll::Ready(Event::Gone),
            Poll::Pending => {}
        }
        // Otherwise a client that is gone is noticed by what is sent to it.
        if self.session.is_receptive()
            && let Poll::Ready(message) = self.socket.poll_next_unpin(cx)
        {
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
        self.holding.set(self.session.held_bytes());
        // The session starts queries as long as there are any, so none is left for this snapshot.
        if self.running_queries == 0 {
            self.snapshot = None;
        }
        assert!(
            self.running_queries <= self.limits.running_queries,
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
                let outcome = call::run_mutation(
                    self.backend.clone(),
                    self.client,
                    self.source.clone(),
                    request,
                );
                self.wait_for(
                    outcome.map(move |result| Input::MutationDone { request_id, result }),
                );
            }
            Effect::RunAction(request) => {
                let request_id = request.request_id;
                let action = Action::new(
                    self.backend.clone(),
                    self.client,
                    self.source.clone(),
                    request,
                );
                let admitted = action.admit();
                let admitted =
                    admitted.map(move |admitted| Done::Admitted(request_id, Box::new(admitted)));
                self.running.push(admitted.boxed());
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
                !held.is_valid_at(ts) && !planted(Bug::HeldResultsNotChecked)
            })
            .map(|(query_id, _)| query_id)
            .collect();
        debug_assert!(self.held.values().all(|held| held.is_valid_at(ts)));
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
        let client = self.client;
        let redacted = backend.hides_from(&run.identity);
        let is_long = run.args.len() > LONG_BYTES;
        let query = async move {
            let result = query_at(&backend, client, &run, &snapshot).await;
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
        let outcome = self.backend.functions().outcome(&query, redacted);
        assert!(self.snapshot.is_some(), "results belong to a transition");
        let held = Held {
            ts: query.ts,
            subscription: query.subscription.clone(),
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

/// Evaluates a query. What is wrong with the query, or with the server while it runs it, is its result.
///
/// # Errors
/// What may be over when it is tried again.
async fn query_at(
    backend: &Backend,
    client: Client,
    run: &QueryRun,
    snapshot: &Snapshot,
) -> Result<Arc<LiveQuery>> {
    let functions = backend.functions();
    let request_id = call::new_request_id(backend);
    let context = CallContext::new(Arc::clone(&run.identity), request_id, client);
    let result = async {
        call::check_component(&run.identity, run.component.as_deref())?;
        let Parsed {
            value: args,
            share: _held,
        } = call::parse_args(backend, &run.args).await?;
        let journal = run.journal.as_deref().map(str::to_owned);
        functions
            .query(&context, &run.path, args, journal, snapshot)
            .await
    };
    match result.await {
        Err(error)
            if error.kind() != ErrorKind::Transient && error.class != ErrorClass::Operational =>
        {
            functions.report(&run.path, &error);
            let failure = Failure::new(error.to_string());
            Ok(functions.failed_query(&context, failure, snapshot))
        }
        result => result,
    }
}

fn now(runtime: &RuntimeHandle) -> Now {
    Now {
        monotonic: runtime.monotonic(),
        wall: runtime.now(),
    }
}
