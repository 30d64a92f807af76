//! Hostile documents are refused, and the server goes on.

use std::time::Duration;

use futures::future::join_all;
use rejoinder::domain::ids::WorkspaceId;
use rejoinder::domain::knowledge::{Format, Language};
use rejoinder::service::knowledge::{DocumentSource, IngestError};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::support::http::Response;
use crate::support::server::TestServer;
use crate::support::wait::wait_for;
use crate::support::{document_extractor, pdf, store};

/// Creates a base, and returns the path of its documents.
async fn documents(server: &TestServer) -> String {
    let base = server.request("POST", "/v1/knowledge_bases").bearer(&server.keys.full);
    let base = base.json(&json!({ "slug": "help" })).send().await.json();
    format!("/v1/knowledge_bases/{}/documents", base["data"]["id"].as_str().unwrap())
}

async fn put(server: &TestServer, path: &str, kind: &str, file: &[u8]) -> Response {
    server.request("PUT", path).bearer(&server.keys.full).header("content-type", kind).body(file).send().await
}

/// A form that draws itself.
fn self_drawing_form() -> Vec<u8> {
    let form = "/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</F 5 0 R>>>>";
    let page = format!("{}/Resources<</XObject<</F 5 0 R>>>>", pdf::PAGE);
    pdf::file_of_page(&page, pdf::stream("", b"/F Do"), &[pdf::stream(form, b"/F Do")])
}

/// A page that is its own parent.
fn self_parenting_page() -> Vec<u8> {
    pdf::file_of_page("/Parent 3 0 R", pdf::stream("", b"BT ET"), &[])
}

/// A stream of 7 MB that unpacks to 1 GiB of zeros: a Deflate block of fixed codes, one zero and repetitions of 258.
fn deflate_bomb() -> Vec<u8> {
    let begin = [1, 1, 0].into_iter().chain([0, 0, 1, 1, 0, 0, 0, 0]);
    let repetition = [1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0];
    let bits = begin.chain(repetition.into_iter().cycle().take(repetition.len() * (1 << 22)));
    let bits: Vec<u8> = bits.collect();
    let mut packed = vec![0x78, 0x01];
    packed.extend(bits.chunks(8).map(|bits| (0..).zip(bits).fold(0, |byte, (at, bit)| byte | (bit << at))));
    pdf::file_of_page(pdf::PAGE, pdf::stream("/Filter/FlateDecode", &packed), &[])
}

/// The parser opens all unclosed elements again in each paragraph.
fn reopened_elements() -> Vec<u8> {
    let open = (1..=390).map(|id| format!("<b id={id}>")).collect::<Vec<_>>().concat();
    format!("<p>{open}{}", "<p>x".repeat(250_000)).into_bytes()
}

/// One tag whose attributes are each compared with all earlier ones.
fn tag_of_attributes() -> Vec<u8> {
    let attributes = (0..1_000_000).map(|id| format!(" a{id}")).collect::<Vec<_>>().concat();
    format!("<p{attributes}>x").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_document_is_refused_and_the_next_is_extracted() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let documents = documents(&server).await;

    let killed = "cannot be read: its reader failed, or needed more than 512 MiB; it may be damaged";
    let empty = "has no text in it; if its pages are pictures, as of a scanner, it needs text recognition (OCR) before";
    for (name, kind, file, reason) in [
        ("draws", "application/pdf", self_drawing_form(), empty),
        ("parent", "application/pdf", self_parenting_page(), empty),
        ("swells", "application/pdf", deflate_bomb(), killed),
        ("rebuilt", "text/html", reopened_elements(), killed),
    ] {
        let refused = put(&server, &format!("{documents}/{name}"), kind, &file).await;

        assert_eq!(refused.status, 400, "{name}: {}", refused.text());
        assert_eq!(refused.json()["message"], format!("The document {reason}."), "{name}");
    }

    let good = |number: usize| {
        let path = format!("{documents}/good-{number}");
        let server = &server;
        async move { put(server, &path, "application/pdf", &pdf::file_of_text("Still here.")).await }
    };
    for answer in join_all((0..6).map(good)).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(server.get(&documents).await.json()["data"]["items"].as_array().unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_times_out_frees_its_slot() {
    let readers = document_extractor::child_process();
    let hasty = readers.clone().with_timeout(Duration::from_secs(2));
    let file = tag_of_attributes();
    let source = |format, file: &[u8]| {
        let (slug, title, file) = ("s".to_owned(), "S".to_owned(), file.to_vec().into());
        DocumentSource { slug, title, url: None, format, charset: None, file }
    };

    let slow = (0..4).map(|number| {
        // Two of each workspace, which are read at once.
        let workspace = WorkspaceId(Uuid::from_u128(number / 2));
        hasty.ingest(workspace, source(Format::Html, &file), Language::English)
    });
    for ended in join_all(slow).await {
        assert!(matches!(ended, Err(IngestError::TooSlow)), "{ended:?}");
    }

    let page = source(Format::Html, b"<h1>Here</h1><p>Still.");
    let read = readers.ingest(WorkspaceId(Uuid::nil()), page, Language::English).await.unwrap();
    assert_eq!(read.text, "# Here\n\nStill.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_uploads_are_limited() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let documents = documents(&server).await;
    let head = format!(
        "PUT {documents}/slow HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: text/plain\r\n\
         content-length: 100\r\n\r\nbegun",
        server.keys.full
    );

    // Starts another upload only while a permit is free, so that none of these is refused.
    let path = format!("{documents}/next");
    let mut stalled: Vec<TcpStream> = Vec::new();
    let refused = loop {
        let answer = put(&server, &path, "text/plain", b"Hi.").await;
        if answer.status == 429 {
            break answer;
        }
        assert!(answer.status == 200 && stalled.len() < 1000, "{}", answer.text());
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stalled.push(stream);
    };
    assert!(stalled.len() >= 16, "{}", stalled.len());
    assert_eq!(refused.json()["message"], "Too many documents are being read");
    assert_eq!(refused.header("retry-after"), Some("5"));
    let text = json!({ "title": "Next", "text": "Hi." });
    let refused = server.request("POST", &documents).bearer(&server.keys.full).json(&text).send().await;
    assert_eq!(refused.status, 429, "{}", refused.text());

    // One upload is completed, and releases its permit.
    let mut first = stalled.remove(0);
    first.write_all(&[b'x'; 95]).await.unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(stalled);
    wait_for("a free permit", async || {
        let answer = put(&server, &path, "text/plain", b"Hi.").await;
        (answer.status == 200).then_some(())
    })
    .await;
}
