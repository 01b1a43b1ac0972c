//! Goal: however many programs come and go, and however many calls are killed, memory stays what it is. Method: the
//! process's resident memory before and after many of either, once what is kept in reserve has been made.
#![cfg(feature = "v8")]
#![allow(clippy::unwrap_used)]

use std::thread;
use std::time::Duration;

use concave_core::engine::FunctionKind;

use crate::common::{Options, call, query, run_call};
use crate::start::make;

#[path = "../../javascript/tests/engine/common.rs"]
#[allow(dead_code)]
mod common;
mod start;

/// Resident memory, KiB, once worlds have come to rest: then they have replaced isolates that were ended.
fn resident() -> usize {
    thread::sleep(Duration::from_millis(200));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// Does something many times, and compares the memory after a part of it with that at its end.
fn stays(what: &str, times: usize, mut act: impl FnMut(usize)) {
    (0..times / 2).for_each(&mut act);
    let before = resident();
    (times / 2..times + times / 2).for_each(&mut act);
    let after = resident();
    println!("{what}: {before} KiB, after {times} more {after} KiB");
    assert!(
        after < before + before / 10,
        "{what}: {before} KiB became {after} KiB"
    );
}

// One test, because both look at the same memory.
#[test]
fn memory_stays_what_it_is() {
    let engine = make(Options {
        transaction_slots: 2,
        ..Options::default()
    });
    stays("programs", 100, |n| {
        let body = format!("return [{n}, 'x'.repeat(1000).length]");
        let program = query(&body);
        for _ in 0..3 {
            let call = call(&program, FunctionKind::Query, "a:f", "[{}]");
            let outcome = run_call(&*engine, call, |_, _| panic!("no system calls"));
            assert_eq!(outcome.result.unwrap(), format!("[{n},1000]"));
        }
    });
    let killed = |body: &str, cpu: Duration, why: &'static str| {
        let (engine, program) = (&engine, query(body));
        move |_: usize| {
            let mut call = call(&program, FunctionKind::Query, "a:f", "[{}]");
            call.limits.cpu = cpu;
            let outcome = run_call(&**engine, call, |_, _| panic!("no system calls"));
            let message = outcome.result.unwrap_err().message;
            assert!(message.contains(why), "{message}");
        }
    };
    let endless = "const a = []; for (;;) { a.push({}); a.length %= 1000 }";
    let short = Duration::from_millis(1);
    stays("killed calls", 1000, killed(endless, short, "timed out"));
    let foreign = "const a = []; for (;;) a.push(new Intl.NumberFormat('en'))";
    let longer = Duration::from_millis(100);
    let what = "killed calls with much outside the heap";
    stays(what, 20, killed(foreign, longer, "timed out"));
    let greedy = "const a = []; for (;;) a.push([a.length])";
    let long = Duration::from_secs(30);
    stays(
        "calls out of memory",
        20,
        killed(greedy, long, "out of memory"),
    );
}
