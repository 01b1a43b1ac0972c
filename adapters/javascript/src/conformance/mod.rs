//! The web platform's contract as a suite of JavaScript tests that every engine passes.
//!
//! Goal: the same observable behaviour of the prelude on every engine. Method: each file in `js/tests/` registers
//! tests with the functions of `js/tests/harness.js`; it runs in a fresh world, asynchronous system calls are answered
//! here, and each failed test is reported by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use concave_core::Timestamp;
use concave_core::engine::{LogLine, Observed, SystemError, SystemResult};
use serde_json::{Value as Json, json};

use crate::{HostInputs, Phase};

mod app;
#[cfg(test)]
mod quickjs;

pub use app::bundled_app;

/// Answers asynchronous system calls: operation and arguments.
pub type Answer<'a> = &'a mut dyn FnMut(&str, &str) -> SystemResult;

/// An engine that can run a script in a fresh world.
pub trait EvalEngine {
    /// Evaluates the prelude and then the script, the body of a function that returns a promise of a string; runs until
    /// the promise is settled or nothing is left to do.
    fn eval(&self, inputs: HostInputs, script: &str, answer: Answer<'_>) -> Evaluated;
}

/// What a script did.
#[derive(Debug)]
pub struct Evaluated {
    /// What the promise resolved to, or the text of the error.
    pub result: Result<String, String>,
    /// Lines printed.
    pub logs: Vec<LogLine>,
    /// Inputs looked at.
    pub observed: Observed,
}

const HARNESS: &str = include_str!("../../js/tests/harness.js");

macro_rules! suites {
    ($($name:literal: $phase:ident),* $(,)?) => {
        &[$(($name, Phase::$phase, include_str!(concat!("../../js/tests/", $name, ".js")))),*]
    };
}

/// Name, phase to run in, source.
const SUITES: &[(&str, Phase, &str)] = suites! {
    "async_context": Action,
    "bodies": Action,
    "clone": Query,
    "console": Query,
    "crypto": Action,
    "crypto_in_queries": Query,
    "deterministic": Query,
    "encoding": Query,
    "events": Action,
    "fetch": Action,
    "import": Import,
    "messages": Query,
    "streams": Query,
    "time": Action,
    "url": Query,
};

/// The inputs that tests run with.
pub fn inputs(phase: Phase) -> HostInputs {
    let env = [("GREETING", "hello"), ("EMPTY", "")];
    HostInputs {
        phase,
        now: Timestamp(1_700_000_000_123_456_789),
        seed: [7; 32],
        env: Arc::new(
            env.map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        ),
        env_must_exist: false,
        elapsed: None,
    }
}

/// A source map that maps every place of a source to the same place of `file`.
pub fn identity_map(file: &str, source: &str) -> String {
    let mut builder = sourcemap::SourceMapBuilder::new(None);
    for (line, text) in (0..).zip(source.lines()) {
        for column in 0..=u32::try_from(text.encode_utf16().count()).expect("tests are short") {
            builder.add(line, column, line, column, Some(file), None, false);
        }
    }
    let mut map = Vec::new();
    builder
        .into_sourcemap()
        .to_writer(&mut map)
        .expect("a vector takes everything");
    String::from_utf8(map).expect("maps are JSON")
}

/// Runs all suites.
///
/// # Panics
/// If a test fails, naming all that do.
pub fn run(engine: &dyn EvalEngine) {
    let mut failures = Vec::new();
    for (name, phase, source) in SUITES {
        failures.extend(
            run_suite(engine, *phase, source)
                .into_iter()
                .map(|failure| format!("{name}: {failure}")),
        );
    }
    failures.extend(compare_inspection(engine));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Compares console lines with what npm object-inspect printed (see `js/tests/inspect_record.cjs`).
fn compare_inspection(engine: &dyn EvalEngine) -> Vec<String> {
    let cases: Vec<(String, String)> =
        serde_json::from_str(include_str!("../../js/tests/inspect.json"))
            .expect("the recording is an array of pairs");
    let mut script = "return (async () => {\n".to_owned();
    for (expression, _) in &cases {
        script.push_str(&format!("console.log(({expression}));\n"));
    }
    script.push_str("return ''; })()");
    let evaluated = engine.eval(inputs(Phase::Query), &script, &mut answer);
    let mut failures: Vec<String> = evaluated.result.err().into_iter().collect();
    for (index, (expression, expected)) in cases.iter().enumerate() {
        let found = evaluated.logs.get(index).map(|line| line.messages.concat());
        if found.as_ref() != Some(expected) {
            failures.push(format!(
                "console.log({expression}): {found:?}, expected {expected:?}"
            ));
        }
    }
    failures
}

fn run_suite(engine: &dyn EvalEngine, phase: Phase, source: &str) -> Vec<String> {
    let script = format!("{HARNESS}\n(() => {{\n{source}\n}})();\nreturn harness.run();");
    let evaluated = engine.eval(inputs(phase), &script, &mut answer);
    let report = match evaluated.result {
        Ok(report) => report,
        Err(error) => return vec![error],
    };
    // The report maps each test to its error, or to null.
    match serde_json::from_str::<BTreeMap<String, Option<String>>>(&report) {
        Ok(tests) if tests.is_empty() => vec!["no tests".to_owned()],
        Ok(tests) => tests
            .into_iter()
            .filter_map(|(test, error)| error.map(|error| format!("{test}: {error}")))
            .collect(),
        Err(error) => vec![format!("{error}: {report}")],
    }
}

/// A small world: sleeping takes no time, and the network holds what `js/tests/fetch.js` says.
fn answer(op: &str, args: &str) -> SystemResult {
    match op {
        "host/sleep" => Ok("null".to_owned()),
        "host/fetch" => serde_json::from_str(args)
            .map_err(|error| SystemError::new(error.to_string()))
            .and_then(exchange),
        _ => Err(SystemError::new(format!("no such operation: {op}"))),
    }
}

/// The answer of a server to `host/fetch`.
pub fn http_answer(status: u16, headers: Json, body: &str, url: &str) -> String {
    json!({
        "status": status, "statusText": "Text", "headers": headers, "body": STANDARD.encode(body), "url": url,
    })
    .to_string()
}

/// A host whose paths are `/echo` (answers with the request as JSON), `/redirect/<status>/<location>`, `/empty`; other
/// hosts do not exist.
fn exchange(request: Json) -> SystemResult {
    let url = request["url"].as_str().unwrap_or_default();
    let path = ["http://here/", "https://there/"]
        .iter()
        .find_map(|origin| url.strip_prefix(origin))
        .ok_or_else(|| SystemError::new(format!("cannot connect to {url}")))?;
    let answer = |status, headers, body: &str| Ok(http_answer(status, headers, body, url));
    let mut segments = path.splitn(3, '/');
    match (segments.next(), segments.next(), segments.next()) {
        (Some("redirect"), Some(status), Some(location)) => {
            let status = status.parse().unwrap_or(302);
            answer(status, json!([["location", location]]), "")
        }
        (Some("empty"), ..) => answer(204, json!([]), ""),
        _ => {
            let headers = json!([
                ["content-type", "application/json"],
                ["set-cookie", "a=1"],
                ["set-cookie", "b=2"]
            ]);
            answer(200, headers, &request.to_string())
        }
    }
}
