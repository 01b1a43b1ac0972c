//! What modules say about themselves when they are pushed.

use std::collections::BTreeMap;
use std::sync::Arc;

use concave_core::engine::{Evaluation, Failure, Program};
use serde_json::{Map, Value as Json, json};

use super::world::{Argument, Entry, World, call_for_text, import};
use crate::modules::SCHEME;
use crate::{HostInputs, Phase, SourceMaps};

/// Evaluates in a world that is then thrown away.
pub(crate) fn evaluate<W: World>(
    world: &mut W,
    program: &Arc<Program>,
    evaluation: &Evaluation,
    maps: &Arc<SourceMaps>,
) -> Result<Json, Failure> {
    let mut evaluator = Evaluator {
        world,
        program,
        maps,
    };
    match evaluation {
        Evaluation::Functions(paths) => evaluator.functions(paths),
        Evaluation::Schema(path) => evaluator.exported(path, false, Entry::Schema),
        Evaluation::AuthConfig(path) => evaluator.exported(path, true, Entry::AuthConfig),
        Evaluation::Definition(path) => evaluator.exported(path, false, Entry::Definition),
    }
}

struct Evaluator<'a, W> {
    world: &'a mut W,
    program: &'a Arc<Program>,
    maps: &'a Arc<SourceMaps>,
}

impl<W: World> Evaluator<'_, W> {
    fn functions(&mut self, paths: &[String]) -> Result<Json, Failure> {
        let mut modules = Map::new();
        for path in paths {
            let analyzed = self.module(path).map_err(|mut failure| {
                failure.message = format!("Failed to analyze {path}: {}", failure.message);
                self.append_logs(&mut failure);
                failure
            })?;
            modules.insert(path.clone(), analyzed);
        }
        Ok(json!({ "modules": modules }))
    }

    fn module(&mut self, path: &str) -> Result<Json, Failure> {
        let namespace = self.import(path, false)?;
        let mut functions = self.list(path, Entry::Functions, &namespace)?;
        // Stable, so that functions without a position come first, by name.
        functions.sort_by_key(|function| {
            let place = |field: &str| function["pos"][field].as_u64();
            (place("start_lineno"), place("start_col"))
        });
        let routes = match path {
            "http.js" => Some(self.list(path, Entry::Routes, &namespace)?),
            _ => None,
        };
        let crons = match path {
            "crons.js" => Some(self.list(path, Entry::Crons, &namespace)?),
            _ => None,
        };
        Ok(json!({
            "functions": functions,
            "httpRoutes": routes,
            "cronSpecs": crons,
            "sourceMapped": null,
            "imports": self.world.host().loaded(),
        }))
    }

    /// What an entry point lists about a module, with positions mapped.
    fn list(
        &mut self,
        path: &str,
        entry: Entry,
        namespace: &W::Value,
    ) -> Result<Vec<Json>, Failure> {
        let text = call_for_text(
            self.world,
            entry,
            &[Argument::Value(namespace)],
            self.program,
            self.maps,
        )?;
        let mut items: Vec<Json> = serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("Uncaught SyntaxError: {error}")))?;
        for item in &mut items {
            if let Some(fields) = item.as_object_mut()
                && let Some(position) = fields.remove("position")
            {
                fields.insert("pos".to_owned(), self.position(path, &position));
            }
        }
        Ok(items)
    }

    /// A function's position in the module's own source file.
    fn position(&self, path: &str, position: &Json) -> Json {
        let number = |index: usize| {
            position[index]
                .as_u64()
                .and_then(|number| number.try_into().ok())
        };
        let (Some(file), Some(line), Some(column)) = (position[0].as_str(), number(1), number(2))
        else {
            return Json::Null;
        };
        if file.strip_prefix(SCHEME) != Some(path) {
            return Json::Null;
        }
        match self.maps.position(self.program, path, line, column) {
            Some(position) if is_source_of(&position.file, path) => {
                json!({"path": path, "start_lineno": position.line, "start_col": position.column})
            }
            _ => Json::Null,
        }
    }

    /// The JSON text that an entry point makes of a module's default export, parsed.
    fn exported(
        &mut self,
        path: &str,
        is_auth_config: bool,
        entry: Entry,
    ) -> Result<Json, Failure> {
        let namespace = self.import(path, is_auth_config)?;
        let text = call_for_text(
            self.world,
            entry,
            &[Argument::Value(&namespace)],
            self.program,
            self.maps,
        )?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("{path} exports invalid JSON: {error}")))
    }

    fn import(&mut self, path: &str, is_auth_config: bool) -> Result<W::Value, Failure> {
        let inputs = HostInputs {
            phase: Phase::Import,
            now: self.program.import_time,
            seed: self.program.import_seed,
            env: if path == "schema.js" {
                Arc::new(BTreeMap::new())
            } else {
                Arc::new(self.program.environment_variables.clone())
            },
            env_must_exist: is_auth_config,
            elapsed: None,
        };
        import(self.world, inputs, self.program, path, self.maps)
    }

    /// Shows what the code printed below the failure.
    fn append_logs(&mut self, failure: &mut Failure) {
        const LINES_MAX: usize = 100;
        let logs = self.world.host().state.take_logs();
        if logs.is_empty() {
            return;
        }
        failure.message.push_str("\n\n");
        for line in &logs[logs.len().saturating_sub(LINES_MAX)..] {
            failure.message.push_str(&format!("{line}\n"));
        }
    }
}

/// Whether a source map's file is what the module at `path` was made from, such as `../convex/a.ts` for `a.js`.
fn is_source_of(file: &str, path: &str) -> bool {
    let stem = path.strip_suffix(".js").unwrap_or(path);
    let file_stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    file_stem == stem || file_stem.ends_with(&format!("/{stem}"))
}
