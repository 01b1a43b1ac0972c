//! Lets a test in another language use the official Rust client: `rust-client URL`.
//!
//! Reads one command per line from standard input and writes one or more answers per line to standard output, in JSON:
//!
//! | command | answers |
//! |---|---|
//! | `{"id", "op": "query", "path", "args"}`, the same for `mutation` and `action` | one |
//! | `{"id", "op": "subscribe", "path", "args"}` | one per update |
//! | `{"id", "op": "unsubscribe", "of"}` | one, the last for the subscription of that id |
//!
//! An answer has the command's `id` and one of: `value` with its `type`; `convexError` with its `message` and `data`;
//! `error`, a text. Arguments, values and error data are in Convex's encoded JSON, translated by the client's own code.
//! Commands run side by side, except that mutations run in the order in which they came.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::task::Poll;

use anyhow::{Context, bail};
use convex::{ConvexClient, FunctionResult, Value};
use futures::StreamExt;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinHandle;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).context("usage: rust-client URL")?;
    let client = ConvexClient::new(&url).await?;
    let mut subscriptions = HashMap::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command = serde_json::from_str(&line)?;
        run(&command, &client, &mut subscriptions)
            .await
            .with_context(|| line)?;
    }
    Ok(())
}

/// Starts what `command` asks for; its answers are written when they come.
async fn run(
    command: &Json,
    client: &ConvexClient,
    subscriptions: &mut HashMap<u64, JoinHandle<()>>,
) -> anyhow::Result<()> {
    let id = command["id"].as_u64().context("no id")?;
    let op = command["op"].as_str().context("no op")?.to_owned();
    let mut client = client.clone();
    if op == "unsubscribe" {
        let of = command["of"].as_u64().context("no subscription")?;
        subscriptions
            .remove(&of)
            .context("no such subscription")?
            .abort();
        answer(id, json!({ "value": null, "type": "Null" }));
        return Ok(());
    }
    let path = command["path"].as_str().context("no path")?.to_owned();
    let Value::Object(args) = Value::try_from(command["args"].clone())? else {
        bail!("the arguments are no object");
    };
    if op == "subscribe" {
        let task = tokio::spawn(async move { subscribe(id, &mut client, &path, args).await });
        subscriptions.insert(id, task);
        return Ok(());
    }
    // The client takes a request when it is first polled, so that is done before the next line is read.
    let mut call = Box::pin(async move {
        let result = match op.as_str() {
            "query" => client.query(&path, args).await,
            "mutation" => client.mutation(&path, args).await,
            "action" => client.action(&path, args).await,
            _ => bail!("no such op: {op}"),
        };
        report(id, result);
        Ok(())
    });
    match futures::poll!(&mut call) {
        Poll::Ready(result) => result,
        Poll::Pending => {
            tokio::spawn(call);
            Ok(())
        }
    }
}

async fn subscribe(id: u64, client: &mut ConvexClient, path: &str, args: BTreeMap<String, Value>) {
    match client.subscribe(path, args).await {
        Ok(mut subscription) => {
            while let Some(result) = subscription.next().await {
                report(id, Ok(result));
            }
        }
        Err(error) => report(id, Err(error)),
    }
}

fn report(id: u64, result: anyhow::Result<FunctionResult>) {
    answer(
        id,
        match result {
            Ok(FunctionResult::Value(value)) => {
                json!({ "type": type_name(&value), "value": Json::from(value) })
            }
            Ok(FunctionResult::ConvexError(error)) => {
                let data = Json::from(error.data);
                json!({ "convexError": { "message": error.message, "data": data } })
            }
            Ok(FunctionResult::ErrorMessage(text)) => json!({ "error": text }),
            Err(error) => json!({ "error": format!("{error:#}") }),
        },
    );
}

fn answer(id: u64, mut content: Json) {
    content["id"] = id.into();
    let mut stdout = std::io::stdout().lock();
    // Nobody is there to tell when the test has gone.
    let _ = writeln!(stdout, "{content}").and_then(|()| stdout.flush());
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "Null",
        Value::Int64(_) => "Int64",
        Value::Float64(_) => "Float64",
        Value::Boolean(_) => "Boolean",
        Value::String(_) => "String",
        Value::Bytes(_) => "Bytes",
        Value::Array(_) => "Array",
        Value::Object(_) => "Object",
    }
}
