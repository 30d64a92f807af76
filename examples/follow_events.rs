//! Follows the events of a workspace as a stream, and resumes after a lost connection: the example in `docs/events.md`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example for the command line")]
#![expect(clippy::disallowed_methods, reason = "it stands outside the server, and has settings of its own")]

// docs/events.md: from here
use std::time::Duration;

use eventsource_stream::Eventsource as _;
use futures::StreamExt as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = format!("{}/v1/events/stream", std::env::var("URL")?);
    let key = std::env::var("KEY")?;
    let client = reqwest::Client::new();
    let mut last = String::new(); // keep it where it outlives the program
    loop {
        let request = client.get(&url).bearer_auth(&key).header("last-event-id", &last);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                let mut events = answer.bytes_stream().eventsource();
                while let Some(Ok(event)) = events.next().await {
                    println!("{} {}", event.event, event.data);
                    last = event.id;
                }
            }
            Ok(answer) if answer.status().is_client_error() && answer.status() != 429 => {
                anyhow::bail!("{}: {}", answer.status(), answer.text().await?);
            }
            Ok(answer) => eprintln!("{}", answer.status()),
            Err(error) => eprintln!("{error}"),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
