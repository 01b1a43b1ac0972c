//! Reading and changing documents.

use futures_util::FutureExt;

use super::arguments::Arg;
use super::{
    Answer, Call, Definition, Problem, convex_error, fails, mutation, query, record, refusal,
    shown, success,
};
use crate::function;
use crate::persistence::{KeyRange, Order};
use crate::query::{Operator, Query, QueryStep, QueryStream, Source, Visibility};
use crate::query::{PageRequest, is_readable_system_table};
use crate::transaction::{Row, Scan};
use crate::value::{DocumentId, Object, Value};

/// Most documents that one call adds or deletes by id.
const DOCUMENTS_MAX: usize = 4096;
/// Most rows that one call of `clearTablePage` deletes, and about how many bytes.
const CLEAR_ROWS_MAX: usize = 4000;
const CLEAR_BYTES_MAX: usize = 3_000_000;
/// Most rows of `listTableScan`.
const SCAN_ROWS_MAX: usize = 8192;
const MISSING: &str = "Document does not exist.";

/// Stands for the missing value where clients cannot send that. The text is part of the protocol.
pub(super) const UNDEFINED: &str = concat!(
    "__CONVEX_PLACEHOLDER_undefined_I23atX0jcndVbFgXoQZffsih7eAqktCyFjgUuAeNBtfr3ySOljPSPSEOPFgprkdBO3zXNiGEJxmJ5ZFPc5C5",
    "qKesG80QRPvlJe8vgSxAt9feLTwxTg4PHfVwUaTEJU67FDwldWmTxp1guMPwxQ2jOuhEryTBf3mQ",
);

const LOCATION: Arg = Arg::Object(&[("id", Arg::Text), ("tableName", Arg::Text)]);

pub(super) const FUNCTIONS: &[Definition] = &[
    query("_system/frontend/getById", &[("id", Arg::Text)], |call| {
        call.get_by_id().boxed()
    }),
    query(
        "_system/frontend/listById",
        &[("ids", Arg::Array(&LOCATION))],
        |call| call.list_by_id().boxed(),
    ),
    query(
        "_system/frontend/listTableScan",
        &[("table", Arg::Text), ("limit", Arg::Number)],
        |call| call.list_table_scan().boxed(),
    ),
    mutation(
        "_system/frontend/addDocument",
        &[("table", Arg::Text), ("documents", Arg::Array(&Arg::Any))],
        |call| call.add_documents().boxed(),
    ),
    mutation(
        "_system/frontend/replaceDocument",
        &[("id", Arg::Text), ("document", Arg::Fields)],
        |call| call.replace_document().boxed(),
    ),
    mutation(
        "_system/frontend/patchDocumentsFields",
        &[
            ("table", Arg::Text),
            ("fields", Arg::Fields),
            ("ids", Arg::Optional(&Arg::Array(&Arg::Text))),
        ],
        |call| call.patch_documents().boxed(),
    ),
    mutation(
        "_system/frontend/deleteDocuments",
        &[("toDelete", Arg::Array(&LOCATION))],
        |call| call.delete_documents().boxed(),
    ),
    mutation(
        "_system/frontend/clearTablePage",
        &[
            ("tableName", Arg::Text),
            ("cursor", Arg::Nullable(&Arg::Text)),
        ],
        |call| call.clear_table_page().boxed(),
    ),
];

impl Call<'_> {
    async fn get_by_id(&mut self) -> Answer {
        let id = self.text("id");
        self.find_document(&id, None).await
    }

    async fn list_by_id(&mut self) -> Answer {
        let mut documents = Vec::new();
        for location in self.list("ids") {
            let (id, table) = location_of(&location);
            documents.push(self.find_document(&id, Some(&table)).await?);
        }
        Ok(Value::Array(documents))
    }

    /// The document of that id as functions could read it, or null.
    async fn find_document(&mut self, id: &str, table: Option<&str>) -> Answer {
        let Some(id) = DocumentId::decode(id) else {
            return Ok(Value::Null);
        };
        let visible = self.tx.table_by_number(id.table).is_some_and(|found| {
            let hidden = found.is_system() && !is_readable_system_table(&found.name);
            !hidden && table.is_none_or(|table| found.name == table)
        });
        if !visible {
            return Ok(Value::Null);
        }
        let row = self.functions.database().get(self.tx, id).await?;
        Ok(row.map(document).into())
    }

    /// The newest documents of a table.
    async fn list_table_scan(&mut self) -> Answer {
        let limit = self.args.get("limit").and_then(Value::as_f64);
        let query = Query {
            source: Source::FullTableScan {
                table: self.text("table"),
                order: Order::Descending,
            },
            // Negative, fractional and huge numbers end up as what is nearest.
            operators: vec![Operator::Limit(
                (limit.unwrap_or_default() as usize).min(SCAN_ROWS_MAX),
            )],
        };
        let mut stream = QueryStream::open(self.tx, &query, Visibility::User)?;
        let persistence = self.functions.database().persistence();
        let mut documents = Vec::new();
        loop {
            match stream.next(self.tx)? {
                QueryStep::Read(read) => {
                    let page = persistence.read_index(read).await;
                    stream.supply(page.map_err(crate::Error::from)?)?;
                }
                QueryStep::Row(row) => documents.push(Value::Object((*row).clone())),
                QueryStep::Done => return Ok(Value::Array(documents)),
            }
        }
    }

    async fn add_documents(&mut self) -> Answer {
        let documents = self.list("documents");
        if documents.len() > DOCUMENTS_MAX {
            return Ok(refusal("Can’t import more than 4096 documents at once."));
        }
        let name = self.text("table");
        self.insert_all(&name, documents).await.map_err(shown)?;
        Ok(success())
    }

    async fn insert_all(&mut self, name: &str, documents: Vec<Value>) -> Result<(), Problem> {
        let table = self.tx.ensure_table(name)?;
        for document in documents {
            let Value::Object(document) = document else {
                return Err(fails("Documents must be objects."));
            };
            self.functions
                .enforce_schema(self.tx, name, &document)
                .await?;
            self.tx.insert(&table, document)?;
        }
        Ok(())
    }

    async fn replace_document(&mut self) -> Answer {
        let id = self.text("id");
        let Some((id, table, row)) = self.written(&id, None).await? else {
            return Ok(refusal(MISSING));
        };
        let document = self.fields("document");
        self.write(id, &table, &row, document)
            .await
            .map_err(shown)?;
        Ok(success())
    }

    async fn write(
        &mut self,
        id: DocumentId,
        table: &str,
        row: &Row,
        document: Object,
    ) -> Result<(), Problem> {
        self.functions
            .enforce_schema(self.tx, table, &document)
            .await?;
        self.tx.replace(id, row, document)?;
        Ok(())
    }

    /// Sets fields of some documents of a table, or of all.
    async fn patch_documents(&mut self) -> Answer {
        let table = self.text("table");
        let fields: Vec<_> = self
            .fields("fields")
            .into_iter()
            .map(|(name, value)| match value.as_str() {
                Some(UNDEFINED) => (name, None),
                _ => (name, Some(value)),
            })
            .collect();
        let mut rows = Vec::new();
        if self.args.contains_key("ids") {
            for id in self.list("ids") {
                let id = id.as_str().unwrap_or_default();
                let found = self.written(id, Some(&table)).await.map_err(shown)?;
                let Some((id, _, row)) = found else {
                    return Err(convex_error(MISSING));
                };
                rows.push((id, row));
            }
        } else {
            rows = self.all_rows(&table).await.map_err(shown)?;
        }
        for (id, row) in rows {
            let patched = function::patch(&row, fields.iter().cloned().collect());
            let document = patched.map_err(Problem::from).map_err(shown)?;
            self.write(id, &table, &row, document)
                .await
                .map_err(shown)?;
        }
        Ok(success())
    }

    async fn all_rows(&mut self, table: &str) -> Result<Vec<(DocumentId, Row)>, Problem> {
        let Some(table) = self.tx.table(table).filter(|table| !table.is_system()) else {
            return Ok(Vec::new());
        };
        let mut scan = Scan::new(
            table.by_id().id,
            KeyRange::all(),
            Order::Ascending,
            usize::MAX,
        );
        let mut rows = Vec::new();
        let database = self.functions.database();
        while let Some(row) = database.next_row(self.tx, &mut scan).await? {
            rows.push((id_of(&row.document)?, row));
        }
        Ok(rows)
    }

    async fn delete_documents(&mut self) -> Answer {
        let locations = self.list("toDelete");
        if locations.len() > DOCUMENTS_MAX {
            return Ok(refusal("Can’t delete more than 4096 documents at once."));
        }
        // All or none: what is missing is noticed before anything is written.
        let mut rows = Vec::with_capacity(locations.len());
        for location in locations {
            let (id, table) = location_of(&location);
            match self.written(&id, Some(&table)).await? {
                Some((id, _, row)) => rows.push((id, row)),
                None => return Ok(refusal(MISSING)),
            }
        }
        for (id, row) in rows {
            self.tx.delete(id, &row)?;
        }
        Ok(success())
    }

    /// Deletes the oldest documents of a table, so many that one transaction can do it.
    async fn clear_table_page(&mut self) -> Answer {
        let table = self.text("tableName");
        check_writable(&table)?;
        let query = Query {
            source: Source::FullTableScan {
                table,
                order: Order::Ascending,
            },
            operators: Vec::new(),
        };
        let request = PageRequest {
            cursor: self.optional_text("cursor"),
            page_size: CLEAR_ROWS_MAX,
            maximum_bytes_read: Some(CLEAR_BYTES_MAX),
            ..PageRequest::default()
        };
        let page = self.read_page(&query, Visibility::User, request).await?;
        for document in &page.page {
            let id = id_of(document)?;
            if let Some(row) = self.functions.database().get(self.tx, id).await? {
                self.tx.delete(id, &row)?;
            }
        }
        Ok(record([
            ("deleted", super::number(page.page.len())),
            ("hasMore", (!page.is_done).into()),
            ("continueCursor", page.continue_cursor.into()),
        ]))
    }

    /// A document that is to be changed, with the name of its table; `None` if there is none of that id.
    async fn written(
        &mut self,
        id: &str,
        table: Option<&str>,
    ) -> Result<Option<(DocumentId, String, Row)>, Problem> {
        let Some(id) = DocumentId::decode(id) else {
            return Ok(None);
        };
        let Some(found) = self.tx.table_by_number(id.table) else {
            return Ok(None);
        };
        check_writable(&found.name)?;
        if table.is_some_and(|table| found.name != table) {
            return Ok(None);
        }
        let row = self.functions.database().get(self.tx, id).await?;
        Ok(row.map(|row| (id, found.name.clone(), row)))
    }
}

/// Tables of the system are written by the system only.
fn check_writable(table: &str) -> Result<(), Problem> {
    match table.starts_with('_') {
        true => Err(fails(format!(
            "Uncaught Error: The table {table} is read-only: the system writes it."
        ))),
        false => Ok(()),
    }
}

fn location_of(location: &Value) -> (String, String) {
    let text = |name| {
        let value = location.as_object().and_then(|object| object.get(name));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    (text("id"), text("tableName"))
}

fn document(row: Row) -> Value {
    Value::Object((*row.document).clone())
}

fn id_of(document: &Object) -> Result<DocumentId, Problem> {
    Ok(crate::driver::deployer::id_of(document)?)
}
