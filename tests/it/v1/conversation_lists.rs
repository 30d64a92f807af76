//! The list of conversations: filters, orders, cursors and search.

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::server::{ASSISTANT, Setup, TestServer};
use crate::support::wait::wait_for;

/// Creates a conversation named by its external identifier, and returns its id.
async fn create(server: &TestServer, name: &str, metadata: Value) -> String {
    let body = json!({ "assistant_id": ASSISTANT, "external_identifier": name, "metadata": metadata });
    let created =
        server.request("POST", "/v1/conversations").bearer(&server.keys.full).json(&body).send().await;
    assert_eq!(created.status, 200, "{}", created.text());
    created.json()["data"]["id"].as_str().unwrap().to_owned()
}

async fn update(server: &TestServer, id: &str, changes: Value) {
    let path = format!("/v1/conversations/{id}");
    let response = server.request("PATCH", &path).bearer(&server.keys.full).json(&changes).send().await;
    assert_eq!(response.status, 200, "{}", response.text());
}

fn names(page: &Value) -> Vec<&str> {
    let items = page["data"]["items"].as_array().unwrap();
    items.iter().filter_map(|item| item["external_identifier"].as_str()).collect()
}

/// The names of all conversations of a list, over all its pages.
async fn all_names(server: &TestServer, query: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/v1/conversations?{query}{cursor}")).await;
        assert_eq!(page.status, 200, "{query}: {}", page.text());
        let page = page.json();
        found.extend(names(&page).into_iter().map(str::to_owned));
        match page["data"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

both_backends!(
    async fn each_filter_leaves_the_conversations_that_match(db: TestDb) {
        described::check_responses();
        let server = Setup::default().system_clock().start(&db).await;
        let [a, b, _] = [
            create(&server, "a", json!({ "plan": "pro", "tier": 3 })).await,
            create(&server, "b", json!({ "plan": "free", "nested": { "plan": "pro" } })).await,
            create(&server, "c", json!({ "plan": "pro", "it's \"x\"": "'; drop" })).await,
        ];
        update(&server, &a, json!({ "ai_enabled": false })).await;
        update(&server, &b, json!({ "ended": true })).await;

        for (query, expected) in [
            ("ai_enabled=false", vec!["a"]),
            ("ai_enabled=true&ended=false", vec!["c"]),
            ("ended=true", vec!["b"]),
            ("metadata[plan]=pro", vec!["c", "a"]),
            ("metadata[plan]=pro&ai_enabled=false", vec!["a"]),
            ("metadata[tier]=3", vec![]),
            ("metadata[it%27s%20%22x%22]=%27%3B%20drop", vec!["c"]),
            ("created_after=2020-01-01T00:00:00Z&type=api", vec!["c", "b", "a"]),
            ("created_before=2020-01-01T00:00:00Z", vec![]),
            ("updated_before=2020-01-01T00:00:00Z&sort=-updated_at", vec![]),
            ("updated_after=2020-01-01T00:00:00Z&ended=true", vec!["b"]),
            ("external_identifier=a&ended=true", vec![]),
        ] {
            assert_eq!(all_names(&server, query).await, expected, "{query}");
        }
        for (query, field) in [
            ("ai_enabled=1", "ai_enabled"),
            ("ended=", "ended"),
            ("created_after=x", "created_after"),
            ("sort=name", "sort"),
            ("metadata=x", "metadata"),
            ("external_identifier=%00", "external_identifier"),
        ] {
            let refused = server.get(&format!("/v1/conversations?{query}")).await;
            assert_eq!(refused.status, 400, "{query}");
            assert!(refused.text().contains(&format!("Field '{field}'")), "{}", refused.text());
        }
    }
);

both_backends!(
    async fn each_order_pages_through_all_conversations(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let mut ids = Vec::new();
        for name in ["a", "b", "c", "d", "e"] {
            ids.push(create(&server, name, json!({})).await);
        }
        server.store_message(Some(&ids[1]), "the last message").await;
        update(&server, &ids[0], json!({ "metadata": { "changed": "yes" } })).await;

        for (sort, expected) in [
            ("", "e d c b a"),
            ("&sort=-created_at", "e d c b a"),
            ("&sort=created_at", "a b c d e"),
            ("&sort=-updated_at", "a b e d c"),
            ("&sort=updated_at", "c d e b a"),
        ] {
            let found = all_names(&server, &format!("type=api&limit=2{sort}")).await;
            assert_eq!(found.join(" "), expected, "{sort}");
        }
        let page = server.get("/v1/conversations?limit=2&sort=updated_at").await.json();
        let cursor = page["data"]["next_cursor"].as_str().unwrap();
        for sort in ["", "&sort=created_at", "&sort=-updated_at"] {
            let refused = server.get(&format!("/v1/conversations?cursor={cursor}{sort}")).await;
            let text = "Field 'cursor' is not a cursor of this list.";
            assert_eq!((refused.status, &refused.json()["message"]), (400, &json!(text)), "{sort}");
        }
    }
);

both_backends!(
    async fn a_search_finds_words_of_messages_and_identifiers(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let one = create(&server, "crm-77", json!({})).await;
        create(&server, "crm-88", json!({})).await;
        server.store_message(Some(&one), "I want a refund").await;
        server.store_message(Some(&one), "of order 1042").await;

        let look = async || (all_names(&server, "q=refund").await == ["crm-77"]).then_some(());
        wait_for("the index", look).await;

        for (query, expected) in [
            ("q=crm-", vec!["crm-88", "crm-77"]),
            ("q=crm-&sort=created_at&limit=1", vec!["crm-77", "crm-88"]),
            ("q=REFUND&type=api", vec!["crm-77"]),
            ("q=refund&type=test", vec![]),
            ("q=refund+1042", vec![]),
            ("q=88", vec!["crm-88"]),
            ("q=%27%22+OR+*", vec![]),
            ("q=%F0%9F%98%80", vec![]),
        ] {
            assert_eq!(all_names(&server, query).await, expected, "{query}");
        }
        let other = server.request("GET", "/v1/conversations?q=refund").bearer(&server.keys.other_workspace);
        assert_eq!(names(&other.send().await.json()), Vec::<&str>::new());
    }
);

both_backends!(
    async fn a_list_goes_on_past_any_number_of_conversations_that_do_not_match(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let rare = create(&server, "rare", json!({ "kind": "rare" })).await;
        update(&server, &rare, json!({ "ended": true })).await;
        futures::future::join_all((0..1100).map(|_| create(&server, "common", json!({})))).await;

        let first = server.get("/v1/conversations?metadata[kind]=rare").await.json();

        assert_eq!(names(&first), Vec::<&str>::new(), "a page looks at a bounded number");
        assert!(first["data"]["next_cursor"].is_string());
        for query in ["metadata[kind]=rare", "ended=true&limit=1"] {
            assert_eq!(all_names(&server, query).await, ["rare"], "{query}");
        }
        assert_eq!(all_names(&server, "external_identifier=rare").await, ["rare"]);
    }
);
