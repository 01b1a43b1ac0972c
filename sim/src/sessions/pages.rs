//! Pages of a paginated query: every row in exactly one of them, at any timestamp, whatever was written since.
//!
//! Where a page ends was settled when it was read first, and only the server knows where that is: somewhere after its
//! last row and before the next one. So the judge keeps an interval for each end, which narrows whenever a row turns
//! up, or does not, within it; and no row may ever be on the wrong side.

use std::collections::BTreeMap;
use std::sync::Arc;

use concave_core::sync::QueryId;
use concave_core::{Object, Value};
use serde_json::Value as Json;

use crate::app::twin::{State, number, text};
use crate::app::value;
use crate::client::record::View;
use crate::report::Report;

/// The place of a row in the index.
type Place = (f64, f64, String);

/// Where a page ends, as far as is known: not before `after`, and before `before`.
#[derive(Clone, Debug, Default)]
struct End {
    after: Option<Place>,
    before: Option<Place>,
    /// There was nothing beyond it when it was read first, so it has no end.
    is_open: bool,
}

/// Ends of all pages, by client and query.
#[derive(Default)]
pub struct Pages {
    ends: BTreeMap<(usize, QueryId), End>,
}

impl Pages {
    /// Checks the pages of a view against the rows of its timestamp.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&mut self, view: &View, state: &State, report: &mut Report) -> Result<(), String> {
        let mut series: BTreeMap<u32, BTreeMap<usize, _>> = BTreeMap::new();
        for (id, watched, shown) in &view.results {
            if let Some((number, n)) = watched.page {
                let pages = series.entry(number).or_default();
                pages.insert(n, (*id, watched, shown));
            }
        }
        let rows = state.by("rows", "key");
        for pages in series.values() {
            let mut read = 0;
            let mut cursor: Option<Json> = None;
            for (expected, (n, (id, watched, shown))) in pages.iter().enumerate() {
                // Without the page before it, nothing is known of where it begins.
                let Ok(page) = &***shown else { break };
                if *n != expected {
                    break;
                }
                if cursor.is_some_and(|cursor| cursor != watched.args["cursor"]) {
                    return Err(format!(
                        "page {n} does not begin where the one before it ends"
                    ));
                }
                cursor = Some(page["continueCursor"].clone());
                let found = page["page"].as_array().map_or(&[][..], Vec::as_slice);
                for row in found {
                    let row = value(row);
                    let next = rows.get(read).map(|row| Value::Object((***row).clone()));
                    if next.as_ref() != Some(&row) {
                        return Err(format!(
                            "page {n} of {pages:?} has {row:?} instead of {next:?}"
                        ));
                    }
                    read += 1;
                }
                let end = self.ends.entry((view.client, *id)).or_default();
                end.narrow(&rows, read, page["isDone"] == true)
                    .map_err(|what| format!("page {n} of {pages:?} {what}"))?;
                report.pages_checked += 1;
                report.pages_followed += u64::from(*n > 0);
            }
        }
        Ok(())
    }
}

impl End {
    /// Takes into account that the page ends after the first `read` of all rows.
    fn narrow(&mut self, rows: &[&Arc<Object>], read: usize, is_done: bool) -> Result<(), String> {
        let last = read
            .checked_sub(1)
            .and_then(|last| rows.get(last))
            .map(|row| place(row));
        let next = rows.get(read).map(|row| place(row));
        self.is_open |= is_done;
        if is_done != self.is_open {
            return Err("had no end, and now has one".into());
        }
        if self.is_open && next.is_some() {
            return Err(format!("has no end, and leaves out {next:?}"));
        }
        if self.is_open {
            return Ok(());
        }
        if let (Some(last), Some(before)) = (&last, &self.before)
            && last >= before
        {
            return Err(format!("has {last:?}, and once ended before {before:?}"));
        }
        if let (Some(next), Some(after)) = (&next, &self.after)
            && next <= after
        {
            return Err(format!("leaves out {next:?}, and once had {after:?}"));
        }
        if last > self.after {
            self.after = last;
        }
        if next.is_some() && (self.before.is_none() || next < self.before) {
            self.before = next;
        }
        Ok(())
    }
}

fn place(row: &Object) -> Place {
    (
        number(row, "key"),
        number(row, "_creationTime"),
        text(row, "_id"),
    )
}
