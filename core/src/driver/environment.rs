//! Changing environment variables.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::attempts::Attempts;
use super::deployer::{Deployer, delete, id_of, live};
use super::deployment::{AUTH_CONFIG, environment_variables, load_modules};
use super::schema_change::replace;
use crate::deploy::environment::{
    EnvironmentChange, change_environment, check_declared_environment, parse_environment_changes,
};
use crate::deploy::{check_no_providers, program};
use crate::error::{Error, Result};
use crate::transaction::Transaction;
use crate::value::{Object, Value};

impl Deployer {
    /// `/api/update_environment_variables`: all changes or none. Functions see them from the next call on.
    ///
    /// # Errors
    /// Those of [`change_environment`]; `RequiredEnvironmentVariable` or `InvalidEnvironmentVariable` if the live app
    /// declares otherwise; those of its auth configuration, which is evaluated again.
    pub async fn update_environment_variables(&self, request: Json) -> Result<()> {
        let changes = parse_environment_changes(request)?;
        let mut attempts = Attempts::new();
        loop {
            let mut tx = self.database.begin();
            self.change_environment(&mut tx, &changes).await?;
            match self.database.commit(tx).await {
                Ok(_) => return Ok(()),
                Err(error) => attempts.again(error, || {
                    Error::overloaded(
                        "EnvironmentConflict",
                        "The environment keeps changing. Try again in a moment.",
                    )
                })?,
            }
        }
    }

    async fn change_environment(
        &self,
        tx: &mut Transaction,
        changes: &[EnvironmentChange],
    ) -> Result<()> {
        let documents = tx.configuration("_environment_variables");
        let before = environment_variables(&documents)?;
        let mut after = before.clone();
        change_environment(&mut after, changes.to_vec())?;
        for document in &documents {
            let name = document.get("name").and_then(Value::as_str);
            let name = name.unwrap_or_default();
            let id = id_of(document)?;
            match after.get(name) {
                Some(value) if before.get(name) == Some(value) => {}
                Some(value) => {
                    replace(&self.database, tx, id, variable_document(name, value)).await?;
                }
                None => delete(&self.database, tx, id).await?,
            }
        }
        for (name, value) in &after {
            if !before.contains_key(name) {
                tx.insert_system("_environment_variables", variable_document(name, value))?;
            }
        }
        self.check_against_deployment(tx, after).await
    }

    /// What the live deployment makes of its variables must stay valid.
    async fn check_against_deployment(
        &self,
        tx: &mut Transaction,
        variables: BTreeMap<String, String>,
    ) -> Result<()> {
        let Some((id, mut record)) = live(tx)? else {
            return Ok(());
        };
        check_declared_environment(&record.definition, &variables, tx.catalog()).map_err(
            |error| match &*error.code {
                "MissingEnvironmentVariables" => Error {
                    code: "RequiredEnvironmentVariable".into(),
                    ..error
                },
                _ => error,
            },
        )?;
        let Some(module) = record.modules.get(AUTH_CONFIG) else {
            return Ok(());
        };
        let module = BTreeMap::from([(AUTH_CONFIG.to_owned(), module.clone())]);
        let module = load_modules(&self.database, tx, &module).await?;
        let mut all = self.built_in_env.clone();
        all.extend(variables);
        let program = program(module, all, record.import_seed, record.import_time);
        let auth = self.evaluate_auth(Arc::new(program)).await?;
        if auth != record.auth {
            check_no_providers(&auth)?;
            record.auth = auth;
            let row = self.database.get(tx, id).await?;
            let row = row.ok_or_else(|| Error::internal("The live deployment has no document."))?;
            let mut document = (*row.document).clone();
            for (field, value) in record.to_document() {
                document.insert_unchecked(field, value);
            }
            tx.replace(id, &row, document)?;
        }
        Ok(())
    }
}

fn variable_document(name: &str, value: &str) -> Object {
    let mut document = Object::new();
    document.insert_unchecked("name", name);
    document.insert_unchecked("value", value);
    document
}
