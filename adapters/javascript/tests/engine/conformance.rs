//! The web platform's suite, on worlds restored from images.

use std::sync::Arc;
use std::time::Duration;

use concave_core::engine::FunctionKind;
use concave_javascript::conformance::{Answer, EvalEngine, Evaluated, run};
use concave_javascript::{HostInputs, Phase};

use super::common::{call, engine, functions, program, run_call};

struct Engine;

impl EvalEngine for Engine {
    fn eval(&self, inputs: HostInputs, script: &str, answer: Answer<'_>) -> Evaluated {
        let (kind, source) = match inputs.phase {
            Phase::Query => (FunctionKind::Query, functions(&[("f", script)])),
            Phase::Mutation => (FunctionKind::Mutation, functions(&[("f", script)])),
            Phase::Action => (FunctionKind::Action, functions(&[("f", script)])),
            Phase::Import => (
                FunctionKind::Query,
                format!(
                    "const result = (() => {{ {script} }})();\n{}",
                    functions(&[("f", "return result")])
                ),
            ),
        };
        let mut program = (*program(&[("a.js", &source)])).clone();
        program.environment_variables = (*inputs.env).clone();
        program.import_seed = inputs.seed;
        program.import_time = inputs.now;
        let mut call = call(&Arc::new(program), kind, "a:f", "[{}]");
        call.now = inputs.now;
        call.seed = inputs.seed;
        call.limits.cpu = Duration::from_secs(60);
        let outcome = run_call(&*engine(), call, answer);
        Evaluated {
            result: outcome
                .result
                .map(|text| serde_json::from_str(&text).unwrap())
                .map_err(|failure| failure.to_string()),
            logs: outcome.logs,
            observed: outcome.observed,
        }
    }
}

#[test]
fn the_platform_behaves() {
    run(&Engine);
}
