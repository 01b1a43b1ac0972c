//! Makes blobs of programs in another process, which may end without harm.
//!
//! That process gets a [`Request`] as JSON on its standard input. It makes the blob, makes a context of each that is in it,
//! and writes to its standard output: the length of the contents' JSON (8 bytes, little-endian), that JSON, the blob.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use concave_core::Timestamp;
use concave_core::engine::{Environment, Module, Program};
use concave_javascript::engine::Bounds;
use serde::{Deserialize, Serialize};

use crate::creator;
use crate::snapshot::{self, Contents, Snapshot, entry_modules};

/// Programs whose blobs are kept: the live one, the one before, and one that is being pushed.
const PROGRAMS_MAX: usize = 3;
/// Time of one process.
const PROCESS_TIME: Duration = Duration::from_secs(60);

/// A program that calls [`crate::make_snapshot`], and its arguments.
#[derive(Clone, Debug)]
pub struct SnapshotProcess {
    /// The executable. It must be the very build of the engine that uses it: V8 ends the process over a blob of another.
    pub executable: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Whether the first call of a program waits for its blob. If not, calls import their module until it is there.
    pub is_awaited: bool,
}

#[derive(Serialize, Deserialize)]
struct Request {
    /// Sources by path.
    modules: BTreeMap<String, String>,
    /// The modules that are to be imported.
    wanted: BTreeSet<String>,
    env: BTreeMap<String, String>,
    seed: [u8; 32],
    now: u64,
    import_time: Duration,
}

/// Snapshots of programs.
pub(crate) struct Snapshots {
    process: Option<SnapshotProcess>,
    import_time: Duration,
    programs: Mutex<BTreeMap<u64, Arc<Entry>>>,
}

struct Entry {
    /// What contexts are made from meanwhile.
    beginning: Arc<Snapshot>,
    /// What they are made from then: the beginning again, if nothing better can be made.
    made: OnceLock<Arc<Snapshot>>,
}

impl Entry {
    fn made(
        &self,
        process: &SnapshotProcess,
        program: &Program,
        import_time: Duration,
    ) -> &Arc<Snapshot> {
        self.made.get_or_init(|| {
            let beginning = &self.beginning;
            let Some((blob, contents)) = make(process, program, import_time) else {
                return beginning.clone();
            };
            Arc::new(Snapshot {
                blob: blob.into(),
                contents,
                program: Some(program.id),
                code: beginning.code.clone(),
            })
        })
    }
}

impl Snapshots {
    /// Snapshots made by `process`; without one, no module is in a snapshot.
    pub(crate) fn new(process: Option<SnapshotProcess>, import_time: Duration) -> Arc<Self> {
        Arc::new(Self {
            process,
            import_time,
            programs: Mutex::default(),
        })
    }

    /// What contexts of a program are made from at present.
    pub(crate) fn of(&self, program: &Arc<Program>) -> Arc<Snapshot> {
        let (entry, is_new) = self.entry(program.id);
        let Some(process) = &self.process else {
            return entry.beginning.clone();
        };
        if process.is_awaited {
            return entry.made(process, program, self.import_time).clone();
        }
        if is_new {
            let (entry, process, program) = (entry.clone(), process.clone(), program.clone());
            let import_time = self.import_time;
            // Without a thread, calls go on importing.
            let thread = thread::Builder::new().name("v8-snapshot".to_owned());
            drop(thread.spawn(move || {
                entry.made(&process, &program, import_time);
            }));
        }
        entry.made.get().unwrap_or(&entry.beginning).clone()
    }

    /// What there is of a program, and whether it was not there before.
    fn entry(&self, program: u64) -> (Arc<Entry>, bool) {
        // Nothing that can panic runs while the lock is held.
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = programs.get(&program) {
            return (entry.clone(), false);
        }
        let entry = Arc::new(Entry {
            beginning: Snapshot::beginning(program),
            made: OnceLock::new(),
        });
        programs.insert(program, entry.clone());
        while programs.len() > PROGRAMS_MAX {
            // The least id is the oldest.
            programs.pop_first();
        }
        (entry, true)
    }
}

/// The blob of a program: without the modules that end the process in which it is made.
fn make(
    process: &SnapshotProcess,
    program: &Program,
    import_time: Duration,
) -> Option<(Vec<u8>, Contents)> {
    let all: BTreeSet<String> = entry_modules(program).map(str::to_owned).collect();
    let run = |wanted: BTreeSet<String>| run(process, program, wanted, import_time).ok();
    if let Some(made) = run(all.clone()) {
        return Some(made);
    }
    let alone = |path: &String| run(BTreeSet::from([path.clone()])).is_some();
    let good: BTreeSet<String> = all.iter().filter(|path| alone(path)).cloned().collect();
    if good.is_empty() || good == all {
        return None;
    }
    run(good)
}

/// Has a process make the blob.
fn run(
    process: &SnapshotProcess,
    program: &Program,
    wanted: BTreeSet<String>,
    import_time: Duration,
) -> io::Result<(Vec<u8>, Contents)> {
    let isolated = program
        .modules
        .iter()
        .filter(|(_, module)| module.environment == Environment::Isolate);
    let request = Request {
        modules: isolated
            .map(|(path, module)| (path.clone(), module.source.to_string()))
            .collect(),
        wanted,
        env: program.environment_variables.clone(),
        seed: program.import_seed,
        now: program.import_time.0,
        import_time,
    };
    let mut child = Command::new(&process.executable)
        .args(&process.args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let talked = talk(&mut child, &request);
    // It may have said all and not ended, or ended and not said all.
    drop(child.kill());
    drop(child.wait());
    talked
}

fn talk(child: &mut Child, request: &Request) -> io::Result<(Vec<u8>, Contents)> {
    let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("the process has no pipes"));
    };
    let reading = thread::spawn(move || {
        let mut answer = Vec::new();
        stdout.read_to_end(&mut answer).map(|_| answer)
    });
    serde_json::to_writer(&mut stdin, request)?;
    stdin.flush()?;
    drop(stdin);
    let deadline = Instant::now() + PROCESS_TIME;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            // The reader then sees the end of the pipe.
            child.kill()?;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let answer = reading
        .join()
        .map_err(|_| io::Error::other("reading panicked"))??;
    if !status.success() {
        return Err(io::Error::other(format!("the process ended: {status}")));
    }
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let (length, rest) = answer.split_first_chunk().ok_or_else(invalid)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| invalid())?;
    let (contents, blob) = rest.split_at_checked(length).ok_or_else(invalid)?;
    Ok((blob.to_vec(), serde_json::from_slice(contents)?))
}

/// What a [`SnapshotProcess`] does: makes the blob that it is asked for on standard input, and writes it to standard
/// output.
///
/// # Errors
/// If the request cannot be read or the answer not written. If something in a module cannot be in a blob, the process
/// ends.
pub fn make_snapshot() -> io::Result<()> {
    let mut request = Vec::new();
    io::stdin().read_to_end(&mut request)?;
    let request: Request = serde_json::from_slice(&request)?;
    let modules = request.modules.into_iter().map(|(path, source)| {
        let module = Module {
            path: path.clone(),
            source: source.into(),
            source_map: None,
            environment: Environment::Isolate,
        };
        (path, module)
    });
    let program = Arc::new(Program {
        id: 0,
        modules: modules.collect(),
        environment_variables: request.env,
        import_seed: request.seed,
        import_time: Timestamp(request.now),
    });
    let importing = Bounds::import(request.import_time);
    let (blob, contents) = snapshot::make(&program, &request.wanted, importing);
    creator::try_out(&blob, &contents);
    let text = serde_json::to_vec(&contents)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&(text.len() as u64).to_le_bytes())?;
    stdout.write_all(&text)?;
    stdout.write_all(&blob)?;
    stdout.flush()
}
