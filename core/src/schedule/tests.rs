use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::timestamp::Timestamp;
use crate::value::{InternalId, Object, Value};

const SECOND: u64 = 1_000_000_000;

fn states() -> Vec<JobState> {
    let error = "no".to_owned();
    vec![
        JobState::Pending,
        JobState::InProgress,
        JobState::Success,
        JobState::Failed { error },
        JobState::Canceled,
    ]
}

#[test]
fn finished_jobs_stay_as_they_are_and_nothing_goes_back() {
    for from in states() {
        for to in states() {
            let allowed = match (&from, &to) {
                (from, _) if from.is_finished() => false,
                (_, JobState::Pending) => false,
                (JobState::Pending, JobState::Success) => false,
                (from, to) => from != to,
            };
            assert_eq!(from.may_become(&to), allowed, "{from:?} -> {to:?}");
        }
    }
}

#[test]
fn records_are_read_as_they_were_written() {
    let args = Object::from_fields([("n", Value::Int64(1))]).unwrap();
    for state in states() {
        let mut job = Job::new("a.js:b".to_owned(), args.clone(), 1500.5);
        if state.is_finished() && state != JobState::Canceled {
            job.enter(JobState::InProgress, Timestamp(1)).unwrap();
        }
        if state != JobState::Pending {
            job.enter(state.clone(), Timestamp(2_000_000)).unwrap();
        }
        assert_eq!(job.state(), &state);
        let document = job.to_document();
        assert_eq!(Job::from_document(&document).unwrap(), job);
        let completed = document.get("completedTime");
        assert_eq!(completed.is_some(), state.is_finished());
        assert!(completed.is_none_or(|time| *time == Value::Float64(2.0)));
        let error = job.enter(JobState::Pending, Timestamp(3)).unwrap_err();
        assert!(error.message.contains("cannot become"), "{error}");
    }
    assert!(Job::from_document(&Object::new()).is_err());
    for (field, damaged) in [
        ("state", Value::Null),
        ("args", Value::Array(vec![])),
        ("args", Value::Array(vec![Value::Null])),
    ] {
        let mut document = Job::new("a.js:b".to_owned(), args.clone(), 1.0).to_document();
        document.insert_unchecked(field, damaged);
        assert!(Job::from_document(&document).is_err(), "{field}");
    }
    assert!(Entry::from_document(&Object::new()).is_err());
}

#[test]
fn waits_double_from_half_a_second_to_two_hours() {
    assert_eq!(backoff(1, 255), Duration::from_millis(500));
    assert_eq!(backoff(1, 0), Duration::from_millis(250));
    assert_eq!(backoff(2, 255), Duration::from_secs(1));
    assert_eq!(backoff(5, 255), Duration::from_secs(8));
    for failures in [15, 16, 100, u32::MAX] {
        assert_eq!(backoff(failures, 255), Duration::from_secs(7200));
    }
}

#[test]
fn requested_times_are_kept_to_the_millisecond() {
    let now = Timestamp(1_700_000_000 * SECOND);
    let time = |millis: f64| ScheduledTime::from_seconds(millis / 1e3, now).unwrap();
    for millis in [
        1_700_000_000_123.0,
        1_699_999_999_999.0,
        1_757_000_000_001.0,
    ] {
        assert_eq!(time(millis).as_millis_f64(), millis);
    }
    let later = time(1_700_000_000_250.0);
    assert_eq!(later.due(now, now), Timestamp(now.0 + SECOND / 4));
    assert_eq!(time(1_600_000_000_000.0).due(now, now), now);
    // The function began a moment ago.
    let wall = Timestamp(now.0 + SECOND / 2);
    assert_eq!(later.due(now, wall), wall);
    // The wall clock was set back by an hour.
    let wall = Timestamp(now.0 - 3600 * SECOND);
    assert_eq!(later.due(now, wall), Timestamp(wall.0 + SECOND / 4));
    for bad in [f64::NAN, f64::INFINITY, -1.0, 1e300, 0.0, 1.9e9] {
        let error = ScheduledTime::from_seconds(bad, now).unwrap_err();
        assert_eq!(error.code, "InvalidScheduledFunctionDelay");
    }
}

/// Storage and the world around a queue.
#[derive(Default)]
struct World {
    queue: Queue,
    now: Timestamp,
    clock: Duration,
    /// Jobs to be run, in their order.
    stored: BTreeSet<(Timestamp, u64)>,
    last: u64,
    running: BTreeSet<u64>,
    /// What the read under way will answer; taken when it begins or when it ends.
    reading: Option<Option<Vec<Entry>>>,
    /// What the head was when it was read, while it is watched.
    watched: Option<Vec<Entry>>,
    removing: bool,
    starts: BTreeMap<u64, u32>,
}

#[derive(Clone, Debug)]
enum Step {
    /// A job is scheduled that many milliseconds from now.
    Add(i32),
    /// Time passes.
    Pass(u16),
    /// The wall clock is set.
    Jump(i32),
    /// The n-th running job ends: it is finished, or put off by that many milliseconds.
    End(usize, Option<u16>),
    /// The n-th stored job is canceled.
    Cancel(usize),
    /// Storage answers the read of the head as of now, or fails.
    Answer(bool),
    /// The read under way sees storage as it is now, whenever it is answered.
    See,
    Removed(Option<bool>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (-500..2000i32).prop_map(Step::Add),
        4 => (0..1500u16).prop_map(Step::Pass),
        1 => (-5000..5000i32).prop_map(Step::Jump),
        4 => (0..8usize, prop::option::weighted(0.2, 0..1000u16)).prop_map(|(n, wait)| Step::End(n, wait)),
        1 => (0..50usize).prop_map(Step::Cancel),
        5 => prop::bool::weighted(0.9).prop_map(Step::Answer),
        2 => Just(Step::See),
        1 => prop::option::of(any::<bool>()).prop_map(Step::Removed),
    ]
}

fn id(n: u64) -> InternalId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    InternalId(bytes)
}

fn number(id: InternalId) -> u64 {
    u64::from_be_bytes(id.0[8..].try_into().unwrap())
}

impl World {
    fn head(&self) -> Vec<Entry> {
        let entry = |&(due, n): &(Timestamp, u64)| Entry {
            id: id(n),
            step: super::Step::Run,
            due,
            failures: 0,
        };
        self.stored.iter().take(HEAD_ROWS).map(entry).collect()
    }

    fn due(&self, millis: i64) -> Timestamp {
        Timestamp(self.now.0.saturating_add_signed(millis * 1_000_000))
    }

    fn nth_running(&self, n: usize) -> Option<u64> {
        self.running.iter().nth(n).copied()
    }

    fn remove(&mut self, job: u64) {
        self.stored.retain(|(_, n)| *n != job);
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Add(millis) => {
                self.last += 1;
                // As schedule::ScheduledTime does: never in the past.
                let due = self.due(millis.max(0).into());
                self.stored.insert((due, self.last));
            }
            Step::Pass(millis) => {
                self.clock += Duration::from_millis(millis.into());
                self.now = self.due(millis.into());
            }
            Step::Jump(millis) => self.now = self.due(millis.into()),
            Step::End(n, wait) => {
                if let Some(job) = self.nth_running(n) {
                    self.running.remove(&job);
                    self.remove(job);
                    if let Some(millis) = wait {
                        self.stored.insert((self.due(millis.into()), job));
                    } else {
                        self.starts.remove(&job);
                    }
                    self.queue.ended(id(job));
                }
            }
            Step::Cancel(n) => {
                if let Some(&(due, job)) = self.stored.iter().nth(n) {
                    self.stored.remove(&(due, job));
                }
            }
            Step::See => {
                let head = self.head();
                if let Some(seen) = &mut self.reading {
                    seen.get_or_insert(head);
                }
            }
            Step::Answer(works) => {
                if let Some(seen) = self.reading.take() {
                    let seen = seen.unwrap_or_else(|| self.head());
                    self.queue
                        .head_read(works.then(|| seen.clone()), self.clock);
                    self.watched = works.then_some(seen);
                }
            }
            Step::Removed(more) => {
                if std::mem::take(&mut self.removing) {
                    self.queue.removed(more, self.clock);
                }
            }
        }
        // The subscription: told once, after the change.
        let head = self.head();
        if self.watched.as_ref().is_some_and(|seen| *seen != head) {
            self.watched = None;
            self.queue.head_changed();
        }
        self.turn();
    }

    fn turn(&mut self) {
        for wish in self.queue.turn(self.now, self.clock) {
            match wish {
                Wish::ReadHead => {
                    assert!(self.reading.is_none(), "one read at a time");
                    self.watched = None;
                    self.reading = Some(None);
                }
                Wish::Run(job) => {
                    let job = number(job);
                    assert!(self.running.insert(job), "a job runs once at a time");
                    assert!(self.running.len() <= PARALLEL_MAX);
                    // One that was canceled meanwhile finds out itself.
                    if let Some((due, _)) = self.stored.iter().find(|(_, n)| *n == job) {
                        assert!(*due <= self.now, "a job does not run before it is due");
                        let before = self.stored.range(..(*due, job));
                        for (_, earlier) in before.filter(|_| self.watched.is_some()) {
                            assert!(self.running.contains(earlier), "jobs start in order");
                        }
                    }
                    *self.starts.entry(job).or_default() += 1;
                }
                Wish::Remove => {
                    assert!(!self.removing);
                    self.removing = true;
                }
            }
        }
        let timeout = self.queue.next_timeout(self.now, self.clock);
        assert!(timeout.is_none_or(|wait| wait <= Duration::from_secs(3600)));
        if self.reading.is_none() && self.running.len() < PARALLEL_MAX {
            let next = self.stored.iter().find(|(_, n)| !self.running.contains(n));
            if let (Some((due, _)), Some(_)) = (next, &self.watched) {
                let wait = Duration::from_nanos(due.0.saturating_sub(self.now.0));
                assert!(
                    timeout.unwrap() <= wait,
                    "the queue does not sleep past a due time"
                );
                assert!(
                    timeout.unwrap() <= Duration::from_secs(1),
                    "the clock may be set"
                );
            }
        }
    }
}

proptest! {
    /// Whatever happens, no job runs twice at once, before its time or ahead of an earlier one, and too many never do;
    /// and once storage works, every job that is left is run.
    #[test]
    fn every_job_runs_in_its_turn(steps in prop::collection::vec(step(), 0..200)) {
        let mut world = World {
            now: Timestamp(1_700_000_000 * SECOND),
            ..World::default()
        };
        world.turn();
        for step in steps {
            world.apply(step);
        }
        // What is waited for comes, and only what the queue asked for: time passes by its own timeouts.
        for _ in 0..5000 {
            if world.stored.is_empty() && world.running.is_empty() {
                break;
            }
            world.apply(Step::Answer(true));
            world.apply(Step::Removed(Some(false)));
            if let Some(job) = world.nth_running(0) {
                prop_assert!(world.starts[&job] > 0);
                world.apply(Step::End(0, None));
            } else if world.reading.is_none() {
                let wait = world.queue.next_timeout(world.now, world.clock).unwrap();
                let millis = u16::try_from(wait.as_millis()).unwrap_or(u16::MAX);
                world.apply(Step::Pass(millis + 1));
            }
        }
        prop_assert!(world.stored.is_empty(), "left: {:?}", world.stored);
    }
}

#[test]
fn old_jobs_are_looked_for_at_once_and_then_hourly() {
    let mut queue = Queue::default();
    let now = Timestamp(SECOND);
    assert!(queue.turn(now, Duration::ZERO).contains(&Wish::Remove));
    queue.head_read(Some(Vec::new()), Duration::ZERO);
    assert_eq!(queue.next_timeout(now, Duration::ZERO), None);
    queue.removed(Some(true), Duration::ZERO);
    assert_eq!(queue.turn(now, Duration::ZERO), [Wish::Remove]);
    queue.removed(Some(false), Duration::ZERO);
    assert_eq!(queue.turn(now, Duration::ZERO), []);
    let hour = Duration::from_secs(3600);
    assert_eq!(queue.next_timeout(now, Duration::ZERO), Some(hour));
    assert_eq!(queue.turn(now, hour), [Wish::Remove]);
    queue.removed(None, hour);
    assert!(queue.next_timeout(now, hour).unwrap() < Duration::from_secs(1));
}
