//! The configuration of an MCP server's tools: listing, selection and refresh.

use serde_json::{Value, json};

use super::process::McpServer;
use super::{offered, reapply, refresh, with_mcp};
use crate::support::db::both_backends;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::v1::tools::{test, tested, tool};

/// Ordered by name.
const ALL: [&str; 9] =
    ["count", "fail", "find_customer", "huge", "picture", "say", "slow", "steps", "whoami"];

both_backends!(
    async fn the_model_is_offered_all_listed_or_only_the_allowed_tools(db: TestDb) {
        let mcp = McpServer::start().await;
        let server = with_mcp(&mcp.url(), "").start(&db).await;
        let all = offered(&server).await;
        let crm = tool(&server, "crm").await;

        let warned = reapply(&server, &mcp.url(), "").await.unwrap();
        reapply(&server, &mcp.url(), "allow = [\"say\", \"find_customer\"]").await.unwrap();

        let with_orders: Vec<_> = ALL.into_iter().chain(["get_order_status"]).collect();
        assert_eq!(all, with_orders);
        assert!(warned.changes.is_empty(), "{:?}", warned.changes);
        assert!(warned.warnings[0].contains("its tool \"not a name\" is left out"), "{:?}", warned.warnings);
        assert_eq!(offered(&server).await, ["find_customer", "say", "get_order_status"]);
        assert_eq!((&crm["kind"], &crm["url"]), (&json!("mcp"), &json!(mcp.url())));
        assert_eq!(crm["listing"]["tools"][0]["name"], "count");
        assert_eq!(crm["listing"]["listed_since"], "2026-03-15T14:22:11Z");
        assert_eq!(tool(&server, "crm").await["allow"], json!(["say", "find_customer"]));
    }
);

both_backends!(
    async fn an_unusable_server_is_refused_and_changes_nothing(db: TestDb) {
        let mcp = McpServer::start_with(&[("TOKEN", "canary-t0ken")]).await;
        let server = TestServer::start(&db).await;
        let locked = McpServer::start().await;
        let (open, gone) = (locked.url(), McpServer::start().await);
        let nobody = gone.url();
        gone.stop();
        let token = "headers = { authorization = { env = \"TOKEN\" } }";

        for (url, more, problem) in [
            (mcp.url(), String::new(), "it cannot be listed: status 401"),
            (
                mcp.url(),
                format!("{token}\nallow = [\"nothing\"]"),
                "tools[5].allow[0]: the MCP server cannot be used: it has no tool \"nothing\"; it has: count, fail, ",
            ),
            (
                open.clone(),
                "allow = [\"say\", \"nothing\"]".to_owned(),
                "tools[5].allow[1]: the MCP server cannot be used: it has no tool \"nothing\"; it has: count, fail, ",
            ),
            (nobody, String::new(), "it cannot be listed: no connection"),
            (open.clone(), "allow = []".to_owned(), "tools[5].allow: empty"),
            (open.clone(), "allow = [\"a b\"]".to_owned(), "is no name for a model"),
            (open.clone(), "name = \"crm\"".to_owned(), "the server names its tools"),
            (open.clone(), "headers = { accept = \"x\" }".to_owned(), "set by the protocol"),
            (open.clone(), "headers = { x = \"{{company}}\" }".to_owned(), "placeholders have no value here"),
            (open.clone(), "method = \"GET\"".to_owned(), "does not have it"),
            (format!("{open}/{{id}}"), String::new(), "placeholders have no value here"),
            (open.clone(), "timeout = \"31s\"".to_owned(), "is not 1 to 30 seconds"),
        ] {
            let refused = reapply(&server, &url, &more).await.unwrap_err().to_string();
            assert!(refused.contains(problem), "{problem}: {refused}");
            assert!(!refused.contains("canary"), "{refused}");
        }
        assert_eq!(offered(&server).await.len(), 5, "the assistant is unchanged");
        reapply(&server, &mcp.url(), token).await.unwrap();
    }
);

both_backends!(
    async fn two_tools_with_one_name_are_refused(db: TestDb) {
        let mcp = McpServer::start().await;
        let server = TestServer::start(&db).await;

        let twice = reapply(&server, &mcp.url(), "[[tools]]\nslug = \"say\"\nkind = \"webhook\"\ndescription = \"x\"\nurl = \"https://a.example/\"\n[[assistants]]\nslug = \"b\"\nname = \"B\"\nsystem_prompt = \"x\"\ntools = [\"say\", \"crm\"]").await;

        let text = twice.unwrap_err().to_string();
        assert_eq!(text, "assistant \"b\": both \"say\" and \"crm\" have a tool that is called say");
    }
);

both_backends!(
    async fn an_unreachable_server_keeps_its_tool_list_with_a_warning(db: TestDb) {
        let mcp = McpServer::start().await;
        let server = with_mcp(&mcp.url(), "").start(&db).await;
        let (url, port) = (mcp.url(), mcp.port());
        mcp.stop();

        let reapplied = reapply(&server, &url, "").await.unwrap();
        let narrowed = reapply(&server, &url, "allow = [\"say\"]").await.unwrap();
        let wider = reapply(&server, &url, "allow = [\"say\", \"count\"]").await.unwrap_err().to_string();
        let tried = refresh(&server).await;

        let warning = "the MCP server of tool \"crm\": it cannot be listed: no connection; the tools that it listed before are kept";
        assert_eq!((reapplied.changes.len(), reapplied.warnings), (0, vec![warning.to_owned()]));
        assert_eq!(narrowed.warnings, [warning]);
        assert_eq!(offered(&server).await, ["say", "get_order_status"]);
        assert!(wider.contains("no connection"), "{wider}");
        assert_eq!(
            tried["message"],
            "The MCP server of the tool 'crm' cannot be used: it cannot be listed: no connection. Please retry."
        );
        let _mcp = McpServer::start_with(&[("PORT", &port)]).await;
        assert_eq!(
            reapply(&server, &url, "").await.unwrap().warnings.len(),
            1,
            "only about the invalid name"
        );
    }
);

both_backends!(
    async fn a_refresh_adds_new_tools_and_removes_missing_ones(db: TestDb) {
        let mcp = McpServer::start().await;
        let server = with_mcp(&mcp.url(), "").start(&db).await;
        let port = mcp.port();
        let same = refresh(&server).await["data"].clone();
        mcp.stop();
        let mcp = McpServer::start_with(&[("PORT", &port), ("EXTRA", "1")]).await;
        let versions = server.query_number("select count(*) from assistant_versions").await;

        let more = refresh(&server).await["data"].clone();
        let again = refresh(&server).await["data"].clone();

        assert_eq!(
            (&same["changed"], &more["changed"], &again["changed"]),
            (&json!(false), &json!(true), &json!(false))
        );
        assert_eq!(server.query_number("select count(*) from assistant_versions").await, versions + 1);
        let audited = "select count(*) from audit_log where object_kind = 'tool' and object_name = 'crm' \
            and route = 'POST /v1/tools/{id}/refresh' and fields_after like '%\"extra\"%' \
            and fields_before not like '%\"extra\"%'";
        assert_eq!(server.query_number(audited).await, 1, "only a refresh that changes the list is audited");
        let mut with_extra: Vec<_> = ALL.into_iter().chain(["extra"]).collect();
        with_extra.sort_unstable();
        with_extra.push("get_order_status");
        assert_eq!(offered(&server).await, with_extra);
        let called = tested(&server, "crm", &json!({ "name": "extra" })).await;
        assert_eq!(called["result"], json!({ "result": "extra" }));
        mcp.stop();
        let _mcp = McpServer::start_with(&[("PORT", &port)]).await;
        assert_eq!(refresh(&server).await["data"]["changed"], true);
        assert_eq!(offered(&server).await.len(), ALL.len() + 1);
    }
);

both_backends!(
    async fn a_refresh_respects_the_allowed_tools(db: TestDb) {
        let mcp = McpServer::start_with(&[("EXTRA", "1")]).await;
        let server = with_mcp(&mcp.url(), "allow = [\"say\", \"extra\"]").start(&db).await;
        let port = mcp.port();
        mcp.stop();
        let _mcp = McpServer::start_with(&[("PORT", &port)]).await;

        let less = refresh(&server).await["data"].clone();

        assert_eq!(less["warnings"], json!(["it has no tool \"extra\""]));
        assert_eq!(less["tool"]["listing"]["missing"], json!(["extra"]));
        assert_eq!(offered(&server).await, ["say", "get_order_status"]);
    }
);

both_backends!(
    async fn a_test_call_names_the_tool_of_the_server(db: TestDb) {
        let mcp = McpServer::start().await;
        let server = with_mcp(&mcp.url(), "allow = [\"say\", \"count\"]").start(&db).await;

        let called = tested(&server, "crm", &json!({ "name": "say", "arguments": { "text": "hi" } })).await;
        let which = test(&server, "crm", &json!({ "arguments": { "text": "hi" } })).await;
        let none = test(&server, "crm", &json!({ "name": "fail" })).await;

        assert_eq!(called["result"], json!({ "result": "You said: hi" }));
        assert_eq!(called.get("request"), None::<&Value>);
        assert_eq!(
            (which.status, which.json()["message"].as_str()),
            (409, Some("Field 'name' is required: which of count, say?"))
        );
        assert_eq!(
            (none.status, none.json()["message"].as_str()),
            (409, Some("Field 'name' must be one of: count, say."))
        );
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_mcp_tool_can_be_refreshed() {
    let db = store::sqlite().await;
    let server = Setup::default().start(&db).await;
    let id = tool(&server, "orders").await["id"].as_str().unwrap().to_owned();

    let path = format!("/v1/tools/{id}/refresh");
    let answer = server.request("POST", &path).bearer(&server.keys.full).send().await;

    let text = "The tool 'orders' has no list: it is of no MCP server.";
    assert_eq!((answer.status, answer.json()["message"].as_str()), (409, Some(text)));
}
