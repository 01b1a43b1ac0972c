//! Who runs next: places for calls, shared fairly among clients.
//!
//! A call that runs holds memory: a world of its own, from its first turn to its last, even while it sleeps. So the
//! number of calls that run is bounded, and the rest wait. Two rules keep clients apart:
//!
//! - A client gets a further place only while more places are free than it has calls running (the dynamic thresholds
//!   that switches share their buffers by). One client alone gets half of them; whoever comes next finds some, however
//!   long the calls of the first one take.
//! - A place that is given back goes to the client with the fewest calls running, of those to the one that has waited
//!   longest.
//!
//! Calls of one client are served in order of arrival. What waits is bounded in bytes, and in time: then it fails, having
//! changed nothing. Who goes away while waiting needs no place.
//!
//! A call that runs may make others and wait for them: an action calls transactions, and actions. These are of another
//! [`Class`], so no call waits for one that waits for it.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_channel::oneshot;
use futures_util::future::{Either, select};

use crate::concurrency::{Mutex, MutexGuard};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::runtime::RuntimeHandle;

/// Whose share a call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// A connection of the sync protocol: its number in this process.
    Session(u64),
    /// Whoever calls over HTTP from an address; without one, all whose address is not known.
    Http(Option<IpAddr>),
    /// What was scheduled.
    Scheduler,
}

/// Calls that share places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Query,
    Mutation,
    /// Actions by how many actions wait for them, being their callers.
    Action(u32),
}

impl Class {
    fn places(self, limits: &Limits) -> usize {
        match self {
            Class::Query => limits.concurrent_queries,
            Class::Mutation => limits.concurrent_mutations,
            Class::Action(_) => limits.concurrent_actions,
        }
        .max(1)
    }
}

/// What a call that waits costs beside its arguments, bytes.
const OVERHEAD_BYTES: usize = 1024;

/// The places.
pub(super) struct Admission {
    state: Mutex<State>,
    runtime: RuntimeHandle,
    limits: Limits,
}

#[derive(Default)]
struct State {
    lines: BTreeMap<Class, Line>,
    /// Bytes of what waits, by client and of all.
    client_bytes: BTreeMap<Client, usize>,
    bytes: usize,
    tickets: u64,
    sessions: u64,
}

/// Calls of a class.
#[derive(Default)]
struct Line {
    running: usize,
    shares: BTreeMap<Client, Share>,
    /// Clients of whom calls wait, as (calls running, ticket of the first that waits, client): the first gets the next
    /// place.
    order: BTreeSet<(usize, u64, Client)>,
}

/// A client's calls of a class.
#[derive(Default)]
struct Share {
    running: usize,
    /// By ticket.
    waiting: BTreeMap<u64, Waiting>,
}

struct Waiting {
    called: oneshot::Sender<()>,
    bytes: usize,
}

/// A place of a call, or, until it is called, its place among those who wait. Dropping it gives it back.
pub(super) struct Permit {
    admission: Arc<Admission>,
    class: Class,
    client: Client,
    ticket: u64,
}

impl Admission {
    pub(super) fn new(runtime: RuntimeHandle, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            runtime,
            limits,
        })
    }

    /// A client that is none of those before.
    pub(super) fn new_session(&self) -> Client {
        let mut state = self.lock();
        state.sessions += 1;
        Client::Session(state.sessions)
    }

    /// Waits for a place, with so many bytes of arguments.
    ///
    /// # Errors
    /// Overloaded, `TooManyConcurrentRequests`: too much waits already, or it took too long.
    pub(super) async fn admit(
        self: &Arc<Self>,
        class: Class,
        client: Client,
        bytes: usize,
    ) -> Result<Permit> {
        let bytes = bytes.saturating_add(OVERHEAD_BYTES);
        let (ticket, called) = self.lock().enter(class, client, bytes, &self.limits)?;
        // From here on, going away gives the place back.
        let permit = Permit {
            admission: self.clone(),
            class,
            client,
            ticket,
        };
        let Some(called) = called else {
            return Ok(permit);
        };
        let patience = self.limits.queue_time;
        match select(called, self.runtime.sleep(patience)).await {
            Either::Left((called, _)) => {
                called.expect("who waits is called, or goes away by itself");
                Ok(permit)
            }
            Either::Right(((), _)) => Err(too_many(format!(
                "The function was not run, because for {patience:?} too many others were running. Try again later."
            ))),
        }
    }

    /// How many calls run or wait.
    pub(super) fn len(&self) -> usize {
        let state = self.lock();
        let shares = state.lines.values().flat_map(|line| line.shares.values());
        shares
            .map(|share| share.running + share.waiting.len())
            .sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no one panics while holding the places")
    }
}

fn too_many(message: String) -> Error {
    Error::overloaded("TooManyConcurrentRequests", message)
}

impl State {
    /// Takes a place, or queues for one: then the receiver is called.
    fn enter(
        &mut self,
        class: Class,
        client: Client,
        bytes: usize,
        limits: &Limits,
    ) -> Result<(u64, Option<oneshot::Receiver<()>>)> {
        self.tickets += 1;
        let ticket = self.tickets;
        let line = self.lines.entry(class).or_default();
        if line.has_place(client, class.places(limits)) {
            line.change(client, |share| share.running += 1);
            line.running += 1;
            return Ok((ticket, None));
        }
        let own = self.client_bytes.get(&client).copied().unwrap_or_default();
        // One always fits, since it is here already.
        let exceeds = |waiting: usize, limit| waiting > 0 && waiting.saturating_add(bytes) > limit;
        if exceeds(own, limits.queued_bytes_per_client) || exceeds(self.bytes, limits.queued_bytes)
        {
            return Err(too_many(
                "The function was not run, because the arguments of those that wait to be run are too large in sum. \
                 Try again later."
                    .to_owned(),
            ));
        }
        self.client_bytes.insert(client, own + bytes);
        self.bytes += bytes;
        let (sender, receiver) = oneshot::channel();
        let waiting = Waiting {
            called: sender,
            bytes,
        };
        line.change(client, |share| share.waiting.insert(ticket, waiting));
        Ok((ticket, Some(receiver)))
    }

    /// Gives back a place, or a place among those who wait. Gives those who are to be called.
    fn leave(
        &mut self,
        class: Class,
        client: Client,
        ticket: u64,
        limits: &Limits,
    ) -> Vec<oneshot::Sender<()>> {
        let line = self.lines.get_mut(&class).expect("it was entered");
        let waited = line.change(client, |share| share.waiting.remove(&ticket));
        match waited {
            Some(waited) => self.no_longer_waits(client, waited.bytes),
            None => {
                line.change(client, |share| share.running -= 1);
                line.running -= 1;
            }
        }
        self.call(class, limits)
    }

    /// Gives free places to those who wait.
    fn call(&mut self, class: Class, limits: &Limits) -> Vec<oneshot::Sender<()>> {
        let mut called = Vec::new();
        let places = class.places(limits);
        let line = self.lines.get_mut(&class).expect("it was entered");
        let mut bytes = Vec::new();
        while let Some((running, ticket, client)) = line.order.first().copied() {
            // Who has the fewest is the last to be refused.
            if running >= places - line.running {
                break;
            }
            let waiting = line.change(client, |share| {
                share.running += 1;
                share.waiting.remove(&ticket)
            });
            let waiting = waiting.expect("the order is of those who wait");
            line.running += 1;
            assert!(line.running <= places, "places are bounded");
            bytes.push((client, waiting.bytes));
            called.push(waiting.called);
        }
        for (client, bytes) in bytes {
            self.no_longer_waits(client, bytes);
        }
        called
    }

    fn no_longer_waits(&mut self, client: Client, bytes: usize) {
        self.bytes -= bytes;
        let own = self.client_bytes.get_mut(&client).expect("it was counted");
        *own -= bytes;
        if *own == 0 {
            self.client_bytes.remove(&client);
        }
    }
}

impl Line {
    fn has_place(&self, client: Client, places: usize) -> bool {
        let share = self.shares.get(&client);
        let running = share.map_or(0, |share| share.running);
        share.is_none_or(|share| share.waiting.is_empty()) && running < places - self.running
    }

    /// Changes a share and keeps the order right.
    fn change<R>(&mut self, client: Client, change: impl FnOnce(&mut Share) -> R) -> R {
        let share = self.shares.entry(client).or_default();
        if let Some(place) = share.place(client) {
            self.order.remove(&place);
        }
        let result = change(share);
        if let Some(place) = share.place(client) {
            self.order.insert(place);
        } else if share.running == 0 {
            self.shares.remove(&client);
        }
        result
    }
}

impl Share {
    fn place(&self, client: Client) -> Option<(usize, u64, Client)> {
        let (ticket, _) = self.waiting.first_key_value()?;
        Some((self.running, *ticket, client))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Self {
            admission,
            class,
            client,
            ticket,
        } = self;
        let called = admission
            .lock()
            .leave(*class, *client, *ticket, &admission.limits);
        for caller in called {
            // One that has just gone away gives the place back by itself.
            let _ = caller.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_executor::block_on;
    use futures_util::future::{BoxFuture, FutureExt};
    use proptest::prelude::*;

    use super::*;
    use crate::driver::testing::ThreadRuntime;

    type Call = BoxFuture<'static, Result<Permit>>;

    fn admission(limits: Limits) -> Arc<Admission> {
        Admission::new(ThreadRuntime::handle(), limits)
    }

    fn limits(places: usize) -> Limits {
        Limits {
            concurrent_actions: places,
            ..Limits::default()
        }
    }

    fn call(admission: &Arc<Admission>, client: Client, bytes: usize) -> Call {
        let admission = admission.clone();
        async move { admission.admit(Class::Action(0), client, bytes).await }.boxed()
    }

    fn calls(admission: &Arc<Admission>, client: Client, count: usize) -> (Vec<Permit>, Vec<Call>) {
        let (mut running, mut waiting) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let mut call = call(admission, client, 0);
            match call.as_mut().now_or_never() {
                Some(permit) => running.push(permit.unwrap()),
                None => waiting.push(call),
            }
        }
        (running, waiting)
    }

    fn is_admitted(call: &mut Call) -> Option<Permit> {
        call.now_or_never().map(Result::unwrap)
    }

    const ANN: Client = Client::Session(1);
    const BEA: Client = Client::Session(2);

    #[test]
    fn a_newcomer_finds_a_place_however_much_another_one_asks_for() {
        let admission = admission(limits(64));
        let (running, mut waiting) = calls(&admission, ANN, 1000);
        assert_eq!(running.len(), 32, "one alone gets half");
        let (others, _) = calls(&admission, BEA, 5);
        assert_eq!(others.len(), 5);
        let scheduled = call(&admission, Client::Scheduler, 0).now_or_never();
        assert!(scheduled.is_some());
        drop((others, scheduled));
        // In order of arrival, one for each place given back.
        drop(running);
        let served: Vec<_> = waiting.iter_mut().map_while(is_admitted).collect();
        assert_eq!(served.len(), 32);
        drop(waiting);
        drop(served);
        assert_eq!(admission.len(), 0);
        assert_eq!(admission.lock().bytes, 0);
    }

    #[test]
    fn a_place_goes_to_whoever_has_the_fewest() {
        let admission = admission(limits(2));
        let (mut anns, mut waiting) = calls(&admission, ANN, 3);
        let (mut beas, mut others) = calls(&admission, BEA, 3);
        assert_eq!((anns.len(), beas.len()), (1, 1));
        // Ann's next came before Bea's.
        beas.pop();
        assert!(is_admitted(&mut waiting[0]).is_none());
        beas.extend(is_admitted(&mut others[0]));
        assert_eq!(beas.len(), 1);
        anns.pop();
        assert!(is_admitted(&mut others[1]).is_none());
        assert!(is_admitted(&mut waiting[0]).is_some());
    }

    #[test]
    fn classes_do_not_wait_for_each_other() {
        let admission = admission(Limits {
            concurrent_queries: 1,
            concurrent_mutations: 1,
            concurrent_actions: 1,
            ..Limits::default()
        });
        let mut held = Vec::new();
        for class in [
            Class::Query,
            Class::Mutation,
            Class::Action(0),
            Class::Action(1),
        ] {
            held.extend(admission.admit(class, ANN, 0).now_or_never());
            assert!(admission.admit(class, BEA, 0).now_or_never().is_none());
        }
        assert_eq!(held.len(), 4);
    }

    #[test]
    fn who_waits_for_too_long_is_told() {
        let admission = admission(Limits {
            queue_time: Duration::from_millis(20),
            ..limits(1)
        });
        let first = block_on(call(&admission, ANN, 0)).unwrap();
        let error = block_on(call(&admission, BEA, 0)).err().unwrap();
        assert_eq!(error.code, "TooManyConcurrentRequests");
        assert_eq!(error.kind(), crate::error::ErrorKind::Transient);
        drop(first);
        assert!(block_on(call(&admission, BEA, 0)).is_ok());
        assert_eq!(admission.len(), 0);
    }

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let admission = admission(Limits {
            queued_bytes_per_client: 10 * OVERHEAD_BYTES,
            queued_bytes: 15 * OVERHEAD_BYTES,
            ..limits(1)
        });
        let wait = |client, bytes| {
            let mut call = call(&admission, client, bytes - OVERHEAD_BYTES);
            match call.as_mut().now_or_never() {
                Some(refused) => Err(refused.err().unwrap().code),
                None => Ok(call),
            }
        };
        let running = block_on(call(&admission, Client::Scheduler, 0)).unwrap();
        // One always fits.
        drop(wait(ANN, 100 * OVERHEAD_BYTES).unwrap());
        let mut waiting = vec![wait(ANN, 9 * OVERHEAD_BYTES).unwrap()];
        waiting.push(wait(ANN, OVERHEAD_BYTES).unwrap());
        let too_many = Some("TooManyConcurrentRequests".into());
        assert_eq!(wait(ANN, OVERHEAD_BYTES).err(), too_many);
        assert_eq!(wait(BEA, 5 * OVERHEAD_BYTES + 1).err(), too_many);
        waiting.push(wait(BEA, 5 * OVERHEAD_BYTES).unwrap());
        assert_eq!(wait(BEA, OVERHEAD_BYTES).err(), too_many);
        // Who was refused at once leaves nothing behind.
        assert_eq!(wait(Client::Session(3), OVERHEAD_BYTES).err(), too_many);
        assert_eq!(admission.lock().client_bytes.len(), 2);
        drop(running);
        drop(waiting);
        assert_eq!(admission.lock().bytes, 0);
        assert!(admission.lock().client_bytes.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Come(u64),
        GoAway(usize),
        End(usize),
    }

    proptest! {
        /// Whoever comes, waits, is served and goes away in whatever order: places are bounded, none is lost, no one
        /// waits who could run, and calls of one client are served in order.
        #[test]
        fn places_are_shared_out(places in 1usize..6, steps in prop::collection::vec(prop_oneof![
            3 => (0u64..4).prop_map(Step::Come),
            1 => any::<usize>().prop_map(Step::GoAway),
            3 => any::<usize>().prop_map(Step::End),
        ], 0..100)) {
            let admission = admission(limits(places));
            let mut running: Vec<(u64, Permit)> = Vec::new();
            let mut waiting: Vec<(u64, Call)> = Vec::new();
            for step in steps {
                match step {
                    Step::Come(client) => {
                        waiting.push((client, call(&admission, Client::Session(client), 7)));
                    }
                    Step::GoAway(at) if !waiting.is_empty() => {
                        drop(waiting.remove(at % waiting.len()));
                    }
                    Step::End(at) if !running.is_empty() => {
                        drop(running.remove(at % running.len()));
                    }
                    Step::GoAway(_) | Step::End(_) => {}
                }
                let mut passed_over = BTreeSet::new();
                for (client, mut call) in std::mem::take(&mut waiting) {
                    match is_admitted(&mut call) {
                        Some(permit) => {
                            prop_assert!(!passed_over.contains(&client), "in order");
                            running.push((client, permit));
                        }
                        None => {
                            passed_over.insert(client);
                            waiting.push((client, call));
                        }
                    }
                }
                prop_assert!(running.len() <= places);
                let free = places - running.len();
                for client in passed_over {
                    let own = running.iter().filter(|(other, _)| *other == client).count();
                    prop_assert!(own >= free, "{own} of {client} run, {free} places are free");
                }
                prop_assert_eq!(admission.len(), running.len() + waiting.len());
            }
            drop(running);
            drop(waiting);
            prop_assert_eq!(admission.len(), 0);
            prop_assert!(admission.lock().lines.values().all(|line| line.order.is_empty()));
        }
    }
}
