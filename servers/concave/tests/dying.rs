//! How the program ends: on a defect and when it is told to.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

const SECRET: &str = "5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f";
const PATIENCE: Duration = Duration::from_secs(20);

/// The program, serving the data in a folder.
struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_concave"));
    command
        .args(args)
        .args(["--instance-name", "test", "--instance-secret", SECRET]);
    command
}

fn admin_key() -> String {
    let output = command(&["admin-key"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Server {
    fn start(folder: &Path) -> Self {
        let persistence = format!("sqlite://{}", folder.join("data.sqlite3").display());
        let mut process = command(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--site-listen",
            "127.0.0.1:0",
        ])
        .args(["--persistence", &persistence])
        .env("CONCAVE_PANIC_FILE", folder.join("panic"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, address)) = line.split_once("http://") {
                break address.trim().to_owned();
            }
        };
        // What it prints later has to go somewhere.
        std::thread::spawn(move || lines.count());
        Self { process, address }
    }

    /// Sends a request. Gives the status and the body, or nothing if the server is gone.
    fn request(&self, method: &str, path: &str, key: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Convex {key}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// Stores a variable. Gives whether that was acknowledged.
    fn store(&self, key: &str, number: usize) -> bool {
        let change =
            json!({"changes": [{"name": format!("V{number}"), "value": number.to_string()}]});
        let path = "/api/update_environment_variables";
        let answer = self.request("POST", path, key, &change.to_string());
        answer.is_some_and(|(status, _)| status == 200)
    }

    fn stored(&self, key: &str) -> Json {
        let (_, body) = self
            .request("GET", "/api/list_environment_variables", key, "")
            .unwrap();
        serde_json::from_str::<Json>(&body).unwrap()["environmentVariables"].take()
    }

    /// Waits for the end of the process. Gives how it ended, and what it said last.
    fn ended(&mut self) -> (ExitStatus, String) {
        let begun = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "the process goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut said = String::new();
        let mut stderr = self.process.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (self.process.wait().unwrap(), said)
    }
}

/// Stores variables until that is refused, and meanwhile does `end`. Gives how many were acknowledged.
fn store_until(server: &Server, key: &str, end: impl FnOnce() + Send) -> usize {
    let has_begun = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !has_begun.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            end();
        });
        let mut acknowledged = 0;
        while server.store(key, acknowledged) {
            acknowledged += 1;
            has_begun.store(acknowledged >= 10, Ordering::Relaxed);
        }
        has_begun.store(true, Ordering::Relaxed);
        acknowledged
    })
}

#[test]
fn a_panic_in_a_task_ends_the_process_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let key = admin_key();
    let mut server = Server::start(folder.path());
    let trigger = folder.path().join("panic");
    let acknowledged = store_until(&server, &key, || std::fs::write(&trigger, "").unwrap());
    assert!(acknowledged >= 10);
    let (status, said) = server.ended();
    assert_eq!(status.code(), Some(101), "{said}");
    assert!(said.contains("panicked at"), "{said}");
    assert!(said.contains("this is a defect of Concave"), "{said}");
    std::fs::remove_file(trigger).unwrap();
    // As a supervisor would.
    let server = Server::start(folder.path());
    let stored = server.stored(&key);
    for number in 0..acknowledged {
        assert_eq!(stored[format!("V{number}")], number.to_string());
    }
}

#[test]
fn a_server_that_is_told_to_stop_does_so_in_time_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let key = admin_key();
    let mut server = Server::start(folder.path());
    // One that would wait for a minute, one that never says what it wants, and one that does not end what it says.
    let address = server.address.clone();
    let open = |head: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let logs = "GET /api/stream_function_logs?cursor=1e300 HTTP/1.1\r\nhost: x\r\n";
    let _idle = [
        open(&format!("{logs}authorization: Convex {key}\r\n\r\n")),
        open(""),
        open(
            "POST /api/query HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
        ),
    ];
    let pid = rustix::process::Pid::from_child(&server.process);
    let begun = std::sync::OnceLock::new();
    let acknowledged = store_until(&server, &key, || {
        begun.set(Instant::now()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    });
    let (status, said) = server.ended();
    let took = begun.get().unwrap().elapsed();
    assert!(status.success(), "{said}");
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    let server = Server::start(folder.path());
    let stored = server.stored(&key);
    for number in 0..acknowledged {
        assert_eq!(stored[format!("V{number}")], number.to_string());
    }
}
