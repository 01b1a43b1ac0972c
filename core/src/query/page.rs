//! A query that collects one page of its rows.
//!
//! A page is an interval of the index: what lies after its cursor, up to and including its end. On the first run the
//! end is wherever the page got full; the run's journal keeps it, so that later runs read the same interval and
//! neighbouring pages never overlap nor leave a gap between them, whatever is written in the meantime.
//!
//! Law: a run with the journal of an earlier run at the same snapshot gives the same page and the same journal.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::ast::Query;
use super::cursor::{Cursor, CursorKey, Fingerprint, InvalidCursor, Journal, Position};
use super::plan::{Plan, Visibility};
use super::stream::{QueryStream, RowStep};
use crate::error::{Error, Result};
use crate::persistence::{IndexPage, IndexRead, KeyRange, Order};
use crate::planted::{Bug, planted};
use crate::transaction::{BYTES_READ_MAX, DOCUMENTS_READ_MAX, Transaction, successor};
use crate::value::{MAX_ARRAY_LENGTH, Object};

/// Largest page that may be asked for, in rows.
pub const PAGE_SIZE_MAX: usize = DOCUMENTS_READ_MAX;

/// Which page to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageRequest {
    /// Read what comes after this; `None` is the beginning.
    pub cursor: Option<String>,
    /// Read up to here, whatever `page_size` and the limits say.
    pub end_cursor: Option<String>,
    /// Stop at so many rows of the result; at least 1.
    pub page_size: usize,
    /// Stop when so many rows were read, dropped ones included; at least 1.
    pub maximum_rows_read: Option<usize>,
    /// Stop when so many bytes of documents were read, dropped ones included; at least 1.
    pub maximum_bytes_read: Option<usize>,
}

/// A page of a result. Serialises as functions expect it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// Rows of the result.
    #[serde(serialize_with = "serialize_documents")]
    pub page: Vec<Arc<Object>>,
    /// Whether there is nothing after this page.
    pub is_done: bool,
    /// Where the next page begins.
    pub continue_cursor: String,
    /// About the middle of what was read, if that was more than two rows: where to split the page.
    pub split_cursor: Option<String>,
    /// Whether the page should be split.
    pub page_status: Option<PageStatus>,
    /// What makes another run end this page at the same place.
    #[serde(skip)]
    pub journal: Journal,
}

/// Whether a page should be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PageStatus {
    /// Reading it comes near a limit.
    SplitRecommended,
    /// A limit was reached before the page was full.
    SplitRequired,
}

/// Why a page could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// A cursor or the journal was refused.
    #[error(transparent)]
    InvalidCursor(#[from] InvalidCursor),
    /// Anything else.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<PageError> for Error {
    fn from(error: PageError) -> Self {
        match error {
            PageError::InvalidCursor(error) => error.into(),
            PageError::Failed(error) => error,
        }
    }
}

/// A page being read. Ask [`PageQuery::next`]; when it answers [`PageStep::Read`], fetch that page of the index and
/// hand it to [`PageQuery::supply`].
#[derive(Debug)]
pub struct PageQuery {
    stream: QueryStream,
    request: PageRequest,
    key: CursorKey,
    fingerprint: Fingerprint,
    /// Where the page ends, if that is settled beforehand.
    end: Option<Position>,
    page: Vec<Arc<Object>>,
    /// Keys of all rows read, dropped ones included.
    keys: Vec<Vec<u8>>,
    /// Sizes of all documents read, added up.
    bytes_read: usize,
}

/// What a page needs, or the page.
#[derive(Debug)]
pub enum PageStep {
    /// Fetch this page of the index, supply it, ask again.
    Read(IndexRead),
    /// The page. This is the last step.
    Done(Page),
}

impl PageQuery {
    /// Begins a page. `journal` is that of the previous run, if there was one; its end counts if the request names
    /// none.
    ///
    /// # Errors
    /// [`PageError::InvalidCursor`]; `NoDocumentsForPagination`, `PageSizeTooLarge`, `InvalidPaginationLimit`; those
    /// of [`Plan::resolve`]; `TooManyReads`.
    pub fn open(
        tx: &mut Transaction,
        query: &Query,
        visibility: Visibility,
        request: PageRequest,
        journal: &Journal,
        key: &CursorKey,
    ) -> Result<Self, PageError> {
        request.check()?;
        let plan = Plan::resolve(tx, query, visibility)?;
        let fingerprint = Fingerprint::new(query, &plan);
        let position = |cursor: Cursor| {
            if cursor.fingerprint == fingerprint {
                Ok(cursor.position)
            } else {
                Err(InvalidCursor::OtherQuery)
            }
        };
        let read = |text: &Option<String>| {
            let cursor = text.as_deref().map(|text| key.open_cursor(text));
            cursor.transpose()?.map(position).transpose()
        };
        let start = read(&request.cursor)?;
        let end = match read(&request.end_cursor)? {
            Some(end) => Some(end),
            None if planted(Bug::PageEndForgotten) => None,
            None => journal.end_cursor.clone().map(position).transpose()?,
        };
        // After the end comes nothing, whatever end was asked for.
        let end = match start {
            Some(Position::End) => Some(Position::End),
            _ => end,
        };
        let range = interval(plan.range.clone(), start.as_ref(), end.as_ref(), plan.order);
        let rows_max = request.maximum_rows_read.unwrap_or(usize::MAX);
        let stream = QueryStream::over(tx, &plan, range, request.page_size.min(rows_max))?;
        Ok(Self {
            stream,
            request,
            key: key.clone(),
            fingerprint,
            end,
            page: Vec::new(),
            keys: Vec::new(),
            bytes_read: 0,
        })
    }

    /// The page, or what is needed to complete it.
    ///
    /// # Errors
    /// Those of [`QueryStream::next`].
    pub fn next(&mut self, tx: &mut Transaction) -> Result<PageStep> {
        loop {
            if self.end.is_none() && (self.is_full() || self.is_limit_reached()) {
                let last = self
                    .keys
                    .last()
                    .expect("a page has room for a row at first");
                let end = Position::Key(last.clone());
                return Ok(PageStep::Done(self.finish(end)));
            }
            match self.stream.next_read(tx)? {
                RowStep::Read(read) => return Ok(PageStep::Read(read)),
                RowStep::Row {
                    key,
                    document,
                    kept,
                } => {
                    self.keys.push(key);
                    self.bytes_read += document.size();
                    if kept {
                        self.page.push(document);
                    }
                }
                RowStep::Done => {
                    let end = self.end.take().unwrap_or(Position::End);
                    return Ok(PageStep::Done(self.finish(end)));
                }
            }
        }
    }

    /// Takes a fetched page of the index.
    ///
    /// # Errors
    /// If a stored document is damaged.
    ///
    /// # Panics
    /// If no page was asked for.
    pub fn supply(&mut self, page: IndexPage) -> Result<()> {
        self.stream.supply(page)
    }

    fn is_full(&self) -> bool {
        self.page.len() >= self.request.page_size
    }

    fn is_limit_reached(&self) -> bool {
        let PageRequest {
            maximum_rows_read: rows,
            maximum_bytes_read: bytes,
            ..
        } = self.request;
        rows.is_some_and(|max| self.keys.len() >= max)
            || bytes.is_some_and(|max| self.bytes_read >= max)
    }

    /// Follows from what was read and what was asked for alone, so that a run with a journal says the same as the
    /// run that the journal comes from.
    fn status(&self) -> Option<PageStatus> {
        let near = |used: usize, max: usize| used.saturating_mul(4) > max.saturating_mul(3);
        if !self.is_full() && self.is_limit_reached() {
            return Some(PageStatus::SplitRequired);
        }
        let rows_max = self.request.maximum_rows_read.unwrap_or(DOCUMENTS_READ_MAX);
        let bytes_max = self.request.maximum_bytes_read.unwrap_or(BYTES_READ_MAX);
        (near(self.keys.len(), rows_max)
            || near(self.bytes_read, bytes_max)
            || near(self.page.len(), MAX_ARRAY_LENGTH))
        .then_some(PageStatus::SplitRecommended)
    }

    fn finish(&mut self, end: Position) -> Page {
        let cursor = |position| Cursor {
            position,
            fingerprint: self.fingerprint,
        };
        let split_cursor = (self.keys.len() > 2).then(|| {
            let middle = self.keys[(self.keys.len() - 1) / 2].clone();
            self.key.seal_cursor(&cursor(Position::Key(middle)))
        });
        let end = cursor(end);
        Page {
            is_done: end.position == Position::End,
            continue_cursor: self.key.seal_cursor(&end),
            split_cursor,
            page_status: self.status(),
            journal: Journal {
                end_cursor: Some(end),
            },
            page: std::mem::take(&mut self.page),
        }
    }
}

impl PageRequest {
    fn check(&self) -> Result<()> {
        if self.page_size == 0 {
            return Err(Error::bad_request(
                "NoDocumentsForPagination",
                "A page has at least one document: ask for 1 or more.",
            ));
        }
        if self.page_size > PAGE_SIZE_MAX {
            return Err(Error::bad_request(
                "PageSizeTooLarge",
                format!(
                    "A page of {} documents was asked for; the maximum is {PAGE_SIZE_MAX}.",
                    self.page_size
                ),
            ));
        }
        for (name, limit) in [
            ("maximumRowsRead", self.maximum_rows_read),
            ("maximumBytesRead", self.maximum_bytes_read),
        ] {
            if limit == Some(0) {
                return Err(Error::bad_request(
                    "InvalidPaginationLimit",
                    format!("{name} must be 1 or more, or absent."),
                ));
            }
        }
        Ok(())
    }
}

/// The keys of `range` after `start`, up to and including `end`, as a scan in `order` comes by them.
fn interval(
    range: KeyRange,
    start: Option<&Position>,
    end: Option<&Position>,
    order: Order,
) -> KeyRange {
    if start == Some(&Position::End) {
        let nothing = Some(range.start.clone());
        return KeyRange {
            end: nothing,
            ..range
        };
    }
    let key = |position: Option<&Position>| match position {
        Some(Position::Key(key)) => Some(key.clone()),
        Some(Position::End) | None => None,
    };
    let (low, high) = match order {
        Order::Ascending => (
            key(start).map(|key| match planted(Bug::CursorRowRepeated) {
                true => key,
                false => successor(&key),
            }),
            key(end).map(|key| successor(&key)),
        ),
        Order::Descending => (key(end), key(start)),
    };
    KeyRange {
        start: range.start.max(low.unwrap_or_default()),
        end: match (range.end, high) {
            (Some(end), Some(high)) => Some(end.min(high)),
            (end, high) => end.or(high),
        },
    }
}

fn serialize_documents<S: Serializer>(
    documents: &[Arc<Object>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(documents.iter().map(|document| &**document))
}
