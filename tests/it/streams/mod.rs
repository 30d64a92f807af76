//! Replies as streams: what their readers get, how they end, and how they are cancelled.

mod cancel;
mod chat;
mod interrupted;
mod replies;

use serde_json::{Value, json};

use crate::support::server::{TestServer, WIDGET};
use crate::support::sse::Stream;

/// How a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    /// The connection was closed without an end.
    Cut,
}

/// The next chunk; pings are left out.
async fn next_chunk(stream: &mut Stream) -> Result<Value, End> {
    loop {
        match stream.try_block().await {
            Err(_) => return Err(End::Cut),
            Ok(None) => panic!("the stream ended without [DONE]"),
            Ok(Some(block)) => match block.data.as_deref() {
                None => {}
                Some("[DONE]") => {
                    assert_eq!(stream.block().await, None, "nothing follows");
                    return Err(End::Done);
                }
                Some(data) => return Ok(serde_json::from_str(data).unwrap()),
            },
        }
    }
}

/// Reads chunks up to one of a type, which is included.
async fn read_until(stream: &mut Stream, kind: &str) -> Vec<Value> {
    let mut chunks = Vec::new();
    loop {
        let chunk = next_chunk(stream).await.unwrap();
        let is_last = chunk["type"] == kind;
        chunks.push(chunk);
        if is_last {
            return chunks;
        }
    }
}

/// Reads all chunks.
async fn read_all(stream: &mut Stream) -> (Vec<Value>, End) {
    let mut chunks = Vec::new();
    loop {
        match next_chunk(stream).await {
            Ok(chunk) => chunks.push(chunk),
            Err(end) => return (chunks, end),
        }
    }
}

/// The types of chunks; consecutive deltas count once.
fn types(chunks: &[Value]) -> Vec<&str> {
    let mut types: Vec<_> = chunks.iter().map(|chunk| chunk["type"].as_str().unwrap()).collect();
    types.dedup();
    types
}

/// The texts of chunks, each the concatenation of its deltas.
fn texts(chunks: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for chunk in chunks {
        match chunk["type"].as_str().unwrap() {
            "text-start" => texts.push(String::new()),
            "text-delta" => texts.last_mut().unwrap().push_str(chunk["delta"].as_str().unwrap()),
            _ => {}
        }
    }
    texts
}

/// Sends a message and opens the stream of its reply.
async fn stream_message(server: &TestServer, text: &str) -> Stream {
    let stream = server.post_message(WIDGET, text).stream().await;
    assert_eq!(stream.status, 200);
    stream
}

/// Opens the stream of the reply that is being made.
async fn resume(server: &TestServer) -> Stream {
    server.request("GET", &format!("/api/chat/{WIDGET}/stream")).stream().await
}

/// The last message of the contract's conversation.
async fn last_message(server: &TestServer) -> Value {
    let con = server.conversation_id(WIDGET).await;
    server.messages(&con).await.pop().unwrap()
}

/// Cancels a reply of a conversation, and returns whether that succeeded.
async fn cancel(server: &TestServer, uuid: &str, turn: Option<&str>) -> bool {
    let path = format!("/api/conversations/{uuid}/cancel");
    let body = turn.map_or_else(|| json!({}), |turn| json!({ "turn_id": turn }));
    let answer = server.request("POST", &path).json(&body).send().await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!(true)), "{}", answer.text());
    answer.json()["cancelled"].as_bool().unwrap()
}
