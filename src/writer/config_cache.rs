//! The configuration that decisions need, cached by its version. The locked state of a workspace has the current version, so a
//! stale entry is never used.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::batch::{WorkspaceConfig, WorkspaceRow};
use crate::domain::assistant::AssistantSummary;
use crate::domain::ids::{AssistantId, WorkspaceId};
use crate::domain::workspace::WorkspaceState;
use crate::store::{Conn, StoreError, assistants, webhook_endpoints, workspaces};

/// The size of each of the two caches, in bytes, roughly.
const MAX_BYTES: u64 = 8 << 20;
const EXPECTED_ENTRIES: usize = 1_000;

/// A value with the version of the configuration that it belongs to.
type Versioned<T> = (i64, T);

/// Cheap to clone.
#[derive(Clone)]
pub struct ConfigCache(Arc<Caches>);

struct Caches {
    workspaces: Cache<WorkspaceId, Versioned<Arc<WorkspaceConfig>>, Bytes>,
    assistants: Cache<AssistantId, Versioned<AssistantSummary>, Bytes>,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<WorkspaceId, Versioned<Arc<WorkspaceConfig>>> for Bytes {
    fn weight(&self, _: &WorkspaceId, (_, config): &Versioned<Arc<WorkspaceConfig>>) -> u64 {
        let hosts: usize =
            config.settings.allow_hosts.iter().map(|host| host.len() + size_of::<String>()).sum();
        let types: usize = config.subscribers.iter().map(|subscriber| size_of_val(&*subscriber.types)).sum();
        let names = config.settings.name.len() + config.settings.slug.len();
        let rows = size_of::<WorkspaceConfig>() + size_of_val(&*config.subscribers);
        (rows + names + hosts + types) as u64
    }
}

impl Weighter<AssistantId, Versioned<AssistantSummary>> for Bytes {
    fn weight(&self, _: &AssistantId, summary: &Versioned<AssistantSummary>) -> u64 {
        size_of_val(summary) as u64
    }
}

impl Default for ConfigCache {
    fn default() -> Self {
        Self(Arc::new(Caches {
            workspaces: Cache::with_weighter(EXPECTED_ENTRIES, MAX_BYTES, Bytes),
            assistants: Cache::with_weighter(EXPECTED_ENTRIES, MAX_BYTES, Bytes),
        }))
    }
}

impl fmt::Debug for ConfigCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConfigCache").field(&self.0.workspaces.len()).field(&self.0.assistants.len()).finish()
    }
}

impl ConfigCache {
    /// The configuration of workspaces whose states are locked.
    pub(super) async fn workspaces(
        &self,
        mut conn: Conn<'_>,
        states: Vec<(WorkspaceId, WorkspaceState)>,
    ) -> Result<HashMap<WorkspaceId, WorkspaceRow>, StoreError> {
        let mut rows = HashMap::with_capacity(states.len());
        let mut missing = HashMap::new();
        for (id, state) in states {
            match self.0.workspaces.get(&id) {
                Some((version, config)) if version == state.config_version => {
                    rows.insert(id, WorkspaceRow { config, state });
                }
                _ => {
                    missing.insert(id, state);
                }
            }
        }
        if missing.is_empty() {
            return Ok(rows);
        }
        let ids: BTreeSet<_> = missing.keys().copied().collect();
        let subscribers = webhook_endpoints::subscribers(conn.reborrow(), &ids).await?;
        for settings in workspaces::settings(conn, &ids).await? {
            let id = settings.id;
            let Some(state) = missing.remove(&id) else { continue };
            let of_workspace = subscribers.iter().filter(|(workspace, _)| *workspace == id);
            let subscribers = of_workspace.map(|(_, subscriber)| subscriber.clone()).collect();
            let config = Arc::new(WorkspaceConfig { settings, subscribers });
            self.0.workspaces.insert(id, (state.config_version, Arc::clone(&config)));
            rows.insert(id, WorkspaceRow { config, state });
        }
        Ok(rows)
    }

    /// The assistants of workspaces whose states are locked. Unknown ones are left out.
    pub(super) async fn assistants(
        &self,
        conn: Conn<'_>,
        keys: &BTreeSet<(WorkspaceId, AssistantId)>,
        workspaces: &HashMap<WorkspaceId, WorkspaceRow>,
    ) -> Result<HashMap<AssistantId, AssistantSummary>, StoreError> {
        let version = |workspace| workspaces.get(&workspace).map(|row| row.state.config_version);
        let mut found = HashMap::with_capacity(keys.len());
        let mut missing = BTreeSet::new();
        for key @ (workspace, id) in keys {
            match self.0.assistants.get(id) {
                Some((cached, summary))
                    if summary.workspace == *workspace && version(*workspace) == Some(cached) =>
                {
                    found.insert(*id, summary);
                }
                _ => {
                    missing.insert(*key);
                }
            }
        }
        for (id, summary) in assistants::summaries(conn, &missing).await? {
            if let Some(version) = version(summary.workspace) {
                self.0.assistants.insert(id, (version, summary));
            }
            found.insert(id, summary);
        }
        Ok(found)
    }
}
