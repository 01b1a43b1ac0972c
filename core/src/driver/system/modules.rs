//! Deployed functions.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use serde_json::{Value as Json, json};

use super::arguments::Arg;
use super::{Answer, Call, Definition, Problem, query, record};
use crate::deploy::{AnalyzedModule, DeploymentRecord, Visibility};
use crate::driver::deployer::live;
use crate::engine::FunctionKind;
use crate::schema::Validator;
use crate::value::{FunctionPath, Object, Value};

pub(super) const FUNCTIONS: &[Definition] = &[
    query("_system/cli/modules:apiSpec", &[], |call| {
        call.api_spec().boxed()
    }),
    query("_system/frontend/modules:list", &[], |call| {
        call.list_modules().boxed()
    }),
    query(
        "_system/frontend/modules:listForAllComponents",
        &[],
        |call| call.list_modules_of_all().boxed(),
    ),
    query(
        "_system/frontend/modules:argsValidator",
        &[("function", Arg::Text)],
        |call| call.args_validator().boxed(),
    ),
    query("_system/frontend/getVersion", &[], |call| {
        call.version().boxed()
    }),
    // Actions do not run in Node.js here.
    query("_system/frontend/node:version", &[], |call| {
        call.null().boxed()
    }),
];

impl Call<'_> {
    async fn api_spec(&mut self) -> Answer {
        let deployment = self.functions.deployment(self.tx).await?;
        let functions = deployment.functions.values().map(|function| {
            let visibility = match function.visibility {
                Some(visibility) => json!({"kind": visibility_name(visibility)}),
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
        // Converted one by one: an app may have more functions than an array from outside may have elements.
        let all: Result<Vec<_>, _> = functions.chain(routes).map(Value::from_json).collect();
        Ok(Value::Array(all?))
    }

    fn live(&mut self) -> Result<Option<DeploymentRecord>, Problem> {
        Ok(live(self.tx)?.map(|(_, record)| record))
    }

    async fn list_modules(&mut self) -> Answer {
        let modules = self.live()?.map(|record| record.analysis);
        Ok(modules_value(&modules.unwrap_or_default()))
    }

    /// There is no component but the app itself.
    async fn list_modules_of_all(&mut self) -> Answer {
        let root = vec![Value::Null, self.list_modules().await?];
        Ok(Value::Array(vec![Value::Array(root)]))
    }

    /// The validator of a function's arguments as JSON text; null if there is no such function.
    async fn args_validator(&mut self) -> Answer {
        let path = FunctionPath::parse(&self.text("function"))?;
        let deployment = self.functions.deployment(self.tx).await?;
        let function = deployment.functions.get(&path.canonical());
        let text = function.map(|function| function.args.to_json().to_string());
        Ok(text.into())
    }

    /// Version of the npm package that pushed last; null before the first push.
    async fn version(&mut self) -> Answer {
        let version = self.live()?.map(|record| record.udf_server_version);
        Ok(version.into())
    }

    pub(super) async fn null(&mut self) -> Answer {
        Ok(Value::Null)
    }
}

fn visibility_name(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "public",
        Visibility::Internal => "internal",
    }
}

/// `[[path, {functions, sourcePackageId}], …]`.
fn modules_value(modules: &BTreeMap<String, AnalyzedModule>) -> Value {
    let modules = modules.iter().map(|(path, module)| {
        let functions = module.functions.iter().map(|function| {
            let kind = match function.udf_type {
                FunctionKind::Query => "Query",
                FunctionKind::Mutation => "Mutation",
                FunctionKind::Action => "Action",
            };
            let visibility = function
                .visibility
                .map(|visibility| record([("kind", visibility_name(visibility).into())]));
            function_value(
                &function.name,
                function.pos.as_ref(),
                kind,
                visibility.into(),
            )
        });
        let routes = module.http_routes.iter().flatten().map(|route| {
            let name = format!("{} {}", route.route.method, route.route.path);
            let public = record([("kind", "public".into())]);
            function_value(&name, route.pos.as_ref(), "HttpAction", public)
        });
        let content = record([
            ("functions", Value::Array(functions.chain(routes).collect())),
            // Modules are stored one by one, in no package.
            ("sourcePackageId", "".into()),
        ]);
        Value::Array(vec![path.as_str().into(), content])
    });
    Value::Array(modules.collect())
}

fn function_value(name: &str, position: Option<&Json>, kind: &str, visibility: Value) -> Value {
    let mut function = Object::new();
    function.insert_unchecked("name", name);
    function.insert_unchecked("udfType", kind);
    function.insert_unchecked("visibility", visibility);
    if let Some(line) = position.and_then(|position| position["start_lineno"].as_f64()) {
        function.insert_unchecked("lineno", line);
    }
    Value::Object(function)
}
