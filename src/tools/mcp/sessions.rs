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

use super::Reach;
use super::fault::Fault;
use super::wire::Wire;
use crate::domain::ids::WorkspaceId;
use crate::domain::mcp::McpServer;
use crate::outbound::AllowHosts;

/// How long a session is kept that nobody uses, and how often that is looked at.
const IDLE: Duration = Duration::from_mins(5);
const SWEEP: Duration = Duration::from_mins(1);
/// How many are kept; beyond that, the one that was not used for longest is closed.
const KEPT: usize = 1_000;
/// How many calls may be under way in a session. One more waits, within its own time-out.
const CALLS: usize = 64;
/// What the SDK may spend on words beside calls: on cancelling one, on a session's renewal.
const ASIDE: Duration = Duration::from_secs(5);

/// A session with a server.
pub(super) type Session = RunningService<RoleClient, ClientConfig>;

/// Sessions that are open. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sessions {
    slots: Arc<Mutex<HashMap<Key, Slot>>>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({})", self.lock().len())
    }
}

/// Whose session it is, with all that it was opened with: nobody gets one that was opened with
/// another's secret, or while a host was let through that is not any more.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    workspace: WorkspaceId,
    server: McpServer,
    allow_hosts: Vec<String>,
}

impl Key {
    pub(super) fn new(workspace: WorkspaceId, server: &McpServer, allow_hosts: &AllowHosts) -> Self {
        Self { workspace, server: server.clone(), allow_hosts: allow_hosts.entries() }
    }
}

#[derive(Clone)]
struct Slot {
    used: Instant,
    /// Locked while it is opened: others wait for that, within their own time-outs.
    session: Arc<tokio::sync::Mutex<Option<Arc<Session>>>>,
}

impl Sessions {
    /// The session that is open, or a new one. Bounded by its caller's time-out.
    pub(super) async fn get(&self, key: &Key, reach: Reach) -> Result<Arc<Session>, Fault> {
        let slot = self.slot(key.clone());
        let mut session = slot.lock().await;
        if let Some(open) = session.as_ref()
            && !open.is_closed()
            && !open.is_transport_closed()
        {
            return Ok(Arc::clone(open));
        }
        let opened = Arc::new(open(reach).await?);
        *session = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Lets go of a session in which something went wrong: the next call opens another. Calls that are
    /// under way in it end there.
    pub(super) fn forget(&self, key: &Key, failed: &Arc<Session>) {
        let slot = self.lock().get(key).map(|slot| Arc::clone(&slot.session));
        let Some(slot) = slot else { return };
        // Who holds it is about to see for itself, or opens another already.
        let Ok(mut session) = slot.try_lock() else { return };
        if session.as_ref().is_some_and(|session| Arc::ptr_eq(session, failed)) {
            *session = None;
        }
    }

    /// Closes, on and on, what nobody uses.
    pub async fn keep_up(self) {
        let mut ticks = tokio::time::interval(SWEEP);
        loop {
            ticks.tick().await;
            // Whoever still holds one goes on with it; dropped by the last, it says goodbye by itself.
            self.lock().retain(|_, slot| slot.used.elapsed() < IDLE);
        }
    }

    /// Closes all, for the end of the process; at most for a few seconds.
    pub async fn close(&self) {
        let slots: Vec<Slot> = self.lock().drain().map(|(_, slot)| slot).collect();
        let closing = slots.into_iter().map(|slot| async move {
            let session = slot.session.try_lock().ok().and_then(|mut session| session.take());
            if let Some(session) = session.and_then(Arc::into_inner) {
                close(session).await;
            }
        });
        futures::future::join_all(closing).await;
    }

    fn slot(&self, key: Key) -> Arc<tokio::sync::Mutex<Option<Arc<Session>>>> {
        let mut slots = self.lock();
        if slots.len() >= KEPT && !slots.contains_key(&key) {
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| slots.remove(&oldest));
        }
        let slot = slots.entry(key).or_insert_with(|| Slot { used: Instant::now(), session: Arc::default() });
        slot.used = Instant::now();
        Arc::clone(&slot.session)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects and shakes hands.
pub(super) async fn open(reach: Reach) -> Result<Session, Fault> {
    let mut config = StreamableHttpClientTransportConfig::with_uri(reach.url.as_str());
    config.max_concurrent_requests = CALLS;
    config.control_request_timeout = ASIDE;
    config.session_recovery_timeout = ASIDE;
    let transport = StreamableHttpClientTransport::with_client(Wire::new(reach), config);
    let who = Implementation::new("rejoinder", env!("CARGO_PKG_VERSION"));
    let session = serve_client(ClientConfig::new(ClientCapabilities::default(), who), transport).await;
    session.map_err(Fault::from)
}

/// Says goodbye.
pub(super) async fn close(session: Session) {
    // One that does not end in time is left to itself.
    let _ = tokio::time::timeout(ASIDE, session.cancel()).await;
}
