//! A TCP proxy that inspects each chunk of bytes before it forwards it, so that a test can inject a fault at an exact byte.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// A chunk to be forwarded.
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    /// The number of its connection, from 0.
    pub connection: usize,
    pub from: Side,
    pub bytes: &'a [u8],
}

impl Chunk<'_> {
    pub fn contains(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// True if PostgreSQL reports a committed transaction.
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
    /// Drops the chunk and closes the connection.
    Cut,
}

type Inspect = Box<dyn FnMut(Chunk<'_>) -> Verdict + Send>;

pub struct FaultProxy {
    url: String,
    inspect: Arc<Mutex<Inspect>>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// A proxy in front of the server at a URL (`http://…`, `postgres://…`).
    pub async fn start(url: &str) -> Self {
        let mut url = Url::parse(url).expect("a URL");
        let target = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a spare port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        url.set_port(Some(port)).expect("a URL with a host");
        let inspect: Arc<Mutex<Inspect>> = Arc::new(Mutex::new(Box::new(|_| Verdict::Pass)));
        let shared = Arc::clone(&inspect);
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                tokio::spawn(forward(client, target.clone(), connection, Arc::clone(&shared)));
            }
        });
        Self { url: url.to_string().trim_end_matches('/').to_owned(), inspect, task }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sets the function that decides about each chunk, one at a time.
    pub fn inspect(&self, inspect: impl FnMut(Chunk<'_>) -> Verdict + Send + 'static) {
        *self.inspect.lock().unwrap() = Box::new(inspect);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(mut client: TcpStream, target: String, connection: usize, inspect: Arc<Mutex<Inspect>>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let (from, count) = tokio::select! {
            read = client.read(&mut there) => (Side::Client, read),
            read = server.read(&mut back) => (Side::Server, read),
        };
        let Ok(count @ 1..) = count else { return };
        let bytes = if from == Side::Client { &there[..count] } else { &back[..count] };
        let verdict = inspect.lock().unwrap()(Chunk { connection, from, bytes });
        let to = if from == Side::Client { &mut server } else { &mut client };
        if verdict == Verdict::Cut || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
