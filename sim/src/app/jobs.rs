//! The functions that schedule others, and cancel them.
//!
//! Whatever is scheduled gets a token that extends its scheduler's by `/s`, so that a commit in the log tells which job
//! it is the run of, and who scheduled that. Its arguments also say what the clock of its scheduler showed.

use std::time::Duration;

use concave_core::engine::Failure;
use concave_core::engine::native::{NativeContext, NativeEngine};
use serde_json::{Value as Json, json};

use super::functions::{Answer, With, receipt, scan};
use super::{CANCELABLE, Function, LAST_CHILD};

/// Registers them.
pub fn register(engine: NativeEngine) -> NativeEngine {
    use concave_core::engine::FunctionKind::{Mutation, Query};
    engine
        .function("jobs:scheduleItem", Mutation, async |ctx, args| {
            schedule(&ctx, &args).await
        })
        .function("jobs:scheduleAndThrow", Mutation, async |ctx, args| {
            schedule(&ctx, &args).await?;
            Err(Failure::new("Uncaught Error: not this one"))
        })
        .function("jobs:unfinished", Query, unfinished)
        .with(Function::Schedule, |ctx, args| async move {
            receipt(&ctx, Function::Schedule, &args).await?;
            schedule(&ctx, &args).await?;
            Ok(Json::Null)
        })
        .with(Function::ScheduleNested, schedule_nested)
        .with(Function::ScheduleAndRefuse, |ctx, args| async move {
            receipt(&ctx, Function::ScheduleAndRefuse, &args).await?;
            schedule(&ctx, &args).await?;
            Err(Failure {
                data: Some(args["token"].clone()),
                ..Failure::new("Uncaught ConvexError: refused")
            })
        })
        .with(Function::Cancel, cancel)
        .with(Function::ScheduleFromAction, schedule_from_action)
        .with(Function::Jobs, |ctx, _| async move {
            let jobs = ctx.collect(scan("_scheduled_functions")).await?;
            let line = |job: Json| json!([job["args"][0]["token"], job["state"]["kind"]]);
            Ok(jobs.into_iter().map(line).collect())
        })
}

/// Schedules what `args` say: another scheduler as long as some are `left`, and the `child` in the end.
async fn schedule(ctx: &NativeContext, args: &Json) -> Answer {
    let left = args["left"].as_f64().unwrap_or_default();
    let (path, child) = match left > 0.0 {
        true => (json!(Function::Schedule.path()), args["child"].clone()),
        false => (args["child"].clone(), json!(LAST_CHILD)),
    };
    let path = path.as_str().unwrap_or_default();
    let token = args["token"].as_str().unwrap_or_default();
    let now = ctx.now().as_millis_f64();
    let after = args["after"].as_f64().unwrap_or_default();
    let args = json!({
        "token": format!("{token}/s"), "list": args["list"], "after": after, "left": left - 1.0, "child": child,
        "via": args["via"], "cancel": args["cancel"], "now": now,
    });
    if after >= 0.0 {
        let delay = Duration::from_secs_f64(after / 1e3);
        return ctx.schedule(delay, path, args).await.map(Json::from);
    }
    let time = (now + after) / 1e3;
    let request = json!({ "name": path, "ts": time, "args": args, "version": "1.48.0" });
    ctx.call("1.0/schedule", request).await
}

/// Schedules in two mutations within its transaction, of which one throws.
async fn schedule_nested(ctx: NativeContext, args: Json) -> Answer {
    receipt(&ctx, Function::ScheduleNested, &args).await?;
    let call = |name: &str, suffix: &str| {
        let mut args = args.clone();
        args["token"] = format!("{}{suffix}", args["token"].as_str().unwrap_or_default()).into();
        json!({ "udfType": "mutation", "name": name, "args": args })
    };
    let thrown = ctx
        .call("1.0/runUdf", call("jobs:scheduleAndThrow", "/thrown"))
        .await;
    match thrown {
        Err(thrown) if thrown.message.contains("not this one") => {}
        // An engine that fails under a nested call fails the whole.
        Err(failure) => return Err(failure),
        Ok(_) => return Err(Failure::new("Uncaught Error: a call that throws came back")),
    }
    ctx.call("1.0/runUdf", call("jobs:scheduleItem", "/kept"))
        .await?;
    Ok(Json::Null)
}

/// Cancels one of the newest jobs, if one of those is not finished.
async fn cancel(ctx: NativeContext, args: Json) -> Answer {
    receipt(&ctx, Function::Cancel, &args).await?;
    let newest = json!({
        "source": { "type": "FullTableScan", "tableName": "_scheduled_functions", "order": "desc" },
        "operators": [{ "limit": CANCELABLE }],
    });
    let mut jobs = ctx.collect(newest).await?;
    jobs.retain(is_unfinished);
    let nth = args["nth"].as_f64().unwrap_or_default() as usize;
    let Some(job) = jobs.get(nth % jobs.len().max(1)) else {
        return Ok(Json::Null);
    };
    ctx.cancel(job["_id"].as_str().unwrap_or_default()).await?;
    Ok(job["args"][0]["token"].clone())
}

/// An action that schedules by itself or by a mutation that it calls. It may cancel what it has scheduled by itself.
async fn schedule_from_action(ctx: NativeContext, args: Json) -> Answer {
    // Long enough for the server to die meanwhile, now and then. It may also be canceled, and then what it schedules is canceled as well.
    ctx.call("host/sleep", json!({ "ms": 300 })).await?;
    if args["via"] == true {
        let token = args["token"].as_str().unwrap_or_default();
        let args = json!({
            "token": format!("{token}/m"), "list": args["list"], "after": args["after"], "left": 0.0,
            "child": LAST_CHILD, "via": false, "cancel": false,
        });
        let call = json!({ "name": Function::Schedule.path(), "args": args });
        ctx.call("1.0/actions/mutation", call).await?;
        return Ok(Json::Null);
    }
    let after = args["after"].as_f64().unwrap_or_default();
    // That the past is as good as now is a matter of mutations here.
    let mut request = args.clone();
    request["after"] = after.max(0.0).into();
    let id = schedule(&ctx, &request).await?;
    if args["cancel"] == true {
        ctx.call("host/sleep", json!({ "ms": 5 })).await?;
        ctx.cancel(id.as_str().unwrap_or_default()).await?;
    }
    Ok(Json::Null)
}

/// The jobs that are not finished, for the world.
async fn unfinished(ctx: NativeContext, _: Json) -> Answer {
    let mut jobs = ctx.collect(scan("_scheduled_functions")).await?;
    jobs.retain(is_unfinished);
    let line = |job: Json| {
        json!([
            job["args"][0]["token"],
            job["state"]["kind"],
            job["scheduledTime"]
        ])
    };
    Ok(jobs.into_iter().map(line).collect())
}

fn is_unfinished(job: &Json) -> bool {
    job["state"]["kind"] == "pending" || job["state"]["kind"] == "inProgress"
}
