//! Stack texts of engines as frames in the developer's own files, by the source maps that were pushed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use concave_core::engine::{Frame, Program};
use sourcemap::SourceMap;

use crate::modules::SCHEME;
use crate::source::{Columns, Source};

/// The function whose frame marks, in stacks of engines without frames of async functions, where the frames of those
/// begin that wait for the code above.
pub const ASYNC_MARK: &str = "<async>";
/// Name of functions without one.
const ANONYMOUS: &str = "<anonymous>";
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
    parsed: Mutex<BTreeMap<Key, Option<Arc<Mapped>>>>,
    columns: Columns,
}

/// A module and its map.
struct Mapped {
    map: SourceMap,
    source: Source,
}

/// One line of a stack text.
struct RawFrame<'a> {
    /// `async ` or `new `, if any.
    qualifier: &'a str,
    function: &'a str,
    /// Path of a module, or another file.
    module: &'a str,
    is_module: bool,
    line: u32,
    column: u32,
}

impl SourceMaps {
    /// For an engine that counts columns so.
    pub fn new(columns: Columns) -> Self {
        Self {
            columns,
            ..Self::default()
        }
    }

    /// Maps an engine's stack text, innermost frame first. Frames outside of the program's modules, and in modules
    /// without a source map, are dropped, and so are the first ones as long as they are `constructors` of the error.
    pub fn frames(&self, program: &Program, stack: &str, constructors: &[&str]) -> Vec<Frame> {
        let mut is_waiting = false;
        let mut is_constructed = true;
        let mut mapped: Vec<(Position, Frame)> = Vec::new();
        for line in stack.lines() {
            let Some(raw) = RawFrame::parse(line) else {
                is_waiting |= function_of(line) == Some(ASYNC_MARK);
                continue;
            };
            if is_constructed && constructors.contains(&raw.function) {
                continue;
            }
            is_constructed = false;
            if !raw.is_module {
                // Code has looked at the stack already.
                let (line, column) = (raw.line, raw.column);
                let position = Position {
                    file: raw.module.to_owned(),
                    line,
                    column,
                };
                let text = format!(
                    "{}{} ({}:{line}:{column})",
                    raw.qualifier, raw.function, raw.module
                );
                mapped.push((position, Frame(text)));
                continue;
            }
            let Some(mapped_module) = self.mapped(program, raw.module) else {
                continue;
            };
            let (line, column) = mapped_module.source.as_v8(raw.line, raw.column, is_waiting);
            let Some(position) = mapped_module.position(line, column) else {
                continue;
            };
            let qualifier = if is_waiting { "async " } else { raw.qualifier };
            let Position { file, line, column } = &position;
            let text = format!("{qualifier}{} ({file}:{line}:{column})", raw.function);
            mapped.push((position, Frame(text)));
        }
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

    /// The stack text as functions see it: a line for each mapped frame, as it is shown with a failure.
    pub fn text(&self, program: &Program, stack: &str) -> String {
        let frames = self.frames(program, stack, &[]);
        let lines: Vec<String> = frames
            .iter()
            .map(|frame| format!("    at {}", frame.0))
            .collect();
        lines.join("\n")
    }

    /// The message of an error as V8 has it, if the engine's own is another. `stack` is the error's.
    pub fn message(&self, program: &Program, message: &str, stack: &str) -> Option<String> {
        // A native function on top did it by itself; what it is called with is not to be seen.
        let native = |line: &&str| function_of(line).is_some() && RawFrame::parse(line).is_none();
        let mut lines = stack.lines().skip_while(native);
        let is_native = stack.lines().next().as_ref().is_some_and(native);
        let raw = RawFrame::parse(lines.next()?)?;
        let mapped = self.mapped(program, raw.module).filter(|_| raw.is_module)?;
        mapped
            .source
            .message(message, raw.function, raw.line, raw.column, is_native)
    }

    /// Maps a place in a pushed module, given by its path and counted from 1.
    pub fn position(
        &self,
        program: &Program,
        module: &str,
        line: u32,
        column: u32,
    ) -> Option<Position> {
        let mapped = self.mapped(program, module)?;
        let (line, column) = mapped.source.counted(line, column);
        mapped.position(line, column)
    }

    fn mapped(&self, program: &Program, path: &str) -> Option<Arc<Mapped>> {
        let key = (program.id, path.to_owned());
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mapped) = parsed.get(&key) {
            return mapped.clone();
        }
        let module = program.modules.get(path)?;
        let mapped = module
            .source_map
            .as_ref()
            .and_then(|text| SourceMap::from_slice(text.as_bytes()).ok())
            .map(|map| {
                Arc::new(Mapped {
                    map,
                    source: Source::new(module.source.clone(), self.columns),
                })
            });
        if parsed.len() >= MAPS_MAX {
            // The least program id is the oldest.
            parsed.pop_first();
        }
        parsed.insert(key, mapped.clone());
        mapped
    }
}

impl Mapped {
    /// The original of a place, both counted from 1.
    fn position(&self, line: u32, column: u32) -> Option<Position> {
        let token = self
            .map
            .lookup_token(line.checked_sub(1)?, column.checked_sub(1)?)?;
        Some(Position {
            file: token.get_source()?.to_owned(),
            line: token.get_src_line().checked_add(1)?,
            column: token.get_src_col().checked_add(1)?,
        })
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
        let module = file.strip_prefix(SCHEME);
        // Scripts of ours are in no folder.
        if module.is_none() && (!file.contains('/') || file.contains("://")) {
            return None;
        }
        Some(Self {
            qualifier,
            function: if function.is_empty() {
                ANONYMOUS
            } else {
                function
            },
            module: module.unwrap_or(file),
            is_module: module.is_some(),
            line: line.parse().ok()?,
            column: column.parse().ok()?,
        })
    }
}

/// The function that a line of a stack text names, wherever that is.
fn function_of(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("at ")?;
    Some(text.split_once(" (").map_or(text, |(function, _)| function))
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
        maps.frames(&program(), stack, &[])
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
                "<anonymous> (../convex/notes.ts:31:9)",
                "<anonymous> (../convex/notes.ts:31:9)",
            ]
        );
        assert_eq!(
            frames("    at async convex:/notes.js:4:9"),
            ["async <anonymous> (../convex/notes.ts:31:9)"]
        );
    }

    #[test]
    fn frames_that_are_mapped_already_stay() {
        let mapped = "    at f (../convex/notes.ts:21:7)\n    at async <anonymous> (../convex/notes.ts:31:1)";
        assert_eq!(SourceMaps::default().text(&program(), mapped), mapped);
    }

    #[test]
    fn frames_below_the_mark_wait() {
        let stack = "    at inner (convex:/notes.js:3:7)\n    at <async> (native)\n    at outer (convex:/notes.js:4:1)\n    \
                     at <anonymous> (convex:/notes.js:5:2)\n";
        let expected = [
            "inner (../convex/notes.ts:21:7)",
            "async outer (../convex/notes.ts:31:1)",
            "async <anonymous> (../convex/notes.ts:41:2)",
        ];
        assert_eq!(frames(stack), expected);
        assert_eq!(
            SourceMaps::default().text(&program(), stack),
            expected.map(|frame| format!("    at {frame}")).join("\n")
        );
    }

    #[test]
    fn constructors_of_the_error_are_left_out_at_its_beginning() {
        let stack = "at Sub (convex:/notes.js:3:7)\nat Base (convex:/notes.js:3:7)\nat f (convex:/notes.js:4:1)\n\
                     at Sub (convex:/notes.js:5:2)";
        let frames = SourceMaps::default().frames(&program(), stack, &["Sub", "Base"]);
        assert_eq!(
            frames
                .iter()
                .map(|frame| frame.0.as_str())
                .collect::<Vec<_>>(),
            [
                "f (../convex/notes.ts:31:1)",
                "Sub (../convex/notes.ts:41:2)"
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
