//! Pages of documents.

use futures_util::FutureExt;

use super::arguments::{Arg, PAGINATION};
use super::filters::{Filters, Parsed};
use super::{Answer, Call, Definition, Problem, fails, query, record};
use crate::engine::Failure;
use crate::persistence::Order;
use crate::query::{
    InvalidCursor, Page, PageError, PageQuery, PageRequest, PageStatus, PageStep, Query, Source,
    Visibility,
};
use crate::value::Value;

/// Most rows, and about how many bytes, that are read for a page.
const ROWS_READ_MAX: usize = 10_000;
const BYTES_READ_MAX: usize = 5_000_000;

pub(super) const FUNCTIONS: &[Definition] = &[
    query(
        "_system/cli/tableData",
        &[
            ("table", Arg::Text),
            ("order", Arg::OneOf(&["asc", "desc"])),
            PAGINATION,
        ],
        |call| call.table_data().boxed(),
    ),
    query(
        "_system/frontend/paginatedTableDocuments",
        &[
            ("table", Arg::Text),
            ("filters", Arg::Nullable(&Arg::Text)),
            PAGINATION,
        ],
        |call| call.paginated_documents().boxed(),
    ),
];

impl Call<'_> {
    async fn table_data(&mut self) -> Answer {
        let order = match self.text("order").as_str() {
            "desc" => Order::Descending,
            _ => Order::Ascending,
        };
        let table = self.text("table");
        let source = Source::FullTableScan { table, order };
        let query = Query {
            source,
            operators: Vec::new(),
        };
        let request = self.page_request();
        let page = self.read_page(&query, Visibility::User, request).await?;
        Ok(page_value(&page))
    }

    /// A page of the documents that match the filters of the caller.
    async fn paginated_documents(&mut self) -> Answer {
        let name = self.text("table");
        let filters = self.optional_text("filters");
        let filters = filters.as_deref().map(Filters::decode).transpose();
        let filters = filters.map_err(fails)?.unwrap_or_default();
        let table = match name.starts_with('_') {
            true => None,
            false => self.tx.table(&name),
        };
        let (query, by_hand) = match filters.query(&name, table.as_deref()) {
            Parsed::Query(query, by_hand) => (query, by_hand),
            Parsed::Invalid(errors) => {
                return Ok(record([
                    ("page", Value::Array(errors)),
                    ("isDone", true.into()),
                    ("continueCursor", "".into()),
                ]));
            }
        };
        let request = self.page_request();
        let mut page = self.read_page(&query, Visibility::User, request).await?;
        page.page
            .retain(|document| by_hand.iter().all(|condition| condition.holds(document)));
        Ok(page_value(&page))
    }

    /// What `paginationOpts` ask for, within the bounds of a page.
    pub(super) fn page_request(&mut self) -> PageRequest {
        let options = self.fields("paginationOpts");
        let text = |name| {
            let text = options.get(name).and_then(Value::as_str);
            text.map(str::to_owned)
        };
        // Negative, fractional and huge numbers end up as what is nearest; the query checks the rest.
        let count = |name| {
            let number = options.get(name).and_then(Value::as_f64);
            number.map(|number| number as usize)
        };
        PageRequest {
            cursor: text("cursor"),
            end_cursor: text("endCursor"),
            page_size: count("numItems").unwrap_or_default(),
            maximum_rows_read: Some(
                count("maximumRowsRead")
                    .unwrap_or(ROWS_READ_MAX)
                    .min(ROWS_READ_MAX),
            ),
            maximum_bytes_read: Some(
                count("maximumBytesRead")
                    .unwrap_or(BYTES_READ_MAX)
                    .min(BYTES_READ_MAX),
            ),
        }
    }

    /// Reads a page. It ends where it did when this query ran before.
    pub(super) async fn read_page(
        &mut self,
        query: &Query,
        visibility: Visibility,
        request: PageRequest,
    ) -> Result<Page, Problem> {
        let key = self.functions.cursor_key();
        let journal = key
            .open_journal(self.journal.as_deref())
            .map_err(invalid_cursor)?;
        let page = PageQuery::open(self.tx, query, visibility, request, &journal, key);
        let mut page = page.map_err(|error| match error {
            PageError::InvalidCursor(error) => invalid_cursor(error),
            PageError::Failed(error) => error.into(),
        })?;
        let persistence = self.functions.database().persistence();
        loop {
            match page.next(self.tx)? {
                PageStep::Read(read) => {
                    let read = persistence.read_index(read).await;
                    page.supply(read.map_err(crate::Error::from)?)?;
                }
                PageStep::Done(page) => {
                    self.journal = key.seal_journal(&page.journal);
                    return Ok(page);
                }
            }
        }
    }
}

/// By this, clients know to begin again at the first page.
fn invalid_cursor(error: InvalidCursor) -> Problem {
    Problem::Failure(Failure {
        message: format!("Uncaught Error: {error}"),
        data: Some(error.data()),
        ..Failure::default()
    })
}

/// A page as clients know it.
fn page_value(page: &Page) -> Value {
    let documents = page.page.iter();
    let documents = documents.map(|document| Value::Object((**document).clone()));
    page_of(page, documents.collect())
}

/// The page with other items in the place of its documents.
pub(super) fn page_of(page: &Page, items: Vec<Value>) -> Value {
    let status = page.page_status.map(|status| match status {
        PageStatus::SplitRecommended => "SplitRecommended",
        PageStatus::SplitRequired => "SplitRequired",
    });
    record([
        ("page", Value::Array(items)),
        ("isDone", page.is_done.into()),
        ("continueCursor", page.continue_cursor.as_str().into()),
        ("splitCursor", page.split_cursor.as_deref().into()),
        ("pageStatus", status.into()),
    ])
}
