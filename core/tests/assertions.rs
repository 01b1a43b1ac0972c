//! In the code that decides what is committed, what has changed and what a client is told, there is at least one
//! assertion of an invariant for each function. They stay on in release builds unless they cost more than a glance.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

/// The code, by subject.
const SUBJECTS: &[(&str, &[&str])] = &[
    ("committer", &["commit/mod.rs", "commit/write_log.rs"]),
    (
        "transaction",
        &[
            "transaction/mod.rs",
            "transaction/read_set.rs",
            "transaction/scan.rs",
            "transaction/usage.rs",
            "transaction/write_set.rs",
        ],
    ),
    (
        "subscription",
        &[
            "subscription/mod.rs",
            "subscription/interval_tree.rs",
            "driver/subscription.rs",
        ],
    ),
    (
        "session",
        &[
            "sync/session.rs",
            "sync/transitions.rs",
            "sync/query_set.rs",
            "sync/requests.rs",
            "sync/outbox.rs",
            "sync/liveness.rs",
            "driver/session/mod.rs",
            "driver/session/outbound.rs",
        ],
    ),
];

#[test]
fn there_are_as_many_assertions_as_functions() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (subject, files) in SUBJECTS {
        let (mut functions, mut assertions) = (0, 0);
        for file in *files {
            let text = fs::read_to_string(source.join(file)).unwrap();
            // Tests come last in a file.
            let code = text.split("\nmod tests").next().unwrap();
            for line in code.lines().map(str::trim_start) {
                let is_comment = line.starts_with("//");
                let words: Vec<_> = line.split_whitespace().take(4).collect();
                if !is_comment && words.contains(&"fn") {
                    functions += 1;
                }
                let asserts = ["assert!(", "assert_eq!(", "assert_ne!(", "unreachable!("];
                let asserts = asserts.iter().any(|name| line.contains(name));
                if !is_comment && (asserts || line.contains(".expect(")) {
                    assertions += 1;
                }
            }
        }
        println!("{subject}: {assertions} assertions, {functions} functions");
        assert!(
            assertions >= functions,
            "{subject}: {assertions} assertions in {functions} functions"
        );
    }
}
