//! Goal: pages neither overlap nor leave gaps, now and after changes.

use std::sync::Arc;

use proptest::option;
use proptest::prelude::*;

use super::model::{Model, ModelQuery, Write, inserts, unlimited_query, writes};
use super::world::{World, add_index, cursor_key};
use crate::catalog::IndexState;
use crate::query::{
    Cursor, Expression, InvalidCursor, Journal, Operator, Page, PageError, PageRequest, PageStatus,
    Position, Query,
};
use crate::transaction::Transaction;
use crate::{Error, Object};

fn request() -> impl Strategy<Value = PageRequest> {
    (1usize..5, option::of(1usize..7), option::of(1usize..400)).prop_map(
        |(page_size, maximum_rows_read, maximum_bytes_read)| PageRequest {
            page_size,
            maximum_rows_read,
            maximum_bytes_read,
            ..PageRequest::default()
        },
    )
}

/// Reads all pages one after the other, with one request after the other, the last one for the rest.
fn read_all(
    world: &World,
    mut begin: impl FnMut(&mut dyn FnMut(&mut Transaction)),
    query: &Query,
    requests: &[PageRequest],
) -> Vec<(PageRequest, Page)> {
    let mut pages: Vec<(PageRequest, Page)> = Vec::new();
    loop {
        let mut request = requests[pages.len().min(requests.len() - 1)].clone();
        request.cursor = pages.last().map(|(_, page)| page.continue_cursor.clone());
        let mut page = None;
        begin(&mut |tx| {
            page = Some(
                world
                    .page(tx, query, &request, &Journal::default())
                    .unwrap(),
            );
        });
        let page = page.unwrap();
        let is_done = page.is_done;
        pages.push((request, page));
        if is_done {
            return pages;
        }
        assert!(pages.len() < 100, "pages make progress");
    }
}

fn filled(page_rows: usize, stored: &[Write]) -> (World, Model) {
    let mut world = World::new(page_rows);
    let mut model = Model::default();
    let mut tx = world.begin();
    model.write(&world, &mut tx, stored);
    world.commit(tx);
    (world, model)
}

fn rows(pages: &[Page]) -> Vec<Arc<Object>> {
    pages.iter().flat_map(|page| page.page.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Method: over stored documents and own writes, read page after page; then each again, as a whole by its
    /// journal and in halves by its split cursor.
    #[test]
    fn pages_make_up_the_result(
        page_rows in 1usize..6,
        stored in inserts(),
        own in writes(),
        query in unlimited_query(),
        requests in prop::collection::vec(request(), 1..4),
    ) {
        let (world, mut model) = filled(page_rows, &stored);
        let mut tx = world.begin();
        model.write(&world, &mut tx, &own);
        let (expected, _) = model.answer(&query);
        let query = query.query();
        let pages = read_all(&world, |read| read(&mut tx), &query, &requests);
        let whole: Vec<_> = pages.iter().map(|(_, page)| page.clone()).collect();
        prop_assert_eq!(rows(&whole), expected);

        for (request, page) in &pages {
            prop_assert!(page.page.len() <= request.page_size);
            prop_assert_eq!(&world.page(&mut tx, &query, request, &page.journal).unwrap(), page);
            let Some(split) = &page.split_cursor else { continue };
            let first = PageRequest { end_cursor: Some(split.clone()), ..request.clone() };
            let second = PageRequest {
                cursor: Some(split.clone()),
                end_cursor: Some(page.continue_cursor.clone()),
                ..request.clone()
            };
            prop_assert_ne!(split, &page.continue_cursor, "both halves have rows");
            // What a request says counts more than a journal.
            let first = world.page(&mut tx, &query, &first, &page.journal).unwrap();
            let second = world.page(&mut tx, &query, &second, &Journal::default()).unwrap();
            prop_assert_eq!(&first.continue_cursor, split);
            prop_assert_eq!(&second.continue_cursor, &page.continue_cursor);
            prop_assert_eq!(second.is_done, page.is_done);
            prop_assert_eq!(rows(&[first, second]), page.page.clone());
        }

        let last = pages.last().unwrap().1.continue_cursor.clone();
        let request = PageRequest { cursor: Some(last.clone()), ..requests[0].clone() };
        for end_cursor in [None, pages[0].1.split_cursor.clone()] {
            let request = PageRequest { end_cursor, ..request.clone() };
            let beyond = world.page(&mut tx, &query, &request, &Journal::default()).unwrap();
            prop_assert!(beyond.page.is_empty() && beyond.is_done);
            prop_assert_eq!(&beyond.continue_cursor, &last);
        }
    }

    /// Method: read all pages, each in its own transaction; change documents; read each again with its journal. They
    /// must still make up the result, and a page that changed must have been touched by the writes.
    #[test]
    fn pages_stay_adjacent_when_data_changes(
        page_rows in 1usize..6,
        stored in inserts(),
        later in writes(),
        query in unlimited_query(),
        request in request(),
    ) {
        let (mut world, mut model) = filled(page_rows, &stored);
        let ast = query.query();
        let mut transactions = Vec::new();
        let pages = read_all(&world, |read| {
            let mut tx = world.begin();
            read(&mut tx);
            transactions.push(tx);
        }, &ast, &[request]);

        let mut tx = world.begin();
        model.write(&world, &mut tx, &later);
        let written = world.commit(tx);
        let mut again = Vec::new();
        for ((request, page), before) in pages.iter().zip(&transactions) {
            let journal = cursor_key().seal_journal(&page.journal);
            let journal = cursor_key().open_journal(journal.as_deref()).unwrap();
            let now = world.page(&mut world.begin(), &ast, request, &journal).unwrap();
            prop_assert_eq!(&now.continue_cursor, &page.continue_cursor);
            if now.page != page.page {
                let touched = written.iter().any(|(index, key)| before.reads().contains(*index, key));
                prop_assert!(touched);
            }
            again.push(now);
        }
        prop_assert_eq!(rows(&again), model.answer(&query).0);
    }
}

/// Ten documents and a full scan of them.
fn ten() -> (World, Query) {
    let document = |mark: i64| Object::from_fields([("mark", mark)]).unwrap();
    let writes: Vec<_> = (0..10).map(|mark| Write::Insert(document(mark))).collect();
    (filled(512, &writes).0, ModelQuery::full_scan().query())
}

fn of_size(page_size: usize) -> PageRequest {
    PageRequest {
        page_size,
        ..PageRequest::default()
    }
}

#[test]
fn impossible_requests_are_refused() {
    let (world, query) = ten();
    let code = |request: PageRequest| {
        let page = world.page(&mut world.begin(), &query, &request, &Journal::default());
        Error::from(page.unwrap_err()).code.into_owned()
    };
    assert_eq!(code(of_size(0)), "NoDocumentsForPagination");
    assert_eq!(code(of_size(32_001)), "PageSizeTooLarge");
    let rows = PageRequest {
        maximum_rows_read: Some(0),
        ..of_size(1)
    };
    assert_eq!(code(rows), "InvalidPaginationLimit");
    let bytes = PageRequest {
        maximum_bytes_read: Some(0),
        ..of_size(1)
    };
    assert_eq!(code(bytes), "InvalidPaginationLimit");
    let garbage = PageRequest {
        cursor: Some("garbage".into()),
        ..of_size(1)
    };
    assert_eq!(code(garbage), "InvalidCursor");
}

#[test]
fn cursors_and_journals_of_other_queries_are_refused() {
    let (world, query) = ten();
    let mut other = query.clone();
    other
        .operators
        .push(Operator::Filter(Expression::And(vec![])));
    let page = world
        .page(&mut world.begin(), &query, &of_size(3), &Journal::default())
        .unwrap();
    let cursor = Some(page.continue_cursor.clone());
    for (request, journal) in [
        (
            PageRequest {
                cursor: cursor.clone(),
                ..of_size(3)
            },
            Journal::default(),
        ),
        (
            PageRequest {
                end_cursor: cursor,
                ..of_size(3)
            },
            Journal::default(),
        ),
        (of_size(3), page.journal.clone()),
    ] {
        world
            .page(&mut world.begin(), &query, &request, &journal)
            .unwrap();
        let error = world
            .page(&mut world.begin(), &other, &request, &journal)
            .unwrap_err();
        assert_eq!(error, PageError::InvalidCursor(InvalidCursor::OtherQuery));
    }
}

#[test]
fn status_tells_when_to_split() {
    let (world, query) = ten();
    let status = |request: &PageRequest| {
        let page = world
            .page(&mut world.begin(), &query, request, &Journal::default())
            .unwrap();
        (page.page.len(), page.page_status, page.is_done)
    };
    use PageStatus::*;
    let limited = |page_size, rows| PageRequest {
        maximum_rows_read: Some(rows),
        ..of_size(page_size)
    };
    assert_eq!(status(&of_size(4)), (4, None, false));
    assert_eq!(
        status(&of_size(10)),
        (10, None, false),
        "the end was not seen"
    );
    assert_eq!(status(&of_size(11)), (10, None, true));
    assert_eq!(status(&limited(3, 4)), (3, None, false));
    assert_eq!(status(&limited(4, 5)), (4, Some(SplitRecommended), false));
    assert_eq!(status(&limited(4, 4)), (4, Some(SplitRecommended), false));
    assert_eq!(status(&limited(5, 4)), (4, Some(SplitRequired), false));
    let small = PageRequest {
        maximum_bytes_read: Some(1),
        ..of_size(5)
    };
    assert_eq!(
        status(&small),
        (1, Some(SplitRequired), false),
        "one row is always read"
    );

    // The end of a page overrules its size and limits.
    let all = world
        .page(
            &mut world.begin(),
            &query,
            &of_size(11),
            &Journal::default(),
        )
        .unwrap();
    let request = PageRequest {
        end_cursor: Some(all.continue_cursor),
        ..limited(2, 3)
    };
    assert_eq!(status(&request), (10, Some(SplitRecommended), true));
}

#[test]
fn pages_are_what_functions_expect() {
    let (world, query) = ten();
    let page = world
        .page(&mut world.begin(), &query, &of_size(2), &Journal::default())
        .unwrap();
    let json = serde_json::to_value(&page).unwrap();
    let object = json.as_object().unwrap();
    let keys: Vec<_> = object.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "continueCursor",
            "isDone",
            "page",
            "pageStatus",
            "splitCursor"
        ]
    );
    assert_eq!(
        json["page"][1]["mark"],
        serde_json::json!({"$integer": "AQAAAAAAAAA="})
    );
    assert_eq!(json["isDone"], false);
    assert_eq!(json["pageStatus"], serde_json::Value::Null);
    let request: PageRequest = serde_json::from_value(serde_json::json!({
        "query": {}, "cursor": null, "endCursor": "x", "pageSize": 4, "maximumRowsRead": null, "version": "1.48.0",
    }))
    .unwrap();
    assert_eq!(
        request,
        PageRequest {
            end_cursor: Some("x".into()),
            ..of_size(4)
        }
    );
}

#[test]
fn a_page_of_a_table_that_is_yet_to_come_grows_when_it_comes() {
    let mut world = World::new(4);
    let query = Query::from_json(&serde_json::json!({
        "source": {"type": "FullTableScan", "tableName": "later", "order": null}, "operators": [],
    }))
    .unwrap();
    let mut before = world.begin();
    let page = world
        .page(&mut before, &query, &of_size(2), &Journal::default())
        .unwrap();
    assert!(page.page.is_empty() && page.is_done);
    assert!(matches!(
        page.journal.end_cursor,
        Some(Cursor {
            position: Position::End,
            ..
        })
    ));

    let mut tx = world.begin();
    let table = tx.ensure_table("later").unwrap();
    for mark in 0..3i64 {
        tx.insert(&table, Object::from_fields([("mark", mark)]).unwrap())
            .unwrap();
    }
    let written = world.commit(tx);
    assert!(
        written
            .iter()
            .any(|(index, key)| before.reads().contains(*index, key))
    );
    let page = world
        .page(&mut world.begin(), &query, &of_size(2), &page.journal)
        .unwrap();
    assert_eq!(page.page.len(), 3);
    assert!(page.is_done);
}

#[test]
fn cursors_do_not_outlive_the_fields_of_their_index() {
    let query = Query::from_json(&serde_json::json!({
        "source": {"type": "IndexRange", "indexName": "notes.by_x", "range": [], "order": null}, "operators": [],
    }))
    .unwrap();
    let read = |fields: &[&str], request: &PageRequest| {
        let mut world = World::new(4);
        let mut tx = world.begin();
        add_index(&mut tx, "by_x", fields, IndexState::Ready, false);
        world.commit(tx);
        world.page(&mut world.begin(), &query, request, &Journal::default())
    };
    let cursor = read(&["x"], &of_size(1)).unwrap().continue_cursor;
    let request = PageRequest {
        cursor: Some(cursor),
        ..of_size(1)
    };
    assert!(read(&["x"], &request).is_ok());
    let error = read(&["x", "y"], &request).unwrap_err();
    assert_eq!(error, PageError::InvalidCursor(InvalidCursor::OtherQuery));
}
