//! The versions of assistants, which are immutable and therefore cached.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::domain::assistant::AssistantVersion;
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, WorkspaceId};
use crate::service::Services;
use crate::store::{Conn, StoreError, Tenant, assistants, stored_json};

/// The size of the cached versions together, in bytes of their JSON.
const MAX_CACHED_BYTES: u64 = 64 << 20;
const EXPECTED_VERSIONS: usize = 1_000;

type Key = (AssistantId, i64);

/// A version with the size of its JSON in bytes.
#[derive(Clone)]
struct CachedVersion {
    version: Arc<AssistantVersion>,
    bytes: usize,
}

#[derive(Clone)]
struct JsonBytes;

impl Weighter<Key, CachedVersion> for JsonBytes {
    fn weight(&self, _key: &Key, cached: &CachedVersion) -> u64 {
        cached.bytes as u64
    }
}

/// A cache of versions. Cheap to clone.
#[derive(Clone)]
pub struct VersionCache(Arc<Cache<Key, CachedVersion, JsonBytes>>);

impl Default for VersionCache {
    fn default() -> Self {
        Self(Arc::new(Cache::with_weighter(EXPECTED_VERSIONS, MAX_CACHED_BYTES, JsonBytes)))
    }
}

impl fmt::Debug for VersionCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VersionCache").field(&self.0.len()).finish()
    }
}

impl VersionCache {
    /// A version; `None` if it does not exist.
    pub async fn get(
        &self,
        services: &Services,
        workspace: WorkspaceId,
        assistant: AssistantId,
        version: i64,
    ) -> Result<Option<Arc<AssistantVersion>>, Error> {
        let key = (assistant, version);
        if let Some(cached) = self.0.get(&key) {
            return Ok(Some(cached.version));
        }
        let read = async |conn: Conn<'_>| assistants::find_version(conn, workspace, assistant, version).await;
        let Some(text) = services.db.read(workspace, read).await? else { return Ok(None) };
        let version: AssistantVersion = stored_json::from_str(&text).map_err(StoreError::unreadable)?;
        let version = Arc::new(version);
        self.0.insert(key, CachedVersion { version: Arc::clone(&version), bytes: text.len() });
        Ok(Some(version))
    }

    /// The current version of an assistant, with its workspace.
    pub async fn current(
        &self,
        services: &Services,
        assistant: AssistantId,
    ) -> Result<Option<(WorkspaceId, Arc<AssistantVersion>)>, Error> {
        let find = async |conn: Conn<'_>| assistants::find_current(conn, assistant).await;
        let found = services.db.read(Tenant::Unknown, find).await?;
        let Some((workspace, version)) = found else { return Ok(None) };
        let compiled = self.get(services, workspace, assistant, version).await?;
        Ok(compiled.map(|compiled| (workspace, compiled)))
    }
}
