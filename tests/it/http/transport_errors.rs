//! Errors before a handler is reached: each API answers in its own envelope.

use std::time::Duration;

use crate::support::db::both_backends;
use crate::support::fake_model::Reply;
use crate::support::http::{http2_client, send_raw};
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::store;
use crate::support::wait::wait_for;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const NO_ROUTE: &str = "There is no such route.";
const HTTP_2_PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_route_and_method_answer_in_the_apis_envelope() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;

    for path in ["/api", "/api/", "/api/x", "/api/conversations/x/y/z"] {
        let answer = server.request("GET", path).send().await;
        assert_eq!(
            (answer.status, answer.text()),
            (404, &*format!(r#"{{"status":false,"error":"{NO_ROUTE}"}}"#)),
            "{path}"
        );
    }
    for path in ["/v1", "/v1/x", "/x", "/v1/messages/x/y"] {
        let answer = server.request("GET", path).send().await;
        let expected = format!(r#"{{"status":"error","message":"{NO_ROUTE}","data":null}}"#);
        assert_eq!((answer.status, answer.text()), (404, &*expected), "{path}");
    }
    let widget = server.request("PUT", "/api/conversations").send().await;
    assert_eq!((widget.status, widget.header("allow")), (405, Some("POST,GET,HEAD")));
    assert_eq!(widget.text(), r#"{"status":false,"error":"This method is not allowed here."}"#);
    let platform = server.request("DELETE", "/v1/messages").bearer(&server.keys.full).send().await;
    assert_eq!((platform.status, platform.header("allow")), (405, Some("POST,GET,HEAD")));
    assert_eq!(
        platform.text(),
        r#"{"status":"error","message":"This method is not allowed here.","data":null}"#
    );
    assert_eq!(platform.header("rejoinder-error"), Some("method_not_allowed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_a_413_in_its_apis_envelope() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let uuid = server.create_conversation().await;
    let padded = |size: usize| {
        let mut body = br#"{"message":"hi"}"#.to_vec();
        body.resize(size, b' ');
        body
    };

    let most = server.post_message_body(&uuid, padded(64 * 1024)).send().await;
    let declared = server.post_message_body(&uuid, padded(64 * 1024 + 1)).send().await;
    let platform = server.enqueue(vec![b' '; 256 * 1024 + 1]).send().await;
    let chunk = "x".repeat(0x1_0001);
    let chunked = format!(
        "POST /api/conversations/{uuid}/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n10001\r\n{chunk}\r\n0\r\n\r\n"
    );
    let undeclared = send_raw(server.address(), chunked.as_bytes()).await;

    assert_eq!(most.status, 200);
    let expected = r#"{"status":false,"error":"The request body must not be greater than 64 KiB."}"#;
    assert_eq!((declared.status, declared.text()), (413, expected));
    assert!(undeclared.starts_with("HTTP/1.1 413 ") && undeclared.ends_with(expected), "{undeclared}");
    let expected =
        r#"{"status":"error","message":"The request body must not be greater than 256 KiB.","data":null}"#;
    assert_eq!((platform.status, platform.text()), (413, expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_arrive_is_a_408_and_closes_the_connection() {
    let db = store::sqlite().await;
    let server = Setup::default().env("REJOINDER_HTTP__BODY_TIMEOUT", "50ms").start(&db).await;

    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 9\r\n\r\n{{",
        server.keys.full
    );
    let answer = send_raw(server.address(), request.as_bytes()).await;

    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
    let expected = r#"{"status":"error","message":"The request body did not arrive in time.","data":null}"#;
    assert!(answer.ends_with(expected), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_a_complete_request_head_is_closed() {
    let impatient = || Setup::default().env("REJOINDER_HTTP__HEAD_TIMEOUT", "50ms");

    for setup in [impatient(), impatient().h2c()] {
        let db = store::sqlite().await;
        let server = setup.start(&db).await;
        for beginning in ["", "PRI * HT", HTTP_2_PREFACE, "GET / HTTP/1.1\r\nhost:"] {
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, beginning.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "{beginning:?} was left open");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_valid_request_id_is_kept_and_an_invalid_one_replaced() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;

    let sent = server.request("GET", "/healthz").header("x-request-id", "abc-1").send().await;
    let response = server.request("GET", "/healthz").header("x-request-id", "a b").send().await;

    assert_eq!(sent.header("x-request-id"), Some("abc-1"));
    assert_eq!(response.header("x-request-id").unwrap().len(), 36);
    assert_eq!(sent.text(), r#"{"status":"alive"}"#);
}

both_backends!(
    async fn an_unavailable_database_is_reported_in_every_envelope(db: TestDb) {
        let server = TestServer::start(&db).await;
        let uuid = server.create_conversation().await;
        let ready = server.request("GET", "/readyz").send().await;
        server.db().close().await;

        let away = wait_for("the server to be not ready", async || {
            let probed = server.request("GET", "/readyz").send().await;
            (probed.status != 200).then_some(probed)
        })
        .await;
        let widget = server.post_message_body(&uuid, r#"{"message": "Hi"}"#).send().await;
        let enqueue =
            server.enqueue(r#"{"sender_id": "u", "sender_type": "user", "text": "Hi"}"#).send().await;
        let read = server.request("GET", "/v1/balance").bearer(&server.keys.full).send().await;

        assert_eq!((ready.status, away.status), (200, 503));
        let expected =
            r#"{"status":false,"error":"Failed to process message: The service is temporarily unavailable"}"#;
        assert_eq!((widget.status, widget.text()), (400, expected));
        assert_eq!(widget.header("rejoinder-error"), Some("service_unavailable"));
        let expected =
            r#"{"status":"error","message":"Failed to enqueue message. Please retry.","data":null}"#;
        assert_eq!((enqueue.status, enqueue.text()), (500, expected));
        let expected = r#"{"status":"error","message":"The service is temporarily unavailable. Please retry.","data":null}"#;
        assert_eq!((read.status, read.text()), (500, expected));
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_waiting_requests_and_closes_the_listener() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let gate = Gate::closed();
    server.model.script().queue([Reply::text("Just in time.").gated_by(&gate)]);
    let (address, model) = (server.address(), std::sync::Arc::clone(&server.model));
    let request = server.post_message(WIDGET, "Hi");

    let (answer, (), ()) = tokio::join!(
        request.send(),
        async {
            model.calls().wait_for_count(1).await;
            server.stop().await;
        },
        async {
            model.calls().wait_for_count(1).await;
            wait_for("the listener to close", async || TcpStream::connect(address).await.err()).await;
            gate.open();
        },
    );

    assert_eq!(answer.json()["message"], "Just in time.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_share_one_http_2_connection() {
    let db = store::sqlite().await;
    let server = Setup::default().h2c().start(&db).await;
    let client = http2_client();

    let ask = || client.get(format!("{}/healthz", server.url())).send();
    let answers = futures::future::join_all((0..100).map(|_| ask())).await;

    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_without_tls_is_refused_unless_configured() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;

    let answer = http2_client().get(format!("{}/healthz", server.url())).send().await;
    let after_preface = send_raw(server.address(), HTTP_2_PREFACE.as_bytes()).await;

    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(after_preface, "", "no frames are sent");
    assert_eq!(server.request("GET", "/healthz").send().await.status, 200);
}
