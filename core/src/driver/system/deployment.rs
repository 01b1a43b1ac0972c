//! Addresses, environment variables, states; and what an instance without some feature says of that feature: as one that
//! has it and where nobody has used it.

use futures_util::FutureExt;
use serde_json::Value as Json;

use super::arguments::{Arg, PAGINATION};
use super::{Answer, Call, Definition, fails, mutation, number, query, record};
use crate::driver::deployer::live;
use crate::driver::deployment::environment_variables;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Definition] = &[
    query("_system/cli/convexUrl:cloudUrl", &[], |call| {
        call.cloud_url().boxed()
    }),
    query("_system/cli/convexUrl:siteUrl", &[], |call| {
        call.site_url().boxed()
    }),
    query("_system/frontend/convexCloudUrl", &[], |call| {
        call.cloud_url().boxed()
    }),
    query("_system/frontend/convexSiteUrl", &[], |call| {
        call.site_url().boxed()
    }),
    query("_system/cli/queryEnvironmentVariables", &[], |call| {
        call.environment().boxed()
    }),
    query(
        "_system/cli/queryEnvironmentVariables:get",
        &[("name", Arg::Text)],
        |call| call.environment_variable().boxed(),
    ),
    query("_system/frontend/listEnvironmentVariables", &[], |call| {
        call.environment_documents().boxed()
    }),
    query(
        "_system/frontend/deploymentState:deploymentState",
        &[],
        |call| call.deployment_state().boxed(),
    ),
    query("_system/frontend/backendState:backendState", &[], |call| {
        call.backend_state().boxed()
    }),
    query("_system/frontend/listAuthProviders", &[], |call| {
        call.auth_providers().boxed()
    }),
    query("_system/frontend/components:list", &[], |call| {
        call.nothing().boxed()
    }),
    // The audit log.
    query(
        "_system/frontend/deploymentEvents:lastPushEvent",
        &[],
        |call| call.null().boxed(),
    ),
    query(
        "_system/frontend/listDeploymentEventsFromTime",
        &[("fromTimestamp", Arg::Number)],
        |call| call.nothing().boxed(),
    ),
    query(
        "_system/frontend/paginatedDeploymentEvents",
        &[PAGINATION, ("filters", Arg::Any)],
        |call| call.empty_page().boxed(),
    ),
    // Log streams.
    query("_system/frontend/listConfiguredSinks", &[], |call| {
        call.nothing().boxed()
    }),
    // Import and export.
    query(
        "_system/cli/queryImport",
        &[("importId", Arg::Text)],
        |call| call.null().boxed(),
    ),
    query("_system/cli/queryImport:list", &[], |call| {
        call.nothing().boxed()
    }),
    query("_system/frontend/snapshotImport:list", &[], |call| {
        call.nothing().boxed()
    }),
    query("_system/cli/exports:getLatest", &[], |call| {
        call.null().boxed()
    }),
    query("_system/frontend/latestExport", &[], |call| {
        call.null().boxed()
    }),
    query(
        "_system/frontend/latestExport:latestCloudExport",
        &[],
        |call| call.null().boxed(),
    ),
    query(
        "_system/frontend/latestExport:canExportFileStorage",
        &[],
        |call| call.yes().boxed(),
    ),
    // Files.
    query("_system/frontend/fileStorageV2:numFiles", &[], |call| {
        call.zero().boxed()
    }),
    query(
        "_system/frontend/fileStorageV2:fileMetadata",
        &[PAGINATION, ("filters", Arg::Optional(&Arg::Any))],
        |call| call.empty_page().boxed(),
    ),
    query(
        "_system/frontend/fileStorageV2:getFile",
        &[("storageId", Arg::Text)],
        |call| call.null().boxed(),
    ),
    mutation(
        "_system/frontend/fileStorageV2:deleteFile",
        &[("storageId", Arg::Text)],
        |call| call.no_files().boxed(),
    ),
    mutation(
        "_system/frontend/fileStorageV2:deleteFiles",
        &[("storageIds", Arg::Array(&Arg::Text))],
        |call| call.no_files().boxed(),
    ),
    mutation(
        "_system/frontend/fileStorageV2:generateUploadUrl",
        &[],
        |call| call.no_files().boxed(),
    ),
];

const VARIABLES: &str = "_environment_variables";

impl Call<'_> {
    fn built_in(&self, name: &str) -> Option<String> {
        self.functions.built_in_env().get(name).cloned()
    }

    async fn cloud_url(&mut self) -> Answer {
        Ok(self.built_in("CONVEX_CLOUD_URL").into())
    }

    async fn site_url(&mut self) -> Answer {
        Ok(self.built_in("CONVEX_SITE_URL").into())
    }

    /// Names and values of the user's variables, by name.
    async fn environment(&mut self) -> Answer {
        let variables = environment_variables(&self.tx.configuration(VARIABLES))?;
        let variables = variables.into_iter();
        let variables =
            variables.map(|(name, value)| record([("name", name.into()), ("value", value.into())]));
        Ok(Value::Array(variables.collect()))
    }

    /// One variable as functions see it, built-in ones included.
    async fn environment_variable(&mut self) -> Answer {
        let name = self.text("name");
        let mut variables = environment_variables(&self.tx.configuration(VARIABLES))?;
        let value = variables.remove(&name).or_else(|| self.built_in(&name));
        let variable = value.map(|value| record([("name", name.into()), ("value", value.into())]));
        Ok(variable.into())
    }

    async fn environment_documents(&mut self) -> Answer {
        let mut documents: Vec<_> = self.tx.configuration(VARIABLES);
        documents.sort_by(|a, b| a.get("name").cmp(&b.get("name")));
        let documents = documents
            .iter()
            .map(|document| Value::Object((**document).clone()));
        Ok(Value::Array(documents.collect()))
    }

    /// Deployments cannot be paused yet.
    async fn deployment_state(&mut self) -> Answer {
        Ok(record([("state", "running".into())]))
    }

    async fn backend_state(&mut self) -> Answer {
        let none = || Value::from("none");
        Ok(record([
            ("system", none()),
            ("usage_limit", none()),
            ("user", none()),
        ]))
    }

    /// What the deployed configuration says of who issues the tokens of users.
    async fn auth_providers(&mut self) -> Answer {
        let providers = live(self.tx)?.map(|(_, record)| record.auth);
        let providers = providers
            .unwrap_or_default()
            .into_iter()
            .map(|mut provider| {
                // Tools expect the name of the algorithm as JSON text.
                if let Some(algorithm) = provider.get_mut("algorithm") {
                    *algorithm = Json::from(algorithm.to_string());
                }
                Value::from_json(provider)
            });
        Ok(Value::Array(providers.collect::<Result<_, _>>()?))
    }

    async fn empty_page(&mut self) -> Answer {
        Ok(record([
            ("page", Value::Array(Vec::new())),
            ("isDone", true.into()),
            ("continueCursor", "".into()),
        ]))
    }

    async fn yes(&mut self) -> Answer {
        Ok(true.into())
    }

    async fn zero(&mut self) -> Answer {
        Ok(number(0))
    }

    async fn no_files(&mut self) -> Answer {
        Err(fails("File storage is not available on this server yet."))
    }
}
