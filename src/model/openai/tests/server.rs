//! A server of one endpoint that performs a script on each connection, byte by byte.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{ChatMessage, Connection, HttpClient, ModelAnswer, ModelError, OpenAi};
use crate::{
    domain::chat::ChatRequest,
    model::{ChatModel, collect},
};

pub(super) enum Action {
    Send(Vec<u8>),
    /// Sends this many bytes without a line end.
    Flood(usize),
    /// Sends single bytes with pauses, and never a line end.
    Drip,
    /// Sends nothing more, and keeps the connection open.
    Hang,
}

pub(super) struct Outcome {
    pub(super) result: Result<ModelAnswer, ModelError>,
    /// Each request as received, head and body.
    pub(super) requests: Vec<String>,
    /// How many bytes of a flood the client read.
    pub(super) sent: usize,
}

#[derive(Default)]
struct Log {
    requests: Vec<String>,
    sent: usize,
}

pub(super) fn respond(head: &str, content_type: &str, body: &[u8]) -> Action {
    let head =
        format!("HTTP/1.1 {head}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n", body.len());
    Action::Send([head.as_bytes(), body].concat())
}

pub(super) fn json_answer(body: &Value) -> Action {
    respond("200 OK", "application/json", body.to_string().as_bytes())
}

/// The head of a stream, and these chunks.
pub(super) fn events(chunks: &[Value]) -> Action {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n: hello\n\n";
    let mut bytes = head.as_bytes().to_vec();
    for chunk in chunks {
        bytes.extend_from_slice(format!("data: {chunk}\n\n").as_bytes());
    }
    Action::Send(bytes)
}

/// Closes the connection, as the end of every script does.
pub(super) fn close() -> Action {
    Action::Send(Vec::new())
}

pub(super) fn text_of(outcome: &Outcome) -> &str {
    outcome.result.as_ref().unwrap().text.as_deref().unwrap()
}

pub(super) async fn run(actions: Vec<Action>) -> Outcome {
    run_with("", None, actions).await
}

/// The client's idle timeout: short, but a flood must not count as silence on a busy machine.
const IDLE: Duration = Duration::from_millis(300);
const FLOOD_IDLE: Duration = Duration::from_secs(30);

/// Calls the scripted server, or `base_url` if it is not empty.
pub(super) async fn run_with(base_url: &str, key: Option<&str>, actions: Vec<Action>) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own_url = format!("http://{}/v1/", listener.local_addr().unwrap());
    let base_url = if base_url.is_empty() { &own_url } else { base_url };
    let connection = Connection {
        first_byte: Duration::from_millis(500),
        idle: if actions.iter().any(|action| matches!(action, Action::Flood(_))) { FLOOD_IDLE } else { IDLE },
        ..Connection::new(base_url, key.map(SecretString::from))
    };
    let model = OpenAi::new(&HttpClient::new(Duration::from_secs(5)).unwrap(), &connection).unwrap();
    let log = Mutex::new(Log::default());
    let result = tokio::select! {
        result = collect(model.start(request())) => result,
        () = serve(&listener, &actions, &log) => unreachable!("the server goes on for ever"),
    };
    let log = log.into_inner().unwrap();
    Outcome { result, requests: log.requests, sent: log.sent }
}

/// Makes two calls, one after the other, to a server that ends each stream shortly after its `[DONE]`. Returns the number
/// of connections.
pub(super) async fn count_connections_of_two_calls(stream: &[u8]) -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let model =
        OpenAi::new(&HttpClient::new(Duration::from_secs(5)).unwrap(), &Connection::new(url, None)).unwrap();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let length = format!("{:x}\r\n", stream.len());
    let chunk = [head.as_bytes(), length.as_bytes(), stream, b"\r\n"].concat();

    let connections = AtomicUsize::new(0);
    let server = async {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            connections.fetch_add(1, Ordering::SeqCst);
            while !read_request(&mut socket).await.is_empty() {
                socket.write_all(&chunk).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
                socket.write_all(b"0\r\n\r\n").await.unwrap();
            }
        }
    };
    let client = async {
        for _ in 0..2 {
            collect(model.start(request())).await.unwrap();
        }
    };
    tokio::select! {
        () = client => connections.load(Ordering::SeqCst),
        () = server => unreachable!("the server goes on for ever"),
    }
}

fn request() -> ChatRequest {
    ChatRequest {
        model: "m".to_owned(),
        messages: Arc::new([ChatMessage::User("Hi".to_owned())]),
        tools: Arc::default(),
        has_fallback: true,
        parameters: Map::new(),
    }
}

async fn serve(listener: &TcpListener, actions: &[Action], log: &Mutex<Log>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        log.lock().unwrap().requests.push(request);
        for action in actions {
            if perform(&mut stream, action, log).await.is_err() {
                break;
            }
        }
    }
}

async fn perform(stream: &mut TcpStream, action: &Action, log: &Mutex<Log>) -> std::io::Result<()> {
    static BLOCK: [u8; 64 * 1024] = [b' '; 64 * 1024];
    match action {
        Action::Send(bytes) => stream.write_all(bytes).await,
        Action::Flood(length) => {
            for _ in 0..length / BLOCK.len() {
                stream.write_all(&BLOCK).await?;
                log.lock().unwrap().sent += BLOCK.len();
            }
            Ok(())
        }
        Action::Drip => {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            loop {
                tick.tick().await;
                stream.write_all(b"x").await?;
            }
        }
        Action::Hang => std::future::pending().await,
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return text;
        }
    }
}
