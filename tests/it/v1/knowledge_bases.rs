//! Knowledge bases in the platform API.

use rejoinder::store::Conn;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::http::Response;
use crate::support::pdf;
use crate::support::server::{Setup, TestServer};
use crate::support::wait::wait_for;
use crate::support::{seed, store};

const BASES: &str = "/v1/knowledge_bases";

const OF_FILE: &str = r#"
[[knowledge_bases]]
slug = "of-file"
documents = [ { title = "Shipping", text = "We ship within two days." } ]
"#;

fn with_file() -> Setup {
    Setup::default().workspace(|text| format!("{text}\n{OF_FILE}"))
}

async fn ask(server: &TestServer, method: &str, path: &str, body: &Value) -> Response {
    server.request(method, path).bearer(&server.keys.full).json(body).send().await
}

/// Creates a base, and returns its path.
async fn base(server: &TestServer) -> String {
    let created = ask(server, "POST", BASES, &json!({ "slug": "help", "name": "Help" })).await;
    assert_eq!(created.status, 200, "{}", created.text());
    format!("{BASES}/{}", created.json()["data"]["id"].as_str().unwrap())
}

async fn put(server: &TestServer, path: &str, kind: &str, file: impl AsRef<[u8]>) -> Response {
    server.request("PUT", path).bearer(&server.keys.full).header("content-type", kind).body(file).send().await
}

async fn found(server: &TestServer, base: &str, query: &str) -> Vec<String> {
    let answer = ask(server, "POST", &format!("{base}/search"), &json!({ "query": query })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let items = body["data"]["items"].as_array().unwrap();
    items.iter().map(|item| item["document_slug"].as_str().unwrap().to_owned()).collect()
}

both_backends!(
    async fn a_base_is_created_listed_renamed_and_deleted(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;

        let created =
            ask(&server, "POST", BASES, &json!({ "slug": "help", "language": "german" })).await.json();

        let id = created["data"]["id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("kb_"), "{id}");
        let expected = json!({
            "id": id, "slug": "help", "language": "german", "passages": 0, "from_file": false,
            "created_at": "2026-03-15T14:22:11Z", "updated_at": "2026-03-15T14:22:11Z",
        });
        assert_eq!(created["data"], expected);
        let path = format!("{BASES}/{id}");
        assert_eq!(server.get(&path).await.json()["data"], expected);
        assert_eq!(
            server.get(BASES).await.json()["data"],
            json!({ "items": [expected], "next_cursor": null })
        );
        let renamed = ask(&server, "PATCH", &path, &json!({ "name": "Hilfe" })).await.json();
        assert_eq!(renamed["data"]["name"], "Hilfe");

        let again = ask(&server, "POST", BASES, &json!({ "slug": "help" })).await;
        assert_eq!((again.status, again.header("rejoinder-error")), (409, Some("conflict")));

        assert_eq!(ask(&server, "DELETE", &path, &json!({})).await.status, 200);
        let gone = server.get(&path).await;
        assert_eq!(gone.status, 404);
        assert_eq!(gone.json()["message"], format!("Knowledge base not found: {id}."));
        assert_eq!(
            ask(&server, "POST", BASES, &json!({ "slug": "help" })).await.status,
            200,
            "its slug is free"
        );
    }
);

both_backends!(
    async fn documents_of_every_kind_are_added_found_read_replaced_and_removed(db: TestDb) {
        let server = TestServer::start(&db).await;
        let base = base(&server).await;
        let documents = format!("{base}/documents");

        let text = "# Refunds\n\nReturned items are refunded.";
        let body = json!({ "title": "Returns & more", "text": text, "url": "https://shop.example/r" });
        let created = ask(&server, "POST", &documents, &body).await.json()["data"].clone();
        assert_eq!(created["slug"], "returns-more");
        assert_eq!((&created["passages"], &created["format"]), (&json!(1), &json!("markdown")));
        let twice = ask(&server, "POST", &documents, &body).await;
        assert_eq!(twice.status, 409, "{}", twice.text());
        let page = "<h1>Opening</h1><p>We open at <b>nine</b>.</p>";
        for (path, kind, file) in [
            ("page?title=Opening", "text/html; charset=utf-8", page.as_bytes().to_vec()),
            ("plain", "text/plain", b"Parking is behind the house.".to_vec()),
            (
                "leaflet?title=Leaflet",
                "application/pdf",
                pdf::file_of_text("Vouchers expire after three years."),
            ),
        ] {
            let put = put(&server, &format!("{documents}/{path}"), kind, file).await;
            assert_eq!(put.status, 200, "{path}: {}", put.text());
        }

        assert_eq!(found(&server, &base, "how do I return things?").await, ["returns-more"]);
        assert_eq!(found(&server, &base, "open").await, ["page"]);
        assert_eq!(found(&server, &base, "where do I park").await, ["plain"]);
        assert_eq!(found(&server, &base, "voucher").await, ["leaflet"]);
        let read = server.get(&format!("{documents}/page")).await.json()["data"].clone();
        assert_eq!(read["text"], "# Opening\n\nWe open at **nine**.");
        assert_eq!(
            server.get(&format!("{documents}/{}", read["id"].as_str().unwrap())).await.json()["data"],
            read
        );
        // Ids of the same millisecond are not ordered.
        let listed = server.get(&format!("{documents}?limit=3")).await.json()["data"].clone();
        let cursor = listed["next_cursor"].as_str().unwrap();
        let rest = server.get(&format!("{documents}?limit=3&cursor={cursor}")).await.json()["data"].clone();
        let pages = [&listed, &rest].map(|page| page["items"].as_array().unwrap().len());
        assert_eq!((pages, &rest["next_cursor"]), ([3, 1], &Value::Null));
        let slugs = [&listed, &rest].into_iter().flat_map(|page| page["items"].as_array().unwrap());
        let slugs: std::collections::BTreeSet<_> = slugs.map(|item| item["slug"].as_str().unwrap()).collect();
        assert_eq!(slugs, ["leaflet", "page", "plain", "returns-more"].into());

        put(&server, &format!("{documents}/plain"), "text/markdown", "There is no garage.").await;
        assert_eq!(found(&server, &base, "parking").await, [""; 0]);
        assert_eq!(found(&server, &base, "garage").await, ["plain"]);
        let removed = ask(&server, "DELETE", &format!("{documents}/plain"), &json!({})).await;
        assert_eq!(removed.status, 200, "{}", removed.text());
        assert_eq!(found(&server, &base, "garage").await, [""; 0]);
        assert_eq!(
            server.get(&format!("{documents}/plain")).await.json()["message"],
            "Document not found: plain."
        );
    }
);

both_backends!(
    async fn a_search_returns_passages_by_descending_score(db: TestDb) {
        let server = TestServer::start(&db).await;
        let base = base(&server).await;
        let documents = format!("{base}/documents");
        for (title, text) in
            [("Fees", "# Card\n\nA card costs a fee."), ("Misc", "There is a card with no costs.")]
        {
            ask(&server, "POST", &documents, &json!({ "title": title, "text": text })).await;
        }

        let search = json!({ "query": "card fee", "limit": 2 });
        let items =
            ask(&server, "POST", &format!("{base}/search"), &search).await.json()["data"]["items"].clone();

        let [best, other] = items.as_array().unwrap().as_slice() else { panic!("{items}") };
        assert_eq!(best["source"], "Fees");
        assert_eq!((&best["heading"], &best["text"]), (&json!("Card"), &json!("A card costs a fee.")));
        assert!(best["score"].as_f64() > other["score"].as_f64(), "{items}");
        assert!(other.get("heading").is_none() && other.get("url").is_none(), "{other}");
        let one = json!({ "query": "card fee", "limit": 1 });
        let one = ask(&server, "POST", &format!("{base}/search"), &one).await.json();
        assert_eq!(one["data"]["items"].as_array().unwrap().len(), 1);
    }
);

both_backends!(
    async fn a_base_of_a_file_is_read_only_but_accepts_documents(db: TestDb) {
        let server = with_file().start(&db).await;
        let listed = server.get(BASES).await.json();
        let base = format!("{BASES}/{}", listed["data"]["items"][0]["id"].as_str().unwrap());
        assert_eq!(listed["data"]["items"][0]["from_file"], true);
        let shipping = format!("{base}/documents/shipping");

        let (name, nothing) = (json!({ "name": "x" }), json!({}));
        for (method, path, body) in
            [("PATCH", &base, &name), ("DELETE", &base, &nothing), ("DELETE", &shipping, &nothing)]
        {
            let refused = ask(&server, method, path, body).await;
            assert_eq!(refused.status, 409, "{method} {path}: {}", refused.text());
            assert!(refused.text().contains("is set up by a workspace file: change it there."));
        }
        assert_eq!(put(&server, &shipping, "text/plain", "No.").await.status, 409);
        assert_eq!(found(&server, &base, "ship").await, ["shipping"]);

        assert_eq!(
            put(&server, &format!("{base}/documents/own"), "text/plain", "Parking.").await.status,
            200
        );
        assert_eq!(found(&server, &base, "parking").await, ["own"]);
        assert_eq!(ask(&server, "POST", BASES, &json!({ "slug": "of-file" })).await.status, 409);
    }
);

both_backends!(
    async fn invalid_input_names_the_field(db: TestDb) {
        let server = TestServer::start(&db).await;
        let base = base(&server).await;
        let documents = format!("{base}/documents");
        let search = format!("{base}/search");
        let bases = BASES.to_owned();
        let long = "x".repeat(1001);
        for (path, body, text) in [
            (&bases, json!({}), "Field 'slug' is required."),
            (
                &bases,
                json!({ "slug": "A b" }),
                "Field 'slug' must be 1 to 64 lower-case letters, digits, hyphens or underscores, and no id.",
            ),
            (&bases, json!({ "slug": "a", "name": 5 }), "Field 'name' must be a string."),
            (&documents, json!({ "text": "x" }), "Field 'title' is required."),
            (&documents, json!({ "title": "x" }), "Field 'text' is required."),
            (&documents, json!({ "title": "x", "text": " " }), "The document has no text in it."),
            (
                &documents,
                json!({ "title": "x", "text": "a\u{0}" }),
                "Field 'text' contains an invalid character.",
            ),
            (
                &documents,
                json!({ "title": "返品", "text": "x" }),
                "Field 'slug' is required, for this title makes none.",
            ),
            (
                &documents,
                json!({ "title": "x", "text": "x", "format": "pdf" }),
                "Field 'format' must be one of: markdown, text, html.",
            ),
            (
                &documents,
                json!({ "title": "x", "text": "x", "url": "javascript:x" }),
                "Field 'url' must be an http or https URL of at most 2048 characters, also when it is percent-encoded.",
            ),
            (&search, json!({}), "Field 'query' is required."),
            (&search, json!({ "query": " " }), "Field 'query' is required."),
            (&search, json!({ "query": long }), "Field 'query' must not be greater than 1000 characters."),
            (
                &search,
                json!({ "query": "x", "limit": 51 }),
                "Field 'limit' must be a whole number from 1 to 50.",
            ),
        ] {
            let refused = ask(&server, "POST", path, &body).await;
            assert_eq!((refused.status, refused.json()["message"].as_str()), (400, Some(text)), "{body}");
        }
        let language =
            ask(&server, "POST", BASES, &json!({ "slug": "a", "language": "klingon" })).await.json();
        assert!(
            language["message"].as_str().unwrap().starts_with("Field 'language' must be one of: simple, ")
        );
        let rename = ask(&server, "PATCH", &base, &json!({ "slug": "b" })).await.json();
        assert_eq!(rename["message"], "Unknown field 'slug'. Known fields: 'name'.");

        let file = format!("{documents}/file");
        for (path, kind, body, text) in [
            (
                &file,
                "image/png",
                b"x".as_slice(),
                "Header 'Content-Type' must be one of: text/markdown, text/plain, text/html, application/pdf, \
                 multipart/form-data.",
            ),
            (
                &file,
                "text/plain",
                b"caf\xe9",
                "The document is not UTF-8 text; convert it, or upload it with its charset, such as `Content-Type: text/plain; charset=windows-1252`.",
            ),
            (
                &file,
                "text/html",
                b"<meta charset=klingon>x",
                "The document declares the unknown charset 'klingon'.",
            ),
            (
                &file,
                "text/plain; charset=klingon",
                b"x",
                "Header 'Content-Type' names the unknown charset 'klingon'.",
            ),
            (&file, "text/html; charset=shift_jis", b"caf\xe9", "The document is not Shift_JIS text."),
            (&file, "text/html", b"<script>x</script>", "The document has no text in it."),
            (
                &format!("{documents}/A%20b"),
                "text/plain",
                b"x",
                "Field 'slug' must be 1 to 64 lower-case letters, digits, hyphens or underscores, and no id.",
            ),
        ] {
            let refused = put(&server, path, kind, body).await;
            assert_eq!((refused.status, refused.json()["message"].as_str()), (400, Some(text)), "{kind}");
        }
        for broken in [b"%PDF-1.4 no more".as_slice(), b"no pdf", &pdf::file_of_text("half")[..200]] {
            let refused = put(&server, &file, "application/pdf", broken).await;
            assert_eq!(refused.status, 400, "{}", refused.text());
        }
        for name in ["%00", "a%00", "A", "%ff", "a.b"] {
            for method in ["GET", "DELETE"] {
                let unknown = ask(&server, method, &format!("{documents}/{name}"), &json!({})).await;
                assert_eq!(unknown.status, 404, "{method} {name}: {}", unknown.text());
            }
        }
        assert_eq!(server.get(&documents).await.json()["data"]["items"], json!([]));
    }
);

both_backends!(
    async fn a_declared_charset_is_decoded(db: TestDb) {
        let server = TestServer::start(&db).await;
        let base = base(&server).await;
        let documents = format!("{base}/documents");
        let file = format!("{documents}/file");
        let page = b"<p>Gr\xf6\xdfe \x80 5".as_slice();
        let with_meta = |meta: &str| [meta.as_bytes(), page].concat();

        let first = put(&server, &file, "text/html; charset=utf-8", "<p>Größe € 5").await.json();
        for (kind, body) in [
            ("text/html", with_meta("<head><meta charset=\"windows-1252\"></head>")),
            ("text/html; charset=ISO-8859-1", page.to_vec()),
            ("text/html; charset=\"windows-1252\"", with_meta("<meta charset=utf-8>")),
            ("text/html", with_meta("<meta http-equiv=Content-Type content=\"text/html; charset=latin1\">")),
        ] {
            let stored = put(&server, &file, kind, body).await;
            assert_eq!((stored.status, stored.json()), (200, first.clone()), "unchanged: {kind}");
        }
        assert_eq!(server.get(&file).await.json()["data"]["text"], "Größe € 5");
        assert_eq!(found(&server, &base, "größe").await, ["file"]);

        for (kind, body, text) in [
            ("text/plain; charset=koi8-r", b"\xd7\xcf\xda\xd7\xd2\xc1\xd4".as_slice(), "возврат"),
            ("text/markdown", b"\xff\xfe#\0 \0\xe9\0", "# é"),
        ] {
            let stored = put(&server, &file, kind, body).await;
            assert_eq!(stored.status, 200, "{kind}: {}", stored.text());
            assert_eq!(server.get(&file).await.json()["data"]["text"], text);
        }
        let wrong = put(&server, &file, "text/html; charset=utf-8", with_meta("<meta charset=latin1>")).await;
        assert_eq!(wrong.json()["message"], "The document is not UTF-8 text.");
        assert_eq!(server.get(&file).await.json()["data"]["text"], "# é", "the stored document is as it was");

        let page = json!({ "title": "json", "format": "html", "text": "<meta charset=latin1><p>Größe" });
        assert_eq!(ask(&server, "POST", &documents, &page).await.status, 200);
        assert_eq!(server.get(&format!("{documents}/json")).await.json()["data"]["text"], "Größe");
    }
);

both_backends!(
    async fn uploads_have_their_own_limits(db: TestDb) {
        let server = TestServer::start(&db).await;
        let base = base(&server).await;
        let file = format!("{base}/documents/file");

        let large = "A sentence of the document. ".repeat(20_000);
        let taken = put(&server, &file, "text/plain", &large).await;
        assert_eq!(taken.status, 200, "{}", taken.text());
        assert!(taken.json()["data"]["passages"].as_i64().unwrap() > 500);

        let too_long = put(&server, &file, "text/plain", "x ".repeat(1024 * 1024 + 1)).await;
        assert_eq!(
            (too_long.status, too_long.json()["message"].as_str()),
            (400, Some("The document is too large: its text is longer than 2048 KiB."))
        );
        let too_large = put(&server, &file, "text/plain", vec![b'x'; 10 * 1024 * 1024 + 1]).await;
        assert_eq!(too_large.status, 413, "{}", too_large.text());
        let text = json!({ "title": "x", "text": "x".repeat(4 * 1024 * 1024) });
        assert_eq!(ask(&server, "POST", &format!("{base}/documents"), &text).await.status, 413);
    }
);

both_backends!(
    async fn a_base_that_a_tool_uses_is_not_deleted(db: TestDb) {
        let server = TestServer::start(&db).await;
        let base = base(&server).await;
        let id = base.rsplit('/').next().unwrap();
        let tool = json!({
            "name": "search", "description": "Searches", "parameters": {},
            "config": { "knowledge": { "knowledge_base": id } },
        });
        let random_id = seed::random_id(&db);
        let insert = format!(
            "insert into tools (workspace_id, id, slug, definition, from_file, archived_at, created_at) \
             select workspace_id, {random_id}, 'search', '{tool}', false, null, 0 from knowledge_bases"
        );
        seed::execute(&db, &insert).await;

        let refused = ask(&server, "DELETE", &base, &json!({})).await;
        let still = server.get(&base).await.status;
        seed::execute(&db, "update tools set archived_at = 1 where slug = 'search'").await;
        let deleted = ask(&server, "DELETE", &base, &json!({})).await;

        let text = "The knowledge base 'help' is used by these tools: 'search'. Archive them first.";
        assert_eq!((refused.status, &refused.json()["message"], still), (409, &json!(text), 200));
        assert_eq!(deleted.status, 200, "{}", deleted.text());
    }
);

both_backends!(
    async fn every_change_has_one_entry_in_the_audit_log(db: TestDb) {
        let server = TestServer::start(&db).await;
        let base = base(&server).await;
        for name in ["Hilfe", "Hilfe"] {
            assert_eq!(ask(&server, "PATCH", &base, &json!({ "name": name })).await.status, 200);
        }
        let document = format!("{base}/documents/parking");
        for text in ["Behind the house.", "Behind the house.", "There is none."] {
            assert_eq!(put(&server, &document, "text/plain", text).await.status, 200);
        }
        assert_eq!(ask(&server, "POST", BASES, &json!({ "slug": "help" })).await.status, 409);
        assert_eq!(ask(&server, "DELETE", &document, &json!({})).await.status, 200);
        assert_eq!(ask(&server, "DELETE", &base, &json!({})).await.status, 200);

        let select = "select object_kind || ' ' || object_name || ' ' || action || ' ' || route from audit_log \
            where route is not null";
        let mut entries = seed::query_texts(&db, select).await;
        entries.sort();
        assert_eq!(
            entries,
            [
                "document parking created PUT /v1/knowledge_bases/{id}/documents/{document}",
                "document parking deleted DELETE /v1/knowledge_bases/{id}/documents/{document}",
                "document parking updated PUT /v1/knowledge_bases/{id}/documents/{document}",
                "knowledge_base help created POST /v1/knowledge_bases",
                "knowledge_base help deleted DELETE /v1/knowledge_bases/{id}",
                "knowledge_base help updated PATCH /v1/knowledge_bases/{id}",
            ]
        );
        let with_texts = "select count(*) from audit_log where fields_after like '%house%'";
        assert_eq!(server.query_number(with_texts).await, 0, "texts of documents are only digests");
        let renamed = "select count(*) from audit_log where fields_before = '{\"name\":\"Help\"}' \
            and fields_after = '{\"name\":\"Hilfe\"}'";
        assert_eq!(server.query_number(renamed).await, 1);
    }
);

both_backends!(
    async fn keys_are_limited_to_their_workspace_and_scopes(db: TestDb) {
        let server = TestServer::start(&db).await;
        let base = base(&server).await;
        let file = format!("{base}/documents/file");
        put(&server, &file, "text/plain", "Parking.").await;
        let search = format!("{base}/search");

        for (method, path) in
            [("GET", &base), ("GET", &file), ("DELETE", &file), ("DELETE", &base), ("POST", &search)]
        {
            let request = server.request(method, path).bearer(&server.keys.other_workspace);
            let body = if method == "POST" { json!({ "query": "parking" }) } else { json!({}) };
            let foreign = request.json(&body).send().await;
            assert_eq!(foreign.status, 404, "{method} {path}");
        }
        let request = server.request("POST", &search).bearer(&server.keys.read_only);
        assert_eq!(request.json(&json!({ "query": "parking" })).send().await.status, 200);
        let request = server.request("DELETE", &file).bearer(&server.keys.read_only);
        assert_eq!(request.send().await.status, 403);
        assert_eq!(server.request("GET", &base).send().await.status, 401);
    }
);

#[tokio::test]
async fn documents_waiting_for_their_base_leave_connections_to_others() {
    let db = store::postgres().await;
    let server = TestServer::start(&db).await;
    let base = base(&server).await;
    let mut transaction = store::open(&db).await.begin().await.unwrap();
    let Conn::Postgres(conn) = transaction.conn() else { unreachable!("it is PostgreSQL") };
    sqlx::query("select 1 from knowledge_bases for update").execute(conn).await.unwrap();

    let puts = (0..16).map(async |number| {
        put(&server, &format!("{base}/documents/d{number}"), "text/plain", "Parking.").await.status
    });
    let others = async {
        let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
            and datname = current_database()";
        wait_for("a document to wait", async || (seed::query_number(&db, waiting).await >= 1).then_some(()))
            .await;
        for slug in ["one", "two", "three"] {
            let create = server.request("POST", BASES).bearer(&server.keys.other_workspace);
            let created = create.json(&json!({ "slug": slug })).send().await;
            assert_eq!(created.status, 200, "{}", created.text());
        }
        assert_eq!(seed::query_number(&db, waiting).await, 1, "those of one workspace take turns");
        transaction.commit().await.unwrap();
    };
    let (statuses, ()) = tokio::join!(futures::future::join_all(puts), others);

    assert_eq!(statuses, [200; 16]);
}
