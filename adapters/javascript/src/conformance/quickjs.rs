//! The suite on a plain QuickJS, without heap images or limits, and tests that look at the outcome from outside.

use std::cell::RefCell;
use std::rc::Rc;

use concave_core::engine::SystemResult;
use rquickjs::function::{Func, Rest};
use rquickjs::{
    ArrayBuffer, CatchResultExt, Context, Ctx, Exception, Function, Object, Persistent, Promise,
    Runtime, Value,
};

use super::{Answer, EvalEngine, Evaluated, inputs, run};
use crate::{HostError, HostInputs, HostState, HostValue, Phase, prelude};

struct QuickJs;

/// An asynchronous call that waits for its answer.
struct Pending {
    op: String,
    args: String,
    resolve: Persistent<Function<'static>>,
    reject: Persistent<Function<'static>>,
}

#[derive(Default)]
struct Shared {
    host: Option<HostState>,
    fatal: Option<String>,
    pending: Vec<Pending>,
}

impl EvalEngine for QuickJs {
    fn eval(&self, inputs: HostInputs, script: &str, answer: Answer<'_>) -> Evaluated {
        let runtime = Runtime::new().unwrap();
        let context = Context::full(&runtime).unwrap();
        let shared = Rc::new(RefCell::new(Shared {
            host: Some(HostState::new(inputs)),
            ..Shared::default()
        }));
        let mut result = context.with(|ctx| {
            install(&ctx, &shared);
            for (name, source) in prelude() {
                if let Err(error) = ctx.eval::<(), _>(*source).catch(&ctx) {
                    return Err(format!("{name}: {error}"));
                }
            }
            drive(&ctx, &shared, script, answer)
                .catch(&ctx)
                .map_err(|error| error.to_string())
        });
        let mut shared = shared.borrow_mut();
        shared.pending.clear();
        if let Some(fatal) = shared.fatal.take() {
            result = Err(fatal);
        }
        let mut host = shared.host.take().unwrap();
        Evaluated {
            result,
            logs: host.take_logs(),
            observed: host.observed(),
        }
    }
}

fn install(ctx: &Ctx<'_>, shared: &Rc<RefCell<Shared>>) {
    let host = shared.clone();
    let call = move |ctx: Ctx<'_>, op: String, args: Rest<Value<'_>>| -> rquickjs::Result<Out> {
        let args: Vec<HostValue> = args.0.into_iter().map(to_host).collect();
        let mut host = host.borrow_mut();
        let result = host.host.as_mut().unwrap().call(&op, &args);
        result.map(Out).map_err(|error| {
            if error.fatal {
                host.fatal = Some(error.message.clone());
            }
            throw(&ctx, &error)
        })
    };
    let queue = shared.clone();
    let issue = move |ctx: Ctx<'_>,
                      op: String,
                      args: String|
          -> rquickjs::Result<Persistent<Promise<'static>>> {
        let (promise, resolve, reject) = ctx.promise()?;
        queue.borrow_mut().pending.push(Pending {
            op,
            args,
            resolve: Persistent::save(&ctx, resolve),
            reject: Persistent::save(&ctx, reject),
        });
        Ok(Persistent::save(&ctx, promise))
    };
    let sync = |op: String, _args: String| -> String { format!("{{\"op\":{op:?}}}") };
    let globals = ctx.globals();
    globals.set("__host", Func::new(call)).unwrap();
    globals.set("__asyncHost", Func::new(issue)).unwrap();
    globals.set("__syncHost", Func::new(sync)).unwrap();
}

fn drive<'js>(
    ctx: &Ctx<'js>,
    shared: &Rc<RefCell<Shared>>,
    script: &str,
    answer: Answer<'_>,
) -> rquickjs::Result<String> {
    let promise: Promise<'js> = ctx.eval(format!("(() => {{ {script}\n}})()"))?;
    loop {
        while ctx.execute_pending_job() {}
        if let Some(result) = promise.result::<String>() {
            return result;
        }
        if shared.borrow().pending.is_empty() {
            return Err(Exception::throw_message(
                ctx,
                "the promise will never settle",
            ));
        }
        let next = shared.borrow_mut().pending.remove(0);
        let result: SystemResult = answer(&next.op, &next.args);
        match result {
            Ok(text) => next.resolve.restore(ctx)?.call::<_, ()>((text,))?,
            Err(error) => {
                let exception = Exception::from_message(ctx.clone(), &error.message)?;
                next.reject.restore(ctx)?.call::<_, ()>((exception,))?;
            }
        }
    }
}

fn to_host(value: Value<'_>) -> HostValue {
    if value.is_undefined() {
        HostValue::Undefined
    } else if value.is_null() {
        HostValue::Null
    } else if let Some(value) = value.as_bool() {
        HostValue::Bool(value)
    } else if let Some(number) = value.as_number() {
        HostValue::Number(number)
    } else if let Some(text) = value.as_string() {
        HostValue::String(text.to_string().unwrap())
    } else {
        let buffer = ArrayBuffer::from_value(value).expect("host arguments are plain data");
        // SAFETY: the bytes are copied before any JavaScript can run, hence resize or detach the buffer.
        #[allow(unsafe_code)]
        let bytes = unsafe { buffer.as_bytes() }.unwrap();
        HostValue::Bytes(bytes.to_vec())
    }
}

struct Out(HostValue);

impl<'js> rquickjs::IntoJs<'js> for Out {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        match self.0 {
            HostValue::Undefined => Ok(Value::new_undefined(ctx.clone())),
            HostValue::Null => Ok(Value::new_null(ctx.clone())),
            HostValue::Bool(value) => value.into_js(ctx),
            HostValue::Number(number) => number.into_js(ctx),
            HostValue::String(text) => text.into_js(ctx),
            HostValue::Bytes(bytes) => ArrayBuffer::new(ctx.clone(), bytes)?.into_js(ctx),
        }
    }
}

fn throw(ctx: &Ctx<'_>, error: &HostError) -> rquickjs::Error {
    match error.name {
        "TypeError" => Exception::throw_type(ctx, &error.message),
        "RangeError" => Exception::throw_range(ctx, &error.message),
        "SyntaxError" => Exception::throw_syntax(ctx, &error.message),
        name => {
            let exception = Exception::from_message(ctx.clone(), &error.message).unwrap();
            Object::from_value(exception.clone().into_value())
                .unwrap()
                .set("name", name)
                .unwrap();
            exception.throw()
        }
    }
}

#[test]
fn the_platform_behaves() {
    run(&QuickJs);
}

fn eval(phase: Phase, script: &str) -> Evaluated {
    QuickJs.eval(
        inputs(phase),
        &format!("return {script}"),
        &mut super::answer,
    )
}

#[test]
fn what_is_missing_ends_the_call() {
    let evaluated = eval(
        Phase::Action,
        "(async () => { try { setTimeout('code'); } catch { return 'caught'; } })()",
    );
    let error = evaluated.result.unwrap_err();
    assert!(
        error.starts_with("Not implemented: setTimeout with a string for globalThis"),
        "{error}"
    );
}

#[test]
fn observations_and_randomness_are_recorded() {
    let quiet = eval(Phase::Query, "(async () => String(1 + 1))()");
    assert_eq!(quiet.observed, Default::default());
    let time = eval(
        Phase::Query,
        "(async () => String(new Date(5)) + new Date())()",
    );
    assert!(time.observed.time && !time.observed.random);
    let random = "(async () => String([Math.random(), crypto.randomUUID()]))()";
    let first = eval(Phase::Query, random);
    assert!(first.observed.random && !first.observed.time);
    assert_eq!(first.result, eval(Phase::Query, random).result);
}

#[test]
fn unset_variables_can_be_errors() {
    let mut inputs = inputs(Phase::Import);
    inputs.env_must_exist = true;
    let evaluated = QuickJs.eval(
        inputs,
        "return (async () => process.env.ISSUER)()",
        &mut super::answer,
    );
    assert!(
        evaluated
            .result
            .unwrap_err()
            .contains("Environment variable ISSUER ")
    );
}

#[test]
fn log_lines_have_level_time_and_text() {
    let evaluated = eval(
        Phase::Query,
        "(async () => { console.warn('a', {b: 1n}); console.time(); console.timeEnd(); return ''; })()",
    );
    let lines: Vec<_> = evaluated.logs.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["[WARN] 'a' {\n  b: 1n\n}", "[INFO] default: 0ms"]);
    assert_eq!(evaluated.logs[0].timestamp, inputs(Phase::Query).now);
}
