//! A reader of server-sent events, including comments.

use http::HeaderMap;

use super::http::Request;
use super::wait::within;

/// An open stream.
pub struct Stream {
    pub status: u16,
    pub headers: HeaderMap,
    response: reqwest::Response,
    rest: Vec<u8>,
}

/// The lines between two blank lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Option<String>,
    pub retry: Option<String>,
    pub comment: Option<String>,
}

impl Request {
    /// Opens a stream. Every status is accepted.
    pub async fn stream(self) -> Stream {
        let response = self.header("accept", "text/event-stream").open().await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Stream { status, headers, response, rest: Vec::new() }
    }
}

impl Stream {
    /// The next block; `None` after a clean end.
    pub async fn block(&mut self) -> Option<Block> {
        self.try_block().await.expect("the stream is not interrupted")
    }

    /// The next block; `None` after a clean end. An error if the connection was cut.
    pub async fn try_block(&mut self) -> Result<Option<Block>, reqwest::Error> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|bytes| bytes == b"\n\n") {
                let block: Vec<u8> = self.rest.drain(..end + 2).collect();
                return Ok(Some(parse(std::str::from_utf8(&block[..end]).expect("a block is UTF-8"))));
            }
            match within("a part of the stream", self.response.chunk()).await? {
                Some(chunk) => self.rest.extend(chunk),
                None => return Ok(None),
            }
        }
    }

    /// The whole body of a response that is no stream.
    pub async fn text(self) -> String {
        within("the body", self.response.text()).await.expect("the body is complete")
    }

    /// The next block that has data.
    pub async fn event(&mut self) -> Block {
        loop {
            let block = self.block().await.expect("the stream goes on");
            if block.data.is_some() {
                return block;
            }
        }
    }
}

fn parse(text: &str) -> Block {
    let mut block = Block::default();
    for line in text.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        let field = match name {
            "" => &mut block.comment,
            "id" => &mut block.id,
            "event" => &mut block.event,
            "retry" => &mut block.retry,
            "data" => &mut block.data,
            other => panic!("a field {other}"),
        };
        match field {
            Some(before) => *before = format!("{before}\n{value}"),
            None => *field = Some(value.to_owned()),
        }
    }
    block
}
