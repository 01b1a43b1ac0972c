//! Storage in a folder of its own, and the tasks that load a database on it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use concave_core::Timestamp;
use concave_core::driver::Database;
use concave_core::persistence::{
    BackfillEntry, IndexId, IndexPage, IndexRead, LogPage, Persistence, PersistenceError, Revision,
    Superseded,
};
use concave_sqlite::{SqliteOptions, SqlitePersistence};
use concave_tokio::TokioRuntime;
use cpu_time::ProcessTime;
use futures_util::future::BoxFuture;
use tempfile::TempDir;

use crate::report::median;

/// How long each measurement takes.
pub const DURATION: Duration = Duration::from_secs(1);
/// How often each is made; the median counts.
pub const ROUNDS: usize = 3;

/// SQLite with full sync in a folder of its own, and Tokio to run a database on it.
pub struct World {
    pub tokio: tokio::runtime::Runtime,
    pub store: Arc<Counting>,
    folder: TempDir,
}

impl World {
    pub fn new() -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .enable_time()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let inner = SqlitePersistence::open(SqliteOptions::new(path(&folder))).unwrap();
        let store = Arc::new(Counting {
            inner,
            batches: Mutex::default(),
        });
        Self {
            tokio,
            store,
            folder,
        }
    }

    /// Opens the database.
    pub fn database(&self) -> Database {
        let open = async { Database::open(TokioRuntime::current(), self.store.clone()).await };
        self.tokio.block_on(open).unwrap()
    }

    /// Runs `work` again and again in each of `tasks` tasks for [`DURATION`]; `work` is told which task
    /// it is in.
    pub fn load<F>(&self, tasks: usize, work: impl Fn(usize) -> F + Clone + Send + 'static) -> Rate
    where
        F: Future<Output = ()> + Send,
    {
        let done = Arc::new(AtomicU64::new(0));
        let timer = Timer::start();
        let begun = timer.begun;
        let loops: Vec<_> = (0..tasks)
            .map(|task| {
                let (work, done) = (work.clone(), done.clone());
                self.tokio.spawn(async move {
                    let mut count = 0;
                    while begun.elapsed() < DURATION {
                        work(task).await;
                        count += 1;
                    }
                    done.fetch_add(count, Ordering::Relaxed);
                })
            })
            .collect();
        for task in loops {
            self.tokio.block_on(task).unwrap();
        }
        timer.rate(done.load(Ordering::Relaxed) as f64)
    }

    /// Closes the database file, on which no database is open any more; gives its folder and the number of revisions
    /// in each batch that was written.
    pub fn close(self) -> (TempDir, Vec<usize>) {
        drop(self.tokio);
        let store = Arc::into_inner(self.store).expect("the database is closed");
        (self.folder, store.batches.into_inner().unwrap())
    }
}

/// How fast something went.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub per_second: f64,
    /// Time on any core, for each: other programs on the machine disturb it less than they do `per_second`.
    pub cpu_micros: f64,
}

/// The middle of several measurements.
pub fn middle(rates: &[Rate]) -> Rate {
    Rate {
        per_second: median(rates.iter().map(|rate| rate.per_second).collect()),
        cpu_micros: median(rates.iter().map(|rate| rate.cpu_micros).collect()),
    }
}

/// Measures time, and the time of this process on all cores.
pub struct Timer {
    begun: Instant,
    cpu: ProcessTime,
}

impl Timer {
    pub fn start() -> Self {
        Self {
            begun: Instant::now(),
            cpu: ProcessTime::now(),
        }
    }

    /// The rate at which `count` things were done since the start.
    pub fn rate(&self, count: f64) -> Rate {
        Rate {
            per_second: count / self.begun.elapsed().as_secs_f64(),
            cpu_micros: self.cpu.elapsed().as_secs_f64() * 1e6 / count,
        }
    }
}

/// The database file in a world's folder.
pub fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("bench.sqlite3")
}

/// Storage that notes how many revisions each write has.
pub struct Counting {
    inner: Arc<SqlitePersistence>,
    batches: Mutex<Vec<usize>>,
}

impl Counting {
    /// The number of writes so far.
    pub fn writes(&self) -> usize {
        self.batches.lock().unwrap().len()
    }

    /// The mean number of revisions in writes after the first `skip`.
    pub fn mean_batch(&self, skip: usize) -> f64 {
        let batches = &self.batches.lock().unwrap()[skip..];
        batches.iter().sum::<usize>() as f64 / batches.len() as f64
    }
}

impl Persistence for Counting {
    fn write(&self, revisions: Vec<Revision>) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.batches.lock().unwrap().push(revisions.len());
        self.inner.write(revisions)
    }

    fn backfill(
        &self,
        entries: Vec<BackfillEntry>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.inner.backfill(entries)
    }

    fn delete(&self, superseded: Superseded) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.inner.delete(superseded)
    }

    fn delete_index(
        &self,
        index: IndexId,
        limit: usize,
    ) -> BoxFuture<'static, Result<bool, PersistenceError>> {
        self.inner.delete_index(index, limit)
    }

    fn read_index(
        &self,
        read: IndexRead,
    ) -> BoxFuture<'static, Result<IndexPage, PersistenceError>> {
        self.inner.read_index(read)
    }

    fn read_log(
        &self,
        after: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<LogPage, PersistenceError>> {
        self.inner.read_log(after, limit)
    }

    fn max_ts(&self) -> BoxFuture<'static, Result<Timestamp, PersistenceError>> {
        self.inner.max_ts()
    }

    fn get_global(
        &self,
        name: &'static str,
    ) -> BoxFuture<'static, Result<Option<Vec<u8>>, PersistenceError>> {
        self.inner.get_global(name)
    }

    fn set_global(
        &self,
        name: &'static str,
        value: Vec<u8>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.inner.set_global(name, value)
    }
}
