//! Identified visitors: their tokens, what they see, and what nobody else sees.

use std::collections::BTreeSet;
use std::time::Duration;

use rejoinder::domain::ids::AssistantId;
use serde_json::{Value, json};

use crate::support::db::{TestDb, both_backends};
use crate::support::described;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::http::{Request, Response};
use crate::support::identity::{NEXT_SECRET, NOW, SECRET, claims, sign, token};
use crate::support::server::{ASSISTANT, RESTRICTED, Setup, TestServer, WIDGET};
use crate::support::{seed, workspaces};

pub(super) const HEADER: &str = "rejoinder-identity";
const HS256: &str = "HS256";

/// The default assistant with an identity secret.
pub(super) fn with_secret(text: &str) -> String {
    text.replace(
        "name = \"Front desk\"",
        "name = \"Front desk\"\nidentity_secrets = [{ env = \"IDENTITY\" }]",
    )
}

pub(super) async fn start(db: &TestDb) -> TestServer {
    Setup::default().workspace(|text| with_secret(&text)).start(db).await
}

async fn create_with(server: &TestServer, assistant: &str, token: &str) -> Response {
    let body = json!({ "assistant_id": assistant, "identity_token": token });
    server.request("POST", "/api/conversations").json(&body).send().await
}

/// The UUID of a new conversation of a visitor with the default assistant.
pub(super) async fn create(server: &TestServer, token: &str) -> String {
    let created = create_with(server, ASSISTANT, token).await;
    assert_eq!(created.status, 200, "{}", created.text());
    created.json()["conversation_id"].as_str().unwrap().to_owned()
}

async fn history(server: &TestServer, uuid: &str, token: &str) -> Response {
    server.request("GET", &format!("/api/conversations/{uuid}")).header(HEADER, token).send().await
}

async fn list(server: &TestServer, assistant: &str, token: &str) -> Response {
    let path = format!("/api/conversations?assistant_id={assistant}");
    server.request("GET", &path).header(HEADER, token).send().await
}

fn with(subject: &str, name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims(subject);
    claims[name] = value.into();
    claims
}

/// A conversation of an identified visitor in the platform API.
async fn read(server: &TestServer, uuid: &str) -> Value {
    let con = server.conversation_id(uuid).await;
    server.get(&format!("/v1/conversations/{con}")).await.json()["data"].clone()
}

both_backends!(
    async fn a_token_names_the_visitor_of_a_conversation_of_their_own(db: TestDb) {
        described::check_responses();
        let server = start(&db).await;
        let token = token(&with("42", "plan", "pro"));

        let (first, second) = (create(&server, &token).await, create(&server, &token).await);

        assert_ne!(first, second);
        assert_eq!(history(&server, &first, &token).await.status, 200);
        let read = read(&server, &first).await;
        assert_eq!((&read["identity"], &read["variables"]), (&json!("42"), &json!({ "plan": "pro" })));
        let listed = server.get("/v1/conversations?identity=42").await.json();
        assert_eq!(listed["data"]["items"].as_array().unwrap().len(), 2);
        let none = server.get("/v1/conversations?identity=4").await.json();
        assert_eq!(none["data"]["items"], json!([]));
        let export = format!("/v1/conversations/{}/export", read["id"].as_str().unwrap());
        let export = server.request("GET", &export).bearer(&server.keys.export).send().await;
        assert_eq!(export.json()["conversation"]["identity"], "42");
        let anonymous = history(&server, WIDGET, "nonsense").await;
        assert_eq!(anonymous.status, 200, "an anonymous conversation ignores the header");
    }
);

/// Tokens that are not valid at the default assistant, and the reasons.
fn invalid_tokens() -> Vec<(String, &'static str)> {
    let with_algorithm = |name: &str| sign(&json!({ "alg": name }), &claims("42"), SECRET);
    let unsigned = with_algorithm("none");
    let algorithm = "its algorithm is not HS256";
    let signature = "its signature was not made with an identity secret of this assistant";
    let audience = "its audience (aud) is not the id of this assistant";
    vec![
        (format!("{}.", unsigned.rsplit_once('.').unwrap().0), algorithm),
        (with_algorithm("RS256"), algorithm),
        (with_algorithm("HS512"), algorithm),
        (sign(&json!({ "alg": HS256 }), &claims("42"), NEXT_SECRET), signature),
        (token(&with("42", "exp", NOW - 60)), "it has expired (exp)"),
        (token(&with("42", "exp", NOW + 86_400 + 61)), "it expires (exp) more than 24 hours ahead"),
        (token(&with("42", "exp", "tomorrow")), "its claim 'exp' is not a time in seconds since 1970"),
        (token(&with("42", "nbf", NOW + 61)), "it is not valid yet (nbf or iat)"),
        (token(&with("42", "aud", RESTRICTED)), audience),
        (token(&with("42", "aud", json!([]))), audience),
        (token(&with("42", "sub", 42)), "its subject (sub) is not a text of 1 to 255 bytes"),
        (
            token(&with("42", "roles", json!(["a"]))),
            "its claim 'roles' is not the name of a variable with a text, a number or a boolean",
        ),
        ("nonsense".to_owned(), "it is not a signed JSON Web Token"),
        ("x".repeat(5000), "it is longer than 4096 bytes"),
        (String::new(), "it is missing"),
    ]
}

both_backends!(
    async fn other_tokens_are_refused_with_the_reason(db: TestDb) {
        described::check_responses();
        let server = start(&db).await;
        let before = server.row_counts().await;

        for (token, reason) in invalid_tokens() {
            for refused in
                [create_with(&server, ASSISTANT, &token).await, list(&server, ASSISTANT, &token).await]
            {
                let text = format!("The identity token is invalid: {reason}.");
                let expected = (401, json!({ "status": false, "error": text }));
                assert_eq!((refused.status, refused.json()), expected, "{token}");
                assert_eq!(refused.header("rejoinder-error"), Some("invalid_identity"));
            }
        }
        let without =
            server.request("GET", &format!("/api/conversations?assistant_id={ASSISTANT}")).send().await;
        let no_secret = create_with(&server, RESTRICTED, &token(&with("42", "aud", RESTRICTED))).await;

        assert_eq!((without.status, without.header("rejoinder-error")), (401, Some("invalid_identity")));
        assert!(no_secret.status == 401 && no_secret.text().contains("has no identity secret"));
        let no_assistant = server.request("GET", "/api/conversations").send().await;
        assert_eq!(no_assistant.status, 422, "{}", no_assistant.text());
        assert_eq!(server.row_counts().await, before);
    }
);

/// Each request of the widget API that finds a conversation by its UUID.
fn requests(server: &TestServer, uuid: &str) -> Vec<Request> {
    let path = |end: &str| format!("/api/conversations/{uuid}{end}");
    let chat = json!({ "id": uuid, "messages": [{ "role": "user", "content": "Hi" }] });
    vec![
        server.request("GET", &path("")),
        server.request("GET", &path("?after=msg_1")),
        server.post_message(uuid, "Hi"),
        server.post_message(uuid, "Hi").header("accept", "text/event-stream"),
        server.request("POST", &path("/cancel")).json(&json!({})),
        server.request("POST", "/api/chat").json(&chat),
        server.request("GET", &format!("/api/chat/{uuid}/stream")),
    ]
}

/// All that tells two responses apart.
fn whole(response: &Response) -> (u16, String, Vec<(String, String)>) {
    let differs = ["date", "x-request-id"];
    let headers = response.headers.iter().map(|(name, value)| (name.to_string(), format!("{value:?}")));
    let mut headers: Vec<_> = headers.filter(|(name, _)| !differs.contains(&name.as_str())).collect();
    headers.sort();
    (response.status, response.text().to_owned(), headers)
}

both_backends!(
    async fn without_their_token_the_conversation_of_a_visitor_is_unknown_on_each_route(db: TestDb) {
        let limited = "name = \"Front desk\"\nallowed_origins = [\"https://shop.example\"]";
        let edit = move |text: String| with_secret(&text).replace("name = \"Front desk\"", limited);
        let server = Setup::default().workspace(edit).start(&db).await;
        let uuid = create(&server, &token(&claims("42"))).await;
        let unknown = "7c9e6679-7425-40de-944b-e07fc1f90aff";
        let others: Vec<_> = [token(&claims("43"))]
            .into_iter()
            .chain(invalid_tokens().into_iter().map(|(token, _)| token))
            .collect();
        let tokens: Vec<Option<&str>> =
            std::iter::once(None).chain(others.iter().map(|token| Some(token.as_str()))).collect();

        for origin in ["https://shop.example", "https://evil.example"] {
            for token in &tokens {
                let identified = |request: Request| match token {
                    Some(token) => request.header(HEADER, token),
                    None => request,
                };
                let sent = requests(&server, &uuid).into_iter().zip(requests(&server, unknown));
                for (at, (request, of_unknown)) in sent.enumerate() {
                    let refused = identified(request).header("origin", origin).send().await;
                    let expected = identified(of_unknown).header("origin", origin).send().await;
                    assert_eq!(expected.status, 404, "{at}");
                    assert_eq!(whole(&refused), whole(&expected), "request {at} with {token:?}");
                }
            }
        }
        let exact = server.request("GET", &format!("/api/conversations/{uuid}")).send().await;
        assert_eq!(exact.json(), json!({ "status": false, "error": "Conversation not found" }));
        let own = server
            .request("GET", &format!("/api/conversations/{uuid}"))
            .header("origin", "https://evil.example");
        assert_eq!(own.header(HEADER, &token(&claims("42"))).send().await.status, 403);
        let with_key = server.request("GET", &format!("/api/conversations/{uuid}")).bearer(&server.keys.full);
        assert_eq!(with_key.send().await.status, 404, "a key is no visitor");
        assert_eq!(server.model.calls().all().len(), 0);
    }
);

both_backends!(
    async fn a_visitor_with_their_token_uses_each_route(db: TestDb) {
        described::check_responses();
        let server = start(&db).await;
        let token = token(&claims("42"));
        let uuid = create(&server, &token).await;

        let mut statuses = Vec::new();
        for request in requests(&server, &uuid) {
            statuses.push(request.header(HEADER, &token).send().await.status);
        }

        // The history after a message that does not exist, and no reply that is being made.
        assert_eq!(statuses, [200, 404, 200, 200, 200, 200, 204]);
        let disable = format!("/api/automate/conversations/{uuid}/disable-ai");
        let disabled = server.request("POST", &disable).bearer(&server.keys.full).send().await;
        assert_eq!(disabled.status, 200, "a key switches the AI without a token");
    }
);

/// The path of a new assistant that the API made, and its UUID.
async fn create_assistant(server: &TestServer) -> (String, String) {
    let body = json!({ "name": "Desk", "system_prompt": "You help." });
    let created = server.request("POST", "/v1/assistants").bearer(&server.keys.full).json(&body).send().await;
    let id = created.json()["data"]["assistant"]["id"].as_str().unwrap().to_owned();
    let uuid = id.parse::<AssistantId>().unwrap().0.to_string();
    (format!("/v1/assistants/{id}/identity_secrets"), uuid)
}

both_backends!(
    async fn a_secret_is_replaced_without_a_gap_and_a_removed_one_is_worthless(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let (path, assistant) = create_assistant(&server).await;
        let post = async |body: Value| {
            server.request("POST", &path).bearer(&server.keys.full).json(&body).send().await
        };
        let claims = with("42", "aud", assistant.as_str());
        let signed = |secret: &str| sign(&json!({ "alg": HS256 }), &claims, secret);

        let first = post(json!({ "secret": SECRET })).await.json()["data"].clone();
        let second =
            server.request("POST", &path).bearer(&server.keys.full).send().await.json()["data"].clone();
        let third = post(json!({})).await;
        let next = second["secret"].as_str().unwrap();

        assert_eq!(first["secret"], SECRET);
        assert!(next.starts_with("idsec_"), "{next}");
        assert_eq!((third.status, third.header("rejoinder-error")), (409, Some("conflict")));
        for bad in ["short", "with a space, which is at least 32 bytes", "x".repeat(513).as_str()] {
            assert_eq!(post(json!({ "secret": bad })).await.status, 400, "{bad}");
        }
        let listed = server.get(&path).await.json()["data"]["items"].clone();
        let ids: BTreeSet<_> =
            listed.as_array().unwrap().iter().map(|secret| secret["id"].as_str()).collect();
        assert_eq!(ids, [first["id"].as_str(), second["id"].as_str()].into());
        assert!(!listed.to_string().contains(SECRET) && !listed.to_string().contains(next));
        let uuid = create_with(&server, &assistant, &signed(SECRET)).await.json()["conversation_id"].clone();
        let uuid = uuid.as_str().unwrap();
        assert_eq!(history(&server, uuid, &signed(next)).await.status, 200);

        let id = first["id"].as_str().unwrap();
        let delete = async |id: &str| {
            server.request("DELETE", &format!("{path}/{id}")).bearer(&server.keys.full).send().await
        };
        let deleted = delete(id).await;

        assert_eq!((deleted.status, deleted.json()["data"]["id"].as_str()), (200, Some(id)));
        assert_eq!(delete(id).await.header("rejoinder-error"), Some("identity_secret_not_found"));
        assert_eq!(history(&server, uuid, &signed(SECRET)).await.status, 404);
        assert_eq!(history(&server, uuid, &signed(next)).await.status, 200);
        assert_eq!(create_with(&server, &assistant, &signed(SECRET)).await.status, 401);
        let stored = seed::contents(&db).await.join("\n");
        assert!(!stored.contains(SECRET) && !stored.contains(next), "secrets are sealed");
        let audited =
            "select count(*) from audit_log where object_kind = 'identity_secret' and object_name = 'desk'";
        assert_eq!(server.query_number(audited).await, 3);
    }
);

both_backends!(
    async fn a_secret_needs_the_scope_and_the_workspace_of_its_assistant(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (path, _) = create_assistant(&server).await;

        for (key, status) in [(&server.keys.read_only, 403), (&server.keys.other_workspace, 404)] {
            let made = server.request("POST", &path).bearer(key).send().await;
            assert_eq!(made.status, status, "{}", made.text());
        }
        let of_other = server.request("GET", &path).bearer(&server.keys.other_workspace).send().await;
        assert_eq!(of_other.status, 404);
    }
);

both_backends!(
    async fn the_secrets_of_a_file_are_changed_there_alone(db: TestDb) {
        let server = start(&db).await;
        let path = format!("/v1/assistants/{}/identity_secrets", AssistantId(ASSISTANT.parse().unwrap()));
        let uuid = create(&server, &token(&claims("42"))).await;
        let listed = server.get(&path).await.json()["data"]["items"].clone();
        let apply = async |secrets: &str| {
            let file = with_secret(&workspaces::workspace(&server.tool));
            let file = file.replace("[{ env = \"IDENTITY\" }]", secrets);
            let clock = &server.services().clock;
            workspaces::try_apply(server.db(), clock.as_ref(), &server.tool, &file).await
        };

        let made = server.request("POST", &path).bearer(&server.keys.full).send().await;
        let delete = format!("{path}/{}", listed[0]["id"].as_str().unwrap());
        let deleted = server.request("DELETE", &delete).bearer(&server.keys.full).send().await;
        assert_eq!((made.status, deleted.status), (409, 409));
        let same = apply("[{ env = \"IDENTITY\" }]").await.unwrap();
        assert!(same.changes.is_empty(), "{:?}", same.changes);
        assert_eq!(server.get(&path).await.json()["data"]["items"], listed);

        let both = apply("[{ env = \"NEXT_IDENTITY\" }, { env = \"IDENTITY\" }]").await.unwrap();
        let next = sign(&json!({ "alg": HS256 }), &claims("42"), NEXT_SECRET);
        assert_eq!(both.changes[0].to_string(), "assistant front-desk: changed identity_secrets");
        assert_eq!(history(&server, &uuid, &token(&claims("42"))).await.status, 200);
        assert_eq!(history(&server, &uuid, &next).await.status, 200);
        apply("[{ env = \"NEXT_IDENTITY\" }]").await.unwrap();
        assert_eq!(history(&server, &uuid, &token(&claims("42"))).await.status, 404);
        assert_eq!(history(&server, &uuid, &next).await.status, 200);

        let short = apply("[{ env = \"TOKEN\" }]").await.unwrap_err().to_string();
        assert!(short.contains("identity_secrets[0]: { env = \"TOKEN\" } is not usable"), "{short}");
        let three = ["{ env = \"IDENTITY\" }"; 3].join(", ");
        let three = apply(&format!("[{three}]")).await.unwrap_err().to_string();
        assert!(three.contains("identity_secrets: more than 2 secrets"), "{three}");
    }
);

both_backends!(
    async fn claims_reach_the_prompt_and_tools_until_the_token_expires(db: TestDb) {
        let edit = |text: String| {
            let text =
                text.replace("the front desk of {{company}}.", "the desk of {{company}}/{{plan}}/{{name}}.");
            with_secret(&text).replace("/orders/{order_id}", "/orders/{{company}}/{{plan}}/{order_id}")
        };
        let server = Setup::default().workspace(edit).start(&db).await;
        let claims_of = |plan: &str, seconds: i64| {
            let mut claims = with("42", "exp", NOW + seconds);
            claims["plan"] = plan.into();
            claims["company"] = "evil".into();
            claims["name"] = "<Ada>".into();
            token(&claims)
        };
        let first = claims_of("pro", 600);
        let uuid = create(&server, &first).await;
        let con = server.conversation_id(&uuid).await;
        let prompt = || server.model.calls().all().last().unwrap().request.last_text("system").unwrap();
        let starts = |expected: &str| {
            let prompt = prompt();
            assert!(prompt.starts_with(&format!("You are the desk of {expected}.\n\nToday is ")), "{prompt}");
        };
        let send = async |token: &str| {
            let sent = server.post_message(&uuid, "Hi").header(HEADER, token).send().await;
            assert_eq!(sent.status, 200, "{}", sent.text());
        };

        let call = ToolCall::new("get_order_status", &json!({ "order_id": "7" }));
        server.model.script().queue([Reply::tool_calls([call]), Reply::text("Done.")]);
        send(&first).await;
        starts("Demo Ltd/pro/<Ada>");
        let called = server.tool.calls().all().last().unwrap().request.uri.path().to_owned();
        assert_eq!(called, "/orders/Demo%20Ltd/pro/7", "the operator's own variable stays");
        let history = history(&server, &uuid, &first).await.json();
        assert_eq!(history["history"][0]["content"], "Hello <Ada>!");
        assert_eq!(history["variables"], json!({}), "claims are no variables of the visitor");

        send(&claims_of("free", 300)).await;
        starts("Demo Ltd/pro/<Ada>");
        send(&claims_of("team", 700)).await;
        starts("Demo Ltd/team/<Ada>");
        server.advance_clock(&db, Duration::from_secs(700)).await;
        let count = server.messages(&con).await.len();
        let body = json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi" });
        assert_eq!(server.enqueue(body.to_string()).send().await.status, 200);
        server.wait_for_messages(&con, count + 2).await;
        starts("Demo Ltd//");
        send(&claims_of("late", 4_000)).await;
        starts("Demo Ltd/late/<Ada>");
    }
);

both_backends!(
    async fn a_visitor_finds_their_conversations_on_each_device(db: TestDb) {
        described::check_responses();
        let server = start(&db).await;
        let (phone, desktop) = (token(&claims("42")), token(&with("42", "exp", NOW + 60)));
        let older = create(&server, &phone).await;
        server.advance_clock(&db, Duration::from_secs(1)).await;
        let newer = create(&server, &desktop).await;
        create(&server, &token(&claims("43"))).await;
        server.create_conversation().await;
        server.advance_clock(&db, Duration::from_secs(1)).await;
        server.model.script().queue([Reply::text(&"ü".repeat(200))]);
        let sent = server.post_message(&older, "Hi").header(HEADER, &phone).send().await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        let end = format!("/v1/conversations/{}", server.conversation_id(&newer).await);
        server.advance_clock(&db, Duration::from_secs(1)).await;
        let end = server.request("PATCH", &end).bearer(&server.keys.full).json(&json!({ "ended": true }));
        assert_eq!(end.send().await.status, 200);

        let listed = list(&server, ASSISTANT, &desktop).await;
        let id = AssistantId(ASSISTANT.parse().unwrap()).to_string();

        let expected = json!({ "status": true, "conversations": [
            {
                "conversation_id": newer, "created_at": "2026-03-15T14:22:12Z", "updated_at": "2026-03-15T14:22:14Z",
                "ended": true, "preview": "Hello !",
            },
            {
                "conversation_id": older, "created_at": "2026-03-15T14:22:11Z", "updated_at": "2026-03-15T14:22:13Z",
                "ended": false, "preview": format!("{}…", "ü".repeat(119)),
            },
        ]});
        assert_eq!((listed.status, listed.json()), (200, expected));
        assert_eq!(list(&server, &id, &phone).await.json(), listed.json());
        let stranger = list(&server, ASSISTANT, &token(&claims("44"))).await;
        assert_eq!(stranger.json(), json!({ "status": true, "conversations": [] }));
        let other_key = format!("/api/conversations?assistant_id={ASSISTANT}");
        let other_key = server.request("GET", &other_key).bearer(&server.keys.other_workspace);
        assert_eq!(other_key.header(HEADER, &phone).send().await.status, 404);
    }
);

both_backends!(
    async fn a_wrong_token_counts_like_any_request(db: TestDb) {
        let setup = Setup::default().with_limits().env("REJOINDER_LIMITS__PER_ADDRESS", "3/hour");
        let server = setup.workspace(|text| with_secret(&text)).start(&db).await;

        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(list(&server, ASSISTANT, "nonsense").await.status);
        }

        assert_eq!(statuses, [401, 401, 401, 429]);
    }
);
