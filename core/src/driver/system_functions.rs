//! stub
use crate::engine::Failure;
use crate::error::{Error, Result};
use crate::transaction::Transaction;
use crate::value::{FunctionPath, Object, Value};
pub(super) async fn run_system_query(
    _f: &super::Functions,
    _tx: &mut Transaction,
    _path: &FunctionPath,
    _args: Object,
) -> Result<Result<Value, Failure>> {
    Err(Error::internal("stub"))
}
