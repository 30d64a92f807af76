//! Assistants in the platform API: created, changed, compared, restored and archived.

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::http::Response;
use crate::support::server::{ASSISTANT, TestServer};
use crate::support::workspaces;

pub const ASSISTANTS: &str = "/v1/assistants";

pub async fn ask(server: &TestServer, method: &str, path: &str, body: &Value) -> Response {
    server.request(method, path).bearer(&server.keys.full).json(body).send().await
}

/// The data of a successful answer.
pub async fn done(server: &TestServer, method: &str, path: &str, body: &Value) -> Value {
    let answer = ask(server, method, path, body).await;
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    answer.json()["data"].clone()
}

/// The status and the message of a refusal.
pub async fn refused(server: &TestServer, method: &str, path: &str, body: &Value) -> (u16, String) {
    let answer = ask(server, method, path, body).await;
    (answer.status, answer.json()["message"].as_str().unwrap().to_owned())
}

/// Creates an assistant with these tools, and returns its path.
pub async fn create(server: &TestServer, slug: &str, tools: &Value) -> String {
    let body = json!({ "slug": slug, "name": "Desk", "system_prompt": "You help.", "tools": tools });
    let created = done(server, "POST", ASSISTANTS, &body).await;
    format!("{ASSISTANTS}/{}", created["assistant"]["id"].as_str().unwrap())
}

/// Starts a widget conversation with an assistant, by the path of the assistant.
async fn start(server: &TestServer, path: &str) -> Response {
    let id: rejoinder::domain::ids::AssistantId = path.rsplit('/').next().unwrap().parse().unwrap();
    let body = json!({ "assistant_id": id.0 });
    server.request("POST", "/api/conversations").json(&body).send().await
}

async fn uuid(server: &TestServer, path: &str) -> String {
    let started = start(server, path).await;
    assert_eq!(started.status, 200, "{}", started.text());
    started.json()["conversation_id"].as_str().unwrap().to_owned()
}

both_backends!(
    async fn an_assistant_is_created_read_listed_changed_and_archived(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;

        let body = json!({
            "name": "Night Desk", "system_prompt": "You help {{name}}.", "first_message": "Hi",
            "fallbacks": [{ "connection": "none", "model": "m" }], "tools": ["orders"], "model": null,
        });
        let created = done(&server, "POST", ASSISTANTS, &body).await;

        let assistant = &created["assistant"];
        let id = assistant["id"].as_str().unwrap().to_owned();
        let path = format!("{ASSISTANTS}/{id}");
        assert!(id.starts_with("ast_"), "{id}");
        let expected = json!({
            "id": id, "version": 1, "from_file": false, "created_at": "2026-03-15T14:22:11Z",
            "updated_at": "2026-03-15T14:22:11Z", "slug": "night-desk", "name": "Night Desk",
            "system_prompt": "You help {{name}}.", "first_message": "Hi",
            "fallbacks": [{ "connection": "none", "model": "m" }], "parameters": {}, "variables": {},
            "tools": ["orders"], "allowed_origins": [], "pause_on_agent_message": false,
        });
        assert_eq!(*assistant, expected);
        let warnings = created["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].as_str().unwrap().contains("no connection \"none\""), "{warnings:?}");
        assert!(warnings[1].as_str().unwrap().contains("{{name}}"), "{warnings:?}");
        assert_eq!(done(&server, "GET", &path, &json!({})).await, expected);
        let listed = server.get(ASSISTANTS).await.json()["data"].clone();
        let slugs: Vec<_> = listed["items"].as_array().unwrap().iter().map(|item| &item["slug"]).collect();
        assert!(slugs.contains(&&json!("night-desk")) && slugs.contains(&&json!("front-desk")), "{slugs:?}");

        let update = json!({ "name": "Desk", "first_message": null, "fallbacks": [] });
        let changed = done(&server, "PATCH", &path, &update).await;
        assert_eq!(
            (&changed["assistant"]["version"], &changed["assistant"]["name"]),
            (&json!(2), &json!("Desk"))
        );
        assert_eq!(changed["assistant"].get("first_message"), None);
        assert_eq!(changed["assistant"]["system_prompt"], "You help {{name}}.");
        let same = done(&server, "PATCH", &path, &json!({ "name": "Desk" })).await;
        assert_eq!(same["assistant"]["version"], 2, "nothing changes");

        let archived = done(&server, "DELETE", &path, &json!({})).await;
        assert_eq!(archived["archived_at"], "2026-03-15T14:22:11Z");
        assert_eq!(done(&server, "GET", &path, &json!({})).await["archived_at"], "2026-03-15T14:22:11Z");
        let listed = server.get(ASSISTANTS).await;
        assert!(!listed.text().contains(&id), "{}", listed.text());
        let (status, text) = refused(&server, "PATCH", &path, &update).await;
        assert_eq!((status, text.contains("is archived")), (409, true), "{text}");
        let (status, text) = refused(&server, "POST", ASSISTANTS, &body).await;
        assert_eq!((status, text.contains("restore one of its versions")), (409, true), "{text}");
    }
);

both_backends!(
    async fn the_settings_of_a_widget_and_labels_of_tools_are_written_through_the_api(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let tool = json!({
            "slug": "stock", "kind": "webhook", "name": "get_stock", "description": "Counts items",
            "url": "https://shop.example/stock", "label": "Counting",
        });
        let tool = done(&server, "POST", "/v1/tools", &tool).await["tool"].clone();
        let path = create(&server, "desk", &json!(["stock"])).await;
        let public = path.replace(ASSISTANTS, "/api/assistants");

        let widget = json!({ "title": "Ask us", "form": [{ "variable": "name", "label": "Name", "required": false }] });
        let update = json!({ "widget": widget, "visitor_variables": { "name": {} } });
        let changed = done(&server, "PATCH", &path, &update).await;

        assert_eq!(tool["label"], "Counting");
        assert_eq!(changed["assistant"]["widget"], widget);
        let labels = async || server.get(&public).await.json()["assistant"]["tool_labels"].clone();
        assert_eq!(labels().await, json!({ "get_stock": { "kind": "webhook", "label": "Counting" } }));
        let of_tool = format!("/v1/tools/{}", tool["id"].as_str().unwrap());
        done(&server, "PATCH", &of_tool, &json!({ "label": null })).await;
        assert_eq!(labels().await, json!({ "get_stock": { "kind": "webhook" } }));
        for (body, message) in [
            (
                json!({ "widget": { "accent": "red" } }),
                "Field 'widget.accent': \"red\" is not a colour such as \"#0f5f4b\".",
            ),
            (
                json!({ "visitor_variables": null }),
                "Field 'widget.form[0].variable': \"name\" is not declared in `visitor_variables`.",
            ),
            (
                // Not the first settings without their names.
                json!({ "widget": ["Ask Acme"] }),
                "Field 'widget': invalid type: array, expected a table of widget settings.",
            ),
            (
                json!({ "widget": { "tools": "all" } }),
                "Field 'widget.tools': \"all\" is not one of: label, hidden, details.",
            ),
        ] {
            assert_eq!(refused(&server, "PATCH", &path, &body).await, (400, message.to_owned()));
        }
        let long = json!({ "label": "x".repeat(81) });
        let message = "Field 'label': longer than 80 characters.".to_owned();
        assert_eq!(refused(&server, "PATCH", &of_tool, &long).await, (400, message));
        let cleared = done(&server, "PATCH", &path, &json!({ "widget": null })).await;
        assert_eq!(cleared["assistant"].get("widget"), None);
    }
);

both_backends!(
    async fn an_assistant_that_only_the_api_made_answers_with_its_webhook(db: TestDb) {
        let server = TestServer::start(&db).await;
        let tool = json!({
            "slug": "stock", "kind": "webhook", "name": "get_stock", "description": "Counts items",
            "url": server.tool.url("/stock"), "headers": { "authorization": { "secret": "Bearer t0ken" } },
            "parameters": { "type": "object", "properties": { "item": { "type": "string" } } },
        });
        done(&server, "POST", "/v1/tools", &tool).await;
        let path = create(&server, "shop", &json!(["stock"])).await;
        server.model.script().respond_with(|request| {
            if request.messages().last().is_some_and(|last| last["role"] == "tool") {
                return Reply::text("There are some.");
            }
            Reply::tool_calls([ToolCall::new("get_stock", &json!({ "item": "chair" }))])
        });

        let uuid = uuid(&server, &path).await;
        let answer = server.post_message(&uuid, "Chairs?").send().await;

        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("There are some."), "{}", answer.text());
        let sent = &server.tool.calls().all()[0].request;
        assert_eq!(sent.headers["authorization"], "Bearer t0ken");
        assert_eq!(sent.json(), json!({ "item": "chair" }));

        // Its conversations go on when it is archived; there are no new ones.
        done(&server, "DELETE", &path, &json!({})).await;
        assert_eq!(server.post_message(&uuid, "And now?").send().await.status, 200);
        assert_eq!(start(&server, &path).await.status, 404);
    }
);

both_backends!(
    async fn versions_are_listed_read_compared_and_restored(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = create(&server, "shop", &json!(["orders"])).await;
        done(&server, "PATCH", &path, &json!({ "system_prompt": "Be brief." })).await;
        done(&server, "PATCH", &path, &json!({ "tools": ["orders", "notes"], "name": "Shop" })).await;

        let first = server.get(&format!("{path}/versions?limit=2")).await.json()["data"].clone();
        let cursor = first["next_cursor"].as_str().unwrap();
        let rest = server.get(&format!("{path}/versions?cursor={cursor}")).await.json()["data"].clone();
        let numbers: Vec<_> =
            first["items"].as_array().unwrap().iter().chain(rest["items"].as_array().unwrap()).collect();
        let numbers: Vec<_> =
            numbers.iter().map(|item| (item["version"].clone(), item["is_current"].clone())).collect();
        assert_eq!(numbers, [(json!(3), json!(true)), (json!(2), json!(false)), (json!(1), json!(false))]);
        let old = server.get(&format!("{path}/versions/1")).await.json()["data"].clone();
        assert_eq!((&old["system_prompt"], &old["tools"]), (&json!("You help."), &json!(["orders"])));

        let diff = server.get(&format!("{path}/versions/3/diff")).await.json()["data"].clone();
        let expected = json!({
            "version": 3, "with": 2, "before": { "name": "Desk", "tools": ["orders"] },
            "after": { "name": "Shop", "tools": ["orders", "notes"] }, "changed_tools": [],
        });
        assert_eq!(diff, expected);
        let diff = server.get(&format!("{path}/versions/1/diff?with=3")).await.json()["data"].clone();
        assert_eq!(
            diff["after"],
            json!({ "name": "Desk", "system_prompt": "You help.", "tools": ["orders"] })
        );
        let diff = server.get(&format!("{path}/versions/1/diff")).await.json()["data"].clone();
        assert_eq!((diff.get("with"), &diff["after"]["slug"]), (None, &json!("shop")));

        let restored = done(&server, "POST", &format!("{path}/versions/1/restore"), &json!({})).await;
        assert_eq!(restored["assistant"]["version"], 4);
        assert_eq!(restored["assistant"]["system_prompt"], "You help.");
        done(&server, "DELETE", &path, &json!({})).await;
        let restored = done(&server, "POST", &format!("{path}/versions/3/restore"), &json!({})).await;
        assert_eq!(
            (&restored["assistant"]["version"], restored["assistant"].get("archived_at")),
            (&json!(5), None)
        );
        assert_eq!(start(&server, &path).await.status, 200, "it is in use again");

        for number in ["0", "6", "x", "01", "9223372036854775808"] {
            let answer = server.get(&format!("{path}/versions/{number}")).await;
            assert_eq!(
                (answer.status, answer.header("rejoinder-error")),
                (404, Some("assistant_version_not_found"))
            );
            let (status, _) =
                refused(&server, "POST", &format!("{path}/versions/{number}/restore"), &json!({})).await;
            assert_eq!(status, 404, "{number}");
        }
    }
);

both_backends!(
    async fn invalid_bodies_are_refused_by_the_name_of_the_field(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = create(&server, "shop", &json!([])).await;
        let before = server.row_counts().await;
        let valid = json!({ "name": "A", "system_prompt": "x" });
        let with = |name: &str, value: Value| {
            let mut body = valid.clone();
            body[name] = value;
            body
        };

        for (body, text) in [
            (json!({ "name": "A" }), "Field 'system_prompt' is required."),
            (json!({ "system_prompt": "x" }), "Field 'slug' is required."),
            (
                with("slug", json!("A b")),
                "Field 'slug': \"A b\" is not a slug: 1 to 64 lower-case letters, digits, hyphens or underscores.",
            ),
            (with("slug", json!("ast_01k9z3x8f5e4r9t2m6q7w8y0ab")), "Field 'slug': an id is no slug."),
            (with("tools", json!(["orders", "none"])), "Field 'tools[1]': there is no tool \"none\"."),
            (
                with("tools", json!(["orders", "orders"])),
                "Field 'tools[1]': the tool \"orders\" is there twice.",
            ),
            (
                with("parameters", json!({ "stream": true })),
                "Field 'parameters.stream': set by the server itself.",
            ),
            (json!({ "slug": "a", "name": " ", "system_prompt": "x" }), "Field 'name': empty."),
            (
                with("visitor_variables", json!({ "a": { "max_length": 0 } })),
                "Field 'visitor_variables.a.max_length': 0 is not between 1 and 4096.",
            ),
        ] {
            assert_eq!(refused(&server, "POST", ASSISTANTS, &body).await, (400, text.to_owned()), "{body}");
        }
        for field in ["promt", "id", "allow_hosts", "pricing"] {
            let (status, text) = refused(&server, "POST", ASSISTANTS, &with(field, json!(null))).await;
            assert_eq!(status, 400);
            assert!(
                text.starts_with(&format!("Unknown field '{field}'. Known fields: 'slug', 'name', ")),
                "{text}"
            );
        }
        for (update, text) in [
            (json!({}), "One of the fields 'name', "),
            (json!({ "slug": "other" }), "Unknown field 'slug'. Known fields: 'name', "),
            (json!({ "nam": null }), "Unknown field 'nam'. "),
            (json!({ "name": null }), "Field 'name' is required."),
            (json!({ "tools": ["none"] }), "Field 'tools[0]': there is no tool \"none\"."),
        ] {
            let (status, found) = refused(&server, "PATCH", &path, &update).await;
            assert_eq!((status, found.starts_with(text)), (400, true), "{found}");
        }
        for body in ["[]", "{", "\"x\"", "{\"name\": \"\\u0000\"}"] {
            let answer =
                server.request("POST", ASSISTANTS).bearer(&server.keys.full).raw_json(body).send().await;
            assert_eq!(answer.status, 400, "{body}");
        }
        assert_eq!(server.row_counts().await, before, "nothing is stored");
    }
);

both_backends!(
    async fn what_is_of_a_file_of_another_workspace_or_beyond_the_scope_is_refused(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = create(&server, "shop", &json!(["orders"])).await;
        let of_file: uuid::Uuid = ASSISTANT.parse().unwrap();
        let of_file = format!("{ASSISTANTS}/{}", rejoinder::domain::ids::AssistantId(of_file));
        let text = "The assistant 'front-desk' is set up by a workspace file: change it there.";
        let before = server.row_counts().await;

        let update = json!({ "name": "X" });
        for (method, path, body) in [
            ("PATCH", of_file.clone(), update.clone()),
            ("DELETE", of_file.clone(), json!({})),
            ("POST", format!("{of_file}/versions/1/restore"), json!({})),
        ] {
            assert_eq!(refused(&server, method, &path, &body).await, (409, text.to_owned()));
        }
        assert_eq!(server.get(&format!("{of_file}/versions")).await.status, 200, "reading is allowed");
        for (method, path, body) in [
            ("GET", path.clone(), json!({})),
            ("PATCH", path.clone(), update.clone()),
            ("DELETE", path.clone(), json!({})),
            ("GET", format!("{path}/versions"), json!({})),
            ("GET", format!("{path}/versions/1"), json!({})),
            ("GET", format!("{path}/versions/1/diff"), json!({})),
            ("POST", format!("{path}/versions/1/restore"), json!({})),
        ] {
            let foreign =
                server.request(method, &path).bearer(&server.keys.other_workspace).json(&body).send().await;
            let code = foreign.header("rejoinder-error").map(str::to_owned);
            assert_eq!(
                (foreign.status, code.as_deref()),
                (404, Some("assistant_not_found")),
                "{method} {path}"
            );
            if method != "GET" {
                let reader =
                    server.request(method, &path).bearer(&server.keys.read_only).json(&body).send().await;
                assert_eq!(reader.status, 403, "{method} {path}");
            }
        }
        let created =
            server.request("POST", ASSISTANTS).bearer(&server.keys.read_only).json(&update).send().await;
        assert_eq!(created.status, 403);
        // A tool of this workspace is none of the other's.
        let body = json!({ "name": "B", "system_prompt": "x", "tools": ["orders"] });
        let foreign =
            server.request("POST", ASSISTANTS).bearer(&server.keys.other_workspace).json(&body).send().await;
        assert_eq!(
            (foreign.status, foreign.json()["message"].clone()),
            (400, json!("Field 'tools[0]': there is no tool \"orders\"."))
        );
        assert_eq!(server.row_counts().await, before);
    }
);

both_backends!(
    async fn of_two_creations_of_one_slug_at_once_one_is_refused(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = json!({ "slug": "shop", "name": "A", "system_prompt": "x" });

        let (one, two) =
            tokio::join!(ask(&server, "POST", ASSISTANTS, &body), ask(&server, "POST", ASSISTANTS, &body));

        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{} {}", one.text(), two.text());
        assert_eq!(server.query_number("select count(*) from assistants where slug = 'shop'").await, 1);
    }
);

both_backends!(
    async fn of_two_changes_at_once_none_is_lost(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = create(&server, "shop", &json!([])).await;

        let (name, prompt) = (json!({ "name": "Shop" }), json!({ "system_prompt": "Be brief." }));
        let (one, two) =
            tokio::join!(ask(&server, "PATCH", &path, &name), ask(&server, "PATCH", &path, &prompt));

        assert_eq!((one.status, two.status), (200, 200));
        let now = server.get(&path).await.json()["data"].clone();
        assert_eq!((&now["name"], &now["system_prompt"]), (&json!("Shop"), &json!("Be brief.")));
        assert_eq!(now["version"], 3);
    }
);

both_backends!(
    async fn each_write_is_in_the_audit_log(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = create(&server, "shop", &json!([])).await;
        done(&server, "PATCH", &path, &json!({ "name": "Shop" })).await;
        done(&server, "PATCH", &path, &json!({ "name": "Shop" })).await;
        done(&server, "POST", &format!("{path}/versions/1/restore"), &json!({})).await;
        done(&server, "DELETE", &path, &json!({})).await;
        done(&server, "DELETE", &path, &json!({})).await;

        let texts = crate::support::seed::query_texts(
            &db,
            "select action || ' ' || object_kind || ' ' || object_name || ' ' || route || ' ' || \
             coalesce(fields_before, '-') || ' ' || coalesce(fields_after, '-') from audit_log where actor_kind = 'key'",
        )
        .await;
        assert_eq!(texts.len(), 4, "one for each change: {texts:?}");
        let has = |start: &str| texts.iter().filter(|text| text.starts_with(start)).count();
        assert_eq!(has("created assistant shop POST /v1/assistants - {"), 1, "{texts:?}");
        let changed = "updated assistant shop PATCH /v1/assistants/{id} {\"name\":\"Desk\",\"version\":1} \
                       {\"name\":\"Shop\",\"version\":2}";
        assert_eq!(has(changed), 1, "{texts:?}");
        assert_eq!(
            has("updated assistant shop POST /v1/assistants/{id}/versions/{version}/restore {"),
            1,
            "{texts:?}"
        );
        assert_eq!(has("archived assistant shop DELETE /v1/assistants/{id} - -"), 1, "{texts:?}");
    }
);

both_backends!(
    async fn a_file_cannot_take_over_or_break_what_the_api_made(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = create(&server, "shop", &json!(["orders"])).await;
        let file = workspaces::workspace(&server.tool);
        let clock = &server.services().clock;
        let apply =
            async |text: &str| workspaces::try_apply(server.db(), clock.as_ref(), &server.tool, text).await;

        let taken = format!("{file}\n[[assistants]]\nslug = \"shop\"\nname = \"S\"\nsystem_prompt = \"x\"\n");
        let error = apply(&taken).await.unwrap_err().to_string();
        assert!(error.contains("assistant \"shop\" was made through the API"), "{error}");
        let (start, end) = (
            file.find("[[tools]]\nslug = \"orders\"").unwrap(),
            file.find("[[tools]]\nslug = \"notes\"").unwrap(),
        );
        let without = format!("{}{}", &file[..start], &file[end..]).replace("\"orders\", ", "");
        let error = apply(&without).await.unwrap_err().to_string();
        assert!(error.contains("removes a tool that the assistant \"shop\" uses"), "{error}");

        // A changed tool makes a new version, which has the change.
        let applied = apply(&file.replace("get_order_status", "find_order")).await.unwrap();
        let changes: Vec<String> = applied.changes.iter().map(ToString::to_string).collect();
        assert!(changes.contains(&"assistant shop: changed tools".to_owned()), "{changes:?}");
        let uuid = uuid(&server, &path).await;
        server.post_message(&uuid, "Hi").send().await;
        assert_eq!(server.model.calls().all().last().unwrap().request.tools(), ["find_order"]);
        let diff = server.get(&format!("{path}/versions/2/diff")).await.json()["data"].clone();
        assert_eq!((&diff["changed_tools"], &diff["after"]), (&json!(["orders"]), &json!({})));
        assert!(apply(&file.replace("get_order_status", "find_order")).await.unwrap().changes.is_empty());
    }
);
