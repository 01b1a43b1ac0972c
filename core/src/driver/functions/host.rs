//! System calls that queries, mutations and actions share.

use serde_json::{Value as Json, json};

use super::Functions;
use super::syscalls::function_address;
use crate::engine::{SystemError, SystemResult};
use crate::function::Arguments;
use crate::value::FunctionPath;

impl Functions {
    /// Answers a system call that needs neither a transaction nor time. `request` tells of the request.
    pub(super) fn shared_answer(
        &self,
        path: &FunctionPath,
        request: impl FnOnce() -> Json,
        op: &str,
        args: &str,
    ) -> SystemResult {
        match op {
            "1.0/createFunctionHandle" => {
                let mut args = Arguments::parse("createFunctionHandle", args)?;
                let path = function_address(&mut args)?;
                Ok(Json::from(path.handle()).to_string())
            }
            "1.0/getFunctionMetadata" => {
                Ok(json!({ "name": path.stripped(), "componentPath": "" }).to_string())
            }
            "1.0/getDeploymentMetadata" => Ok(
                json!({ "name": self.shared.instance_name, "region": null, "class": "s16" })
                    .to_string(),
            ),
            "1.0/getRequestMetadata" => Ok(request().to_string()),
            _ => Err(SystemError::new(match missing_feature(op) {
                Some(feature) => format!("{feature} is not available on this server yet ({op})."),
                None => format!("Unknown async operation {op}"),
            })),
        }
    }
}

/// The feature that an operation of the API belongs to, if this server does not have it yet.
fn missing_feature(op: &str) -> Option<&'static str> {
    let name = op.strip_prefix("1.0/").unwrap_or(op);
    let name = name.strip_prefix("actions/").unwrap_or(name);
    Some(match name {
        "vectorSearch" => "Vector search",
        "signJwt" => "Signing tokens",
        "auditLog" => "The audit log",
        "createServiceToken" | "getServiceUrl" => "This hosted service",
        _ if name.starts_with("storage") => "File storage",
        _ => return None,
    })
}
