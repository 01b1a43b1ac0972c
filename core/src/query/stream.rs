//! A query that hands out its rows one at a time.

use std::sync::Arc;

use super::ast::{Operator, Query};
use super::plan::{Plan, Visibility};
use crate::error::Result;
use crate::persistence::{IndexPage, IndexRead, KeyRange};
use crate::planted::{Bug, planted};
use crate::transaction::{Scan, ScanStep, Transaction};
use crate::value::Object;

/// Size of the first page read from storage when the query does not tell how many rows it wants.
const FIRST_PAGE_ROWS: usize = 64;

/// A query in progress. Ask [`QueryStream::next`] for rows; when it answers [`QueryStep::Read`], fetch that page and
/// hand it to [`QueryStream::supply`].
///
/// Once a limit is used up nothing more is read, so the transaction does not depend on what lies beyond.
#[derive(Debug)]
pub struct QueryStream {
    /// What happens to each row. The numbers of limits are what is left of them; while `scan` is there, none is 0.
    operators: Vec<Operator>,
    /// `None` when there is nothing more to read.
    scan: Option<Scan>,
    /// Set until the first step if there was no table: it may come into being before.
    absent: Option<Box<(Query, Visibility)>>,
}

/// What a query needs or has found.
#[derive(Debug)]
pub enum QueryStep {
    /// Fetch this page, supply it, ask again.
    Read(IndexRead),
    /// The next row.
    Row(Arc<Object>),
    /// There are no more rows.
    Done,
}

/// What one step of the scan gave, dropped rows included.
#[derive(Debug)]
pub(super) enum RowStep {
    /// As [`QueryStep::Read`].
    Read(IndexRead),
    /// A row was read.
    Row {
        /// Its key.
        key: Vec<u8>,
        /// Its document.
        document: Arc<Object>,
        /// Whether it belongs to the result.
        kept: bool,
    },
    /// As [`QueryStep::Done`].
    Done,
}

impl QueryStream {
    /// Begins a query. Tables and indexes are looked up, documents are not read yet.
    ///
    /// # Errors
    /// Those of [`Plan::resolve`], and `TooManyReads`.
    pub fn open(tx: &mut Transaction, query: &Query, visibility: Visibility) -> Result<Self> {
        let plan = Plan::resolve(tx, query, visibility)?;
        tx.count_range()?;
        let mut stream = Self::uncounted(&plan, plan.range.clone(), FIRST_PAGE_ROWS);
        if plan.index.is_none() {
            stream.absent = Some(Box::new((query.clone(), visibility)));
        }
        Ok(stream)
    }

    /// Begins to read a part of a plan's range. `expected_rows` is how many rows the caller wants, if nothing is
    /// dropped.
    ///
    /// # Errors
    /// `TooManyReads`.
    pub(super) fn over(
        tx: &mut Transaction,
        plan: &Plan,
        range: KeyRange,
        expected_rows: usize,
    ) -> Result<Self> {
        tx.count_range()?;
        Ok(Self::uncounted(plan, range, expected_rows))
    }

    fn uncounted(plan: &Plan, range: KeyRange, expected_rows: usize) -> Self {
        let mut operators = plan.operators.clone();
        for operator in &mut operators {
            if let (Operator::Limit(limit), true) = (operator, planted(Bug::LimitOneMore)) {
                *limit += 1;
            }
        }
        let has_filter = operators
            .iter()
            .any(|operator| matches!(operator, Operator::Filter(_)));
        let first_limit = operators
            .iter()
            .map_while(|operator| match operator {
                Operator::Limit(limit) => Some(*limit),
                Operator::Filter(_) => None,
            })
            .min();
        let expected_rows = match first_limit {
            Some(limit) => limit,
            // How many rows a filter drops is unknown.
            None if has_filter => expected_rows.max(FIRST_PAGE_ROWS),
            None => expected_rows,
        };
        let nothing = operators.contains(&Operator::Limit(0));
        let scan = plan
            .index
            .filter(|_| !nothing)
            .map(|index| Scan::new(index, range, plan.order, expected_rows));
        Self {
            operators,
            scan,
            absent: None,
        }
    }

    /// The next row of the result, or what is needed to know it.
    ///
    /// # Errors
    /// When a read limit of the transaction is exceeded (`TooManyDocumentsRead`, `TooManyBytesRead`) or a filter
    /// cannot be evaluated (`EvalError`).
    pub fn next(&mut self, tx: &mut Transaction) -> Result<QueryStep> {
        loop {
            match self.next_read(tx)? {
                RowStep::Read(read) => return Ok(QueryStep::Read(read)),
                RowStep::Row { kept: false, .. } => {}
                RowStep::Row { document, .. } => return Ok(QueryStep::Row(document)),
                RowStep::Done => return Ok(QueryStep::Done),
            }
        }
    }

    /// The next row, whether or not it belongs to the result.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(super) fn next_read(&mut self, tx: &mut Transaction) -> Result<RowStep> {
        if let Some(absent) = self.absent.take() {
            let (query, visibility) = *absent;
            let plan = Plan::resolve(tx, &query, visibility)?;
            *self = Self::uncounted(&plan, plan.range.clone(), FIRST_PAGE_ROWS);
        }
        let Some(scan) = &mut self.scan else {
            return Ok(RowStep::Done);
        };
        match scan.next(tx)? {
            ScanStep::Read(read) => Ok(RowStep::Read(read)),
            ScanStep::Row(row) => Ok(RowStep::Row {
                kept: self.pass(&row.document)?,
                key: row.key,
                document: row.document,
            }),
            ScanStep::Done => {
                self.scan = None;
                Ok(RowStep::Done)
            }
        }
    }

    /// Takes a fetched page.
    ///
    /// # Errors
    /// If a stored document is damaged.
    ///
    /// # Panics
    /// If no page was asked for.
    pub fn supply(&mut self, page: IndexPage) -> Result<()> {
        self.scan
            .as_mut()
            .expect("only a query in progress asks for pages")
            .supply(page)
    }

    /// Sends a document through the operators: whether it comes out. Ends the query when a limit is used up.
    fn pass(&mut self, document: &Object) -> Result<bool> {
        for operator in &mut self.operators {
            match operator {
                Operator::Filter(expression) => {
                    if !expression.evaluate_boolean(document)? {
                        return Ok(false);
                    }
                }
                Operator::Limit(left) => {
                    debug_assert!(*left > 0);
                    *left -= 1;
                    if *left == 0 {
                        self.scan = None;
                    }
                }
            }
        }
        Ok(true)
    }
}
