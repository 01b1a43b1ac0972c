//! All that npm `convex` exports for use inside of functions: it works, or says why not.

use concave_core::engine::{FunctionKind, SystemError, SystemResult};
use concave_javascript::conformance::http_answer;
use serde_json::{Value as Json, json};

use super::common::{bundle, call, engine, run_call};

/// A deployment that answers every call with the URL, unless it is the one that fails.
fn answer(op: &str, args: &str) -> SystemResult {
    if op != "host/fetch" {
        return Ok(json!(format!("answer of {op}")).to_string());
    }
    let request: Json =
        serde_json::from_str(args).map_err(|error| SystemError::new(error.to_string()))?;
    let url = request["url"].as_str().unwrap();
    let body = match url.contains("fails") {
        true => json!({ "status": "error", "errorMessage": "no", "logLines": [] }),
        false => {
            json!({ "status": "success", "value": format!("answer of {url}"), "logLines": [] })
        }
    };
    Ok(http_answer(200, json!([]), &body.to_string(), url))
}

/// Goal: no export of the package is broken here, or new and unknown. Method: `tests/app/walk.ts` uses each, and gives
/// what differs from what the package does elsewhere.
#[test]
fn all_exports_work_or_say_why_not() {
    for (walk, kind) in [
        ("walk:valuesWalk", FunctionKind::Query),
        ("walk:serverWalk", FunctionKind::Query),
        ("walk:browserWalk", FunctionKind::Action),
    ] {
        let outcome = run_call(&*engine(), call(&bundle(), kind, walk, "[{}]"), answer);
        let wrong: Vec<String> = serde_json::from_str(&outcome.result.unwrap()).unwrap();
        assert!(wrong.is_empty(), "{walk}: {wrong:#?}");
    }
}
