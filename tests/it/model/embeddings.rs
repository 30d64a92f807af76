//! The client of an embeddings endpoint, with valid and invalid answers.

use std::time::Duration;

use http::{StatusCode, header};
use rejoinder::domain::vector::Vector;
use rejoinder::model::embeddings::{Embedder, EmbeddingsConnection, EmbeddingsError};
use rejoinder::model::openai::HttpClient;
use serde_json::json;

use crate::support::fake_embeddings::{FakeEmbeddings, embed_with};
use crate::support::fake_tool::ToolReply;
use crate::support::install_tls_provider;
use crate::support::script::Gate;

const LONG: Duration = Duration::from_secs(20);

fn embedder(base_url: String) -> Embedder {
    install_tls_provider();
    let client = HttpClient::new(Duration::from_secs(5)).unwrap();
    let connection =
        EmbeddingsConnection { base_url, api_key: Some("sk-canary".into()), model: "m".to_owned() };
    Embedder::new(&client, connection).unwrap()
}

async fn embed(fake: &FakeEmbeddings, texts: &[&str]) -> Result<Vec<Vector>, EmbeddingsError> {
    embedder(fake.base_url()).embed(texts, LONG).await
}

fn cosine(left: &Vector, right: &Vector) -> f32 {
    left.cosine(&right.to_bytes()).unwrap()
}

#[tokio::test]
async fn texts_become_vectors_in_their_order() {
    let fake = FakeEmbeddings::start().await;

    let vectors = embed(&fake, &["my car", "the automobile", "a dog"]).await.unwrap();

    assert!(cosine(&vectors[0], &vectors[1]) > 0.99);
    assert!(cosine(&vectors[0], &vectors[2]) < 0.9);
    let sent = &fake.calls().all()[0].request;
    assert_eq!(
        (sent.uri.path(), sent.headers[header::AUTHORIZATION].to_str().unwrap()),
        ("/v1/embeddings", "Bearer sk-canary")
    );
    assert_eq!(
        sent.json(),
        json!({ "model": "m", "input": ["my car", "the automobile", "a dog"], "encoding_format": "float" })
    );
}

#[tokio::test]
async fn an_invalid_answer_is_refused_with_the_reason() {
    let fake = FakeEmbeddings::start().await;
    let list = |embedding: serde_json::Value| {
        ToolReply::json(&json!({ "data": [{ "embedding": embedding }, { "embedding": [1.0, 2.0] }] }))
    };
    let too_many = ToolReply::status(StatusCode::TOO_MANY_REQUESTS).with_header(header::RETRY_AFTER, "7");
    let cases = [
        (ToolReply::status(StatusCode::INTERNAL_SERVER_ERROR), "The model is unavailable"),
        (ToolReply::status(StatusCode::UNAUTHORIZED), "The model refused the request"),
        (too_many, "The model is rate limited"),
        (ToolReply::status(StatusCode::OK), "the answer is no list of embeddings"),
        (
            ToolReply::json(&json!({ "data": [{ "embedding": [1.0] }] })),
            "2 texts were sent, but 1 embeddings came back",
        ),
        (list(json!([1.0])), "the embeddings of one answer differ in length"),
        (list(json!([0.0, 0.0])), "an embedding is empty, zero or not finite"),
        (list(json!(["NaN", 1.0])), "the answer is no list of embeddings"),
        (
            ToolReply::status(StatusCode::OK).with_body("{\"data\": [{\"embedding\": [NaN]}]}"),
            "the answer is no list of embeddings",
        ),
    ];

    for (reply, text) in cases {
        fake.script().queue([reply]);
        let error = embed(&fake, &["a", "b"]).await.unwrap_err();
        assert!(error.to_string().starts_with(text), "{error}");
        if error.as_str() == "model_rate_limited" {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
    }
}

#[tokio::test]
async fn a_hanging_or_missing_endpoint_times_out() {
    let fake = FakeEmbeddings::start().await;
    let gate = Gate::closed();
    let reply_gate = gate.clone();
    fake.script().respond_with(move |request| embed_with(request, 8).gated_by(&reply_gate));

    let hung = embedder(fake.base_url()).embed(&["a"], Duration::from_millis(200)).await;
    let gone = embedder("http://127.0.0.1:1/v1".to_owned()).embed(&["a"], LONG).await;

    assert!(hung.unwrap_err().is_timeout());
    assert_eq!(gone.unwrap_err().as_str(), "model_unavailable");
}

#[test]
fn invalid_settings_fail_at_the_start() {
    install_tls_provider();
    let client = HttpClient::new(Duration::from_secs(5)).unwrap();
    for (base_url, key) in [("ftp://h/v1", "sk"), ("http://h/v1", "s\nk")] {
        let connection = EmbeddingsConnection {
            base_url: base_url.to_owned(),
            api_key: Some(key.into()),
            model: "m".to_owned(),
        };
        Embedder::new(&client, connection).expect_err(base_url);
    }
}
