//! A line on which each piece is looked at before it goes on: the fault comes at the very byte that is waited for.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// A piece that is under way.
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    /// The number of its connection, from 0.
    pub connection: usize,
    pub from: Side,
    pub bytes: &'a [u8],
}

impl Piece<'_> {
    pub fn contains(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// Whether PostgreSQL says that a transaction is committed.
    pub fn is_committed(&self) -> bool {
        self.from == Side::Server && self.contains("COMMIT\0")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// The piece is lost, and its connection ends.
    Cut,
}

type Watch = Box<dyn FnMut(Piece<'_>) -> Verdict + Send>;

pub struct Tap {
    url: String,
    watch: Arc<Mutex<Watch>>,
    task: JoinHandle<()>,
}

impl Tap {
    /// Before whatever listens at a URL (`http://…`, `postgres://…`).
    pub async fn before(url: &str) -> Self {
        let mut url = Url::parse(url).expect("a URL");
        let target = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a spare port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        url.set_port(Some(port)).expect("a URL with a host");
        let watch: Arc<Mutex<Watch>> = Arc::new(Mutex::new(Box::new(|_| Verdict::Pass)));
        let seen = Arc::clone(&watch);
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                tokio::spawn(forward(client, target.clone(), connection, Arc::clone(&seen)));
            }
        });
        Self { url: url.to_string().trim_end_matches('/').to_owned(), watch, task }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on each piece is shown to this, one after the other.
    pub fn watch(&self, watch: impl FnMut(Piece<'_>) -> Verdict + Send + 'static) {
        *self.watch.lock().unwrap() = Box::new(watch);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(mut client: TcpStream, target: String, connection: usize, watch: Arc<Mutex<Watch>>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let (from, count) = tokio::select! {
            read = client.read(&mut there) => (Side::Client, read),
            read = server.read(&mut back) => (Side::Server, read),
        };
        let Ok(count @ 1..) = count else { return };
        let bytes = if from == Side::Client { &there[..count] } else { &back[..count] };
        let verdict = watch.lock().unwrap()(Piece { connection, from, bytes });
        let to = if from == Side::Client { &mut server } else { &mut client };
        if verdict == Verdict::Cut || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
