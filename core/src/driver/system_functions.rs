//! Queries that the server itself offers to command-line clients and dashboards, under `_system/`. For admins only;
//! whoever calls [`run_system_query`] has checked that.
//!
//! An unknown one fails: clients that are answered null crash on it.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::Functions;
use super::deployment::environment_variables;
use crate::deploy::Visibility as FunctionVisibility;
use crate::engine::Failure;
use crate::error::{ErrorKind, Result};
use crate::persistence::{KeyRange, Order};
use crate::query::{Journal, PageQuery, PageRequest, PageStep, Query, Source, Visibility};
use crate::schema::{SchemaDefinition, Validator};
use crate::transaction::{Scan, Transaction};
use crate::value::{FunctionPath, Object, Value};

/// A failure of the function, or an error of the system.
enum Problem {
    Failure(Failure),
    Error(crate::Error),
}

impl From<crate::Error> for Problem {
    fn from(error: crate::Error) -> Self {
        match error.kind() {
            ErrorKind::User => Problem::Failure(Failure::new(error.message)),
            _ => Problem::Error(error),
        }
    }
}

/// Runs a system query in `tx`.
///
/// # Errors
/// If storage fails; what is wrong with the call is a [`Failure`].
pub(super) async fn run_system_query(
    functions: &Functions,
    tx: &mut Transaction,
    path: &FunctionPath,
    args: Object,
) -> Result<Result<Value, Failure>> {
    let call = Call {
        functions,
        tx,
        args,
    };
    match call.run(&path.stripped()).await {
        Ok(value) => Ok(Ok(value)),
        Err(Problem::Failure(failure)) => Ok(Err(failure)),
        Err(Problem::Error(error)) => Err(error),
    }
}

struct Call<'a> {
    functions: &'a Functions,
    tx: &'a mut Transaction,
    args: Object,
}

impl Call<'_> {
    async fn run(mut self, path: &str) -> Result<Value, Problem> {
        match path {
            "_system/cli/tables" => self.tables(),
            "_system/cli/tableData" => self.table_data().await,
            "_system/cli/tableSize" | "_system/frontend/tableSize" => self.table_size().await,
            "_system/cli/queryTable" => self.watch_table(),
            "_system/cli/queryEnvironmentVariables"
            | "_system/frontend/listEnvironmentVariables" => Ok(self.environment()),
            "_system/cli/queryEnvironmentVariables:get" => self.environment_variable(),
            "_system/cli/modules:apiSpec" => self.api_spec().await,
            "_system/cli/convexUrl:cloudUrl" | "_system/frontend/convexCloudUrl" => {
                Ok(self.built_in("CONVEX_CLOUD_URL"))
            }
            "_system/cli/convexUrl:siteUrl" | "_system/frontend/convexSiteUrl" => {
                Ok(self.built_in("CONVEX_SITE_URL"))
            }
            "_system/frontend/getSchemas" => Ok(self.schemas()?),
            "_system/frontend/getTableMapping" => Ok(self.table_mapping()?),
            // There are no components besides the app itself, no imports, and no exports.
            "_system/frontend/components:list" | "_system/cli/queryImport:list" => {
                Ok(Value::Array(Vec::new()))
            }
            "_system/cli/queryImport" | "_system/cli/exports:getLatest" => Ok(Value::Null),
            _ => Err(fails(format!(
                "Could not find system function '{path}' on this server."
            ))),
        }
    }

    fn text(&self, name: &str) -> Result<String, Problem> {
        let text = self.args.get(name).and_then(Value::as_str);
        text.map(str::to_owned)
            .ok_or_else(|| fails(format!("The argument `{name}` must be text.")))
    }

    fn built_in(&self, name: &str) -> Value {
        self.functions
            .built_in_env()
            .get(name)
            .map(String::as_str)
            .into()
    }

    fn tables(&mut self) -> Result<Value, Problem> {
        let tables = self.tx.tables();
        let names: BTreeMap<_, ()> = tables
            .iter()
            .filter(|table| !table.is_system())
            .map(|table| (table.name.clone(), ()))
            .collect();
        let page: Vec<_> = names.keys().map(|name| json!({"name": name})).collect();
        let all = json!({"page": page, "isDone": true, "continueCursor": "end"});
        Ok(Value::from_json(all)?)
    }

    async fn table_data(&mut self) -> Result<Value, Problem> {
        let order = match self.args.get("order").and_then(Value::as_str) {
            Some("desc") => Order::Descending,
            _ => Order::Ascending,
        };
        let query = Query {
            source: Source::FullTableScan {
                table: self.text("table")?,
                order,
            },
            operators: Vec::new(),
        };
        let options = self.args.get("paginationOpts").and_then(Value::as_object);
        let options = options.ok_or_else(|| fails("The argument `paginationOpts` is missing."))?;
        let count = options.get("numItems").and_then(Value::as_f64);
        let request = PageRequest {
            cursor: options
                .get("cursor")
                .and_then(Value::as_str)
                .map(str::to_owned),
            // Negative, fractional and huge numbers end up as what is nearest; the query checks the rest.
            page_size: count.unwrap_or(100.0) as usize,
            ..PageRequest::default()
        };
        let key = self.functions.cursor_key();
        let journal = Journal::default();
        let page = PageQuery::open(self.tx, &query, Visibility::User, request, &journal, key);
        let mut page = page.map_err(crate::Error::from)?;
        let database = self.functions.database();
        loop {
            match page.next(self.tx)? {
                PageStep::Read(read) => {
                    let read = database.persistence().read_index(read).await;
                    page.supply(read.map_err(crate::Error::from)?)?;
                }
                PageStep::Done(page) => {
                    let documents = page.page.iter().map(|document| (**document).clone());
                    let documents: Vec<Value> = documents.map(Value::Object).collect();
                    return Ok(Value::Object(Object::from_fields([
                        ("page", Value::Array(documents)),
                        ("isDone", page.is_done.into()),
                        ("continueCursor", page.continue_cursor.into()),
                    ])?));
                }
            }
        }
    }

    /// Counts by reading: a table does not know its size.
    async fn table_size(&mut self) -> Result<Value, Problem> {
        let name = self.text("tableName")?;
        let Some(table) = self.tx.table(&name) else {
            return Ok(Value::Float64(0.0));
        };
        let range = KeyRange::all();
        let mut scan = Scan::new(table.by_id().id, range, Order::Ascending, usize::MAX).uncounted();
        let mut count = 0u64;
        let database = self.functions.database();
        while database.next_row(self.tx, &mut scan).await?.is_some() {
            count += 1;
        }
        Ok(Value::Float64(count as f64))
    }

    /// A number that is another one after each change of the table.
    fn watch_table(&mut self) -> Result<Value, Problem> {
        let name = self.text("tableName")?;
        if let Some(table) = self.tx.table(&name) {
            self.tx.depend_on(table.by_id().id, KeyRange::all());
        }
        Ok(Value::Float64(self.tx.snapshot_ts().as_millis_f64()))
    }

    fn environment(&mut self) -> Value {
        let documents = self.tx.configuration("_environment_variables");
        let mut documents: Vec<_> = documents
            .iter()
            .map(|document| (**document).clone())
            .collect();
        documents.sort_by(|a, b| a.get("name").cmp(&b.get("name")));
        Value::Array(documents.into_iter().map(Value::Object).collect())
    }

    fn environment_variable(&mut self) -> Result<Value, Problem> {
        let name = self.text("name")?;
        let documents = self.tx.configuration("_environment_variables");
        let variables = environment_variables(&documents)?;
        let Some(value) = variables.get(&name) else {
            return Ok(Value::Null);
        };
        let fields = [("name", name.as_str()), ("value", value.as_str())];
        Ok(Value::Object(Object::from_fields(fields)?))
    }

    async fn api_spec(&mut self) -> Result<Value, Problem> {
        let deployment = self.functions.deployment(self.tx).await?;
        let functions = deployment.functions.values().map(|function| {
            let visibility = match function.visibility {
                Some(FunctionVisibility::Public) => json!({"kind": "public"}),
                Some(FunctionVisibility::Internal) => json!({"kind": "internal"}),
                None => Json::Null,
            };
            let returns = function.returns.as_ref().unwrap_or(&Validator::Any);
            json!({"identifier": function.path.canonical(), "functionType": function.kind,
                "visibility": visibility, "args": function.args.to_json(), "returns": returns.to_json()})
        });
        let routes = deployment.http_routes.iter().map(|route| {
            let route = &route.route;
            json!({"functionType": "HttpAction", "method": route.method, "path": route.path})
        });
        let all: Vec<_> = functions.chain(routes).collect();
        // Converted one by one: an app may have more functions than an array from outside may have elements.
        let all: Result<Vec<_>> = all.into_iter().map(Value::from_json).collect();
        Ok(Value::Array(all?))
    }

    fn schemas(&mut self) -> Result<Value, Problem> {
        let schemas = self.tx.schemas();
        let text = |schema: &SchemaDefinition| Value::from(schema.to_json().to_string());
        let mut object = Object::new();
        if let Some(active) = &schemas.active {
            object.insert("active", text(&active.definition))?;
        }
        if let Some(next) = &schemas.next {
            object.insert("inProgress", text(&next.definition))?;
        }
        Ok(Value::Object(object))
    }

    fn table_mapping(&mut self) -> Result<Value, Problem> {
        let tables = self.tx.tables();
        let fields = tables
            .iter()
            .map(|table| (table.number.to_string(), table.name.as_str()));
        Ok(Value::Object(Object::from_fields(fields)?))
    }
}

fn fails(message: impl Into<String>) -> Problem {
    Problem::Failure(Failure::new(message))
}
