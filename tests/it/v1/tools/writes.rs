//! Tools that are created, changed and archived through the API.

use serde_json::{Value, json};

use crate::mcp::process::McpServer;
use crate::support::db::both_backends;
use crate::support::described;
use crate::support::seed::query_texts;
use crate::support::server::{Setup, TestServer};
use crate::support::workspaces::SIGNING;
use crate::v1::assistants::{ask, create, done, refused};

const TOOLS: &str = "/v1/tools";

/// A webhook with a secret in each of its fields.
fn webhook(server: &TestServer) -> Value {
    json!({
        "slug": "stock", "kind": "webhook", "name": "get_stock", "description": "Counts items",
        "url": server.tool.url("/stock"), "secret": SIGNING,
        "headers": { "authorization": { "secret": "Bearer canary-t0ken" }, "x-key": "{{query_key}}" },
        "secrets": { "query_key": "canary/key 1" },
        "parameters": { "type": "object", "properties": { "item": { "type": "string" } } },
    })
}

/// Creates a tool, and returns its path.
async fn tool(server: &TestServer, body: &Value) -> String {
    let created = done(server, "POST", TOOLS, body).await;
    format!("{TOOLS}/{}", created["tool"]["id"].as_str().unwrap())
}

/// The names of the functions that an assistant's current version has.
async fn offered(server: &TestServer, assistant: &str) -> Vec<String> {
    let id: rejoinder::domain::ids::AssistantId = assistant.rsplit('/').next().unwrap().parse().unwrap();
    let body = json!({ "assistant_id": id.0 });
    let started = server.request("POST", "/api/conversations").json(&body).send().await.json();
    let uuid = started["conversation_id"].as_str().unwrap();
    assert_eq!(server.post_message(uuid, "Hi").send().await.status, 200);
    let calls = server.model.calls().all();
    calls.last().unwrap().request.tools().into_iter().map(str::to_owned).collect()
}

fn leaks(text: &str) -> bool {
    ["canary-t0ken", "canary/key", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "sealed"]
        .iter()
        .any(|part| text.contains(part))
}

both_backends!(
    async fn a_webhook_is_created_called_changed_and_archived_and_never_shows_its_secrets(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;

        let created = ask(&server, "POST", TOOLS, &webhook(&server)).await;

        assert_eq!(created.status, 200, "{}", created.text());
        let shown = created.json()["data"]["tool"].clone();
        let path = format!("{TOOLS}/{}", shown["id"].as_str().unwrap());
        assert_eq!(
            (&shown["slug"], &shown["name"], &shown["from_file"]),
            (&json!("stock"), &json!("get_stock"), &json!(false))
        );
        assert_eq!((&shown["secret"], &shown["secrets"]), (&json!("***"), &json!({ "query_key": "***" })));
        let call = async || {
            let tested =
                done(&server, "POST", &format!("{path}/test"), &json!({ "arguments": { "item": "chair" } }))
                    .await;
            assert_eq!(tested["response"]["status"], 200, "{tested}");
            server.tool.calls().all().last().unwrap().request.clone()
        };
        let sent = call().await;
        assert_eq!(sent.headers["authorization"], "Bearer canary-t0ken");
        assert_eq!(sent.headers["x-key"], "canary/key 1");
        assert!(sent.headers.contains_key("webhook-signature"));

        // A change without the secrets keeps them; a plain header is replaced by itself.
        let update = json!({ "description": "Counts", "headers": { "X-Plain": "1", "x-key": null } });
        let changed = ask(&server, "PATCH", &path, &update).await;
        assert_eq!(
            (changed.status, &changed.json()["data"]["tool"]["description"]),
            (200, &json!("Counts")),
            "{}",
            changed.text()
        );
        let sent = call().await;
        assert_eq!(sent.headers["authorization"], "Bearer canary-t0ken");
        assert_eq!(sent.headers["x-plain"], "1");
        assert!(!sent.headers.contains_key("x-key") && sent.headers.contains_key("webhook-signature"));
        let update =
            json!({ "headers": { "authorization": { "secret": "Bearer canary-t0ken2" } }, "secret": null });
        let replaced = done(&server, "PATCH", &path, &update).await;
        assert_eq!(replaced["tool"].get("secret"), None);
        let sent = call().await;
        assert_eq!(sent.headers["authorization"], "Bearer canary-t0ken2");
        assert!(!sent.headers.contains_key("webhook-signature"));

        // A stored secret does not go to another host.
        let (status, text) =
            refused(&server, "PATCH", &path, &json!({ "url": "https://evil.example/" })).await;
        assert_eq!((status, text.contains("send this secret again")), (400, true), "{text}");

        for text in
            [created.text(), changed.text(), server.get(&path).await.text(), server.get(TOOLS).await.text()]
        {
            assert!(!leaks(text), "{text}");
        }
        let log = query_texts(
            &db,
            "select coalesce(fields_before, '') || coalesce(fields_after, '') from audit_log \
             where object_kind = 'tool' and actor_kind = 'key' order by id",
        )
        .await;
        assert_eq!(log.len(), 3, "{log:?}");
        let has = |part: &str| log.iter().filter(|entry| entry.contains(part)).count();
        assert_eq!(
            has(r#""authorization":"***""#),
            2,
            "of the new tool, and where its headers change: {log:?}"
        );
        assert_eq!(has(r#""changed_values":["headers.authorization"]"#), 1, "{log:?}");
        assert!(log.iter().all(|entry| !leaks(entry)), "{log:?}");
        let stored = "select count(*) from tools where definition like '%canary-t0ken%'";
        assert_eq!(server.query_number(stored).await, 0, "it is encrypted");

        done(&server, "DELETE", &path, &json!({})).await;
        assert_eq!(server.get(&path).await.status, 404);
        let again = done(&server, "POST", TOOLS, &webhook(&server)).await;
        assert_eq!(again["tool"]["slug"], "stock", "its slug is free");
    }
);

both_backends!(
    async fn a_changed_tool_is_in_the_next_versions_of_the_assistants_that_use_it(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = tool(&server, &webhook(&server)).await;
        let id = path.rsplit('/').next().unwrap();
        let shop = create(&server, "shop", &json!(["orders", id])).await;
        let other = create(&server, "other", &json!(["orders"])).await;
        let version = async |path: &str| server.get(path).await.json()["data"]["version"].clone();
        assert_eq!(server.get(&shop).await.json()["data"]["tools"], json!(["orders", "stock"]));

        done(&server, "PATCH", &path, &json!({ "name": "count_stock" })).await;

        assert_eq!(offered(&server, &shop).await, ["get_order_status", "count_stock"]);
        assert_eq!((version(&shop).await, version(&other).await), (json!(2), json!(1)));
        let diff = server.get(&format!("{shop}/versions/2/diff")).await.json()["data"].clone();
        assert_eq!((&diff["changed_tools"], &diff["after"]), (&json!(["stock"]), &json!({})));
        done(&server, "PATCH", &path, &json!({ "name": "count_stock" })).await;
        assert_eq!(version(&shop).await, 2, "nothing changes");

        let taken = refused(&server, "PATCH", &path, &json!({ "name": "get_order_status" })).await;
        assert_eq!(taken.0, 409);
        assert!(taken.1.contains("The assistant 'shop' cannot use the changed tool"), "{}", taken.1);
        assert_eq!(offered(&server, &shop).await, ["get_order_status", "count_stock"], "nothing was changed");
        let used = refused(&server, "DELETE", &path, &json!({})).await;
        assert_eq!(used, (409, "The tool 'stock' is used by the assistants 'shop'.".to_owned()));
        done(&server, "DELETE", &shop, &json!({})).await;
        done(&server, "DELETE", &path, &json!({})).await;
        let (status, text) =
            refused(&server, "POST", &format!("{shop}/versions/1/restore"), &json!({})).await;
        assert_eq!(
            (status, text.as_str()),
            (409, "Version 1 cannot be restored. Field 'tools[1]': there is no tool \"stock\".")
        );
    }
);

both_backends!(
    async fn tools_refer_to_calendars_and_knowledge_bases_by_slug_or_id(db: TestDb) {
        let server = TestServer::start(&db).await;
        let base = done(&server, "POST", "/v1/knowledge_bases", &json!({ "slug": "help" })).await;
        let listed = server.get("/v1/calendars").await.json();
        let calendar = &listed["data"]["items"][0]["id"];

        for (slug, body) in [
            ("a", json!({ "kind": "calendar_availability", "calendar": "demos" })),
            ("b", json!({ "kind": "calendar_booking", "calendar": calendar, "name": "book_demo" })),
            ("c", json!({ "kind": "knowledge", "knowledge_base": "help" })),
            ("d", json!({ "kind": "knowledge", "knowledge_base": base["id"], "name": "look_up" })),
        ] {
            let mut body = body;
            body["slug"] = json!(slug);
            let created = done(&server, "POST", TOOLS, &body).await["tool"].clone();
            assert!(created["calendar"] == *calendar || created["knowledge_base"] == base["id"], "{created}");
        }
        let shop = create(&server, "shop", &json!(["a", "b", "c", "d"])).await;
        let names = ["check_calendar_availability", "book_demo", "search_knowledge_base", "look_up"];
        assert_eq!(offered(&server, &shop).await, names);

        for (body, text) in [
            (
                json!({ "slug": "x", "kind": "calendar_booking", "calendar": "none" }),
                "Field 'calendar': there is no calendar \"none\".",
            ),
            (
                json!({ "slug": "x", "kind": "knowledge", "knowledge_base": "kb_00000000000000000000000000" }),
                "Field 'knowledge_base': there is no knowledge base \"kb_00000000000000000000000000\".",
            ),
        ] {
            assert_eq!(refused(&server, "POST", TOOLS, &body).await, (400, text.to_owned()));
        }
    }
);

both_backends!(
    async fn an_invalid_tool_is_refused_by_the_name_of_the_field(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = tool(&server, &webhook(&server)).await;
        let before = server.row_counts().await;
        let valid =
            json!({ "slug": "x", "kind": "webhook", "description": "d", "url": server.tool.url("/x") });
        let with = |name: &str, value: Value| {
            let mut body = valid.clone();
            body[name] = value;
            body
        };

        for (body, text) in [
            (with("kind", json!("hook")), "Field 'kind': \"hook\" is none of: calendar_availability, "),
            (json!({ "slug": "x" }), "Field 'kind' is required."),
            (with("urls", json!(1)), "Unknown field 'urls'. Known fields: 'slug', 'kind', "),
            (with("allow_hosts", json!([])), "Unknown field 'allow_hosts'. "),
            (with("allow", json!(["a"])), "Field 'allow': a tool of kind \"webhook\" does not have it."),
            (with("url", json!("http://10.0.0.7/")), "Field 'url' is refused: "),
            (with("url", json!("ftp://shop.example/")), "Field 'url' is refused: "),
            (with("url", json!("https://shop.example/{id}")), "Field 'url': {id} is no argument"),
            (with("timeout", json!("31s")), "Field 'timeout': \"31s\" is not 1 to 30 seconds, as \"10s\"."),
            (with("headers", json!({ "host": "x" })), "Field 'headers.host': set by the HTTP client."),
            (
                with("headers", json!({ "x": { "env": "TOKEN" } })),
                "Field 'headers.x': `env` is for workspace files; ",
            ),
            (with("secret", json!({ "env": "SIGNING" })), "Field 'secret': `env` is for workspace files; "),
            (with("secret", json!("whsec_short")), "Field 'secret': it is not usable: "),
            (with("secrets", json!({ "key": "abc" })), "Field 'secrets.key': a secret has at least 4 bytes."),
            (with("parameters", json!({ "type": "string" })), "Field 'parameters': "),
            (with("description", json!(null)), "Field 'description': missing."),
            (with("slug", json!("tool_01k9z3x8f5e4r9t2m6q7w8y0ab")), "Field 'slug': an id is no slug."),
        ] {
            let (status, found) = refused(&server, "POST", TOOLS, &body).await;
            assert_eq!((status, found.starts_with(text)), (400, true), "{found}");
        }
        for (update, text) in [
            (json!({}), "At least one field is required."),
            (json!({ "kind": "mcp" }), "Field 'kind': it cannot be changed."),
            (json!({ "urls": null }), "Unknown field 'urls'. "),
            (
                json!({ "url": "http://10.0.0.7/", "headers": null, "secrets": null, "secret": null }),
                "Field 'url' is refused: ",
            ),
        ] {
            let (status, found) = refused(&server, "PATCH", &path, &update).await;
            assert_eq!((status, found.starts_with(text)), (400, true), "{found}");
        }
        assert_eq!(server.row_counts().await, before, "nothing is stored");
        assert!(server.tool.calls().all().is_empty());
    }
);

both_backends!(
    async fn tools_of_a_file_or_of_another_workspace_or_without_the_scope_cannot_be_written(db: TestDb) {
        let server = TestServer::start(&db).await;
        let own = tool(&server, &webhook(&server)).await;
        let of_file = crate::v1::tools::tool(&server, "orders").await;
        let of_file = format!("{TOOLS}/{}", of_file["id"].as_str().unwrap());
        let before = server.row_counts().await;
        let update = json!({ "description": "x" });

        let text = "The tool 'orders' is set up by a workspace file: change it there.";
        assert_eq!(refused(&server, "PATCH", &of_file, &update).await, (409, text.to_owned()));
        assert_eq!(refused(&server, "DELETE", &of_file, &json!({})).await, (409, text.to_owned()));
        let mut taken = webhook(&server);
        taken["slug"] = json!("orders");
        assert_eq!(refused(&server, "POST", TOOLS, &taken).await.0, 409);
        for (method, body) in [("PATCH", &update), ("DELETE", &json!({}))] {
            let foreign =
                server.request(method, &own).bearer(&server.keys.other_workspace).json(body).send().await;
            assert_eq!((foreign.status, foreign.header("rejoinder-error")), (404, Some("tool_not_found")));
            let reader = server.request(method, &own).bearer(&server.keys.read_only).json(body).send().await;
            assert_eq!(reader.status, 403);
        }
        let reader = server.request("POST", TOOLS).bearer(&server.keys.read_only).json(&taken).send().await;
        assert_eq!(reader.status, 403);
        // A knowledge base and a calendar of this workspace are none of the other's.
        let body = json!({ "slug": "x", "kind": "calendar_booking", "calendar": "demos" });
        let foreign =
            server.request("POST", TOOLS).bearer(&server.keys.other_workspace).json(&body).send().await;
        assert_eq!(foreign.status, 400);
        assert_eq!(server.row_counts().await, before);
    }
);

both_backends!(
    async fn of_two_creations_or_changes_at_once_none_is_lost(db: TestDb) {
        let server = TestServer::start(&db).await;

        let body = webhook(&server);
        let (one, two) = tokio::join!(ask(&server, "POST", TOOLS, &body), ask(&server, "POST", TOOLS, &body));
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{} {}", one.text(), two.text());
        let created = if one.status == 200 { one } else { two };
        let path = format!("{TOOLS}/{}", created.json()["data"]["tool"]["id"].as_str().unwrap());

        let (name, text) = (json!({ "name": "count" }), json!({ "description": "Counts" }));
        let (one, two) =
            tokio::join!(ask(&server, "PATCH", &path, &name), ask(&server, "PATCH", &path, &text));
        assert_eq!((one.status, two.status), (200, 200), "{} {}", one.text(), two.text());
        let now = server.get(&path).await.json()["data"].clone();
        assert_eq!((&now["name"], &now["description"]), (&json!("count"), &json!("Counts")));
    }
);

both_backends!(
    async fn an_mcp_server_is_asked_for_its_tools(db: TestDb) {
        let mcp = McpServer::start_with(&[("TOKEN", "canary-t0ken")]).await;
        let host = mcp.url().split('/').nth(2).unwrap().to_owned();
        let setup = Setup::default().workspace(move |text| {
            let balance = "balance = \"10.00\"";
            text.replace(balance, &format!("{balance}\nallow_hosts = [\"{host}\"]"))
        });
        let server = setup.start(&db).await;
        let body = |allow: &Value| {
            json!({
                "slug": "crm", "kind": "mcp", "url": mcp.url(), "allow": allow,
                "headers": { "authorization": { "secret": "Bearer canary-t0ken" } },
            })
        };

        let (status, text) = refused(&server, "POST", TOOLS, &body(&json!(["say", "nothing"]))).await;
        assert_eq!(status, 400);
        assert!(
            text.starts_with("Field 'allow[1]': the MCP server cannot be used: it has no tool \"nothing\""),
            "{text}"
        );
        let mut wrong = body(&json!(["say"]));
        wrong["headers"] = json!({});
        let (status, text) = refused(&server, "POST", TOOLS, &wrong).await;
        assert_eq!(status, 409);
        assert!(text.starts_with("The MCP server cannot be used: it cannot be listed: status 401"), "{text}");

        let path = tool(&server, &body(&json!(["say"]))).await;
        let shop = create(&server, "shop", &json!(["crm"])).await;
        assert_eq!(offered(&server, &shop).await, ["say"]);
        let changed = done(&server, "PATCH", &path, &json!({ "allow": ["say", "find_customer"] })).await;
        assert_eq!(changed["tool"]["listing"]["tools"].as_array().unwrap().len(), 2, "{changed}");
        assert_eq!(offered(&server, &shop).await, ["find_customer", "say"]);
        mcp.stop();
        done(&server, "PATCH", &path, &json!({ "description": "The CRM" })).await;
        let (status, text) = refused(&server, "PATCH", &path, &json!({ "allow": null })).await;
        assert_eq!((status, text.contains("Please retry.")), (409, true), "{text}");
        assert_eq!(offered(&server, &shop).await, ["find_customer", "say"], "nothing was changed");
    }
);
