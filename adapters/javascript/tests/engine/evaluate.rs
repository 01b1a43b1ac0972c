//! What modules say about themselves at push time.

use concave_core::engine::{Evaluation, Failure};
use futures_executor::block_on;
use serde_json::{Value as Json, json};

use super::common::{bundle, engine, functions, program};

fn evaluate(modules: &[(&str, &str)], evaluation: Evaluation) -> Result<Json, Failure> {
    block_on(engine().evaluate(program(modules), evaluation))
}

fn functions_of(paths: &[&str]) -> Evaluation {
    Evaluation::Functions(paths.iter().map(|path| path.to_string()).collect())
}

#[test]
fn a_module_is_listed_with_all_that_it_loads() {
    let dep = "export const x = 1;";
    let through = "export { x } from './_deps/D.js';";
    let direct = "import { x } from './a.js'; export const y = x;";
    let late = "export const f = () => import('./_deps/D.js');";
    let modules = [
        ("_deps/D.js", dep),
        ("a.js", through),
        ("b.js", direct),
        ("c.js", late),
    ];
    let analysis = evaluate(&modules, functions_of(&["a.js", "b.js", "c.js"])).unwrap();
    let imports = |path: &str| analysis["modules"][path]["imports"].clone();
    assert_eq!(imports("a.js"), json!(["_deps/D.js", "a.js"]));
    assert_eq!(imports("b.js"), json!(["_deps/D.js", "a.js", "b.js"]));
    assert_eq!(imports("c.js"), json!(["c.js"]));
    let some = evaluate(&modules, functions_of(&["b.js"])).unwrap();
    let listed: Vec<_> = some["modules"].as_object().unwrap().keys().collect();
    assert_eq!(listed, ["b.js"]);
}

#[test]
fn functions_routes_and_crons_are_listed() {
    let analysis = block_on(engine().evaluate(
        bundle(),
        functions_of(&["crons.js", "http.js", "notes.js", "walk.js"]),
    ))
    .unwrap();
    let modules = analysis["modules"].as_object().unwrap();
    assert_eq!(
        modules.keys().collect::<Vec<_>>(),
        ["crons.js", "http.js", "notes.js", "walk.js"]
    );
    let functions = modules["notes.js"]["functions"].as_array().unwrap();
    let names: Vec<&str> = functions
        .iter()
        .map(|f| f["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "echo", "get", "list", "add", "both", "dangling", "fails", "refuses", "nested",
            "clean", "act", "sleepy", "seeded"
        ]
    );
    assert_eq!(
        functions[0],
        json!({
            "name": "echo",
            "udfType": "Query",
            "visibility": {"kind": "public"},
            "args": r#"{"type":"object","value":{"n":{"fieldType":{"type":"number"},"optional":false}}}"#,
            "returns": r#"{"type":"any"}"#,
            "pos": functions[0]["pos"],
        })
    );
    assert_eq!(functions[0]["pos"]["path"], "notes.js");
    assert_eq!(functions[0]["pos"]["start_lineno"], 6);
    assert_eq!(functions[9]["visibility"], json!({"kind": "internal"}));
    assert_eq!(functions[9]["udfType"], "Mutation");
    let routes = modules["http.js"]["httpRoutes"].as_array().unwrap();
    let routes: Vec<&Json> = routes.iter().map(|route| &route["route"]).collect();
    assert_eq!(
        routes,
        [
            &json!({"path": "/hook", "method": "POST"}),
            &json!({"path": "/p/*", "method": "GET"})
        ]
    );
    assert_eq!(
        modules["crons.js"]["cronSpecs"],
        json!([{"identifier": "tidy", "spec": {"name": "notes:clean", "args": [{}],
            "schedule": {"type": "interval", "minutes": 5}}}])
    );
    assert_eq!(modules["notes.js"]["httpRoutes"], Json::Null);
}

#[test]
fn schema_and_definition_are_exported() {
    let schema =
        block_on(engine().evaluate(bundle(), Evaluation::Schema("schema.js".into()))).unwrap();
    assert_eq!(schema["tables"][0]["tableName"], "notes");
    assert_eq!(
        schema["tables"][0]["indexes"][0]["indexDescriptor"],
        "by_text"
    );
    let definition =
        block_on(engine().evaluate(bundle(), Evaluation::Definition("convex.config.js".into())))
            .unwrap();
    assert_eq!(definition["definitionType"], json!({"type": "app"}));
}

#[test]
fn children_of_a_definition_are_modules() {
    let definition = evaluate(
        &[
            (
                "convex.config.js",
                "import child from './_componentDeps/Y2hpbGQ'; export default { export: () => ({ child: child.componentDefinitionPath }) }",
            ),
            (
                "_componentDeps/Y2hpbGQ",
                "export default { export: () => ({}), componentDefinitionPath: 'child', defaultName: 'child' }",
            ),
        ],
        Evaluation::Definition("convex.config.js".into()),
    );
    assert_eq!(definition.unwrap(), json!({"child": "child"}));
}

#[test]
fn auth_needs_its_variables() {
    let auth = |source: &str| {
        evaluate(
            &[("auth.config.js", source)],
            Evaluation::AuthConfig("auth.config.js".into()),
        )
    };
    assert_eq!(
        auth(
            "export default { providers: [{ domain: process.env.GREETING, applicationID: 'web' }] }"
        )
        .unwrap(),
        json!({"providers": [{"domain": "hello", "applicationID": "web"}]})
    );
    let failure =
        block_on(engine().evaluate(bundle(), Evaluation::AuthConfig("auth.config.js".into())))
            .unwrap_err();
    assert!(
        failure.message.contains("Environment variable ISSUER "),
        "{failure}"
    );
    assert!(
        auth("export const x = 1")
            .unwrap_err()
            .message
            .contains("no default export")
    );
}

#[test]
fn failed_imports_name_the_module_and_show_its_output() {
    let failure = evaluate(
        &[
            (
                "a.js",
                "console.log('before'); throw new Error('at import')",
            ),
            ("b.js", &functions(&[("f", "")])),
        ],
        functions_of(&["a.js", "b.js"]),
    )
    .unwrap_err();
    assert_eq!(
        failure.message,
        "Failed to analyze a.js: Uncaught Error: at import\n\n[LOG] 'before'\n"
    );
    assert_eq!(failure.frames[0].0, "<anonymous> (../convex/a.ts:1:1)");
    let failure = evaluate(&[("a.js", "while (1);")], functions_of(&["a.js"])).unwrap_err();
    assert_eq!(
        failure.message,
        "Failed to analyze a.js: Function execution timed out (maximum duration: 0.5s)"
    );
}

#[test]
fn what_is_not_a_function_is_skipped() {
    let source = "export const a = 5, b = null, c = () => {}, d = { isQuery: true, isMutation: true };\n\
                  export const e = Object.assign(() => {}, { isQuery: true });\n\
                  export const f = Object.assign(() => {}, { isQuery: true, isPublic: true, isInternal: true });";
    let analysis = evaluate(&[("a.js", source)], functions_of(&["a.js"])).unwrap();
    let functions = analysis["modules"]["a.js"]["functions"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(functions.len(), 1);
    assert_eq!(functions[0]["name"], "e");
    assert_eq!(functions[0]["visibility"], Json::Null);
    assert_eq!(functions[0]["args"], Json::Null);
}

#[test]
fn wrong_default_exports_are_errors() {
    for (path, evaluation) in [
        ("http.js", functions_of(&["http.js"])),
        ("crons.js", functions_of(&["crons.js"])),
        ("schema.js", Evaluation::Schema("schema.js".into())),
        (
            "convex.config.js",
            Evaluation::Definition("convex.config.js".into()),
        ),
    ] {
        for source in [
            "export const x = 1",
            "export default {}",
            "export default 5",
        ] {
            let failure = evaluate(&[(path, source)], evaluation.clone()).unwrap_err();
            assert!(
                failure.message.contains("default export"),
                "{path}: {failure}"
            );
        }
    }
}
