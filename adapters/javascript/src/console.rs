//! Log lines and console timers of one call.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use concave_core::Timestamp;
use concave_core::engine::{LogLevel, LogLine};

use crate::host::{Args, HostError, HostResult, HostValue, unknown};

/// Bytes of text in one line, separators included; the rest is cut.
const LINE_BYTES_MAX: usize = 32768;
/// Lines in one call; if there would be more, the last tells that others are missing.
const LINES_MAX: usize = 256;

/// What user code has printed, within the limits.
#[derive(Default)]
pub(crate) struct Console {
    lines: Vec<LogLine>,
    /// Lines accepted since the call began, taken ones included.
    accepted: usize,
    timers: BTreeMap<String, Timestamp>,
}

impl Console {
    pub(crate) fn take(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.lines)
    }

    pub(crate) fn call(&mut self, name: &str, args: Args<'_>, now: Timestamp) -> HostResult {
        let first = args.string(0)?;
        match name {
            // (level, ...messages)
            "write" => {
                let messages = strings(args, 1)?;
                self.write(level(first)?, messages, now);
            }
            // (label)
            "time" => {
                if self.timers.contains_key(first) {
                    self.warn(format!("Timer '{first}' already exists"), now);
                } else {
                    self.timers.insert(first.to_owned(), now);
                }
            }
            // (label, ...messages)
            "timeLog" | "timeEnd" => {
                let Some(start) = self.timers.get(first) else {
                    self.warn(format!("Timer '{first}' does not exist"), now);
                    return Ok(HostValue::Undefined);
                };
                let ms = now.0.saturating_sub(start.0) / 1_000_000;
                if name == "timeEnd" {
                    self.timers.remove(first);
                }
                let mut messages = vec![format!("{first}: {ms}ms")];
                messages.extend(strings(args, 1)?);
                self.write(LogLevel::Info, messages, now);
            }
            _ => return Err(unknown(name)),
        }
        Ok(HostValue::Undefined)
    }

    fn warn(&mut self, message: String, now: Timestamp) {
        self.write(LogLevel::Warn, vec![message], now);
    }

    fn write(&mut self, level: LogLevel, messages: Vec<String>, now: Timestamp) {
        self.accepted = self.accepted.saturating_add(1);
        match self.accepted.cmp(&LINES_MAX) {
            Ordering::Less => self.push(level, messages, now),
            // Lines may have been handed out already, so it has to be now.
            Ordering::Equal => self.push(
                LogLevel::Error,
                vec![format!(
                    "Log overflow (maximum {LINES_MAX}). Remaining log lines omitted."
                )],
                now,
            ),
            Ordering::Greater => {}
        }
    }

    fn push(&mut self, level: LogLevel, messages: Vec<String>, timestamp: Timestamp) {
        let (messages, is_truncated) = cut(messages);
        self.lines.push(LogLine {
            level,
            messages,
            is_truncated,
            timestamp,
            system_code: None,
        });
    }
}

/// Keeps as much of the messages as fits in a line.
fn cut(messages: Vec<String>) -> (Vec<String>, bool) {
    let mut kept = Vec::with_capacity(messages.len());
    let mut left = LINE_BYTES_MAX;
    for mut message in messages {
        if !kept.is_empty() {
            // The separating space.
            left = left.saturating_sub(1);
        }
        if message.len() > left {
            message.truncate(message.floor_char_boundary(left));
            kept.push(message);
            return (kept, true);
        }
        left -= message.len();
        kept.push(message);
    }
    (kept, false)
}

fn strings(args: Args<'_>, from: usize) -> Result<Vec<String>, HostError> {
    (from..args.0.len())
        .map(|index| args.string(index).map(str::to_owned))
        .collect()
}

fn level(name: &str) -> Result<LogLevel, HostError> {
    Ok(match name {
        "debug" => LogLevel::Debug,
        "error" => LogLevel::Error,
        "info" => LogLevel::Info,
        "log" => LogLevel::Log,
        "warn" => LogLevel::Warn,
        _ => return Err(unknown(name)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_the_limit_between_characters() {
        let long = "é".repeat(LINE_BYTES_MAX);
        let (messages, truncated) = cut(vec!["x".into(), long, "never".into()]);
        assert!(truncated);
        assert_eq!(messages.len(), 2);
        assert_eq!(messages.join(" ").len(), LINE_BYTES_MAX);
        let exact = "y".repeat(LINE_BYTES_MAX);
        assert_eq!(cut(vec![exact.clone()]), (vec![exact], false));
    }

    #[test]
    fn there_are_256_lines_of_which_the_last_is_the_notice() {
        let mut console = Console::default();
        for line in 0..255 {
            console.write(LogLevel::Log, vec![line.to_string()], Timestamp::ZERO);
        }
        let lines = console.take();
        assert_eq!(lines.len(), 255);
        assert_eq!(lines[254].messages, ["254"]);
        for line in 255..300 {
            console.write(LogLevel::Log, vec![line.to_string()], Timestamp::ZERO);
        }
        let lines = console.take();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].level, LogLevel::Error);
        assert_eq!(
            lines[0].messages,
            ["Log overflow (maximum 256). Remaining log lines omitted."]
        );
        console.write(LogLevel::Log, vec!["more".into()], Timestamp::ZERO);
        assert!(console.take().is_empty());
    }
}
