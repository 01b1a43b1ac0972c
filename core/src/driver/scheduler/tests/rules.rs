//! What scheduling promises when nothing goes wrong.

use super::*;

#[test]
fn a_job_runs_when_it_is_due_and_leaves_its_record() {
    let process = Process::new(&engine());
    let before = process.millis();
    let mut later = note("later");
    later["delay"] = json!(150.0);
    let (later, at_once) = (
        process.ok("jobs:schedule", later),
        process.ok("jobs:schedule", note("now")),
    );
    let job = process.job(&later);
    assert_eq!(job["state"], json!({"kind": "pending"}));
    assert_eq!(job["name"], "jobs.js:note");
    assert_eq!(job["args"], json!([{"text": "later"}]));
    assert_eq!(job.get("completedTime"), None);
    assert_eq!(
        process.finished(&at_once)["state"],
        json!({"kind": "success"})
    );
    assert_eq!(process.job(&later)["state"]["kind"], "pending");
    let done = process.finished(&later);
    assert_eq!(done["state"], json!({"kind": "success"}));
    let (scheduled, completed) = (&done["scheduledTime"], &done["completedTime"]);
    assert!(completed.as_f64() >= scheduled.as_f64());
    assert!(
        scheduled.as_f64().unwrap() >= before + 150.0 - 0.001,
        "{scheduled} {before}"
    );
    assert_eq!(process.notes(), ["now", "later"]);
    let listed = process.query("jobs:all", json!({}));
    assert_eq!(listed.as_array().unwrap().len(), 2);
    // What functions see is all that there is in the record.
    let fields: Vec<_> = done.as_object().unwrap().keys().cloned().collect();
    let expected = [
        "_creationTime",
        "_id",
        "args",
        "completedTime",
        "name",
        "scheduledTime",
        "state",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn a_mutation_that_fails_schedules_and_cancels_nothing() {
    let engine = engine().function(
        "jobs:cancelAndThrow",
        FunctionKind::Mutation,
        async |context, args: Json| {
            context.cancel(args["id"].as_str().unwrap()).await?;
            Err(Failure::new("Uncaught Error: on purpose"))
        },
    );
    let process = Process::new(&engine);
    process.error("jobs:throws", json!({"text": "never"}));
    assert_eq!(process.count(JOBS), 0);
    assert_eq!(process.count(ENTRIES), 0);
    let mut kept = note("kept");
    kept["delay"] = json!(100.0);
    let id = process.ok("jobs:schedule", kept);
    process.error("jobs:cancelAndThrow", json!({ "id": id }));
    assert_eq!(process.finished(&id)["state"]["kind"], "success");
    assert_eq!(process.notes(), ["kept"]);
}

#[test]
fn a_job_that_throws_has_failed_and_leaves_nothing_else() {
    let process = Process::new(&engine());
    let id = process.ok(
        "jobs:schedule",
        json!({"function": "jobs:throws", "args": {"text": "x"}}),
    );
    let state = json!({"kind": "failed", "error": "Uncaught Error: on purpose"});
    assert_eq!(process.finished(&id)["state"], state);
    assert_eq!(process.notes(), [""; 0]);
    assert_eq!(process.count(JOBS), 1, "its own job was not scheduled");
    let entry = until("its run is in the log", || {
        let log = block_on(process.backend.stream_function_logs(0.0, false)).unwrap();
        let mut entries = log["entries"].as_array().unwrap().iter();
        entries
            .find(|entry| entry["identifier"] == "jobs:throws")
            .cloned()
    });
    assert_eq!(entry["caller"], "Scheduler");
    assert!(entry["error"].as_str().unwrap().contains("on purpose"));
}

#[test]
fn what_cannot_be_run_fails_with_the_reason() {
    let process = Process::new(&engine());
    let id = process.ok(
        "jobs:schedule",
        json!({"function": "jobs:notes", "args": {}}),
    );
    let error = "jobs.js:notes is a query. Only mutations and actions can be scheduled.";
    assert_eq!(
        process.finished(&id)["state"],
        json!({"kind": "failed", "error": error})
    );
    let missing = process.error(
        "jobs:schedule",
        json!({"function": "jobs:gone", "args": {}}),
    );
    assert!(
        missing.contains("no exported function gone found in the file: jobs.js"),
        "{missing}"
    );
    let missing = process.error(
        "jobs:schedule",
        json!({"function": "gone:gone", "args": {}}),
    );
    assert!(missing.contains("nonexistent path: gone.js"), "{missing}");
    for (ts, expected) in [
        (json!("soon"), "`ts`"),
        (json!(-1.0), "not a time"),
        (json!(1e300), "not a time"),
        (json!(1.0), "more than 5 years in the past"),
        (json!(1e11), "more than 5 years in the future"),
    ] {
        let args = json!({"name": "jobs:note", "ts": ts, "args": {}});
        let error = process.error("raw:call", json!({"op": "1.0/schedule", "args": args}));
        assert!(error.contains(expected), "{ts}: {error}");
    }
}

#[test]
fn actions_run_and_schedule() {
    let (gate, runs) = (Arc::new(AtomicU32::new(1)), Arc::default());
    let process = Process::new(&with_slow_action(engine(), &gate, &runs));
    let id = process.action(
        "jobs:scheduleFromAction",
        json!({"function": "jobs:slow", "args": {}}),
    );
    assert_eq!(process.finished(&id)["state"], json!({"kind": "success"}));
    until("the child has run", || {
        process.notes().contains(&"child".to_owned()).then_some(())
    });
    assert_eq!(process.notes()[0], "from the action");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[test]
fn many_jobs_run_a_few_at_once_in_order_each_once() {
    let (active, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let seen = most.clone();
    let engine = engine()
        .function(
            "jobs:crowd",
            FunctionKind::Action,
            move |context: NativeContext, args: Json| {
                let (active, most) = (active.clone(), seen.clone());
                async move {
                    most.fetch_max(active.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    context.call(host_op::SLEEP, json!({"ms": 3})).await?;
                    active.fetch_sub(1, Ordering::SeqCst);
                    context
                        .call(
                            "1.0/actions/mutation",
                            json!({"name": "jobs:note", "args": args}),
                        )
                        .await
                }
            },
        )
        .function(
            "jobs:scheduleMany",
            FunctionKind::Mutation,
            async |context, args: Json| {
                for n in 0..args["count"].as_f64().unwrap() as u32 {
                    let function = args["function"].as_str().unwrap();
                    context
                        .schedule(Duration::ZERO, function, json!({"text": n.to_string()}))
                        .await?;
                }
                Ok(Json::Null)
            },
        );
    let process = Process::new(&engine);
    for function in ["jobs:note", "jobs:crowd"] {
        let before = process.notes().len();
        process.ok(
            "jobs:scheduleMany",
            json!({"function": function, "count": 150.0}),
        );
        until("all have run", || {
            (process.notes().len() >= before + 150).then_some(())
        });
        let mut notes: Vec<u32> = process.notes()[before..]
            .iter()
            .map(|note| note.parse().unwrap())
            .collect();
        // Of those that run at once each may be held up for any time; the others go in order.
        let far = notes
            .iter()
            .enumerate()
            .filter(|(place, note)| place.abs_diff(**note as usize) >= 16);
        assert!(far.count() < 8, "{notes:?}");
        notes.sort_unstable();
        assert_eq!(notes, (0..150).collect::<Vec<_>>());
    }
    assert_eq!(most.load(Ordering::SeqCst), 8);
    let error = process.error(
        "jobs:scheduleMany",
        json!({"function": "jobs:note", "count": 1001.0}),
    );
    assert!(
        error.contains("Too many functions scheduled by this mutation (limit: 1000)"),
        "{error}"
    );
}

#[test]
fn functions_read_jobs_but_do_not_write_them() {
    let process = Process::new(&engine());
    let id = process.ok("jobs:schedule", note("x"));
    let insert = |table: &str| {
        let args = json!({"table": table, "value": {}});
        process.error("raw:call", json!({"op": "1.0/insert", "args": args}))
    };
    assert!(insert(JOBS).contains("read-only"));
    for table in [
        ENTRIES,
        "_session_requests",
        "_environment_variables",
        "_tables",
    ] {
        let error = insert(table);
        assert!(error.contains("reserved"), "{table}: {error}");
    }
    let delete = json!({"op": "1.0/remove", "args": {"id": id}});
    let error = process.error("raw:call", delete);
    assert!(
        error.contains("System tables can only be accessed with db.system."),
        "{error}"
    );
}
