//! What functions may not do, whatever they catch.

use concave_core::engine::{FunctionKind, LogLevel};

use super::common::{eval, query, run};

#[test]
fn waiting_ends_queries_and_mutations_whatever_they_catch() {
    for (body, what) in [
        (
            "try { setTimeout(() => {}, 0) } catch {} return 1",
            "setTimeout",
        ),
        (
            "try { setInterval(() => {}, 1) } catch {} return 1",
            "setInterval",
        ),
        (
            "try { AbortSignal.timeout(1) } catch {} return 1",
            "setTimeout",
        ),
        (
            "Promise.reject = () => {}; Promise.prototype.then = () => {}; setTimeout(() => {}); return 1",
            "setTimeout",
        ),
    ] {
        let program = query(body);
        for kind in [FunctionKind::Query, FunctionKind::Mutation] {
            let failure = run(&program, kind, "a:f", "[{}]").result.unwrap_err();
            assert_eq!(
                failure.message,
                format!(
                    "Uncaught Error: Can't use {what} in queries and mutations. Please consider using an action. \
                     See https://docs.convex.dev/functions/actions for more details."
                ),
                "{body}"
            );
            assert!(!failure.frames.is_empty(), "{body}");
        }
    }
}

#[test]
fn what_queries_may_not_use_is_an_error_where_it_is_used() {
    for (code, what) in [
        ("await fetch('https://x.y')", "fetch()"),
        (
            "crypto.subtle.generateKey({ name: 'AES-GCM', length: 128 }, true, ['encrypt'])",
            "cryptographic randomness",
        ),
    ] {
        let message = eval(&format!(
            "try {{ await {code} }} catch (error) {{ return error.message }}"
        ));
        let expected = format!("Can't use {what} in queries and mutations.");
        assert!(
            message
                .as_ref()
                .is_ok_and(|message| message.contains(&expected)),
            "{code}: {message:?}"
        );
        let message = eval(&format!("await {code}")).unwrap_err();
        assert!(
            message.starts_with(&format!("Uncaught Error: {expected}")),
            "{message}"
        );
    }
}

#[test]
fn code_is_not_made_of_strings() {
    for code in [
        "eval('1')",
        "(0, eval)('1')",
        "new Function('return 1')()",
        "Function('return 1')()",
        "(() => {}).constructor('return 1')()",
        "(async () => {}).constructor('return 1')()",
        "(function* () {}).constructor('return 1')()",
        "(async function* () {}).constructor('return 1')()",
        "Reflect.construct(Object.getPrototypeOf((async () => {}).constructor), ['return 1'])()",
        "class F extends Function {}; new F('return 1')()",
    ] {
        let body =
            format!("try {{ {code}; return 'ran' }} catch (error) {{ return `${{error}}` }}");
        assert_eq!(
            eval(&body).unwrap(),
            "\"EvalError: Code generation from strings disallowed for this context\"",
            "{code}"
        );
    }
    // Nothing else about functions changes.
    assert_eq!(
        eval(
            "const f = () => {}; return [f instanceof Function, f.constructor === Function, typeof Function, \
             Function.name, Function.length, eval(5), Object.getPrototypeOf(f) === Function.prototype, \
             (async () => {}).constructor.name, Object.getPrototypeOf((async () => {}).constructor) === Function]"
        )
        .unwrap(),
        r#"[true,true,"function","Function",1,5,true,"AsyncFunction",true]"#
    );
}

#[test]
fn a_function_prints_256_lines_at_most() {
    let lines = |count: u32| {
        let body = format!("for (let i = 0; i < {count}; i++) console.log(i)");
        run(&query(&body), FunctionKind::Query, "a:f", "[{}]").logs
    };
    assert_eq!(lines(255).last().unwrap().to_string(), "[LOG] 254");
    for count in [256, 300] {
        let logs = lines(count);
        assert_eq!(logs.len(), 256);
        assert_eq!(logs[254].to_string(), "[LOG] 254");
        assert_eq!(
            (logs[255].level, logs[255].to_string().as_str()),
            (
                LogLevel::Error,
                "[ERROR] Log overflow (maximum 256). Remaining log lines omitted."
            )
        );
    }
}
