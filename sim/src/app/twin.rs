//! What the functions mean, told by looking at all documents.
//!
//! Nothing here knows of index keys, read sets, caches or sessions, so that a defect there cannot be shared.

use std::collections::BTreeMap;
use std::sync::Arc;

use concave_core::{Object, Value};

use super::{CANCELABLE, Function, LAST_CHILD};

/// The table of scheduled functions.
pub const JOBS: &str = "_scheduled_functions";

/// The documents of all tables at one timestamp, by name of the table and id.
#[derive(Clone, Debug, Default)]
pub struct State {
    tables: BTreeMap<String, BTreeMap<String, Arc<Object>>>,
}

/// What a mutation does to one document.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A new one, without system fields.
    Insert(&'static str, Object),
    /// Another content, without system fields, for the document of that id.
    Update(&'static str, String, Object),
    /// It is deleted.
    Delete(&'static str, String),
    /// A function is scheduled.
    Schedule(Scheduled),
    /// The scheduled function of that token is canceled.
    Cancel(String),
}

/// What is to be run later.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    /// Its token.
    pub token: String,
    /// The function.
    pub path: String,
    /// Its arguments, except what the clock of its scheduler showed.
    pub args: Object,
    /// In how many milliseconds.
    pub after: f64,
    /// On behalf of a scheduled function that was canceled: so it is canceled as well.
    pub is_canceled: bool,
}

/// What a mutation does and gives back, if it does not throw.
pub type Effect = Result<(Vec<Write>, Value), &'static str>;

impl State {
    /// Sets or removes a document.
    pub fn set(&mut self, table: &str, id: String, document: Option<Arc<Object>>) {
        let documents = self.tables.entry(table.to_owned()).or_default();
        match document {
            Some(document) => documents.insert(id, document),
            None => documents.remove(&id),
        };
    }

    /// A document.
    pub fn get(&self, table: &str, id: &str) -> Option<&Arc<Object>> {
        self.tables.get(table)?.get(id)
    }

    /// The documents of a table, in the order of a field.
    pub fn by(&self, table: &str, field: &str) -> Vec<&Arc<Object>> {
        let mut documents: Vec<_> = self
            .tables
            .get(table)
            .into_iter()
            .flat_map(BTreeMap::values)
            .collect();
        documents.sort_by(|a, b| {
            let time = |document: &Object| number(document, "_creationTime");
            let fields = number(a, field).total_cmp(&number(b, field));
            let times = time(a).total_cmp(&time(b));
            fields
                .then(times)
                .then_with(|| text(a, "_id").cmp(&text(b, "_id")))
        });
        documents
    }

    fn in_range(&self, args: &Object) -> Vec<&Arc<Object>> {
        let keys = number(args, "from")..number(args, "to");
        let mut rows = self.by("rows", "key");
        rows.retain(|row| keys.contains(&number(row, "key")));
        rows
    }

    fn list(&self, name: &str) -> Option<&Arc<Object>> {
        let mut lists = self.by("lists", "_creationTime").into_iter();
        lists.find(|list| text(list, "name") == name)
    }

    /// What a mutation does.
    pub fn mutation(&self, function: Function, args: &Object) -> Effect {
        let token = text(args, "token");
        let receipt = fields([
            ("token", token.as_str().into()),
            ("path", function.path().into()),
            ("args", args.clone().into()),
        ]);
        let mut writes = vec![Write::Insert("receipts", receipt)];
        let result = match function {
            Function::Append => self.append(&text(args, "list"), &token, &mut writes),
            Function::Nest => {
                self.append(&text(args, "list"), &format!("{token}/kept"), &mut writes)
            }
            Function::Refuse | Function::ScheduleAndRefuse => return Err("refused"),
            Function::Schedule => {
                writes.push(Write::Schedule(self.scheduled(&token, args)));
                Value::Null
            }
            Function::ScheduleNested => {
                let token = format!("{token}/kept");
                writes.push(Write::Schedule(self.scheduled(&token, args)));
                Value::Null
            }
            Function::Cancel => {
                let mut jobs = self.by(JOBS, "_creationTime");
                jobs.reverse();
                jobs.truncate(CANCELABLE);
                jobs.retain(|job| ["pending", "inProgress"].contains(&job_state(job)));
                let nth = args.get("nth").and_then(Value::as_f64).unwrap_or_default();
                match jobs.get(nth as usize % jobs.len().max(1)) {
                    None => Value::Null,
                    // A job that cancels itself is warned, and goes on.
                    Some(job) if job_token(job) == token => job_token(job).into(),
                    Some(job) => {
                        writes.push(Write::Cancel(job_token(job)));
                        job_token(job).into()
                    }
                }
            }
            Function::Transfer => {
                let account = |side| {
                    let accounts = self.by("accounts", "number");
                    let mut accounts = accounts.into_iter();
                    accounts.find(|account| number(account, "number") == number(args, side))
                };
                let (Some(from), Some(to)) = (account("from"), account("to")) else {
                    return Err("an account is missing");
                };
                let amount = number(args, "amount");
                let is_enough = number(from, "balance") >= amount;
                if is_enough {
                    for (account, change) in [(from, -amount), (to, amount)] {
                        let balance = number(account, "balance") + change;
                        writes.push(update("accounts", account, "balance", balance.into()));
                    }
                }
                is_enough.into()
            }
            Function::InsertUnique => {
                let is_free = self.in_range(args).is_empty();
                if is_free {
                    let row = fields([
                        ("key", number(args, "from").into()),
                        ("value", number(args, "value").into()),
                        ("by", token.into()),
                    ]);
                    writes.push(Write::Insert("rows", row));
                }
                is_free.into()
            }
            Function::MoveRows => {
                let rows = self.in_range(args);
                let moved: Vec<_> = rows.into_iter().rev().take(2).collect();
                let key = number(args, "key");
                writes.extend(
                    moved
                        .iter()
                        .map(|row| update("rows", row, "key", key.into())),
                );
                (moved.len() as f64).into()
            }
            Function::ClearRows => {
                let rows = self.in_range(args);
                let gone: Vec<_> = rows
                    .into_iter()
                    .take(number(args, "limit") as usize)
                    .collect();
                writes.extend(
                    gone.iter()
                        .map(|row| Write::Delete("rows", text(row, "_id"))),
                );
                (gone.len() as f64).into()
            }
            Function::Break => {
                let row = fields([
                    ("key", number(args, "key").into()),
                    ("value", "text".into()),
                    ("by", token.into()),
                ]);
                writes.push(Write::Insert("rows", row));
                Value::Null
            }
            Function::Push => {
                let item = fields([
                    ("priority", number(args, "priority").into()),
                    ("by", token.into()),
                ]);
                writes.push(Write::Insert("queue", item));
                Value::Null
            }
            Function::Pop => match self.by("queue", "priority").first() {
                None => Value::Null,
                Some(first) => {
                    writes.push(Write::Delete("queue", text(first, "_id")));
                    text(first, "by").into()
                }
            },
            Function::Increment => {
                let numbers = self.by("numbers", "_creationTime");
                let Some(counter) = numbers.first() else {
                    return Err("the number is missing");
                };
                let next = number(counter, "n") + 1.0;
                writes.push(update("numbers", counter, "n", next.into()));
                next.into()
            }
            _ => return Err("that is no mutation"),
        };
        Ok((writes, result))
    }

    /// What the call of that token schedules.
    pub fn scheduled(&self, token: &str, args: &Object) -> Scheduled {
        let left = number(args, "left");
        let (path, child) = if left > 0.0 {
            (Function::Schedule.path().to_owned(), text(args, "child"))
        } else {
            (text(args, "child"), LAST_CHILD.to_owned())
        };
        let after = number(args, "after");
        let mut of_child = args.clone();
        of_child.remove("now");
        let token = format!("{token}/s");
        for (field, value) in [
            ("token", token.as_str().into()),
            ("left", Value::from(left - 1.0)),
            ("child", child.into()),
        ] {
            of_child.insert(field, value).expect("the names are good");
        }
        Scheduled {
            path,
            args: of_child,
            after,
            is_canceled: self.is_of_canceled(&token),
            token,
        }
    }

    /// Whether the nearest scheduled function on whose behalf something has that token was canceled.
    fn is_of_canceled(&self, token: &str) -> bool {
        let jobs = self.by(JOBS, "_creationTime");
        let mut token = token;
        while let Some((ancestor, _)) = token.rsplit_once('/') {
            if let Some(job) = jobs.iter().find(|job| job_token(job) == ancestor) {
                return job_state(job) == "canceled";
            }
            token = ancestor;
        }
        false
    }

    fn append(&self, name: &str, item: &str, writes: &mut Vec<Write>) -> Value {
        let Some(list) = self.list(name) else {
            let items = Value::Array(vec![item.into()]);
            let list = fields([("name", name.into()), ("items", items)]);
            writes.push(Write::Insert("lists", list));
            return 1.0.into();
        };
        let mut items = items(list);
        items.push(item.into());
        let length = items.len() as f64;
        writes.push(update("lists", list, "items", Value::Array(items)));
        length.into()
    }

    /// What a query gives back. Pages are another matter: their ends depend on the past.
    pub fn query(&self, function: Function, args: &Object) -> Value {
        let documents = |documents: Vec<&Arc<Object>>| -> Value {
            let documents = documents
                .into_iter()
                .map(|document| Value::Object((**document).clone()));
            Value::Array(documents.collect())
        };
        match function {
            Function::List => match self.list(&text(args, "list")) {
                Some(list) => Value::Array(items(list)),
                None => Value::Null,
            },
            Function::Audit => {
                let accounts = self.by("accounts", "number").into_iter();
                Value::Array(
                    accounts
                        .map(|account| number(account, "balance").into())
                        .collect(),
                )
            }
            Function::Rows => {
                let mut rows = self.in_range(args);
                if text(args, "order") == "desc" {
                    rows.reverse();
                }
                rows.truncate(number(args, "limit") as usize);
                documents(rows)
            }
            Function::RowsByValue => {
                let mut rows = self.by("rows", "_creationTime");
                rows.retain(|row| row.get("value") == args.get("value"));
                documents(rows)
            }
            Function::Queue => {
                let mut queue = self.by("queue", "priority");
                queue.truncate(number(args, "limit") as usize);
                documents(queue)
            }
            Function::Counter => {
                let numbers = self.by("numbers", "_creationTime");
                numbers
                    .first()
                    .map_or(Value::Null, |counter| number(counter, "n").into())
            }
            Function::Has => {
                let receipts = self.by("receipts", "_creationTime");
                let mut receipts = receipts.into_iter();
                receipts
                    .any(|receipt| receipt.get("token") == args.get("token"))
                    .into()
            }
            Function::Jobs => {
                let jobs = self.by(JOBS, "_creationTime").into_iter();
                let line = |job: &Arc<Object>| {
                    Value::Array(vec![job_token(job).into(), job_state(job).into()])
                };
                Value::Array(jobs.map(line).collect())
            }
            Function::Count => (self.tables.get("receipts").map_or(0, BTreeMap::len) as f64).into(),
            other => panic!("{other:?} has no result of its own"),
        }
    }
}

/// A number of an object.
pub fn number(object: &Object, field: &str) -> f64 {
    object
        .get(field)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("{object:?} has no number {field}"))
}

/// A text of an object.
pub fn text(object: &Object, field: &str) -> String {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{object:?} has no text {field}"))
        .to_owned()
}

/// The argument of a scheduled function.
pub fn job_args(job: &Object) -> &Object {
    let args = job.get("args").and_then(Value::as_array);
    let args = args.and_then(|args| args.first()?.as_object());
    args.unwrap_or_else(|| panic!("{job:?} has no arguments"))
}

/// The token of a scheduled function.
pub fn job_token(job: &Object) -> String {
    text(job_args(job), "token")
}

/// The state of a scheduled function, as functions see it.
pub fn job_state(job: &Object) -> &str {
    let state = job.get("state").and_then(Value::as_object);
    let kind = state.and_then(|state| state.get("kind")?.as_str());
    kind.unwrap_or_else(|| panic!("{job:?} has no state"))
}

fn items(list: &Object) -> Vec<Value> {
    let items = list.get("items").and_then(Value::as_array);
    items.expect("lists have items").to_vec()
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Object {
    Object::from_fields(fields).expect("the names are good")
}

fn update(table: &'static str, document: &Object, field: &str, value: Value) -> Write {
    let mut content = without_system_fields(document);
    content.insert(field, value).expect("the names are good");
    Write::Update(table, text(document, "_id"), content)
}

/// What a function wrote of a document.
pub fn without_system_fields(document: &Object) -> Object {
    let mut content = document.clone();
    content.remove("_id");
    content.remove("_creationTime");
    content
}
