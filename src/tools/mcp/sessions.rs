//! Sessions with servers: one for each server and tenant, opened by its first call, shared by
//! all that follow, and closed when nobody has used it for a while.

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
use crate::domain::mcp::McpServer;
use crate::outbound::AllowHosts;

/// How long a session is kept that nobody uses, and how often that is looked at.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);
/// How many are kept; beyond that, the one that was not used for longest is closed.
const MAX_SESSIONS: usize = 1_000;
/// How many calls may be under way in a session. One more waits, within its own time-out.
const MAX_CONCURRENT_CALLS: usize = 64;
/// What the SDK may spend on words beside calls: on cancelling one, on a session's renewal.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);

/// A session with a server.
pub(super) type Session = RunningService<RoleClient, ClientConfig>;

/// Sessions that are open. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sessions {
    entries: Arc<Mutex<HashMap<SessionKey, Entry>>>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({})", self.lock().len())
    }
}

/// Whose session it is, with all that it was opened with: nobody gets one that was opened with
/// another's secret, or while a host was let through that is not any more.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionKey {
    workspace: WorkspaceId,
    server: McpServer,
    allow_hosts: Vec<String>,
}

impl SessionKey {
    pub(super) fn new(workspace: WorkspaceId, server: &McpServer, allow_hosts: &AllowHosts) -> Self {
        Self { workspace, server: server.clone(), allow_hosts: allow_hosts.entries() }
    }
}

#[derive(Clone)]
struct Entry {
    last_used: Instant,
    /// Locked while it is opened: others wait for that, within their own time-outs.
    session: Arc<tokio::sync::Mutex<Option<Arc<Session>>>>,
}

impl Sessions {
    /// The session that is open, or a new one. Bounded by its caller's time-out.
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

    /// Lets go of a session in which something went wrong: the next call opens another. Calls that are
    /// under way in it end there.
    pub(super) fn discard(&self, key: &SessionKey, failed: &Arc<Session>) {
        let entry = self.lock().get(key).map(|entry| Arc::clone(&entry.session));
        let Some(entry) = entry else { return };
        // Who holds it is about to see for itself, or opens another already.
        let Ok(mut session) = entry.try_lock() else { return };
        if session.as_ref().is_some_and(|session| Arc::ptr_eq(session, failed)) {
            *session = None;
        }
    }

    /// Closes, on and on, what nobody uses.
    pub async fn sweep_idle(self) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            ticks.tick().await;
            // Whoever still holds one goes on with it; dropped by the last, it says goodbye by itself.
            self.lock().retain(|_, entry| entry.last_used.elapsed() < IDLE_TIMEOUT);
        }
    }

    /// Closes all, for the end of the process; at most for a few seconds.
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

/// Connects and shakes hands.
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

/// Says goodbye.
pub(super) async fn close(session: Session) {
    // One that does not end in time is left to itself.
    let _ = tokio::time::timeout(CONTROL_TIMEOUT, session.cancel()).await;
}
