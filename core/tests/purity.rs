//! The core stays free of I/O, clocks, randomness, threads and runtimes: its dependencies are listed here, and its
//! source names nothing of the kind.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every crate that the core may link, directly or not. None of them blocks, spawns, tells time or draws randomness.
/// Build-time crates (derive macros, version checks) are not listed: they are not linked.
const ALLOWED: &[&str] = &[
    // Text and bytes.
    "base64",
    "itoa",
    "memchr",
    "ryu",
    "zmij",
    "serde",
    "serde_core",
    "serde_json",
    // Checksums, hashes, sealing, compression.
    "crc32fast",
    "cfg-if",
    "sha2",
    "digest",
    "block-buffer",
    "crypto-common",
    "hybrid-array",
    "typenum",
    "cpufeatures",
    "const-oid",
    "libc",
    "generic-array",
    "subtle",
    "lz4_flex",
    "twox-hash",
    "aes-siv",
    "aes",
    "aead",
    "cipher",
    "ctr",
    "inout",
    "cmac",
    "dbl",
    "zeroize",
    "hmac",
    "ctutils",
    "cmov",
    "cpubits",
    "rand_core",
    // Persistent maps.
    "rpds",
    "archery",
    "triomphe",
    "smallvec",
    // Futures without a runtime.
    "futures-channel",
    "futures-core",
    "futures-sink",
    "futures-task",
    "futures-util",
    "pin-project-lite",
    "slab",
    "pin-utils",
    "futures-io",
    // Errors, versions.
    "thiserror",
    "semver",
];

/// What the source must not name. (`std::sync` is fine: a mutex that is held for a moment.)
const FORBIDDEN: &[&str] = &[
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::fs",
    "std::net",
    "std::process",
    "tokio",
    "rand::",
];

fn core() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn links_only_what_is_listed() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "concave-core",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}", "--offline"])
        .current_dir(core())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let linked: BTreeSet<_> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "concave-core")
        .map(str::to_owned)
        .collect();
    assert!(
        linked.contains("serde_json"),
        "the list was read: {linked:?}"
    );
    let unknown: Vec<_> = linked
        .iter()
        .filter(|name| !ALLOWED.contains(&name.as_str()))
        .collect();
    assert!(
        unknown.is_empty(),
        "the core links crates that are not on its list: {unknown:?}"
    );
}

/// Defects can be planted in tests alone: no crate asks for the feature except as a dependency of its tests.
#[test]
fn no_program_has_planted_bugs() {
    let features = |edges: &str| {
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--workspace",
                "--invert",
                "concave-core",
                "--offline",
            ])
            .args(["--edges", edges])
            .current_dir(core())
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let feature = "concave-core feature \"planted-bugs\"";
    assert!(features("features").contains(feature), "tests have it");
    assert!(!features("features,no-dev").contains(feature));
}

#[test]
fn names_nothing_that_blocks_or_tells_time() {
    let mut files = Vec::new();
    collect(&core().join("src"), &mut files);
    assert!(files.len() > 20, "the source was found");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in FORBIDDEN {
                assert!(
                    !code.contains(word),
                    "{}:{}: {word}",
                    file.display(),
                    number + 1
                );
            }
        }
    }
}

/// Source files, without those that only tests compile.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "tests" || name == "testing" || name == "conformance" {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
