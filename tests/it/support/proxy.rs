//! A proxy between a server and its database, whose connections a test can break or lead elsewhere, and whose commits it can withhold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

use super::commit_gate::CommitGate;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    Up,
    /// Connections break, and new ones are closed at once.
    Down,
    /// No data is forwarded. It continues when the link is up again.
    Frozen,
    /// Data is lost, and so are the connections, although they stay open.
    BlackHole,
}

pub struct Proxy {
    url: String,
    state: watch::Sender<LinkState>,
    /// Hosts with their ports; new connections lead to them in turn.
    targets: watch::Sender<Vec<String>>,
    commits: CommitGate,
    round_trips: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// The host and the port of a URL.
fn target_of(url: &Url) -> String {
    format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"))
}

impl Proxy {
    /// Starts a proxy in front of the database at a URL.
    pub async fn start(url: &str) -> Self {
        let mut url = Url::parse(url).expect("a URL");
        let targets = watch::Sender::new(vec![target_of(&url)]);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a spare port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        url.set_port(Some(port)).expect("a URL with a host");
        let state = watch::Sender::new(LinkState::Up);
        let (shared_state, shared_targets) = (state.clone(), targets.clone());
        let commits = CommitGate::default();
        let gate = commits.clone();
        let round_trips = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&round_trips);
        let task = tokio::spawn(async move {
            let mut connections = 0;
            while let Ok((client, _)) = listener.accept().await {
                if *shared_state.borrow() != LinkState::Down {
                    let (gate, count) = (gate.clone(), Arc::clone(&counted));
                    let targets = shared_targets.subscribe();
                    tokio::spawn(relay(
                        client,
                        (targets, connections),
                        shared_state.subscribe(),
                        gate,
                        count,
                    ));
                    connections += 1;
                }
            }
        });
        Self { url: url.into(), state, targets, commits, round_trips, task }
    }

    /// Breaks all connections, and leads new ones to the databases at these URLs in turn.
    pub fn lead_to(&self, urls: &[&str]) {
        let targets = urls.iter().map(|url| target_of(&Url::parse(url).expect("a URL"))).collect();
        self.targets.send_replace(targets);
    }

    /// The URL, as in `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How often clients waited for a response so far. A statement that is sent for the first time takes two round trips.
    pub fn round_trips(&self) -> usize {
        self.round_trips.load(Ordering::SeqCst)
    }

    /// The gate that all commits pass.
    pub fn commits(&self) -> &CommitGate {
        &self.commits
    }

    pub fn set(&self, state: LinkState) {
        self.state.send_replace(state);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    client: TcpStream,
    (mut targets, number): (watch::Receiver<Vec<String>>, usize),
    mut state: watch::Receiver<LinkState>,
    commits: CommitGate,
    round_trips: Arc<AtomicUsize>,
) {
    let target = {
        let targets = targets.borrow_and_update();
        targets[number % targets.len()].clone()
    };
    let Ok(server) = TcpStream::connect(target).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut requests = RequestCounter::default();
    let there = pump(from_client, to_server, state.clone(), commits, move |bytes| {
        round_trips.fetch_add(requests.count(bytes), Ordering::SeqCst);
    });
    let back = pump(from_server, to_client, state.clone(), CommitGate::default(), |_| {});
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = state.wait_for(|state| *state == LinkState::Down) => {}
        _ = targets.changed() => {}
    }
}

/// The statement with which a pool checks a connection that was idle.
const CHECK: &[u8] = b"select case when pg_is_in_recovery() then 'the server is a standby' end\0";

/// The message `Query` that commits a transaction.
const COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";

const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// Counts the messages of PostgreSQL's protocol after which a client waits, `Query` and `Sync`, except the check of a connection that was
/// idle.
#[derive(Default)]
struct RequestCounter {
    /// The start of the next message.
    pending: Vec<u8>,
    /// The first message of a connection has no type.
    has_started: bool,
    /// Whether a `Sync` would end anything.
    has_statement: bool,
}

impl RequestCounter {
    fn count(&mut self, bytes: &[u8]) -> usize {
        self.pending.extend_from_slice(bytes);
        let mut count = 0;
        loop {
            let kind = usize::from(self.has_started);
            let Some(length) = self.pending.get(kind..kind + 4) else { return count };
            let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
            let end = kind + usize::try_from(length).expect("a length");
            if self.pending.len() < end {
                return count;
            }
            if self.has_started {
                let kind = self.pending[0];
                let is_query = kind == b'Q' && self.pending[5..end] != *CHECK;
                count += usize::from(is_query || kind == b'S' && self.has_statement);
                self.has_statement = kind != b'S' && kind != b'Q';
            }
            // A request for TLS comes before the first message.
            self.has_started |= self.pending[4..end] != SSL_REQUEST;
            self.pending.drain(..end);
        }
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<LinkState>,
    commits: CommitGate,
    mut observe: impl FnMut(&[u8]),
) {
    let mut bytes = vec![0; 65_536];
    let mut is_lost = false;
    loop {
        let count = tokio::select! {
            read = from.read(&mut bytes) => match read {
                Ok(count @ 1..) => count,
                _ => return,
            },
            _ = state.wait_for(|state| *state == LinkState::BlackHole), if !is_lost => {
                is_lost = true;
                continue;
            }
        };
        // The server sends a commit after the answers to everything before it, so it is read in one piece.
        if bytes[..count].ends_with(COMMIT) {
            let _ = commits.announce().await;
        }
        let Ok(now) = state.wait_for(|state| *state != LinkState::Frozen).await.map(|state| *state) else {
            return;
        };
        is_lost |= now == LinkState::BlackHole;
        observe(&bytes[..count]);
        if !is_lost && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
