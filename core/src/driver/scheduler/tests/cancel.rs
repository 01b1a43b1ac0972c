//! Canceling, before and while a job runs.

use super::*;

#[test]
fn canceled_jobs_do_not_run() {
    let process = Process::new(&engine());
    let mut later = note("never");
    later["delay"] = json!(100.0);
    let id = process.ok("jobs:schedule", later);
    process.ok("jobs:cancel", json!({ "id": id }));
    let canceled = process.job(&id);
    assert_eq!(canceled["state"], json!({"kind": "canceled"}));
    assert!(canceled["completedTime"].is_number());
    let done = process.ok("jobs:schedule", note("done"));
    let finished = process.finished(&done);
    process.ok("jobs:cancel", json!({ "id": done }));
    assert_eq!(process.job(&done), finished, "it is too late");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(process.notes(), ["done"]);
    assert_eq!(process.job(&id), canceled);

    let of_a_note = process.query("jobs:notes", json!({}))[0]["_id"].clone();
    for (id, expected) in [
        (
            of_a_note,
            "Invalid scheduled function ID. The ID must be an ID on the '_scheduled_functions' table.",
        ),
        (json!("nonsense"), "Unable to decode ID"),
    ] {
        let error = process.error("jobs:cancel", json!({ "id": id }));
        assert!(error.contains(expected), "{error}");
    }
}

/// Canceling races with running: whichever commits first wins, and then the other does nothing.
#[test]
fn a_job_is_canceled_or_runs_but_never_both() {
    let process = Process::new(&engine());
    let ids: Vec<_> = (0..60)
        .map(|n| {
            let mut job = note(&n.to_string());
            job["delay"] = json!(f64::from(n % 5));
            let id = process.ok("jobs:schedule", job);
            thread::scope(|scope| {
                scope.spawn(|| process.ok("jobs:cancel", json!({ "id": id })));
            });
            id
        })
        .collect();
    let states: Vec<_> = ids
        .iter()
        .map(|id| process.finished(id)["state"]["kind"].clone())
        .collect();
    let ran: Vec<_> = (0..60)
        .filter(|n| states[*n] == "success")
        .map(|n| n.to_string())
        .collect();
    let mut notes = process.notes();
    notes.sort_by_key(|note| note.parse::<u32>().unwrap());
    assert_eq!(notes, ran);
    assert!(
        states
            .iter()
            .all(|state| state == "success" || state == "canceled")
    );
}

#[test]
fn a_mutation_cannot_cancel_itself_and_knows_its_id() {
    let engine = engine().function(
        "jobs:suicide",
        FunctionKind::Mutation,
        async |context, _| {
            let metadata = context.call("1.0/getRequestMetadata", json!({})).await?;
            let id = metadata["scheduledFunctionId"].clone();
            let seen = get_job(&context, &id).await?["state"]["kind"].clone();
            let error = context.cancel(id.as_str().unwrap()).await.unwrap_err();
            let text = format!("{} {seen} {}", id.as_str().unwrap(), error.message);
            write_note(context, json!({ "text": text })).await
        },
    );
    let process = Process::new(&engine);
    let id = process.ok(
        "jobs:schedule",
        json!({"function": "jobs:suicide", "args": {}}),
    );
    assert_eq!(process.finished(&id)["state"], json!({"kind": "success"}));
    let expected = format!(
        "{} \"inProgress\" A mutation cannot cancel itself",
        id.as_str().unwrap()
    );
    assert_eq!(process.notes(), [expected]);
}

#[test]
fn a_canceled_action_goes_on_but_schedules_nothing_more() {
    let (gate, runs) = (Arc::default(), Arc::new(AtomicU32::new(0)));
    let process = Process::new(&with_slow_action(engine(), &gate, &runs));
    let id = process.ok(
        "jobs:schedule",
        json!({"function": "jobs:slow", "args": {}}),
    );
    until("it runs", || {
        (runs.load(Ordering::SeqCst) == 1).then_some(())
    });
    assert_eq!(process.job(&id)["state"]["kind"], "inProgress");
    process.ok("jobs:cancel", json!({ "id": id }));
    gate.store(1, Ordering::SeqCst);
    until("it ends", || (process.notes().len() == 2).then_some(()));
    thread::sleep(Duration::from_millis(100));
    assert_eq!(process.notes(), ["from the action", "canceled"]);
    assert_eq!(process.job(&id)["state"], json!({"kind": "canceled"}));
}
