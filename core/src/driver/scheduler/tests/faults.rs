//! Processes that end, storage that fails, clocks that jump, functions that vanish, records that grow old.

use super::*;

#[test]
fn an_action_in_progress_when_the_process_ends_has_failed() {
    let (gate, runs) = (Arc::default(), Arc::new(AtomicU32::new(0)));
    let engine = with_slow_action(engine(), &gate, &runs);
    let process = Process::new(&engine);
    let id = process.ok(
        "jobs:schedule",
        json!({"function": "jobs:slow", "args": {}}),
    );
    until("it runs", || {
        (runs.load(Ordering::SeqCst) == 1).then_some(())
    });
    let process = Process::start(&engine, Cut::never(&process.kill()));
    let state = json!({"kind": "failed", "error": "Transient error while executing action"});
    assert_eq!(process.finished(&id)["state"], state);
    gate.store(1, Ordering::SeqCst);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

/// A process that dies after any number of writes: what had been scheduled happens exactly once.
#[test]
fn a_mutation_happens_once_wherever_the_process_ends() {
    let engine = engine().function(
        "jobs:chain",
        FunctionKind::Mutation,
        async |context, args: Json| {
            let n = args["n"].as_f64().unwrap();
            write_note(context.clone(), json!({"text": n.to_string()})).await?;
            if n < 4.0 {
                context
                    .schedule(Duration::ZERO, "jobs:chain", json!({"n": n + 1.0}))
                    .await?;
            }
            Ok(Json::Null)
        },
    );
    let new = Process::new(&engine);
    let first = json!({"function": "jobs:chain", "args": {"n": 0.0}, "delay": 30.0});
    new.ok("jobs:schedule", first);
    let mut storage = new.kill();
    // Each process gets one step further at most, and some none.
    for writes in [0, 1, 0, 1, 2, 0, 1] {
        let process = Process::start(&engine, Cut::new(&storage, writes, i64::MAX));
        thread::sleep(Duration::from_millis(60));
        storage = process.kill();
    }
    let process = Process::start(&engine, Cut::never(&storage));
    until("the chain ends", || {
        (process.notes().len() >= 5).then_some(())
    });
    thread::sleep(Duration::from_millis(50));
    assert_eq!(process.notes(), ["0", "1", "2", "3", "4"]);
    let jobs = process.query("jobs:all", json!({}));
    assert_eq!(jobs.as_array().unwrap().len(), 5);
    assert!(
        jobs.as_array()
            .unwrap()
            .iter()
            .all(|job| job["state"]["kind"] == "success")
    );
}

#[test]
fn a_job_that_storage_fails_is_tried_again_later() {
    let storage = Process::new(&engine()).kill();
    for failures in [1, 2, 4] {
        let process = Process::start(&engine(), Cut::new(&storage, 1, failures + 1));
        let id = process.ok("jobs:schedule", note(&failures.to_string()));
        assert_eq!(process.finished(&id)["state"], json!({"kind": "success"}));
        assert_eq!(process.notes().last().unwrap(), &failures.to_string());
        process.kill();
    }
}

#[test]
fn the_end_of_an_action_is_stored_when_storage_is_back() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let engine = engine().function("jobs:act", FunctionKind::Action, move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(Json::Null) }
    });
    let storage = Process::new(&engine).kill();
    // It is scheduled, and begins; then storage fails.
    let process = Process::start(&engine, Cut::new(&storage, 2, 3));
    let id = process.ok("jobs:schedule", json!({"function": "jobs:act", "args": {}}));
    assert_eq!(process.finished(&id)["state"], json!({"kind": "success"}));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[test]
fn clocks_that_jump_neither_lose_jobs_nor_hold_them_up() {
    const HOUR: i64 = 3_600_000_000_000;
    let process = Process::new(&engine());
    let mut in_an_hour = note("in an hour");
    in_an_hour["delay"] = json!(3_600_000.0);
    let id = process.ok("jobs:schedule", in_an_hour.clone());
    process.runtime.set_clock_error(2 * HOUR);
    assert_eq!(process.finished(&id)["state"]["kind"], "success");
    // Commits have carried the database's clock ahead; now the wall clock falls behind it.
    process.runtime.set_clock_error(-HOUR);
    let id = process.ok("jobs:schedule", note("at once"));
    assert_eq!(process.finished(&id)["state"]["kind"], "success");
    let mut soon = note("soon");
    soon["delay"] = json!(50.0);
    let id = process.ok("jobs:schedule", soon);
    assert_eq!(process.finished(&id)["state"]["kind"], "success");
    let waiting = process.ok("jobs:schedule", in_an_hour);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(process.job(&waiting)["state"]["kind"], "pending");
}

#[test]
fn what_actions_schedule_waits_out_its_delay_when_the_clock_was_set_back() {
    const HOUR: i64 = 3_600_000_000_000;
    let process = Process::new(&engine());
    process.ok("jobs:schedule", note("at once"));
    // From then on the database's clock is three hours ahead of the wall clock.
    process.runtime.set_clock_error(2 * HOUR);
    process.ok("jobs:schedule", note("at once"));
    process.runtime.set_clock_error(-HOUR);
    let mut in_an_hour = note("in an hour");
    in_an_hour["delay"] = json!(3_600_000.0);
    let waiting = process.action("jobs:scheduleFromAction", in_an_hour);
    let at_once = process.action("jobs:scheduleFromAction", note("at once"));
    assert_eq!(process.finished(&at_once)["state"]["kind"], "success");
    thread::sleep(Duration::from_millis(100));
    assert_eq!(process.job(&waiting)["state"]["kind"], "pending");
    process.runtime.set_clock_error(0);
    assert_eq!(process.finished(&waiting)["state"]["kind"], "success");
}

#[test]
fn a_function_that_a_push_removes_fails_when_it_is_due() {
    let process = Process::new(&engine().function("old:gone", FunctionKind::Mutation, write_note));
    let gone = json!({"function": "old:gone", "args": {"text": "x"}, "delay": 200.0});
    let id = process.ok("jobs:schedule", gone);
    process.push(&engine());
    let state = process.finished(&id)["state"].clone();
    assert_eq!(state["kind"], "failed");
    let error = state["error"].as_str().unwrap();
    assert!(
        error.contains("Could not find function for 'old:gone'"),
        "{error}"
    );
    assert_eq!(process.notes(), [""; 0]);
}

#[test]
fn jobs_are_removed_a_week_after_they_were_finished() {
    let process = Process::new(&engine());
    let ids: Vec<_> = (0..40)
        .map(|n| process.ok("jobs:schedule", note(&n.to_string())))
        .collect();
    for id in &ids {
        process.finished(id);
    }
    let mut waiting = note("waiting");
    waiting["delay"] = json!(30.0 * 24.0 * 3_600_000.0);
    let waiting = process.ok("jobs:schedule", waiting);
    let storage = process.kill();
    let process = Process::start(&engine(), Cut::never(&storage));
    thread::sleep(Duration::from_millis(50));
    assert_eq!(
        (process.count(JOBS), process.count(ENTRIES)),
        (41, 41),
        "it is too early"
    );
    process.runtime.set_clock_error(RETENTION.as_nanos() as i64);
    let process = {
        let storage = process.kill();
        let process = Process::start(&engine(), Cut::never(&storage));
        process
            .runtime
            .set_clock_error(RETENTION.as_nanos() as i64 + 1_000_000_000);
        process
    };
    // The first look may have come before the clock was set.
    process.ok("jobs:schedule", note("moves the database's clock"));
    let process = Process::start(&engine(), Cut::never(&process.kill()));
    until("they are removed", || {
        (process.count(JOBS) == 2).then_some(())
    });
    assert_eq!(process.count(ENTRIES), 2);
    assert_eq!(process.job(&waiting)["state"]["kind"], "pending");
    assert_eq!(process.job(&ids[0]), Json::Null);
    process.ok("jobs:cancel", json!({ "id": ids[0] }));
}
