//! A turn in which the model searches the documents.

use serde_json::json;

use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::server::{Setup, WIDGET};

const BASE: &str = r#"
[[knowledge_bases]]
slug = "help"
documents = [
    { title = "Returns", url = "https://shop.example/returns", text = "Intro.\n\n# Refunds\n\nReturned items are refunded within 14 days." },
    { title = "Shipping", text = "We ship within two days." },
]

[[tools]]
slug = "help"
kind = "knowledge"
knowledge_base = "help"
"#;

fn setup() -> Setup {
    Setup::default().workspace(|text| {
        let text = text.replace("\"orders\", \"notes\"]", "\"orders\", \"notes\", \"help\"]");
        format!("{text}\n{BASE}")
    })
}

both_backends!(
    async fn the_model_gets_passages_with_their_source(db: TestDb) {
        let server = setup().start(&db).await;
        let ask = |query: &str| ToolCall::new("search_knowledge_base", &json!({ "query": query }));
        let calls = [ask("When is a returned item refunded?"), ask("quantum physics"), ask("ship' OR \"")];
        server.model.script().queue([Reply::tool_calls(calls), Reply::text("Within 14 days.")]);

        let answer = server.post_message(WIDGET, "When do I get my money back?").send().await.json();

        assert_eq!(answer["message"], "Within 14 days.");
        let results: Vec<_> =
            answer["function_calls"].as_array().unwrap().iter().map(|call| call["result"].clone()).collect();
        let refunds = json!({
            "source": "Returns", "heading": "Refunds", "text": "Returned items are refunded within 14 days.",
            "url": "https://shop.example/returns",
        });
        assert_eq!(results[0]["passages"][0], refunds);
        assert_eq!(results[1], json!({ "passages": [] }));
        let shipping = json!({ "source": "Shipping", "text": "We ship within two days." });
        assert_eq!(results[2], json!({ "passages": [shipping] }));
        let asked = &server.model.calls().all()[0].request;
        assert!(asked.tools().contains(&"search_knowledge_base"));
    }
);

both_backends!(
    async fn the_model_gets_the_new_text_of_a_replaced_document(db: TestDb) {
        let server = setup().start(&db).await;
        let bases = server.get("/v1/knowledge_bases").await.json();
        let base = bases["data"]["items"][0]["id"].as_str().unwrap().to_owned();
        let put = server
            .request("PUT", &format!("/v1/knowledge_bases/{base}/documents/hours?title=Opening%20hours"))
            .bearer(&server.keys.full)
            .header("content-type", "text/plain")
            .body("We are open until nine.")
            .send()
            .await;
        assert_eq!(put.status, 200, "{}", put.text());
        let call = ToolCall::new("search_knowledge_base", &json!({ "query": "opening hours" }));
        server.model.script().queue([Reply::tool_calls([call]), Reply::text("Until nine.")]);

        let answer = server.post_message(WIDGET, "When are you open?").send().await.json();

        let passage = json!({ "source": "Opening hours", "text": "We are open until nine." });
        assert_eq!(answer["function_calls"][0]["result"], json!({ "passages": [passage] }));
    }
);
