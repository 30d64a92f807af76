//! A proxy between a server and its database, whose connections a test can break.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

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
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of the database at a URL.
    pub async fn start(url: &str) -> Self {
        let mut url = Url::parse(url).expect("a URL");
        let host = url.host_str().expect("a host").to_owned();
        let target = format!("{host}:{}", url.port().expect("a port"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a spare port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        url.set_port(Some(port)).expect("a URL with a host");
        let state = watch::Sender::new(LinkState::Up);
        let shared_state = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *shared_state.borrow() != LinkState::Down {
                    tokio::spawn(relay(client, target.clone(), shared_state.subscribe()));
                }
            }
        });
        Self { url: url.into(), state, task }
    }

    /// The URL, as in `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
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

async fn relay(client: TcpStream, target: String, mut state: watch::Receiver<LinkState>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let there = pump(from_client, to_server, state.clone());
    let back = pump(from_server, to_client, state.clone());
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = state.wait_for(|state| *state == LinkState::Down) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<LinkState>) {
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
        let Ok(now) = state.wait_for(|state| *state != LinkState::Frozen).await.map(|state| *state) else {
            return;
        };
        is_lost |= now == LinkState::BlackHole;
        if !is_lost && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
