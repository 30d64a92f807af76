//! A client that asks for a stream. If the connection is lost it comes back: with the resume route or, every second time, by
//! repeating its message with the same key. If nothing is open any more, it reads the history.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::client::{Api, Client, CompletedOperation, Operation, Outcome, PATIENCE, Response};
use crate::evidence::Reader;
use crate::support::wait::wait_at_most;
use crate::transcript::{Ending, StreamedReply, Transcript};

const STREAM: &str = "text/event-stream";

impl Client {
    /// Sends the message, and reads its reply as a stream until the outcome is known. `watch` is called with each frame.
    pub async fn perform_streamed(
        &self,
        operation: Operation,
        node: usize,
        watch: impl Fn(&Value),
    ) -> CompletedOperation {
        let what = format!("the end of a streamed {operation:?}");
        let (tries, reply) = (AtomicUsize::new(0), Mutex::new(StreamedReply::default()));
        let attempt = async || {
            let nth = tries.fetch_add(1, Ordering::Relaxed);
            self.attempt_streamed(&operation, (node, nth), &reply, &watch).await
        };
        let outcome = wait_at_most(PATIENCE, &what, attempt).await;
        CompletedOperation { operation, outcome, tries: tries.into_inner() }
    }

    /// `None` if the client has to come back.
    async fn attempt_streamed(
        &self,
        operation: &Operation,
        (node, nth): (usize, usize),
        reply: &Mutex<StreamedReply>,
        watch: &impl Fn(&Value),
    ) -> Option<Outcome> {
        let address = self.cluster.some_address(node + nth).await;
        let turn = reply.lock().unwrap().turn();
        let resumed = turn.filter(|_| operation.key.is_none() || nth % 2 == 1);
        let sent = match &resumed {
            Some(turn) => self.resume(operation, turn, &address).await,
            None => self.post(operation, &address, Some(STREAM)).await,
        };
        let response = match sent {
            Ok(response) => response,
            // Without a key the message is sent once.
            Err(error) if resumed.is_none() && operation.key.is_none() && !error.is_connect() => {
                return Some(Outcome::Unknown);
            }
            Err(_) => return None,
        };
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type");
        let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(STREAM.as_bytes()));
        match (resumed, is_stream) {
            (resumed, true) => {
                let transcript = Transcript::read(response, watch).await;
                if resumed.is_some() && transcript.turn != resumed {
                    // The stream of another turn of this conversation.
                    return None;
                }
                self.outcome_of_stream(operation, transcript, reply)
            }
            (Some(turn), false) if status == 204 => self.outcome_in_store(operation, &turn, reply).await,
            (Some(_), false) => None,
            (None, false) => {
                let Ok(response) = Response::read(response).await else {
                    return operation.key.is_none().then_some(Outcome::Unknown);
                };
                let is_final = operation.key.is_none() || !response.is_unsure();
                is_final.then(|| Outcome::of(operation, response))
            }
        }
    }

    async fn resume(
        &self,
        operation: &Operation,
        turn: &str,
        address: &str,
    ) -> reqwest::Result<reqwest::Response> {
        let request = match operation.conversation.api {
            Api::Widget => {
                self.http.get(format!("{address}/api/chat/{}/stream", operation.conversation.uuid))
            }
            Api::Platform => {
                self.http.get(format!("{address}/v1/turns/{turn}/stream")).bearer_auth(&self.cluster.key)
            }
        };
        request.timeout(PATIENCE).send().await
    }

    fn outcome_of_stream(
        &self,
        operation: &Operation,
        transcript: Transcript,
        reply: &Mutex<StreamedReply>,
    ) -> Option<Outcome> {
        let ending = transcript.ending.clone();
        let details = json!({ "stream": format!("{ending:?}"), "text": transcript.text() });
        self.record("info", operation, &details);
        let mut reply = reply.lock().unwrap();
        reply.transcripts.push(transcript);
        match ending {
            Ending::Finished | Ending::Stopped => Some(Outcome::Ok(streamed(&reply))),
            Ending::Failed => Some(Outcome::Failed(streamed(&reply))),
            // Without a key and the turn's id there is no way back.
            Ending::BrokenOff => {
                (operation.key.is_none() && reply.turn().is_none()).then_some(Outcome::Unknown)
            }
        }
    }

    /// The outcome of a turn whose stream is no longer open; `None` if it has not ended.
    async fn outcome_in_store(
        &self,
        operation: &Operation,
        turn: &str,
        reply: &Mutex<StreamedReply>,
    ) -> Option<Outcome> {
        let reader = Reader::new(&self.cluster);
        let turn = reader.try_get(&format!("/v1/turns/{turn}")).await?;
        turn.get("ended_at")?;
        let Some(id) = turn["reply_message_id"].as_str() else {
            return Some(Outcome::Failed(streamed(&reply.lock().unwrap())));
        };
        let path = format!("/v1/conversations/{}/messages", operation.conversation.id);
        let messages = reader.list(&path, "cursor").await;
        let stored = messages.iter().find(|message| message["id"] == id).expect("the reply is stored");
        let mut reply = reply.lock().unwrap();
        reply.from_history = Some(stored["text"].as_str().expect("a text").to_owned());
        Some(Outcome::Ok(streamed(&reply)))
    }
}

/// The response of a client that has read a stream to its end.
fn streamed(reply: &StreamedReply) -> Response {
    Response {
        status: 200,
        body: Bytes::new(),
        error: None,
        is_replay: false,
        turn: reply.turn(),
        streamed: Some(reply.clone()),
    }
}
