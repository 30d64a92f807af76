//! The example of `docs/streaming.md` for `useChat`: its routes, with the requests that the library makes.

use serde_json::{Value, json};

use super::blocks::of;
use crate::support::server::{TestServer, WIDGET};
use crate::support::store;

/// What follows the server's address in the first URL that contains `end`.
fn path_in(program: &str, end: &str) -> String {
    let mut urls = program.split("${server}").skip(1).filter_map(|rest| rest.split('`').next());
    let path = urls.find(|path| path.ends_with(end)).expect("the example has the URL");
    path.replace("${conversation}", WIDGET)
}

/// The parts of a stream that ends with `[DONE]`.
fn parts(stream: &str) -> Vec<Value> {
    let data: Vec<_> = stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (done, parts) = data.split_last().expect("the stream has data");
    assert_eq!(*done, "[DONE]");
    parts.iter().map(|part| serde_json::from_str(part).expect("a part is JSON")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_routes_of_the_example_for_use_chat_send_resume_read_and_stop() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let program = of("docs/streaming.md", "jsx")[0].text.clone();
    let api = path_in(&program, "/chat");
    let sent = json!({
        "id": WIDGET,
        "messages": [{"id": "OBrGWRchv8l8TU90", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}],
        "trigger": "submit-message",
    });

    // `useChat` names no type.
    let answer = server.request("POST", &api).header("accept", "*/*").json(&sent).send().await;
    let resumed = server.request("GET", &format!("{api}/{WIDGET}/stream")).send().await;
    let history = server.request("GET", &path_in(&program, "/${conversation}")).send().await;
    let received = parts(answer.text());
    let stop = json!({"turn_id": received[0]["messageMetadata"]["turn_id"]});
    let stopped = server.request("POST", &path_in(&program, "/cancel")).json(&stop).send().await;

    let deltas = received.iter().filter_map(|part| part["delta"].as_str());
    let reply = history.json()["history"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(deltas.collect::<String>(), reply["content"].as_str().unwrap());
    assert_eq!(received[0]["messageId"], reply["id"]);
    assert_eq!((resumed.status, resumed.text()), (204, ""));
    assert_eq!(stopped.json(), json!({"status": true, "cancelled": false}));
}
