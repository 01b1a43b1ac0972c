//! The functions as the server runs them.

use concave_core::engine::native::{NativeContext, NativeEngine};
use concave_core::engine::{Failure, FunctionKind};
use serde_json::{Value as Json, json};

use super::{ACCOUNTS, BALANCE, Function, jobs};

pub(super) type Answer = Result<Json, Failure>;

/// The engine with all functions of the app.
pub fn engine() -> NativeEngine {
    jobs::register(NativeEngine::default())
        .function("setup:fill", FunctionKind::Mutation, fill)
        .function(
            "lists:appendItem",
            FunctionKind::Mutation,
            |ctx, args| async move { append(&ctx, &args["list"], &args["item"]).await },
        )
        .function(
            "lists:appendAndThrow",
            FunctionKind::Mutation,
            |ctx, args| async move {
                append(&ctx, &args["list"], &args["item"]).await?;
                Err(Failure::new("Uncaught Error: not this one"))
            },
        )
        .with(Function::Append, |ctx, args| async move {
            receipt(&ctx, Function::Append, &args).await?;
            append(&ctx, &args["list"], &args["token"]).await
        })
        .with(Function::Refuse, |ctx, args| async move {
            receipt(&ctx, Function::Refuse, &args).await?;
            append(&ctx, &args["list"], &args["token"]).await?;
            Err(Failure {
                data: Some(args["token"].clone()),
                ..Failure::new("Uncaught ConvexError: refused")
            })
        })
        .with(Function::Nest, nest)
        .with(Function::Transfer, transfer)
        .with(Function::InsertUnique, insert_unique)
        .with(Function::MoveRows, move_rows)
        .with(Function::ClearRows, clear_rows)
        .with(Function::Break, |ctx, args| async move {
            receipt(&ctx, Function::Break, &args).await?;
            let row = json!({ "key": args["key"], "value": "text", "by": args["token"] });
            insert(&ctx, "rows", row).await?;
            Ok(Json::Null)
        })
        .with(Function::Push, |ctx, args| async move {
            receipt(&ctx, Function::Push, &args).await?;
            let item = json!({ "priority": args["priority"], "by": args["token"] });
            insert(&ctx, "queue", item).await?;
            Ok(Json::Null)
        })
        .with(Function::Pop, |ctx, args| async move {
            receipt(&ctx, Function::Pop, &args).await?;
            let first = ctx
                .collect(index("queue.by_priority", &[], "asc", 1))
                .await?;
            let Some(first) = first.first() else {
                return Ok(Json::Null);
            };
            ctx.call("1.0/remove", json!({ "id": first["_id"] }))
                .await?;
            Ok(first["by"].clone())
        })
        .with(Function::Increment, |ctx, args| async move {
            receipt(&ctx, Function::Increment, &args).await?;
            let number = ctx.collect(scan("numbers")).await?.remove(0);
            let next = number["n"].as_f64().unwrap_or_default() + 1.0;
            let patch = json!({ "id": number["_id"], "value": { "n": next } });
            ctx.call("1.0/shallowMerge", patch).await?;
            Ok(json!(next))
        })
        .with(Function::Relay, relay)
        .with(Function::List, |ctx, args| async move {
            let found = ctx.collect(list(&args["list"])).await?;
            Ok(found
                .first()
                .map_or(Json::Null, |list| list["items"].clone()))
        })
        .with(Function::Audit, |ctx, _| async move {
            let accounts = ctx
                .collect(index("accounts.by_number", &[], "asc", 100))
                .await?;
            Ok(accounts
                .into_iter()
                .map(|account| account["balance"].clone())
                .collect())
        })
        .with(Function::Rows, |ctx, args| async move {
            let order = args["order"].as_str().unwrap_or("asc");
            let limit = args["limit"].as_f64().unwrap_or_default();
            rows(&ctx, &args, order, limit as usize)
                .await
                .map(Json::from)
        })
        .with(Function::RowsByValue, |ctx, args| async move {
            let bound = json!({ "type": "Eq", "fieldPath": "value", "value": args["value"] });
            ctx.collect(index("rows.by_value", &[bound], "asc", 100))
                .await
                .map(Json::from)
        })
        .with(Function::Queue, |ctx, args| async move {
            let limit = args["limit"].as_f64().unwrap_or_default();
            let query = index("queue.by_priority", &[], "asc", limit as usize);
            ctx.collect(query).await.map(Json::from)
        })
        .with(Function::Counter, |ctx, _| async move {
            let numbers = ctx.collect(scan("numbers")).await?;
            Ok(numbers[0]["n"].clone())
        })
        .with(Function::Page, |ctx, args| async move {
            let request = json!({
                "query": index("rows.by_key", &[], "asc", 10_000), "cursor": args["cursor"],
                "pageSize": args["limit"],
            });
            ctx.call("1.0/queryPage", request).await
        })
        .with(Function::Has, |ctx, args| async move {
            let bound = json!({ "type": "Eq", "fieldPath": "token", "value": args["token"] });
            let found = ctx
                .collect(index("receipts.by_token", &[bound], "asc", 1))
                .await?;
            Ok(json!(!found.is_empty()))
        })
        .with(Function::Count, |ctx, _| async move {
            Ok(json!(ctx.collect(scan("receipts")).await?.len() as f64))
        })
}

/// Registering one of the functions that clients call.
pub(super) trait With {
    fn with<F, R>(self, function: Function, body: F) -> Self
    where
        F: Fn(NativeContext, Json) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static;
}

impl With for NativeEngine {
    fn with<F, R>(self, function: Function, body: F) -> Self
    where
        F: Fn(NativeContext, Json) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        self.function(function.path(), function.kind(), body)
    }
}

pub(super) fn scan(table: &str) -> Json {
    json!({ "source": { "type": "FullTableScan", "tableName": table, "order": "asc" }, "operators": [] })
}

fn index(index: &str, range: &[Json], order: &str, limit: usize) -> Json {
    json!({
        "source": { "type": "IndexRange", "indexName": index, "range": range, "order": order },
        "operators": [{ "limit": limit }],
    })
}

fn list(name: &Json) -> Json {
    let bound = json!({ "type": "Eq", "fieldPath": "name", "value": name });
    index("lists.by_name", &[bound], "asc", 1)
}

async fn insert(ctx: &NativeContext, table: &str, value: Json) -> Answer {
    ctx.call("1.0/insert", json!({ "table": table, "value": value }))
        .await
}

pub(super) async fn receipt(ctx: &NativeContext, function: Function, args: &Json) -> Answer {
    let receipt = json!({ "token": args["token"], "path": function.path(), "args": args });
    insert(ctx, "receipts", receipt).await
}

async fn append(ctx: &NativeContext, name: &Json, item: &Json) -> Answer {
    let mut found = ctx.collect(list(name)).await?;
    let Some(list) = found.pop() else {
        insert(ctx, "lists", json!({ "name": name, "items": [item] })).await?;
        return Ok(json!(1.0));
    };
    let mut items = list["items"].as_array().cloned().unwrap_or_default();
    items.push(item.clone());
    let length = items.len() as f64;
    let patch = json!({ "id": list["_id"], "value": { "items": items } });
    ctx.call("1.0/shallowMerge", patch).await?;
    Ok(json!(length))
}

async fn rows(
    ctx: &NativeContext,
    args: &Json,
    order: &str,
    limit: usize,
) -> Result<Vec<Json>, Failure> {
    let range = [
        json!({ "type": "Gte", "fieldPath": "key", "value": args["from"] }),
        json!({ "type": "Lt", "fieldPath": "key", "value": args["to"] }),
    ];
    ctx.collect(index("rows.by_key", &range, order, limit))
        .await
}

async fn fill(ctx: NativeContext, _: Json) -> Answer {
    for number in 0..ACCOUNTS {
        let account = json!({ "number": f64::from(number), "balance": BALANCE });
        insert(&ctx, "accounts", account).await?;
    }
    insert(&ctx, "numbers", json!({ "n": 0.0 })).await
}

async fn nest(ctx: NativeContext, args: Json) -> Answer {
    receipt(&ctx, Function::Nest, &args).await?;
    let call = |name: &str, suffix: &str| {
        let item = format!("{}{suffix}", args["token"].as_str().unwrap_or_default());
        json!({ "udfType": "mutation", "name": name, "args": { "list": args["list"], "item": item } })
    };
    let thrown = ctx
        .call("1.0/runUdf", call("lists:appendAndThrow", "/thrown"))
        .await;
    let kept = ctx
        .call("1.0/runUdf", call("lists:appendItem", "/kept"))
        .await;
    match thrown {
        Err(thrown) if thrown.message.contains("not this one") => kept,
        // An engine that fails under a nested call fails the whole.
        Err(failure) => Err(failure),
        Ok(_) => Err(Failure::new("Uncaught Error: a call that throws came back")),
    }
}

async fn transfer(ctx: NativeContext, args: Json) -> Answer {
    receipt(&ctx, Function::Transfer, &args).await?;
    let mut sides = Vec::new();
    for side in ["from", "to"] {
        let bound = json!({ "type": "Eq", "fieldPath": "number", "value": args[side] });
        let found = ctx
            .collect(index("accounts.by_number", &[bound], "asc", 1))
            .await?;
        sides.extend(found);
    }
    let amount = args["amount"].as_f64().unwrap_or_default();
    let balances: Vec<_> = sides
        .iter()
        .map(|account| account["balance"].as_f64().unwrap_or_default())
        .collect();
    if balances[0] < amount {
        return Ok(json!(false));
    }
    for (account, balance) in sides
        .iter()
        .zip([balances[0] - amount, balances[1] + amount])
    {
        let account = json!({ "id": account["_id"], "value": { "balance": balance } });
        ctx.call("1.0/shallowMerge", account).await?;
    }
    Ok(json!(true))
}

async fn insert_unique(ctx: NativeContext, args: Json) -> Answer {
    receipt(&ctx, Function::InsertUnique, &args).await?;
    if !rows(&ctx, &args, "asc", 1).await?.is_empty() {
        return Ok(json!(false));
    }
    let row = json!({ "key": args["from"], "value": args["value"], "by": args["token"] });
    insert(&ctx, "rows", row).await?;
    Ok(json!(true))
}

async fn move_rows(ctx: NativeContext, args: Json) -> Answer {
    receipt(&ctx, Function::MoveRows, &args).await?;
    let rows = rows(&ctx, &args, "desc", 2).await?;
    for row in &rows {
        let patch = json!({ "id": row["_id"], "value": { "key": args["key"] } });
        ctx.call("1.0/shallowMerge", patch).await?;
    }
    Ok(json!(rows.len() as f64))
}

async fn clear_rows(ctx: NativeContext, args: Json) -> Answer {
    receipt(&ctx, Function::ClearRows, &args).await?;
    let limit = args["limit"].as_f64().unwrap_or_default();
    let rows = rows(&ctx, &args, "asc", limit as usize).await?;
    for row in &rows {
        ctx.call("1.0/remove", json!({ "id": row["_id"] })).await?;
    }
    Ok(json!(rows.len() as f64))
}

/// Two mutations, each of which must be seen by the query after it and by none before.
async fn relay(ctx: NativeContext, args: Json) -> Answer {
    let token = args["token"].as_str().unwrap_or_default();
    let tokens = [format!("{token}/1"), format!("{token}/2")];
    let mutations = [Function::Append, Function::Increment];
    for (token, mutation) in tokens.iter().zip(mutations) {
        let query = json!({ "name": Function::Has.path(), "args": { "token": token } });
        if ctx.call("1.0/actions/query", query.clone()).await? != json!(false) {
            return Err(Failure::new("Uncaught Error: seen before it happened"));
        }
        let args = match mutation {
            Function::Append => json!({ "token": token, "list": args["list"] }),
            _ => json!({ "token": token }),
        };
        let call = json!({ "name": mutation.path(), "args": args });
        ctx.call("1.0/actions/mutation", call).await?;
        if ctx.call("1.0/actions/query", query).await? != json!(true) {
            return Err(Failure::new("Uncaught Error: not seen after it happened"));
        }
        ctx.call("host/sleep", json!({ "ms": 5 })).await?;
    }
    Ok(json!(tokens))
}
