//! Sessions with servers: one for each server and tenant, opened by its first call, shared, and closed when idle.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rmcp::model::{ClientCapabilities, ClientConfig, Implementation};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, serve_client};

use super::ServerConnection;
use super::error::McpError;
use super::http_client::McpHttpClient;
use crate::domain::ids::WorkspaceId;
use crate::domain::tool::McpServer;
use crate::outbound::AllowHosts;

/// The idle time after which a session is closed, and the interval of the check.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);
/// The most sessions; beyond it, the least recently used one is closed.
const MAX_SESSIONS: usize = 1_000;
/// Concurrent calls in a session. Further calls wait within their own timeouts.
const MAX_CONCURRENT_CALLS: usize = 64;
/// For messages of the SDK besides calls: cancelling a call, renewing a session.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);

/// A session with a server.
pub(super) type Session = RunningService<RoleClient, ClientConfig>;

/// The open sessions. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sessions {
    entries: Arc<Mutex<HashMap<SessionKey, Entry>>>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({})", self.lock().len())
    }
}

/// The key of a session contains everything that it was opened with, so that no call uses a session that was opened
/// with the secret of another, or to a host that is no longer allowed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionKey {
    workspace: WorkspaceId,
    server: McpServer,
    allow_hosts: Vec<String>,
}

impl SessionKey {
    pub(super) fn new(workspace: WorkspaceId, server: &McpServer, allow_hosts: &AllowHosts) -> Self {
        // Tools of the same server share a session, even if their `allow` lists differ.
        let server = McpServer { allow: None, ..server.clone() };
        Self { workspace, server, allow_hosts: allow_hosts.entries() }
    }
}

#[derive(Clone)]
struct Entry {
    last_used: Instant,
    /// Locked while it is opened; other calls wait within their own timeouts.
    session: Arc<tokio::sync::Mutex<Option<Arc<Session>>>>,
}

impl Sessions {
    /// The open session, or a new one. The caller bounds the time.
    pub(super) async fn get(
        &self,
        key: &SessionKey,
        connection: ServerConnection,
    ) -> Result<Arc<Session>, McpError> {
        let entry = self.entry(key.clone());
        let mut session = entry.lock().await;
        if let Some(open) = session.as_ref()
            && !open.is_closed()
            && !open.is_transport_closed()
        {
            return Ok(Arc::clone(open));
        }
        let opened = Arc::new(open(connection).await?);
        *session = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Drops a broken session, which ends its other calls; the next call opens a new one.
    pub(super) fn discard(&self, key: &SessionKey, failed: &Arc<Session>) {
        let entry = self.lock().get(key).map(|entry| Arc::clone(&entry.session));
        let Some(entry) = entry else { return };
        // Another call is using or replacing it.
        let Ok(mut session) = entry.try_lock() else { return };
        if session.as_ref().is_some_and(|session| Arc::ptr_eq(session, failed)) {
            *session = None;
        }
    }

    /// Closes idle sessions; never returns.
    pub async fn sweep_idle(self) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            ticks.tick().await;
            // Calls that still use it continue; the last one closes it on drop.
            self.lock().retain(|_, entry| entry.last_used.elapsed() < IDLE_TIMEOUT);
        }
    }

    /// Closes all sessions at shutdown, within a few seconds.
    pub async fn close(&self) {
        let entries: Vec<Entry> = self.lock().drain().map(|(_, entry)| entry).collect();
        let closing = entries.into_iter().map(|entry| async move {
            let session = entry.session.try_lock().ok().and_then(|mut session| session.take());
            if let Some(session) = session.and_then(Arc::into_inner) {
                close(session).await;
            }
        });
        futures::future::join_all(closing).await;
    }

    fn entry(&self, key: SessionKey) -> Arc<tokio::sync::Mutex<Option<Arc<Session>>>> {
        let mut entries = self.lock();
        if entries.len() >= MAX_SESSIONS && !entries.contains_key(&key) {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.last_used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| entries.remove(&oldest));
        }
        let entry = entries
            .entry(key)
            .or_insert_with(|| Entry { last_used: Instant::now(), session: Arc::default() });
        entry.last_used = Instant::now();
        Arc::clone(&entry.session)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects and initializes.
pub(super) async fn open(connection: ServerConnection) -> Result<Session, McpError> {
    let mut config = StreamableHttpClientTransportConfig::with_uri(connection.url.as_str());
    config.max_concurrent_requests = MAX_CONCURRENT_CALLS;
    config.control_request_timeout = CONTROL_TIMEOUT;
    config.session_recovery_timeout = CONTROL_TIMEOUT;
    let transport = StreamableHttpClientTransport::with_client(McpHttpClient::new(connection), config);
    let client_info = Implementation::new("rejoinder", env!("CARGO_PKG_VERSION"));
    let session =
        serve_client(ClientConfig::new(ClientCapabilities::default(), client_info), transport).await;
    session.map_err(McpError::from)
}

/// Closes the session.
pub(super) async fn close(session: Session) {
    // A session that does not close in time is abandoned.
    let _ = tokio::time::timeout(CONTROL_TIMEOUT, session.cancel()).await;
}
