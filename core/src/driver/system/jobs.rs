//! Scheduled functions, in the shapes in which dashboards know them.

use futures_util::FutureExt;

use super::arguments::{Arg, PAGINATION};
use super::pages::page_of;
use super::{Answer, Call, Definition, Problem, query, record};
use crate::persistence::Order;
use crate::query::{BoundOperator, Query, RangeBound, Source, Visibility};
use crate::schedule::{self, Entry, Found, JobState, Step};
use crate::value::{DocumentId, FieldPath, FunctionPath, Value};

pub(super) const FUNCTIONS: &[Definition] = &[
    query(
        "_system/frontend/paginatedScheduledJobs",
        &[
            PAGINATION,
            ("udfPath", Arg::Optional(&Arg::Nullable(&Arg::Text))),
        ],
        |call| call.paginated_jobs().boxed(),
    ),
    query(
        "_system/frontend/scheduler:getArgs",
        &[("argsId", Arg::Text)],
        |call| call.job_args().boxed(),
    ),
    // Nothing runs by the clock yet.
    query("_system/frontend/listCronJobs", &[], |call| {
        call.nothing().boxed()
    }),
    query("_system/frontend/listCronJobRuns", &[], |call| {
        call.nothing().boxed()
    }),
];

impl Call<'_> {
    pub(super) async fn nothing(&mut self) -> Answer {
        Ok(Value::Array(Vec::new()))
    }

    /// Jobs that are not finished: those in progress, of which there are few, on the first page, then those that wait,
    /// the next one first.
    async fn paginated_jobs(&mut self) -> Answer {
        let wanted = self.optional_text("udfPath");
        let wanted = wanted.map(|path| FunctionPath::parse(&path)).transpose()?;
        let wanted = wanted.map(|path| path.canonical());
        let request = self.page_request();
        let mut entries = Vec::new();
        if request.cursor.is_none() {
            let prefix = [Value::from(Step::Running.name())];
            let database = self.functions.database();
            let running = database
                .list_system(
                    self.tx,
                    schedule::ENTRIES,
                    schedule::ENTRIES_BY_DUE,
                    &prefix,
                )
                .await?;
            entries.extend(running.into_iter().map(|row| row.document));
        }
        let waiting = RangeBound {
            operator: BoundOperator::Eq,
            field: FieldPath::parse("step")?,
            value: Some(Step::Run.name().into()),
        };
        let query = Query {
            source: Source::IndexRange {
                table: schedule::ENTRIES.to_owned(),
                index: schedule::ENTRIES_BY_DUE.to_owned(),
                range: vec![waiting],
                order: Order::Ascending,
            },
            operators: Vec::new(),
        };
        let page = self.read_page(&query, Visibility::System, request).await?;
        entries.extend(page.page.iter().cloned());
        let mut jobs = Vec::with_capacity(entries.len());
        for entry in entries {
            let entry = Entry::from_document(&entry)?;
            let Some(found) = self.functions.find_job(self.tx, entry.id).await? else {
                continue;
            };
            if wanted
                .as_ref()
                .is_none_or(|wanted| *wanted == found.job.name)
            {
                jobs.push(self.job_value(&found).await?);
            }
        }
        Ok(page_of(&page, jobs))
    }

    async fn job_value(&mut self, found: &Found) -> Result<Value, Problem> {
        let row = self.functions.database().get(self.tx, found.id).await?;
        let created = row.and_then(|row| row.document.get("_creationTime").cloned());
        let state = match found.job.state() {
            JobState::InProgress => "inProgress",
            _ => "pending",
        };
        let requested = (found.job.scheduled_time * 1e6) as i64;
        let due = i64::try_from(found.entry.due.0).unwrap_or(i64::MAX);
        Ok(record([
            ("_id", found.id.into()),
            ("_creationTime", created.into()),
            ("component", "".into()),
            ("udfPath", found.job.name.as_str().into()),
            // Arguments are stored with the job.
            ("argsId", found.id.into()),
            ("state", record([("type", state.into())])),
            ("nextTs", due.into()),
            ("completedTs", Value::Null),
            ("originalScheduledTs", requested.into()),
            (
                "attempts",
                record([
                    ("systemErrors", f64::from(found.entry.failures).into()),
                    ("occErrors", 0.0.into()),
                ]),
            ),
        ]))
    }

    /// The arguments of a job as bytes of the JSON of a list; null if there is no such job any more.
    async fn job_args(&mut self) -> Answer {
        let id = self.text("argsId");
        let Some(id) = DocumentId::decode(&id) else {
            return Ok(Value::Null);
        };
        if schedule::job_id(self.tx, id.internal)? != id {
            return Ok(Value::Null);
        }
        let Some(found) = self.functions.find_job(self.tx, id.internal).await? else {
            return Ok(Value::Null);
        };
        let args = Value::Array(vec![Value::Object(found.job.args)]);
        Ok(record([
            ("_id", id.into()),
            ("args", args.to_json_string().into_bytes().into()),
        ]))
    }
}
