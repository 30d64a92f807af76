//! The versions of assistants: immutable, so they are kept once they are read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::assistant::AssistantVersion;
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, WorkspaceId};
use crate::service::Services;
use crate::store::{Conn, StoreError, assistants};

/// How many versions are kept; beyond that all are read anew.
const MAX_CACHED_VERSIONS: usize = 10_000;

type Key = (AssistantId, i64);

/// Versions that were read. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct VersionCache {
    cache: Arc<Mutex<HashMap<Key, Arc<AssistantVersion>>>>,
}

impl VersionCache {
    /// A version; none if there is no such version.
    pub async fn get(
        &self,
        services: &Services,
        workspace: WorkspaceId,
        assistant: AssistantId,
        version: i64,
    ) -> Result<Option<Arc<AssistantVersion>>, Error> {
        let key = (assistant, version);
        if let Some(cached) = self.lock().get(&key) {
            return Ok(Some(Arc::clone(cached)));
        }
        let read = async |conn: Conn<'_>| assistants::find_version(conn, workspace, assistant, version).await;
        let Some(text) = services.db.read(read).await? else { return Ok(None) };
        let compiled: AssistantVersion = serde_json::from_str(&text).map_err(StoreError::unreadable)?;
        let compiled = Arc::new(compiled);
        let mut cached = self.lock();
        if cached.len() >= MAX_CACHED_VERSIONS {
            cached.clear();
        }
        cached.insert(key, Arc::clone(&compiled));
        Ok(Some(compiled))
    }

    /// The version that an assistant has now, with the workspace that it is of.
    pub async fn current(
        &self,
        services: &Services,
        assistant: AssistantId,
    ) -> Result<Option<(WorkspaceId, Arc<AssistantVersion>)>, Error> {
        let found = services.db.read(async |conn| assistants::find_current(conn, assistant).await).await?;
        let Some((workspace, version)) = found else { return Ok(None) };
        let compiled = self.get(services, workspace, assistant, version).await?;
        Ok(compiled.map(|compiled| (workspace, compiled)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<AssistantVersion>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
