//! Stack texts of engines as frames in the developer's own files, by the source maps that were pushed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use concave_core::engine::{Frame, Program};
use sourcemap::SourceMap;

/// Modules are known to engines by this prefix and their path.
const SCHEME: &str = "convex:/";
/// Frames in here say nothing about the developer's code; they are cut from both ends of a stack.
const PACKAGE: [&str; 2] = ["convex/src/server/impl", "convex/src/values/errors"];
/// Parsed maps that are kept.
const MAPS_MAX: usize = 64;

/// A place in a file, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// File as the source map names it, such as `../convex/notes.ts`.
    pub file: String,
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// A program's id and a module's path.
type Key = (u64, String);

/// Source maps by program and module, parsed when first needed.
#[derive(Default)]
pub struct SourceMaps {
    /// `None` for modules without a (valid) map.
    parsed: Mutex<BTreeMap<Key, Option<Arc<SourceMap>>>>,
}

/// One line of a stack text.
struct RawFrame<'a> {
    /// `async ` or `new `, if any.
    qualifier: &'a str,
    function: &'a str,
    module: &'a str,
    line: u32,
    column: u32,
}

impl SourceMaps {
    /// Maps an engine's stack text, innermost frame first. Frames outside of the program's modules, and in modules
    /// without a source map, are dropped.
    pub fn frames(&self, program: &Program, stack: &str) -> Vec<Frame> {
        let mapped: Vec<(Position, Frame)> = stack
            .lines()
            .filter_map(|line| {
                let raw = RawFrame::parse(line)?;
                let position = self.position(program, raw.module, raw.line, raw.column)?;
                let Position { file, line, column } = &position;
                let text = if raw.function.is_empty() {
                    format!("{}{file}:{line}:{column}", raw.qualifier)
                } else {
                    format!("{}{} ({file}:{line}:{column})", raw.qualifier, raw.function)
                };
                Some((position, Frame(text)))
            })
            .collect();
        let is_own = |(position, _): &(Position, Frame)| {
            !PACKAGE.iter().any(|part| position.file.contains(part))
        };
        let Some(first) = mapped.iter().position(is_own) else {
            return Vec::new();
        };
        let last = mapped.iter().rposition(is_own).unwrap_or(first);
        mapped
            .into_iter()
            .take(last + 1)
            .skip(first)
            .map(|(_, frame)| frame)
            .collect()
    }

    /// Maps a place in a pushed module, given by its path and counted from 1.
    pub fn position(
        &self,
        program: &Program,
        module: &str,
        line: u32,
        column: u32,
    ) -> Option<Position> {
        let map = self.map(program, module)?;
        let token = map.lookup_token(line.checked_sub(1)?, column.checked_sub(1)?)?;
        Some(Position {
            file: token.get_source()?.to_owned(),
            line: token.get_src_line().checked_add(1)?,
            column: token.get_src_col().checked_add(1)?,
        })
    }

    fn map(&self, program: &Program, module: &str) -> Option<Arc<SourceMap>> {
        let key = (program.id, module.to_owned());
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = parsed.get(&key) {
            return map.clone();
        }
        let text = program.modules.get(module)?.source_map.as_ref();
        let map = text
            .and_then(|text| SourceMap::from_slice(text.as_bytes()).ok())
            .map(Arc::new);
        if parsed.len() >= MAPS_MAX {
            // The least program id is the oldest.
            parsed.pop_first();
        }
        parsed.insert(key, map.clone());
        map
    }
}

impl<'a> RawFrame<'a> {
    /// Reads `    at [async ][new ]name (file:line:column)` or `    at file:line:column`.
    fn parse(line: &'a str) -> Option<Self> {
        let text = line.trim_start().strip_prefix("at ")?.trim_end();
        let (text, place) = match text.strip_suffix(')') {
            Some(text) => text.rsplit_once(" (")?,
            None => match text.strip_prefix("async ") {
                Some(place) => ("async ", place),
                None => ("", text),
            },
        };
        let (qualifier, function) = ["async ", "new "]
            .iter()
            .find_map(|word| {
                text.strip_prefix(word)
                    .map(|function| (&text[..word.len()], function))
            })
            .unwrap_or(("", text));
        let (rest, column) = place.rsplit_once(':')?;
        let (file, line) = rest.rsplit_once(':')?;
        Some(Self {
            qualifier,
            function: if function == "<anonymous>" {
                ""
            } else {
                function
            },
            module: file.strip_prefix(SCHEME)?,
            line: line.parse().ok()?,
            column: column.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use concave_core::Timestamp;
    use concave_core::engine::{Environment, Module};

    use super::*;

    /// Generated line n (from 0) is line 10 n of the original, column for column, in one of two files.
    fn program() -> Program {
        let mut builder = sourcemap::SourceMapBuilder::new(None);
        for line in 0..9 {
            let file = if matches!(line, 0 | 1 | 5 | 8) {
                "../node_modules/convex/src/server/impl/registration_impl.ts"
            } else {
                "../convex/notes.ts"
            };
            for column in 0..40 {
                builder.add(line, column, line * 10, column, Some(file), None, false);
            }
        }
        let mut map = Vec::new();
        builder.into_sourcemap().to_writer(&mut map).unwrap();
        let module = |path: &str, source_map| Module {
            path: path.to_owned(),
            source: "".into(),
            source_map,
            environment: Environment::Isolate,
        };
        let map: Arc<str> = String::from_utf8(map).unwrap().into();
        Program {
            id: 1,
            modules: BTreeMap::from([
                ("notes.js".to_owned(), module("notes.js", Some(map))),
                ("bare.js".to_owned(), module("bare.js", None)),
            ]),
            environment_variables: BTreeMap::new(),
            import_seed: [0; 32],
            import_time: Timestamp::ZERO,
        }
    }

    fn frames(stack: &str) -> Vec<String> {
        let maps = SourceMaps::default();
        maps.frames(&program(), stack)
            .into_iter()
            .map(|frame| frame.0)
            .collect()
    }

    #[test]
    fn frames_of_every_form_are_mapped() {
        let stack = "Error: x\n    at list (convex:/notes.js:3:7)\n    at async other (convex:/notes.js:4:1)\n    \
                     at new Thing (convex:/notes.js:5:2)\n    at convex:/notes.js:4:9\n    \
                     at <anonymous> (convex:/notes.js:4:9)\n";
        assert_eq!(
            frames(stack),
            [
                "list (../convex/notes.ts:21:7)",
                "async other (../convex/notes.ts:31:1)",
                "new Thing (../convex/notes.ts:41:2)",
                "../convex/notes.ts:31:9",
                "../convex/notes.ts:31:9",
            ]
        );
    }

    #[test]
    fn the_package_is_cut_from_both_ends_only() {
        let stack = "at a (convex:/notes.js:1:1)\nat b (convex:/notes.js:2:1)\nat c (convex:/notes.js:3:1)\n\
                     at d (convex:/notes.js:6:1)\nat e (convex:/notes.js:7:1)\nat f (convex:/notes.js:9:1)";
        let names: Vec<String> = frames(stack)
            .into_iter()
            .map(|frame| frame[..1].to_owned())
            .collect();
        assert_eq!(names, ["c", "d", "e"]);
        assert!(frames("at a (convex:/notes.js:1:1)").is_empty());
    }

    #[test]
    fn foreign_and_unmapped_frames_are_dropped() {
        for line in [
            "at f (native)",
            "at f (core.js:1:2)",
            "at f (convex:/bare.js:1:2)",
            "at f (convex:/gone.js:1:2)",
            "at f (convex:/notes.js:0:0)",
            "at f (convex:/notes.js:999999999999:1)",
            "at",
            "at (",
            "at :1:2",
            "",
        ] {
            assert!(frames(line).is_empty(), "{line}");
        }
    }
}
