//! Documents as `multipart/form-data`.

use serde_json::json;

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::http::Response;
use crate::support::pdf;
use crate::support::server::TestServer;

const BASES: &str = "/v1/knowledge_bases";

/// A part: what follows `form-data; ` in its head, and its content.
type Part<'a> = (&'a str, &'a [u8]);

fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, content) in parts {
        body.extend(format!("--b7\r\nContent-Disposition: form-data; {head}\r\n\r\n").bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--b7--\r\n");
    body
}

async fn send(server: &TestServer, method: &str, path: &str, parts: &[Part<'_>]) -> Response {
    let request = server.request(method, path).bearer(&server.keys.full);
    request.header("content-type", "multipart/form-data; boundary=b7").body(form(parts)).send().await
}

/// The path of the documents of a new base.
async fn documents(server: &TestServer) -> String {
    let request = server.request("POST", BASES).bearer(&server.keys.full);
    let created = request.json(&json!({ "slug": "help" })).send().await.json();
    format!("{BASES}/{}/documents", created["data"]["id"].as_str().unwrap())
}

both_backends!(
    async fn a_form_with_a_file_is_a_document_on_both_routes(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let documents = documents(&server).await;
        let leaflet = pdf::file_of_text("Vouchers expire after three years.");
        let named: [Part<'_>; 4] = [
            ("name=\"title\"", "Größen".as_bytes()),
            (
                "name=\"file\"; filename=\"a.bin\"\r\nContent-Type: text/html; charset=latin1",
                b"<p>\xe9t\xe9</p>",
            ),
            ("name=\"url\"", b"https://shop.example/sizes"),
            ("name=\"slug\"", b"sizes"),
        ];

        let created = send(&server, "POST", &documents, &named).await;
        let twice = send(&server, "POST", &documents, &named).await;
        let by_name = send(
            &server,
            "POST",
            &documents,
            &[(
                "name=\"file\"; filename=\"Gift vouchers.pdf\"\r\nContent-Type: application/octet-stream",
                &leaflet,
            )],
        )
        .await;
        let put = send(
            &server,
            "PUT",
            &format!("{documents}/sizes"),
            &[("name=\"file\"; filename=\"x.md\"", b"# Sizes\n\nAll.")],
        )
        .await;

        let data = created.json()["data"].clone();
        assert_eq!(created.status, 200, "{}", created.text());
        assert_eq!(
            (&data["slug"], &data["title"], &data["format"]),
            (&json!("sizes"), &json!("Größen"), &json!("html"))
        );
        assert_eq!(data["url"], "https://shop.example/sizes");
        assert_eq!((twice.status, twice.header("rejoinder-error")), (409, Some("conflict")));
        let data = by_name.json()["data"].clone();
        assert_eq!((&data["slug"], &data["title"]), (&json!("gift-vouchers"), &json!("Gift vouchers")));
        assert_eq!(data["format"], "pdf");
        assert_eq!(put.status, 200, "{}", put.text());
        let read = server.get(&format!("{documents}/sizes")).await.json()["data"].clone();
        assert_eq!((&read["title"], &read["text"]), (&json!("sizes"), &json!("# Sizes\n\nAll.")));
    }
);

both_backends!(
    async fn an_invalid_form_is_refused_by_name_and_stores_nothing(db: TestDb) {
        let server = TestServer::start(&db).await;
        let documents = documents(&server).await;
        let before = server.row_counts().await;
        let file: Part<'_> = ("name=\"file\"; filename=\"a.md\"", b"text");
        let title: Part<'_> = ("name=\"title\"", b"A");
        let large = vec![b'x'; 10 * 1024 * 1024 + 1];
        let cases: [(&str, &[Part<'_>], &str); 9] = [
            ("", &[title], "Part 'file' is required."),
            ("", &[file, file], "Part 'file' may be given once only."),
            ("", &[title, title, file], "Part 'title' may be given once only."),
            (
                "",
                &[file, ("name=\"titel\"", b"A")],
                "Unknown part 'titel'. Known parts: 'file', 'title', 'slug', 'url'.",
            ),
            (
                "",
                &[("name=\"file\"", b"text"), title],
                "Part 'file' must have one of the types text/markdown,",
            ),
            ("", &[file, ("name=\"url\"", b"ftp://x")], "Field 'url' must be"),
            (
                "",
                &[("name=\"file\"; filename=\"a.md\"", &large)],
                "Part 'file' must not be greater than 10240 KB.",
            ),
            (
                "/a",
                &[file, ("name=\"slug\"", b"b")],
                "Unknown part 'slug'. Known parts: 'file', 'title', 'url'.",
            ),
            ("/a?title=B", &[file], "Field 'title' must be a part of the form, not of the query."),
        ];

        for (path, parts, text) in cases {
            let method = if path.is_empty() { "POST" } else { "PUT" };
            let refused = send(&server, method, &format!("{documents}{path}"), parts).await;
            let message = refused.json()["message"].as_str().unwrap_or_default().to_owned();
            assert_eq!(refused.status, 400, "{text}: {message}");
            assert!(message.starts_with(text), "{text}: {message}");
        }

        let no_boundary = server.request("POST", &documents).bearer(&server.keys.full);
        let no_boundary = no_boundary.header("content-type", "multipart/form-data").body("x").send().await;
        assert_eq!(no_boundary.status, 400, "{}", no_boundary.text());
        let oversized = vec![b'x'; 11 * 1024 * 1024];
        let oversized = send(&server, "POST", &documents, &[("name=\"file\"", &oversized)]).await;
        assert_eq!(oversized.status, 413);
        let reader = server.request("POST", &documents).bearer(&server.keys.read_only);
        let reader = reader.header("content-type", "multipart/form-data; boundary=b7").body(form(&[file]));
        assert_eq!(reader.send().await.status, 403);
        assert_eq!(server.row_counts().await, before);
    }
);
