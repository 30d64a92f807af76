//! Webhook endpoints in the platform API.

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::http::Response;
use crate::support::server::{Setup, TestServer};

const ENDPOINTS: &str = "/v1/webhook_endpoints";

async fn ask(server: &TestServer, method: &str, path: &str, body: &Value) -> Response {
    server.request(method, path).bearer(&server.keys.full).json(body).send().await
}

async fn create(server: &TestServer, body: Value) -> Value {
    let created = ask(server, "POST", ENDPOINTS, &body).await;
    assert_eq!(created.status, 200, "{}", created.text());
    created.json()["data"].clone()
}

fn path_of(endpoint: &Value) -> String {
    format!("{ENDPOINTS}/{}", endpoint["id"].as_str().unwrap())
}

both_backends!(
    async fn an_endpoint_is_created_and_its_secret_shown_once(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;

        let mut created =
            create(&server, json!({"url": "https://crm.example/hooks", "description": "CRM"})).await;

        let secret = created.as_object_mut().unwrap().remove("secret").unwrap();
        assert!(secret.as_str().unwrap().starts_with("whsec_"), "{secret}");
        assert!(created["id"].as_str().unwrap().starts_with("whe_"));
        let mut expected = json!({
            "description": "CRM", "url": "https://crm.example/hooks", "types": [], "enabled": true, "from_file": false,
            "created_at": "2026-03-15T14:22:11Z", "updated_at": "2026-03-15T14:22:11Z",
        });
        expected["id"] = created["id"].clone();
        assert_eq!(created, expected);
        assert_eq!(server.get(&path_of(&created)).await.json()["data"], created);
        let listed = server.get(ENDPOINTS).await.json();
        assert_eq!(listed["data"], json!({"items": [created], "next_cursor": null}));
        let column = "select count(*) from webhook_endpoints where secret like '%whsec_%'";
        assert_eq!(server.query_number(column).await, 0, "the secret is sealed");
    }
);

both_backends!(
    async fn an_endpoint_may_be_created_disabled(db: TestDb) {
        let server = TestServer::start(&db).await;

        let created = create(&server, json!({"url": "https://crm.example/hooks", "enabled": false})).await;
        let test = ask(&server, "POST", &format!("{}/test", path_of(&created)), &json!({})).await;
        let on = ask(&server, "PATCH", &path_of(&created), &json!({"enabled": true})).await.json();

        assert_eq!((&created["enabled"], &created["disabled_reason"]), (&json!(false), &json!("api")));
        assert!(matches!(test.status, 400 | 409), "{}", test.text());
        assert_eq!(on["data"]["enabled"], true);
    }
);

both_backends!(
    async fn an_endpoint_is_updated_disabled_and_deleted(db: TestDb) {
        let server = TestServer::start(&db).await;
        let created = create(&server, json!({"url": "https://crm.example/hooks"})).await;
        let path = path_of(&created);

        let change = json!({"url": "https://crm.example/new", "types": ["message.created", "reply.failed"]});
        let changed = ask(&server, "PATCH", &path, &change).await.json()["data"].clone();
        let off = ask(&server, "PATCH", &path, &json!({"enabled": false, "description": "x"})).await.json();
        let on = ask(&server, "PATCH", &path, &json!({"enabled": true, "description": ""})).await.json();
        let deleted = ask(&server, "DELETE", &path, &json!({})).await;
        let gone = server.get(&path).await;
        let again = ask(&server, "DELETE", &path, &json!({})).await;

        assert_eq!((&changed["url"], &changed["types"]), (&change["url"], &change["types"]));
        let off = &off["data"];
        assert_eq!((&off["enabled"], &off["disabled_reason"]), (&json!(false), &json!("api")));
        assert_eq!((&off["url"], &off["description"]), (&change["url"], &json!("x")));
        assert_eq!(on["data"], changed);
        assert_eq!(deleted.json()["data"], changed);
        assert_eq!((gone.status, again.status), (404, 404));
        assert_eq!(gone.text(), again.text());
        assert_eq!(server.get(ENDPOINTS).await.json()["data"]["items"], json!([]));
    }
);

both_backends!(
    async fn endpoints_are_paged(db: TestDb) {
        let server = TestServer::start(&db).await;
        let mut created = Vec::new();
        for _ in 0..3 {
            created.push(create(&server, json!({"url": "https://crm.example/hooks"})).await["id"].clone());
        }

        let first = server.get(&format!("{ENDPOINTS}?limit=2")).await.json()["data"].clone();
        let cursor = first["next_cursor"].as_str().unwrap();
        let second = server.get(&format!("{ENDPOINTS}?limit=2&cursor={cursor}")).await.json()["data"].clone();

        let items = first["items"].as_array().unwrap().iter().chain(second["items"].as_array().unwrap());
        let mut listed: Vec<_> = items.map(|item| item["id"].clone()).collect();
        assert_eq!(second["next_cursor"], Value::Null);
        // Ids of the same millisecond are not ordered.
        listed.sort_by_key(ToString::to_string);
        created.sort_by_key(ToString::to_string);
        assert_eq!(listed, created);
    }
);

both_backends!(
    async fn an_undeliverable_url_is_refused_at_creation(db: TestDb) {
        let server = TestServer::start(&db).await;
        let created = create(&server, json!({"url": "https://crm.example/hooks"})).await;
        let before = server.row_counts().await;

        for (url, text) in [
            ("crm.example/hooks", "the URL cannot be read"),
            ("ftp://crm.example/", "the URL must begin with http:// or https://"),
            ("https://key:pass@crm.example/", "the URL must not contain a user name or password"),
            (
                "http://169.254.169.254/latest",
                "the URL's host is not a public address; allow it with `allow_hosts` in [workspace], or with \
                    outbound.allow_hosts",
            ),
        ] {
            let create = ask(&server, "POST", ENDPOINTS, &json!({"url": url})).await;
            let change = ask(&server, "PATCH", &path_of(&created), &json!({"url": url})).await;
            assert_eq!((create.status, change.status), (400, 400), "{url}");
            assert_eq!(create.json()["message"], format!("Field 'url' is refused: {text}."));
            assert_eq!(change.text(), create.text());
        }

        assert_eq!(server.row_counts().await, before);
        assert_eq!(server.get(&path_of(&created)).await.json()["data"]["url"], "https://crm.example/hooks");
    }
);

both_backends!(
    async fn allowed_hosts_may_be_private(db: TestDb) {
        let edit =
            |text: String| text.replacen("[workspace]", "[workspace]\nallow_hosts = [\"10.0.0.7\"]", 1);
        let server = Setup::default().workspace(edit).start(&db).await;

        create(&server, json!({"url": server.tool.url("/hooks")})).await;
        create(&server, json!({"url": "http://10.0.0.7/hooks"})).await;
        let foreign = server.request("POST", ENDPOINTS).bearer(&server.keys.other_workspace);
        let foreign = foreign.json(&json!({"url": "http://10.0.0.7/hooks"})).send().await;

        assert_eq!(foreign.status, 400, "another workspace's list does not apply");
    }
);

both_backends!(
    async fn each_field_is_checked(db: TestDb) {
        let server = TestServer::start(&db).await;
        let created = create(&server, json!({"url": "https://crm.example/hooks"})).await;
        let url = "https://crm.example/hooks";

        for (body, text) in [
            (json!({}), "Field 'url' is required."),
            (json!({"url": " "}), "Field 'url' is required."),
            (json!({"url": 1}), "Field 'url' must be a string."),
            (json!({"url": "x".repeat(2049)}), "Field 'url' must not be greater than 2048 characters."),
            (json!({"url": url, "types": "message.created"}), "Field 'types' must be a list of strings."),
            (
                json!({"url": url, "secret": "whsec_short"}),
                "Field 'secret' must be `whsec_` and 24 to 64 bytes in base64.",
            ),
        ] {
            let answer = ask(&server, "POST", ENDPOINTS, &body).await;
            assert_eq!((answer.status, &answer.json()["message"]), (400, &json!(text)));
        }
        for unknown in ["message.sent", "webhook_endpoint.test", ""] {
            let answer = ask(&server, "POST", ENDPOINTS, &json!({"url": url, "types": [unknown]})).await;
            let text = answer.json()["message"].to_string();
            assert!(text.contains("Field 'types' must be a list of these: conversation.created,"), "{text}");
        }
        for (body, text) in [
            (
                json!({"secret": "whsec_x"}),
                "Unknown field 'secret'. Known fields: 'url', 'types', 'description', 'enabled'.",
            ),
            (json!({}), "One of the fields 'url', 'types', 'description', 'enabled' is required."),
            (json!({"enabled": 1}), "Field 'enabled' must be a boolean."),
        ] {
            let answer = ask(&server, "PATCH", &path_of(&created), &body).await;
            assert_eq!((answer.status, &answer.json()["message"]), (400, &json!(text)));
        }
        let rotate = format!("{}/rotate_secret", path_of(&created));
        for overlap in [json!(-1), json!(604_801), json!("1"), json!(1.5)] {
            let answer = ask(&server, "POST", &rotate, &json!({"overlap_seconds": overlap})).await;
            assert_eq!(answer.status, 400, "{}", answer.text());
        }
    }
);

both_backends!(
    async fn a_workspace_has_at_most_32(db: TestDb) {
        let server = TestServer::start(&db).await;
        let mut last = Value::Null;
        for _ in 0..32 {
            last = create(&server, json!({"url": "https://crm.example/hooks"})).await;
        }

        let refused = ask(&server, "POST", ENDPOINTS, &json!({"url": "https://crm.example/hooks"})).await;
        assert_eq!(
            (refused.status, &refused.json()["message"]),
            (409, &json!("A workspace can have at most 32 webhook endpoints."))
        );

        ask(&server, "DELETE", &path_of(&last), &json!({})).await;
        create(&server, json!({"url": "https://crm.example/hooks"})).await;
    }
);

both_backends!(
    async fn an_unknown_field_or_parameter_is_refused_by_name(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = json!({"url": "https://crm.example/hooks", "events": ["message.created"]});

        let refused = server.request("POST", ENDPOINTS).bearer(&server.keys.full).json(&body).send().await;
        let listed = server.get("/v1/events?types=message.created&conversation=con_1").await;

        assert_eq!(refused.status, 400);
        assert_eq!(
            refused.json()["message"],
            "Unknown field 'events'. Known fields: 'url', 'types', 'description', 'secret', 'enabled'."
        );
        assert_eq!(listed.status, 400);
        let text = listed.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(text.starts_with("Unknown query parameter 'conversation'. Known parameters: "), "{text}");
        assert_eq!(server.get(ENDPOINTS).await.json()["data"]["items"], json!([]));
    }
);

both_backends!(
    async fn reads_and_writes_need_their_scope_and_workspace(db: TestDb) {
        let server = TestServer::start(&db).await;
        let created = create(&server, json!({"url": "https://crm.example/hooks"})).await;
        let path = path_of(&created);
        let with = async |key: &str, method: &str, path: &str| {
            let change = if method == "PATCH" { json!({"enabled": false}) } else { json!({}) };
            server.request(method, path).bearer(key).json(&change).send().await
        };

        let routes = [
            ("GET", String::new()),
            ("PATCH", String::new()),
            ("DELETE", String::new()),
            ("POST", "/rotate_secret".to_owned()),
            ("POST", "/test".to_owned()),
            ("GET", "/deliveries".to_owned()),
            ("GET", "/deliveries/dlv_x".to_owned()),
            ("POST", "/deliveries/dlv_x/resend".to_owned()),
        ];
        for (method, under) in routes {
            let of = |endpoint: &str| format!("{ENDPOINTS}/{endpoint}{under}");
            let id = created["id"].as_str().unwrap();
            let reading = with(&server.keys.read_only, method, &of(id)).await;
            assert_eq!(reading.status == 403, method != "GET", "{method} {under}");
            let unknown = "whe_00000000000000000000000000";
            let foreign = with(&server.keys.other_workspace, method, &of(id)).await;
            let unknown = with(&server.keys.other_workspace, method, &of(unknown)).await;
            assert_eq!((foreign.status, unknown.status), (404, 404), "{method} {under}");
            assert_eq!(foreign.text().replace(id, "whe_00000000000000000000000000"), unknown.text());
        }
        assert_eq!(
            with(&server.keys.other_workspace, "GET", ENDPOINTS).await.json()["data"]["items"],
            json!([])
        );
        assert_eq!(server.get(&path).await.json()["data"]["enabled"], true);
    }
);

both_backends!(
    async fn a_disabled_endpoint_gets_no_events_and_its_disabling_is_an_event(db: TestDb) {
        let server = TestServer::start(&db).await;
        let created = create(&server, json!({"url": server.tool.url("/first")})).await;
        let other = create(&server, json!({"url": server.tool.url("/other")})).await;

        ask(&server, "PATCH", &path_of(&created), &json!({"enabled": false})).await;
        ask(&server, "PATCH", &path_of(&created), &json!({"enabled": false})).await;

        let disabled_events = server.events("webhook_endpoint.disabled").await;
        let [disabled_events] = &disabled_events[..] else { panic!("{disabled_events:?}") };
        assert_eq!(disabled_events["data"], json!({"webhook_endpoint_id": created["id"], "reason": "api"}));
        let calls = server.tool.calls().wait_for_count(1).await;
        assert_eq!(calls[0].request.uri.path(), "/other");
        assert_eq!(calls[0].request.json(), *disabled_events);
        let deliveries = server.get(&format!("{}/deliveries", path_of(&created))).await.json();
        assert_eq!(deliveries["data"]["items"], json!([]));
        assert_eq!(server.get(&path_of(&other)).await.json()["data"]["enabled"], true);
    }
);
