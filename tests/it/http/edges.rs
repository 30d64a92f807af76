//! Where a request falls off before a handler sees it: each door answers in its own envelope.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::app::{App, KEY};
use super::client::exchange;
use crate::support::db::{Backend, TestDb};
use crate::support::fake_model::Reply;
use crate::support::script::Gate;
use crate::support::store::STORE;
use crate::support::wait::wait_for;

const NO_ROUTE: &str = "There is no such route.";

#[tokio::test]
async fn an_unknown_route_and_method_answer_in_the_doors_envelope() {
    let db = TestDb::copy_of(&STORE, Backend::Sqlite).await;
    let app = App::new(&db).await;

    for path in ["/api", "/api/", "/api/x", "/api/conversations/x/y/z"] {
        let answer = app.call("GET", path).send().await;
        assert_eq!(
            (answer.status, answer.body),
            (404, format!(r#"{{"status":false,"error":"{NO_ROUTE}"}}"#)),
            "{path}"
        );
    }
    for path in ["/v1", "/v1/x", "/x", "/v1/messages/x"] {
        let answer = app.call("GET", path).send().await;
        let expected = format!(r#"{{"status":"error","message":"{NO_ROUTE}","data":null}}"#);
        assert_eq!((answer.status, answer.body), (404, expected), "{path}");
    }
    let widget = app.call("PUT", "/api/conversations").send().await;
    assert_eq!((widget.status, widget.header("allow")), (405, Some("POST")));
    assert_eq!(widget.body, r#"{"status":false,"error":"This method is not allowed here."}"#);
    let platform = app.call("DELETE", "/v1/messages").key(KEY).send().await;
    assert_eq!((platform.status, platform.header("allow")), (405, Some("POST")));
    assert_eq!(
        platform.body,
        r#"{"status":"error","message":"This method is not allowed here.","data":null}"#
    );
    assert_eq!(platform.header("rejoinder-error"), Some("method_not_allowed"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_of_its_door() {
    let db = TestDb::copy_of(&STORE, Backend::Sqlite).await;
    let app = App::new(&db).await;
    let uuid = app.conversation().await;
    let padded = |size: usize| {
        let mut body = br#"{"message":"hi"}"#.to_vec();
        body.resize(size, b' ');
        body
    };

    let most = app.say(&uuid, padded(64 * 1024)).send().await;
    let declared = app.say(&uuid, padded(64 * 1024 + 1)).send().await;
    let platform = app.enqueue(vec![b' '; 256 * 1024 + 1]).send().await;
    let chunk = "x".repeat(0x1_0001);
    let chunked = format!(
        "POST /api/conversations/{uuid}/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n10001\r\n{chunk}\r\n0\r\n\r\n"
    );
    let undeclared = exchange(app.address, chunked.as_bytes()).await;

    assert_eq!(most.status, 200);
    for answer in [declared, undeclared] {
        let expected = r#"{"status":false,"error":"The request body must not be greater than 64 KiB."}"#;
        assert_eq!((answer.status, answer.body.as_str()), (413, expected));
    }
    let expected =
        r#"{"status":"error","message":"The request body must not be greater than 256 KiB.","data":null}"#;
    assert_eq!((platform.status, platform.body.as_str()), (413, expected));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_408_and_the_connection_closes() {
    let db = TestDb::copy_of(&STORE, Backend::Sqlite).await;
    let app = App::with(&db, |config| {
        config.limits.enabled = false;
        config.http.body_timeout = Duration::from_millis(50);
    })
    .await;

    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{{"
    );
    let answer = exchange(app.address, request.as_bytes()).await;

    assert_eq!(answer.status, 408);
    assert_eq!(answer.header("connection"), Some("close"));
    let expected = r#"{"status":"error","message":"The request body did not arrive in time.","data":null}"#;
    assert_eq!(answer.body, expected);
}

#[tokio::test]
async fn who_says_nothing_is_let_go() {
    let db = TestDb::copy_of(&STORE, Backend::Sqlite).await;
    let app = App::with(&db, |config| config.http.head_timeout = Duration::from_millis(50)).await;

    for said in ["", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nhost:"] {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, said.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{said:?} was left open");
    }
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_made() {
    let db = TestDb::copy_of(&STORE, Backend::Sqlite).await;
    let app = App::new(&db).await;

    let sent = app.call("GET", "/healthz").header("x-request-id", "abc-1").send().await;
    let made = app.call("GET", "/healthz").header("x-request-id", "a b").send().await;

    assert_eq!(sent.header("x-request-id"), Some("abc-1"));
    assert_eq!(made.header("x-request-id").unwrap().len(), 36);
    assert_eq!(sent.body, r#"{"status":"alive"}"#);
}

#[tokio::test]
async fn a_server_whose_store_is_gone_says_so_in_every_envelope() {
    let db = TestDb::copy_of(&STORE, Backend::Sqlite).await;
    let app = App::new(&db).await;
    let uuid = app.conversation().await;
    let ready = app.call("GET", "/readyz").send().await;
    app.server.services.db.close().await;

    let away = app.call("GET", "/readyz").send().await;
    let widget = app.say(&uuid, r#"{"message": "Hi"}"#).send().await;
    let enqueue = app.enqueue(r#"{"sender_id": "u", "sender_type": "user", "text": "Hi"}"#).send().await;
    let read = app.call("GET", "/v1/balance").key(KEY).send().await;

    assert_eq!((ready.status, away.status), (200, 503));
    let expected =
        r#"{"status":false,"error":"Failed to process message: The service is temporarily unavailable"}"#;
    assert_eq!((widget.status, widget.body.as_str()), (400, expected));
    assert_eq!(widget.header("rejoinder-error"), Some("service_unavailable"));
    let expected = r#"{"status":"error","message":"Failed to enqueue message. Please retry.","data":null}"#;
    assert_eq!((enqueue.status, enqueue.body.as_str()), (500, expected));
    let expected =
        r#"{"status":"error","message":"The service is temporarily unavailable. Please retry.","data":null}"#;
    assert_eq!((read.status, read.body.as_str()), (500, expected));
}

#[tokio::test]
async fn a_stop_answers_who_waits_and_accepts_nobody() {
    let db = TestDb::copy_of(&STORE, Backend::Sqlite).await;
    let app = App::new(&db).await;
    let uuid = app.conversation().await;
    let gate = Gate::closed();
    app.model.script().queue([Reply::text("Just in time.").held_by(&gate)]);
    let waiting = tokio::spawn(app.say(&uuid, r#"{"message": "Hi"}"#).send());
    app.model.calls().arrived(1).await;

    let App { address, model: _model, server } = app;
    let stopping = tokio::spawn(server.stop());
    wait_for("the listener to close", async || TcpStream::connect(address).await.err()).await;
    gate.open();

    assert_eq!(waiting.await.unwrap().json()["message"], "Just in time.");
    stopping.await.unwrap();
}

#[tokio::test]
async fn many_requests_share_one_connection_of_http_2() {
    let db = TestDb::copy_of(&STORE, Backend::Sqlite).await;
    let app = App::new(&db).await;
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).http2_prior_knowledge();
    let client = client.build().unwrap();

    let ask = || client.get(format!("http://{}/healthz", app.address)).send();
    let answers = futures::future::join_all((0..100).map(|_| ask())).await;

    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
    }
}
