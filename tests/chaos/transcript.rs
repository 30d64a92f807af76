//! What a client has read of a streamed reply, and what it finds wrong with the stream.

use std::time::Duration;

use serde_json::Value;

/// No stream is silent for longer.
const MAX_SILENCE: Duration = Duration::from_secs(15);

/// How a stream ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    Finished,
    /// There is no reply.
    Failed,
    Stopped,
    /// The connection was lost.
    #[default]
    BrokenOff,
}

/// A tool call of the stream.
#[derive(Clone, Debug)]
pub struct StreamedCall {
    id: String,
    pub name: String,
    pub input: Value,
    is_ended: bool,
}

/// One stream, from `start` to its end.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// The id of the reply.
    pub message: Option<String>,
    /// The message that is answered.
    pub user_message: Option<String>,
    pub turn: Option<String>,
    /// The texts of the rounds.
    pub texts: Vec<String>,
    pub calls: Vec<StreamedCall>,
    pub ending: Ending,
    /// Violations of the format.
    pub faults: Vec<String>,
    open_text: Option<String>,
    has_ended: bool,
}

impl Transcript {
    /// Reads a response to its end. `watch` is called with each frame.
    pub async fn read(mut response: reqwest::Response, mut watch: impl FnMut(&Value)) -> Self {
        let mut transcript = Self::default();
        let mut rest: Vec<u8> = Vec::new();
        loop {
            match tokio::time::timeout(MAX_SILENCE, response.chunk()).await {
                Ok(Ok(Some(chunk))) => rest.extend(chunk),
                Ok(Ok(None)) => {
                    if !transcript.has_ended {
                        transcript.faults.push("a clean end without a last part".to_owned());
                    }
                    return transcript;
                }
                Ok(Err(_)) => return transcript,
                Err(_) => {
                    transcript.faults.push(format!("nothing came for {MAX_SILENCE:?}"));
                    return transcript;
                }
            }
            while let Some(end) = rest.windows(2).position(|bytes| bytes == b"\n\n") {
                let block: Vec<u8> = rest.drain(..end + 2).collect();
                let block = String::from_utf8(block).expect("a frame is UTF-8");
                let data = block.lines().find_map(|line| line.strip_prefix("data: "));
                if let Some(data) = data.filter(|data| *data != "[DONE]") {
                    let frame = serde_json::from_str(data).expect("a frame is JSON");
                    transcript.add(&frame);
                    watch(&frame);
                }
            }
        }
    }

    /// The text of the reply: that of the last round.
    pub fn text(&self) -> &str {
        self.texts.last().map_or("", String::as_str)
    }

    fn add(&mut self, frame: &Value) {
        let kind = text(frame, "type");
        if self.has_ended {
            self.faults.push(format!("{kind} after the end"));
        }
        if self.message.is_none() && kind != "start" {
            self.faults.push(format!("{kind} before the start"));
        }
        match kind.as_str() {
            "start" => self.start(frame),
            "start-step" | "finish-step" => {}
            "text-start" => {
                self.open_text = Some(text(frame, "id"));
                self.texts.push(String::new());
            }
            "text-delta" => match self.texts.last_mut() {
                Some(last) if self.open_text.as_ref() == Some(&text(frame, "id")) => {
                    last.push_str(&text(frame, "delta"));
                }
                _ => self.faults.push(format!("a delta without its start: {frame}")),
            },
            "text-end" => {
                if self.open_text.take() != Some(text(frame, "id")) {
                    self.faults.push(format!("an end without its start: {frame}"));
                }
            }
            "tool-input-available" => self.calls.push(StreamedCall {
                id: text(frame, "toolCallId"),
                name: text(frame, "toolName"),
                input: frame["input"].clone(),
                is_ended: false,
            }),
            "tool-output-available" | "tool-output-error" => {
                let id = text(frame, "toolCallId");
                match self.calls.iter_mut().find(|call| call.id == id && !call.is_ended) {
                    Some(call) => call.is_ended = true,
                    None => self.faults.push(format!("a result without its call: {frame}")),
                }
            }
            "finish" => self.end(Ending::Finished),
            "error" => self.end(Ending::Failed),
            "abort" => self.end(Ending::Stopped),
            other => self.faults.push(format!("an unknown part {other}")),
        }
    }

    fn start(&mut self, frame: &Value) {
        if self.message.is_some() {
            self.faults.push("a second start".to_owned());
        }
        self.message = Some(text(frame, "messageId"));
        self.turn = Some(text(&frame["messageMetadata"], "turn_id"));
        self.user_message = Some(text(&frame["messageMetadata"], "user_message_id"));
    }

    fn end(&mut self, ending: Ending) {
        if self.open_text.is_some() && ending != Ending::Failed {
            self.faults.push("the end within a text".to_owned());
        }
        self.ending = ending;
        self.has_ended = true;
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// All that a client has read of one reply.
#[derive(Clone, Debug, Default)]
pub struct StreamedReply {
    /// One for each connection, in order.
    pub transcripts: Vec<Transcript>,
    /// The text that it read from the history, because nothing was open any more.
    pub from_history: Option<String>,
}

impl StreamedReply {
    /// The turn, once the client knows it.
    pub fn turn(&self) -> Option<String> {
        self.transcripts.iter().find_map(|transcript| transcript.turn.clone())
    }

    /// The message that is answered, once the client knows it.
    pub fn user_message(&self) -> Option<String> {
        self.transcripts.iter().find_map(|transcript| transcript.user_message.clone())
    }

    /// The text with which the client has ended; `None` if there is no reply.
    pub fn text(&self) -> Option<&str> {
        let has_reply = |last: &&Transcript| matches!(last.ending, Ending::Finished | Ending::Stopped);
        let last = self.transcripts.last().filter(has_reply);
        self.from_history.as_deref().or_else(|| last.map(Transcript::text))
    }

    /// How often the connection was lost.
    pub fn breaks(&self) -> usize {
        self.transcripts.iter().filter(|transcript| transcript.ending == Ending::BrokenOff).count()
    }
}
