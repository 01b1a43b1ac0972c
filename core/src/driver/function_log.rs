//! What functions ran lately and what they printed, for `npx convex logs` and dashboards.
//!
//! A bounded list in memory: entries leave when newer ones need their place, whether they were read or not. Readers
//! name the last entry they have seen, so any number of them can follow.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::concurrency::{Mutex, MutexGuard};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use serde_json::{Value as Json, json};

use crate::engine::{LogLevel, LogLine};
use crate::heap::{Heap, PIECE_BYTES};
use crate::runtime::RuntimeHandle;
use crate::timestamp::Timestamp;
use crate::transaction::Usage;

/// Most entries kept.
const ENTRIES_MAX: usize = 10_000;
/// Longest that a reader waits for a new entry.
const WAIT: Duration = Duration::from_secs(60);

/// A function call that is over.
#[derive(Clone, Debug)]
pub struct Completion {
    /// `Query`, `Mutation`, `Action` or `HttpAction`.
    pub udf_type: &'static str,
    /// `dir/file:name`; for HTTP actions method and path.
    pub identifier: String,
    /// What it printed.
    pub log_lines: Vec<LogLine>,
    /// What called it: `Scheduler`, `Action`, or `Unknown`.
    pub caller: &'static str,
    /// Whether the result came from the cache, so that nothing ran.
    pub cached: bool,
    /// How long it took.
    pub execution_time: Duration,
    /// How it failed, if it did.
    pub error: Option<String>,
    /// Names the request.
    pub request_id: String,
    /// Names this call within the request.
    pub execution_id: String,
    /// What it used.
    pub usage: Usage,
}

/// The calls of late.
pub struct FunctionLog {
    runtime: RuntimeHandle,
    /// Most bytes kept.
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Readers that wait for the next entry.
    waiting: Vec<oneshot::Sender<()>>,
}

struct Entry {
    /// When it was appended, as milliseconds since the epoch; strictly ascending.
    cursor: f64,
    bytes: usize,
    completion: Arc<Completion>,
}

impl FunctionLog {
    /// An empty log, which will keep so many bytes.
    pub fn new(runtime: RuntimeHandle, bytes_max: usize) -> Self {
        Self {
            runtime,
            bytes_max,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no one panics while holding the function log")
    }

    /// Appends a call, and shows it to all who wait.
    pub fn append(&self, completion: Completion) {
        let now = self.runtime.now().as_millis_f64();
        let mut state = self.lock();
        let last = state.entries.back().map(|entry| entry.cursor);
        let cursor = last.map_or(now, |last| now.max(last.next_up()));
        let bytes = completion.heap_bytes() + size_of::<Entry>() + size_of::<Completion>();
        state.bytes += bytes;
        state.entries.push_back(Entry {
            cursor,
            bytes,
            completion: Arc::new(completion),
        });
        while state.entries.len() > ENTRIES_MAX || state.bytes > self.bytes_max {
            let oldest = state.entries.pop_front();
            state.bytes -= oldest.expect("what is too much is something").bytes;
        }
        for reader in state.waiting.drain(..) {
            // A reader that is gone does not care.
            let _ = reader.send(());
        }
    }

    /// Appends a warning of the server itself.
    pub fn warn(&self, message: &str) {
        self.append(Completion {
            udf_type: "Action",
            identifier: "_system/deploy".to_owned(),
            log_lines: vec![LogLine {
                level: LogLevel::Warn,
                messages: vec![message.to_owned()],
                is_truncated: false,
                timestamp: self.runtime.now(),
                system_code: Some("warning:unsupported".to_owned()),
            }],
            caller: "Unknown",
            cached: false,
            execution_time: Duration::ZERO,
            error: None,
            request_id: String::new(),
            execution_id: String::new(),
            usage: Usage::default(),
        });
    }

    /// `/api/stream_function_logs`: the entries after `cursor`, oldest first. Waits up to a minute for one.
    /// `structured` gives log lines as objects, otherwise they are text.
    pub async fn read(&self, cursor: f64, structured: bool) -> Json {
        let mut deadline = self.runtime.sleep(WAIT);
        loop {
            let appended = {
                let mut state = self.lock();
                let first = state
                    .entries
                    .partition_point(|entry| entry.cursor <= cursor);
                let new: Vec<_> = state
                    .entries
                    .range(first..)
                    .map(|entry| (entry.cursor, entry.completion.clone()))
                    .collect();
                if let Some((newest, _)) = new.last() {
                    let newest = *newest;
                    drop(state);
                    let entries = new
                        .iter()
                        .map(|(cursor, completion)| completion.to_json(*cursor, structured));
                    return json!({"entries": entries.collect::<Vec<_>>(), "newCursor": newest});
                }
                state.waiting.retain(|reader| !reader.is_canceled());
                let (sender, receiver) = oneshot::channel();
                state.waiting.push(sender);
                receiver
            };
            if let Either::Right(_) = select(appended, &mut deadline).await {
                return json!({"entries": [], "newCursor": cursor});
            }
        }
    }
}

impl Heap for Completion {
    fn heap_bytes(&self) -> usize {
        self.identifier.heap_bytes()
            + self.log_lines.heap_bytes()
            + self.error.heap_bytes()
            + self.request_id.heap_bytes()
            + self.execution_id.heap_bytes()
            + PIECE_BYTES
    }
}

impl Completion {
    fn to_json(&self, cursor: f64, structured: bool) -> Json {
        let lines = self.log_lines.iter();
        let lines: Vec<_> = lines.map(|line| log_line_json(line, structured)).collect();
        let success = self.error.is_none().then(|| match self.udf_type {
            "HttpAction" => json!({"status": "200"}),
            _ => Json::Null,
        });
        json!({
            "kind": "Completion",
            "udfType": self.udf_type,
            "componentPath": null,
            "identifier": self.identifier,
            "logLines": lines,
            "timestamp": cursor / 1000.0,
            "executionTimestamp": cursor / 1000.0 - self.execution_time.as_secs_f64(),
            "cachedResult": self.cached,
            "executionTime": self.execution_time.as_secs_f64(),
            "userExecutionTime": self.execution_time.as_secs_f64(),
            "success": success,
            "error": self.error,
            "requestId": self.request_id,
            "executionId": self.execution_id,
            "caller": self.caller,
            "parentExecutionId": null,
            "identityType": "unknown",
            "environment": "isolate",
            "returnBytes": null,
            "occInfo": null,
            "willRetry": false,
            "usageStats": {
                "databaseReadBytes": self.usage.bytes_read,
                "databaseWriteBytes": self.usage.bytes_written,
                "databaseReadDocuments": self.usage.documents_read,
                "storageReadBytes": 0,
                "storageWriteBytes": 0,
                "vectorIndexReadBytes": 0,
                "vectorIndexWriteBytes": 0,
                "memoryUsedMb": 0,
            },
        })
    }
}

/// A log line as an object, or as text.
pub fn log_line_json(line: &LogLine, structured: bool) -> Json {
    if !structured {
        return line.to_string().into();
    }
    let milliseconds = |timestamp: Timestamp| timestamp.0 / 1_000_000;
    json!({
        "messages": line.messages,
        "level": line.level,
        "isTruncated": line.is_truncated,
        "timestamp": milliseconds(line.timestamp),
        "systemMetadata": line.system_code.as_ref().map(|code| json!({"code": code})),
    })
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;
    use futures_util::future::join;

    use super::*;
    use crate::driver::testing::ThreadRuntime;

    fn identifiers(answer: &Json) -> Vec<&str> {
        let entries = answer["entries"].as_array().unwrap().iter();
        entries
            .map(|entry| entry["logLines"][0].as_str().unwrap())
            .collect()
    }

    #[test]
    fn readers_get_each_entry_once_and_wait_for_the_next() {
        let log = FunctionLog::new(ThreadRuntime::handle(), 8 << 20);
        log.warn("a");
        log.warn("b");
        let first = block_on(log.read(0.0, false));
        assert_eq!(identifiers(&first), ["[WARN] a", "[WARN] b"]);
        let cursor = first["newCursor"].as_f64().unwrap();
        // The reader goes first and finds nothing.
        let (second, ()) = block_on(join(log.read(cursor, false), async { log.warn("c") }));
        assert_eq!(identifiers(&second), ["[WARN] c"]);
        assert!(second["newCursor"].as_f64().unwrap() > cursor);
        let structured = block_on(log.read(cursor, true));
        let line = &structured["entries"][0]["logLines"][0];
        assert_eq!(line["messages"], json!(["c"]));
        assert_eq!(line["level"], "WARN");
    }

    #[test]
    fn the_oldest_entries_make_room() {
        let log = FunctionLog::new(ThreadRuntime::handle(), 8 << 20);
        let long = "x".repeat(1 << 20);
        for _ in 0..20 {
            log.warn(&long);
        }
        let state = log.lock();
        assert!(state.bytes <= log.bytes_max && state.entries.len() < 20);
        let kept = state.entries.iter().map(|entry| entry.bytes);
        assert_eq!(kept.sum::<usize>(), state.bytes);
        assert!(!state.entries.is_empty());
        drop(state);

        // Short ones are bounded by their number.
        for n in 0..ENTRIES_MAX {
            log.warn(&n.to_string());
        }
        let kept = block_on(log.read(0.0, false));
        let kept = identifiers(&kept);
        assert_eq!(kept.len(), ENTRIES_MAX);
        assert_eq!(kept[0], "[WARN] 0");
    }

    #[test]
    fn a_reader_waits_for_a_minute() {
        let runtime = ThreadRuntime::new();
        runtime.set_speed(1000);
        let log = FunctionLog::new(runtime, 8 << 20);
        let answer = block_on(log.read(5.0, false));
        assert_eq!(answer, json!({"entries": [], "newCursor": 5.0}));
    }
}
