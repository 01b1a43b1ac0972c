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

/// A mutation that cancels itself, itself or in a nested call, and notes what came of it.
fn suicidal() -> NativeEngine {
    async fn cancel_itself(context: NativeContext, _: Json) -> Result<Json, Failure> {
        let metadata = context.call("1.0/getRequestMetadata", json!({})).await?;
        let id = metadata["scheduledFunctionId"].clone();
        let seen = get_job(&context, &id).await?["state"]["kind"].clone();
        let canceled = context.cancel(id.as_str().unwrap()).await;
        let canceled = canceled.map_or_else(|error| error.message, |()| "fine".to_owned());
        let still = get_job(&context, &id).await?["state"]["kind"].clone();
        let text = format!("{} {seen} {canceled} {still}", id.as_str().unwrap());
        write_note(context, json!({ "text": text })).await
    }
    engine()
        .function("jobs:suicide", FunctionKind::Mutation, cancel_itself)
        .function("jobs:nested", FunctionKind::Mutation, async |context, _| {
            let call = json!({"udfType": "mutation", "name": "jobs:suicide", "args": {}});
            context.call("1.0/runUdf", call).await
        })
}

#[test]
fn a_mutation_that_cancels_itself_is_warned_and_goes_on() {
    let process = Process::new(&suicidal());
    let mut expected = Vec::new();
    for function in ["jobs:suicide", "jobs:nested"] {
        let id = process.ok("jobs:schedule", json!({"function": function, "args": {}}));
        assert_eq!(process.finished(&id)["state"], json!({"kind": "success"}));
        let id = id.as_str().unwrap();
        expected.push(format!("{id} \"inProgress\" fine \"inProgress\""));
        let warned = |line: &&Json| {
            line["logLines"]
                .to_string()
                .contains("cannot cancel itself")
        };
        // The log comes after the commit.
        until("it is warned", || {
            let logs = block_on(process.backend.stream_function_logs(0.0, true)).unwrap();
            let warned = logs["entries"].as_array()?.iter().filter(warned).count();
            (warned == expected.len()).then_some(())
        });
    }
    assert_eq!(process.notes(), expected);
}

#[test]
fn newer_packages_are_told_that_a_mutation_cannot_cancel_itself() {
    let process = Process::new(&suicidal());
    process.push_with(&suicidal(), "1.50.0");
    let id = process.ok(
        "jobs:schedule",
        json!({"function": "jobs:suicide", "args": {}}),
    );
    assert_eq!(process.finished(&id)["state"], json!({"kind": "success"}));
    let id = id.as_str().unwrap();
    let expected = format!("{id} \"inProgress\" A mutation cannot cancel itself \"inProgress\"");
    assert_eq!(process.notes(), [expected]);
}

/// For an action, and for a mutation that it calls, it is a cancellation like any other.
#[test]
fn an_action_may_cancel_itself() {
    for through in ["", "a mutation"] {
        let engine = engine().function(
            "jobs:stop",
            FunctionKind::Action,
            move |context: NativeContext, _| async move {
                let metadata = context.call("1.0/getRequestMetadata", json!({})).await?;
                let id = metadata["scheduledFunctionId"].clone();
                if through.is_empty() {
                    context.cancel(id.as_str().unwrap()).await?;
                } else {
                    let call = json!({"name": "jobs:cancel", "args": {"id": id}});
                    context.call("1.0/actions/mutation", call).await?;
                }
                let call = json!({"name": "jobs:note", "args": {"text": "went on"}});
                context.call("1.0/actions/mutation", call).await
            },
        );
        let process = Process::new(&engine);
        let id = process.ok(
            "jobs:schedule",
            json!({"function": "jobs:stop", "args": {}}),
        );
        until("it ends", || (process.notes() == ["went on"]).then_some(()));
        thread::sleep(Duration::from_millis(50));
        assert_eq!(process.job(&id)["state"], json!({"kind": "canceled"}));
    }
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
