//! The dependencies of the operator's use cases.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use jiff::Timestamp;
use rejoinder::domain::clock::FixedClock;
use rejoinder::domain::ids::IdGenerator;
use rejoinder::domain::seal::{SealKey, SealKeys};
use rejoinder::outbound::{AllowHosts, GuardedClient};
use rejoinder::service::apply_workspace::{self, ApplyContext, ApplyError, ApplyResult, Mode};
use rejoinder::store::Db;
use secrecy::SecretString;

use crate::support::document_extractor;

/// A database, a fixed clock and an environment.
pub struct Operator {
    pub db: Db,
    pub clock: FixedClock,
    pub ids: IdGenerator,
    pub seal: Option<SealKeys>,
    /// The folder to which the paths of a file are relative.
    pub folder: Option<PathBuf>,
    pub environment: Mutex<HashMap<String, String>>,
}

impl Operator {
    pub fn of(db: Db) -> Self {
        Self {
            db,
            clock: FixedClock::at("2026-11-02T09:00:00Z".parse::<Timestamp>().unwrap()),
            ids: IdGenerator::random(),
            seal: Some(SealKeys::from(SealKey::new([7; 32]))),
            folder: None,
            environment: Mutex::default(),
        }
    }

    pub fn set(&self, name: &str, secret: &str) {
        self.environment.lock().unwrap().insert(name.to_owned(), secret.to_owned());
    }

    pub async fn with_context<T>(&self, work: impl AsyncFnOnce(&ApplyContext<'_>) -> T) -> T {
        let secret =
            |name: &str| Ok(self.environment.lock().unwrap().get(name).cloned().map(SecretString::from));
        let context = ApplyContext {
            progress: &|_| {},
            db: &self.db,
            clock: &self.clock,
            ids: &self.ids,
            seal: self.seal.as_ref(),
            outbound: &GuardedClient::new(AllowHosts::default()).unwrap(),
            allow_hosts: &AllowHosts::default(),
            folder: self.folder.as_deref(),
            document_extractor: &document_extractor::child_process(),
            has_connection: &|name| name == "backup",
            secret: &secret,
        };
        work(&context).await
    }

    pub async fn try_apply(&self, text: &str, mode: Mode) -> Result<ApplyResult, ApplyError> {
        self.with_context(async |context| apply_workspace::apply(context, text, mode).await).await
    }

    /// Applies a valid file, and returns its changes as text.
    pub async fn apply(&self, text: &str) -> Vec<String> {
        change_summaries(&self.try_apply(text, Mode::Apply).await.unwrap())
    }

    /// Applies an invalid file, and returns the error.
    pub async fn refusal(&self, text: &str) -> String {
        self.try_apply(text, Mode::Apply).await.unwrap_err().to_string()
    }
}

pub fn change_summaries(applied: &ApplyResult) -> Vec<String> {
    applied.changes.iter().map(ToString::to_string).collect()
}
