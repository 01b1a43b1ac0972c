//! What an admin does with jobs and tables as a whole.

use super::*;
use crate::driver::JobSelection;
use crate::value::FunctionPath;

impl Process {
    /// A system query or mutation, called by an admin.
    fn system(&self, path: &str, args: Json) -> Json {
        let identity = Identity::Admin {
            read_only: false,
            acting_as: None,
        };
        let admin = Caller {
            identity,
            ..anyone()
        };
        let result = block_on(self.backend.function(&admin, path, args)).unwrap();
        let value = result
            .result
            .unwrap_or_else(|failure| panic!("{}", failure.text));
        value.to_json()
    }

    fn waiting_jobs(&self) -> Vec<Json> {
        let page = json!({"paginationOpts": {"cursor": null, "numItems": 100}});
        let page = self.system("_system/frontend/paginatedScheduledJobs", page);
        page["page"].as_array().unwrap().clone()
    }

    fn schedule_later(&self, text: &str, seconds: f64) -> Json {
        let mut later = note(text);
        later["delay"] = json!(seconds * 1e3);
        self.ok("jobs:schedule", later)
    }
}

#[test]
fn waiting_jobs_are_shown_with_their_arguments() {
    let process = Process::new(&engine());
    let second = process.schedule_later("b", 200.0);
    let first = process.schedule_later("a", 100.0);
    let jobs = process.waiting_jobs();
    let ids: Vec<_> = jobs.iter().map(|job| job["_id"].clone()).collect();
    assert_eq!(ids, [first.clone(), second], "the next one first");
    assert_eq!(jobs[0]["udfPath"], "jobs.js:note");
    assert_eq!(jobs[0]["state"], json!({"type": "pending"}));
    assert_eq!(jobs[0]["completedTs"], Json::Null);
    let args = json!({"argsId": jobs[0]["argsId"]});
    let args = process.system("_system/frontend/scheduler:getArgs", args);
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(args["args"]["$bytes"].as_str().unwrap())
        .unwrap();
    assert_eq!(bytes, br#"[{"text":"a"}]"#);
    let other = json!({"udfPath": "jobs:other", "paginationOpts": {"cursor": null, "numItems": 9}});
    let other = process.system("_system/frontend/paginatedScheduledJobs", other);
    assert_eq!(other["page"], json!([]));

    block_on(process.backend.cancel_job(first.as_str().unwrap())).unwrap();
    assert_eq!(process.job(&first)["state"]["kind"], "canceled");
    assert_eq!(process.waiting_jobs().len(), 1);
    let wrong = block_on(process.backend.cancel_job("nonsense")).unwrap_err();
    assert_eq!(wrong.code, "InvalidArgument");
}

#[test]
fn many_jobs_are_canceled_and_forgotten_at_once() {
    let process = Process::new(&engine());
    let ids: Vec<_> = (0..6)
        .map(|n| process.schedule_later(&n.to_string(), 100.0 + f64::from(n)))
        .collect();
    let due = |at: usize| {
        let job = &process.waiting_jobs()[at];
        let bytes = job["nextTs"]["$integer"].as_str().unwrap().to_owned();
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(bytes)
            .unwrap();
        u64::from_le_bytes(bytes.try_into().unwrap())
    };
    let cancel =
        |selection: JobSelection| block_on(process.backend.cancel_jobs(&selection)).unwrap();
    let of = |path: &str| Some(FunctionPath::parse(path).unwrap());
    assert_eq!(
        cancel(JobSelection {
            function: of("jobs:none"),
            ..JobSelection::default()
        }),
        0
    );
    let some = JobSelection {
        function: of("jobs:note"),
        from: Some(due(1)),
        before: Some(due(3)),
    };
    assert_eq!(cancel(some), 2, "from the first one on, up to the last one");
    let states: Vec<_> = ids
        .iter()
        .map(|id| process.job(id)["state"]["kind"].clone())
        .collect();
    assert_eq!(states[..4], ["pending", "canceled", "canceled", "pending"]);
    assert_eq!(cancel(JobSelection::default()), 4);
    assert!(process.waiting_jobs().is_empty());
    assert_eq!(process.count(JOBS), 6);
    block_on(process.backend.delete_jobs()).unwrap();
    assert_eq!((process.count(JOBS), process.count(ENTRIES)), (0, 0));
    // The scheduler goes on.
    process.finished(&process.ok("jobs:schedule", note("after")));
    assert_eq!(process.notes(), ["after"]);
}

#[test]
fn deleted_tables_are_gone_for_good() {
    let engine = engine();
    let process = Process::new(&engine);
    let id = process.ok("jobs:note", json!({"text": "one"}))["_id"].clone();
    let shape = &block_on(process.backend.shapes()).unwrap()["notes"];
    let names: Vec<_> = shape["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["fieldName"].clone())
        .collect();
    assert_eq!(names, ["_creationTime", "_id", "text"]);
    let id_shape = &shape["fields"][1]["shape"];
    assert_eq!(*id_shape, json!({"type": "Id", "tableName": "notes"}));
    let delete = |process: &Process, names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        block_on(process.backend.delete_tables(&names))
    };
    for wrong in [["notes", "none"], ["notes", "_tables"]] {
        assert_eq!(
            delete(&process, &wrong).unwrap_err().code,
            "InvalidTableName"
        );
    }
    assert_eq!(process.notes(), ["one"], "all or none");
    delete(&process, &["notes"]).unwrap();
    assert_eq!(
        delete(&process, &["notes"]).unwrap_err().code,
        "InvalidTableName"
    );
    assert!(process.notes().is_empty());
    let get = |process: &Process| process.system("_system/frontend/getById", json!({"id": id}));
    assert_eq!(get(&process), Json::Null);

    // Not even after a restart does a new table get the number of the old one.
    let process = Process::start(&engine, Cut::never(&process.kill()));
    process.ok("jobs:note", json!({"text": "two"}));
    assert_eq!(process.notes(), ["two"]);
    assert_eq!(get(&process), Json::Null);

    // More documents than one transaction deletes.
    let documents = Json::Array(vec![json!({"text": "x"}); 4096]);
    let add = json!({"table": "notes", "documents": documents});
    process.system("_system/frontend/addDocument", add);
    delete(&process, &["notes"]).unwrap();
    assert!(process.notes().is_empty());
    assert_eq!(
        block_on(process.backend.shapes()).unwrap().get("notes"),
        None
    );
    assert_eq!(process.backend.indexes(), json!({"indexes": []}));
}
