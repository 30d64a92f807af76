//! Documents searched by words and vectors, with an embeddings endpoint that may fail in any way.

use std::time::{Duration, Instant};

use http::StatusCode;
use rejoinder::store::Conn;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::fake_embeddings::{FakeEmbeddings, embed, embed_with, texts};
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::fake_tool::ToolReply;
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::support::wait::wait_for;

fn with(fake: &FakeEmbeddings, model: &str) -> Setup {
    Setup::default()
        .env("REJOINDER_EMBEDDINGS__BASE_URL", &fake.base_url())
        .env("REJOINDER_EMBEDDINGS__MODEL", model)
        .env("REJOINDER_EMBEDDINGS__BATCH", "4")
}

/// A knowledge base on a server.
struct Base<'a> {
    server: &'a TestServer,
    path: String,
}

impl<'a> Base<'a> {
    async fn new(server: &'a TestServer) -> Self {
        let body = json!({ "slug": "help" });
        let created =
            server.request("POST", "/v1/knowledge_bases").bearer(&server.keys.full).json(&body).send().await;
        assert_eq!(created.status, 200, "{}", created.text());
        let path = format!("/v1/knowledge_bases/{}", created.json()["data"]["id"].as_str().unwrap());
        Self { server, path }
    }

    /// The same base on another server.
    fn on(&self, server: &'a TestServer) -> Self {
        Self { server, path: self.path.clone() }
    }

    async fn put(&self, slug: &str, text: &str) {
        let path = format!("{}/documents/{slug}", self.path);
        let put = self.server.request("PUT", &path).bearer(&self.server.keys.full);
        let put = put.header("content-type", "text/markdown").body(text).send().await;
        assert_eq!(put.status, 200, "{}", put.text());
    }

    async fn search(&self, body: &Value) -> Vec<Value> {
        let path = format!("{}/search", self.path);
        let found = self.server.request("POST", &path).bearer(&self.server.keys.full).json(body).send().await;
        assert_eq!(found.status, 200, "{}", found.text());
        found.json()["data"]["items"].as_array().unwrap().clone()
    }

    /// The slugs of the documents that a search finds, by descending score.
    async fn found(&self, query: &str) -> Vec<String> {
        slugs(&self.search(&json!({ "query": query })).await)
    }

    async fn found_by(&self, by: &str, query: &str) -> Vec<String> {
        slugs(&self.search(&json!({ "query": query, "by": by })).await)
    }

    async fn read(&self) -> Value {
        self.server.get(&self.path).await.json()["data"].clone()
    }

    /// Waits until this many passages have a vector of the server's model.
    async fn embedded(&self, count: i64) {
        let look = async || (self.read().await["embedded_passages"] == count).then_some(());
        wait_for(&format!("{count} embedded passages"), look).await;
    }
}

fn slugs(hits: &[Value]) -> Vec<String> {
    hits.iter().map(|hit| hit["document_slug"].as_str().unwrap().to_owned()).collect()
}

both_backends!(
    async fn a_search_finds_passages_by_meaning(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        let server = with(&fake, "m").start(&db).await;
        let base = Base::new(&server).await;
        base.put("cars", "# Parking\nA car may stand in the yard.").await;
        base.put("dogs", "A dog may not come in.").await;
        base.embedded(2).await;

        assert_eq!(base.found_by("words", "automobile").await, [""; 0]);
        assert_eq!(base.found("automobile").await[0], "cars");
        assert_eq!(base.found_by("vectors", "canine").await[0], "dogs");
        let best = base.search(&json!({ "query": "Where may my car stand?", "limit": 1 })).await;
        assert_eq!((slugs(&best), &best[0]["heading"]), (vec!["cars".to_owned()], &json!("Parking")));
        // A passage is embedded together with its headings.
        assert!(
            fake.texts().contains(&"cars\nParking\nA car may stand in the yard.".to_owned()),
            "{:?}",
            fake.texts()
        );
    }
);

both_backends!(
    async fn a_replaced_document_is_found_by_its_new_text_at_once(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        let server = with(&fake, "m").start(&db).await;
        let base = Base::new(&server).await;
        base.put("pets", "A dog may come in.").await;
        base.put("other", "We are open on Monday.").await;
        base.embedded(2).await;
        fake.always(StatusCode::SERVICE_UNAVAILABLE);

        base.put("pets", "Cats only.").await;

        assert_eq!(base.read().await["embedded_passages"], 1);
        assert_eq!(base.found("cats").await, ["pets"]);
        fake.recover();
        assert_eq!(base.found("cats").await[0], "pets", "it is not embedded, and still found by words");
        base.embedded(2).await;
        assert_eq!(server.query_number("select count(*) from passage_vectors").await, 2);
    }
);

both_backends!(
    async fn a_search_falls_back_to_words_whatever_the_endpoint_answers(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        let server = with(&fake, "m").start(&db).await;
        let base = Base::new(&server).await;
        base.put("cars", "A car may stand in the yard.").await;
        base.embedded(1).await;
        let one = |body: &'static str| ToolReply::status(StatusCode::OK).with_body(body);
        let answers = [
            ToolReply::status(StatusCode::INTERNAL_SERVER_ERROR),
            ToolReply::status(StatusCode::UNAUTHORIZED),
            ToolReply::status(StatusCode::TOO_MANY_REQUESTS),
            one("<html>"),
            one(r#"{"data": []}"#),
            one(r#"{"data": [{"embedding": [NaN, 1]}]}"#),
            one(r#"{"data": [{"embedding": [0, 0]}]}"#),
            // The query's vector has another dimension than the documents'.
            one(r#"{"data": [{"embedding": [1, 2, 3]}]}"#),
        ];

        for answer in answers {
            fake.script().queue([answer]);
            assert_eq!(base.found("cars").await, ["cars"]);
        }
        assert_eq!(base.found("automobile").await, ["cars"], "it has recovered");
    }
);

both_backends!(
    async fn a_hanging_endpoint_delays_one_search_briefly(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        let server = with(&fake, "m").env("REJOINDER_EMBEDDINGS__QUERY_TIMEOUT", "500ms").start(&db).await;
        let base = Base::new(&server).await;
        base.put("cars", "A car may stand in the yard.").await;
        base.embedded(1).await;
        let gate = Gate::closed();
        let reply_gate = gate.clone();
        fake.script().respond_with(move |request| embed(request).gated_by(&reply_gate));
        let calls = fake.calls().all().len();

        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(base.found("cars").await, ["cars"]);
        }

        assert!(begun.elapsed() < Duration::from_millis(500) * 10, "{:?}", begun.elapsed());
        assert_eq!(
            fake.calls().all().len(),
            calls + 1,
            "an endpoint that is silent is left alone for a while"
        );
    }
);

both_backends!(
    async fn a_new_model_embeds_everything_again_and_ignores_old_vectors(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        let server = with(&fake, "old").start(&db).await;
        let base = Base::new(&server).await;
        base.put("cars", "A car may stand in the yard.").await;
        base.put("dogs", "A dog may not come in.").await;
        base.embedded(2).await;
        let path = base.path.clone();

        fake.script().respond_with(|request| embed_with(request, 32));
        let server = server.restart(&db, with(&fake, "new")).await;
        let base = Base { server: &server, path };
        base.embedded(2).await;

        assert_eq!(base.found("automobile").await[0], "cars");
        let models: Vec<Value> =
            fake.calls().all().iter().map(|call| call.request.json()["model"].clone()).collect();
        assert!(models.contains(&json!("old")) && models.last() == Some(&json!("new")), "{models:?}");
        let dimensions = "select count(*) from passage_vectors where model = 'new' and dimension = 32";
        assert_eq!(server.query_number(dimensions).await, 2);
    }
);

both_backends!(
    async fn existing_documents_are_embedded_at_the_start(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        let server = TestServer::start(&db).await;
        let base = Base::new(&server).await;
        for number in 0..9 {
            base.put(&format!("d{number}"), &format!("A car with the number {number}.")).await;
        }
        assert_eq!(base.read().await.get("embedded_passages"), None);
        let path = base.path.clone();

        let server = server.restart(&db, with(&fake, "m")).await;
        Base { server: &server, path }.embedded(9).await;

        let sizes: Vec<usize> = fake.calls().all().iter().map(|call| texts(&call.request).len()).collect();
        assert_eq!(sizes, [4, 4, 1], "full batches, of several documents");
    }
);

both_backends!(
    async fn a_refused_text_delays_no_other(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        fake.script().respond_with(|request| {
            let is_too_long = |text: &String| text.chars().count() > 200;
            if texts(request).iter().any(|text| is_too_long(text) || text.contains("poison")) {
                return ToolReply::status(StatusCode::INTERNAL_SERVER_ERROR);
            }
            embed(request)
        });
        let server = with(&fake, "m").start(&db).await;
        let base = Base::new(&server).await;
        base.put("poison", "poison poison poison poison").await;
        base.put("long", &format!("A car may stand in the yard. {}", "So it is. ".repeat(40))).await;
        base.put("dogs", "A dog may not come in.").await;

        base.embedded(2).await;

        assert_eq!(base.found("automobile").await[0], "long", "with as much text as the model accepts");
        assert_eq!(base.found("poison").await[0], "poison");
        let calls = fake.calls().all().len();
        base.put("more", "More.").await;
        base.embedded(3).await;
        assert_eq!(fake.calls().all().len(), calls + 1, "refused texts are not sent again");
    }
);

both_backends!(
    async fn a_model_that_is_slow_is_sent_fewer_texts(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        let never = Gate::closed();
        fake.script().respond_with(move |request| match texts(request).len() {
            0..=2 => embed(request),
            _ => embed(request).gated_by(&never),
        });
        let server = TestServer::start(&db).await;
        let base = Base::new(&server).await;
        for number in 0..5 {
            base.put(&format!("d{number}"), "A car.").await;
        }
        let path = base.path.clone();

        let server =
            server.restart(&db, with(&fake, "m").env("REJOINDER_EMBEDDINGS__TIMEOUT", "700ms")).await;

        Base { server: &server, path }.embedded(5).await;
        let sizes: Vec<usize> = fake.calls().all().iter().map(|call| texts(&call.request).len()).collect();
        assert_eq!(sizes, [4, 2, 2, 1]);
    }
);

both_backends!(
    async fn a_document_replaced_during_embedding_is_embedded_in_its_new_version(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        let gate = Gate::closed();
        let reply_gate = gate.clone();
        fake.script().respond_with(move |request| embed(request).gated_by(&reply_gate));
        let server = with(&fake, "m").start(&db).await;
        let base = Base::new(&server).await;
        base.put("cars", "A car may stand in the yard.").await;
        wait_for("a call", async || (!fake.texts().is_empty()).then_some(())).await;

        base.put("cars", "A dog may not come in.").await;
        gate.open();

        base.embedded(1).await;
        assert_eq!(base.found("canine").await, ["cars"]);
        let finished =
            "select count(*) from document_embeddings where finished_at is not null and embedded = 1";
        wait_for("it is finished", async || (server.query_number(finished).await == 1).then_some(())).await;
    }
);

both_backends!(
    async fn unchanged_passages_are_not_embedded_again(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        let server = with(&fake, "m").start(&db).await;
        let base = Base::new(&server).await;
        base.put("pets", "# Dogs\nA dog may not come in.\n\n# Cars\nA car may stand in the yard.").await;
        base.embedded(2).await;
        let sent = fake.texts().len();

        base.put("pets", "# Dogs\nA dog may come in.\n\n# Cars\nA car may stand in the yard.").await;
        base.embedded(2).await;

        assert_eq!(fake.texts()[sent..], ["pets\nDogs\nA dog may come in."]);
        assert_eq!(base.search(&json!({ "query": "automobile" })).await[0]["heading"], "Cars");
    }
);

both_backends!(
    async fn vectors_from_before_a_refusal_are_kept(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        fake.script().respond_with(|request| match (texts(request).len(), texts(request)) {
            (1, texts) if texts[0].contains("poison") => ToolReply::status(StatusCode::TOO_MANY_REQUESTS),
            (_, texts) if texts.iter().any(|text| text.contains("poison")) => {
                ToolReply::status(StatusCode::INTERNAL_SERVER_ERROR)
            }
            _ => embed(request),
        });
        let server = TestServer::start(&db).await;
        let base = Base::new(&server).await;
        for text in ["A car.", "A dog.", "A cat.", "poison"] {
            base.put(&text.to_lowercase().replace([' ', '.'], ""), text).await;
        }
        let path = base.path.clone();

        let server = server.restart(&db, with(&fake, "m")).await;

        Base { server: &server, path }.embedded(3).await;
        let sizes: Vec<usize> = fake.calls().all().iter().map(|call| texts(&call.request).len()).collect();
        // All texts, one harmless text, and then halves of the batch.
        assert_eq!(sizes[..6], [4, 1, 2, 2, 1, 1]);
        let cars = fake.texts().iter().filter(|text| text.contains("car")).count();
        assert_eq!(cars, 2, "embedded texts are not sent again");
    }
);

both_backends!(
    async fn a_text_without_an_answer_delays_no_other_document(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        let never = Gate::closed();
        fake.script().respond_with(move |request| {
            let is_silent = texts(request).iter().any(|text| text.contains("silence"));
            if is_silent { embed(request).gated_by(&never) } else { embed(request) }
        });
        let server = TestServer::start(&db).await;
        let base = Base::new(&server).await;
        base.put("silence", "Here is silence.").await;
        for number in 0..3 {
            base.put(&format!("d{number}"), "A car.").await;
        }
        let path = base.path.clone();

        let setup = Setup::default()
            .env("REJOINDER_EMBEDDINGS__BASE_URL", &fake.base_url())
            .env("REJOINDER_EMBEDDINGS__MODEL", "m")
            .env("REJOINDER_EMBEDDINGS__BATCH", "1")
            .env("REJOINDER_EMBEDDINGS__TIMEOUT", "500ms");
        let server = server.restart(&db, setup).await;

        let base = Base { server: &server, path };
        base.embedded(3).await;
        base.put("late", "A dog.").await;
        base.embedded(4).await;
        assert_eq!(base.found_by("words", "silence").await, ["silence"]);
        let asked = fake.texts().iter().filter(|text| text.contains("silence")).count();
        assert_eq!(asked, 1, "the vectors are not read for a while");
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_vector_reads_fall_back_to_words_for_a_while() {
    let db = store::postgres().await;
    let fake = FakeEmbeddings::start().await;
    let server = with(&fake, "m").start(&db).await;
    let base = Base::new(&server).await;
    base.put("cars", "A car may stand in the yard.").await;
    base.embedded(1).await;
    let mut tx = server.db().begin().await.unwrap();
    let Conn::Postgres(conn) = tx.conn() else { panic!("it is PostgreSQL") };
    sqlx::query("set local idle_in_transaction_session_timeout = '60s'").execute(&mut *conn).await.unwrap();
    sqlx::query("lock table passage_vectors in access exclusive mode").execute(&mut *conn).await.unwrap();

    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(base.found("cars").await, ["cars"]);
    }

    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_the_work() {
    let db = store::postgres().await;
    let fake = FakeEmbeddings::start().await;
    let first = with(&fake, "m").start(&db).await;
    let second = first.start_peer(&db, with(&fake, "m")).await;
    let base = Base::new(&first).await;
    let other = base.on(&second);
    for number in 0..20 {
        base.put(&format!("a{number}"), &format!("A car with the number {number}.")).await;
        other.put(&format!("b{number}"), &format!("A dog with the number {number}.")).await;
    }

    base.embedded(40).await;
    other.embedded(40).await;

    let mut texts = fake.texts();
    texts.sort();
    texts.dedup();
    assert_eq!((texts.len(), fake.texts().len()), (40, 40), "no text was sent twice");
}

both_backends!(
    async fn an_assistant_gets_passages_found_by_meaning(db: TestDb) {
        let fake = FakeEmbeddings::start().await;
        let server = with(&fake, "m")
            .workspace(|text| {
                let text = text.replacen("tools = [", "tools = [\"help\", ", 1);
                format!(
                    "{text}\n[[knowledge_bases]]\nslug = \"help\"\ndocuments = [{{ title = \"Parking\", text = \"A car may stand in the yard.\" }}]\n\
                     [[tools]]\nslug = \"help\"\nkind = \"knowledge\"\nknowledge_base = \"help\"\n"
                )
            })
            .start(&db)
            .await;
        let embedded = async || {
            (server
                .query_number("select count(*) from document_embeddings where finished_at is not null")
                .await
                == 1)
                .then_some(())
        };
        wait_for("the document of the file is embedded", embedded).await;
        server.model.script().queue([
            Reply::tool_calls([ToolCall::new("search_knowledge_base", &json!({ "query": "automobile" }))]),
            Reply::text("In the yard."),
        ]);

        let uuid = server.create_conversation().await;
        let answer = server.post_message(&uuid, "Where may my automobile stand?").send().await.json();

        let result = &answer["function_calls"][0]["result"];
        assert_eq!(result["passages"][0]["source"], "Parking", "{answer}");
    }
);
