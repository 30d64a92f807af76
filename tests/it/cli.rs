//! The command line.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::binary::{ProcessOutput, Sandbox, ServerProcess};
use crate::support::fake_tool::{FakeTool, ToolReply};
use crate::support::http::Response;
use crate::support::wait::wait_for;

/// The `curl` commands of the banner, with their continuation lines.
fn curls(banner: &str) -> Vec<String> {
    let joined = banner.replace("\\\n", " ");
    joined.lines().map(str::trim).filter(|line| line.starts_with("curl ")).map(str::to_owned).collect()
}

/// Runs a command line in a shell, and returns its standard output.
fn paste(sandbox: &Sandbox, line: &str) -> Value {
    let shell = Command::new("sh").args(["-c", line]).current_dir(sandbox.path()).output().unwrap();
    let text = String::from_utf8(shell.stdout).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?} of {line}"))
}

async fn balance(server: &ServerProcess, key: &str) -> Response {
    server.http.get("/v1/balance").bearer(key).send().await
}

fn demo_key(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.path().join("data/demo.key")).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_demo_banner_prints_requests_that_work_as_pasted() {
    let sandbox = Sandbox::new();
    let server = sandbox.start_server().await;

    assert!(server.banner.contains("the built-in demonstration answers"), "{}", server.banner);
    assert!(!server.banner.contains(&demo_key(&sandbox)), "standard output may be a journal");
    let [widget, platform] = &curls(&server.banner)[..] else { panic!("{}", server.banner) };
    let widget = paste(&sandbox, widget);
    let platform = paste(&sandbox, platform);

    assert_eq!((&widget["status"], widget.get("error")), (&json!(true), None), "{widget}");
    assert!(!widget["message"].as_str().unwrap().is_empty());
    assert_eq!(platform["status"], "success", "{platform}");
    assert_eq!(platform["data"]["message"]["text"], "Hello from curl!");
    assert_eq!(platform["data"]["auto_reply_enqueued"], true);
    let question = json!({ "message": "What times are free for a demo next week?" });
    let path = "/api/conversations/7c9e6679-7425-40de-944b-e07fc1f90ae7/messages";
    let answer = server.http.post(path, &question).send().await.json();
    let call = &answer["function_calls"][0];
    assert_eq!(call["name"], "check_calendar_availability", "{answer}");
    assert!(!call["result"]["available_slots"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_on_all_interfaces_prints_an_address_to_connect_to_and_counts_from_its_start() {
    let sandbox = Sandbox::new();
    let env = [("REJOINDER_LISTEN", "0.0.0.0:0"), ("REJOINDER_DEMO", "true")];
    let server = sandbox.start_server_with_env(&env).await;

    let answer = server.http.get("/metrics").send().await;
    let metrics = answer.text();

    assert!(server.banner.contains("listens on http://127.0.0.1:"), "{}", server.banner);
    assert!(!server.banner.contains("0.0.0.0"), "{}", server.banner);
    let build = format!("rejoinder_build_info{{version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(metrics.contains(&build), "{metrics}");
    for counter in [
        "rejoinder_panics_total 0",
        "rejoinder_turn_takeovers_total 0",
        r#"rejoinder_turns_ended_total{api="platform",state="failed"} 0"#,
        r#"rejoinder_model_tokens_total{connection="default",kind="output"} 0"#,
        r#"rejoinder_deliveries_ended_total{state="failed"} 0"#,
        r#"rejoinder_passages_embedded_total{outcome="refused"} 0"#,
    ] {
        assert!(metrics.lines().any(|line| line == counter), "{counter} in {metrics}");
    }
}

#[tokio::test]
async fn a_data_folder_has_one_server_at_a_time() {
    let sandbox = Sandbox::new();
    let first = sandbox.start_server().await;
    let key = demo_key(&sandbox);

    let refused = sandbox.run(&["serve"]);
    let ended = first.terminate().await;
    let again = sandbox.start_server().await;

    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("another server is running on this data folder"), "{}", refused.stderr);
    assert_eq!(ended.code(), Some(0), "SIGTERM is a clean exit");
    assert!(again.banner.contains("data/demo.key") && !again.banner.contains(&key), "{}", again.banner);
    assert_eq!(balance(&again, &key).await.status, 200, "the stored data is still there");
}

#[tokio::test]
async fn a_key_created_by_the_cli_works_until_it_is_revoked() {
    let sandbox = Sandbox::new();
    let server = sandbox.start_server().await;

    let arguments =
        ["keys", "create", "--workspace", "demo", "--name", "Back end", "--expires-in", "30d", "--json"];
    let created = sandbox.run(&arguments);
    let created: Value = serde_json::from_str(&created.stdout).unwrap();
    let (key, id) = (created["secret"].as_str().unwrap(), created["id"].as_str().unwrap());
    assert_eq!(balance(&server, key).await.status, 200);
    let listed: Value = serde_json::from_str(&sandbox.run(&["keys", "list", "--json"]).stdout).unwrap();
    let found = listed.as_array().unwrap().iter().find(|listed| listed["id"] == id).unwrap();
    let revoked = sandbox.run(&["keys", "revoke", id]);
    let begun = std::time::Instant::now();
    wait_for("the key to open nothing", async || (balance(&server, key).await.status == 401).then_some(()))
        .await;

    assert!(begun.elapsed().as_secs() <= 5);
    assert!(revoked.status.success(), "{}", revoked.stderr);
    assert_eq!((&found["workspace"], &found["name"]), (&json!("demo"), &json!("Back end")));
    assert!(key.starts_with(found["prefix"].as_str().unwrap()) && !listed.to_string().contains(key));
}

#[tokio::test]
async fn an_operators_key_created_by_the_cli_works_until_it_is_revoked() {
    let sandbox = Sandbox::new();
    let server = sandbox.start_server().await;
    let list = async |key: &str| server.http.get("/operator/v1/workspaces").bearer(key).send().await.status;

    let created = sandbox.run(&["operator", "keys", "create", "--name", "Billing", "--json"]);
    let created: Value = serde_json::from_str(&created.stdout).unwrap();
    let (key, id) = (created["secret"].as_str().unwrap(), created["id"].as_str().unwrap());
    assert_eq!((list(key).await, list(&demo_key(&sandbox)).await), (200, 401));
    let listed = sandbox.run(&["operator", "keys", "list"]);
    let revoked = sandbox.run(&["operator", "keys", "revoke", id]);
    wait_for("the key to open nothing", async || (list(key).await == 401).then_some(())).await;

    assert!(key.starts_with("op_"), "{key}");
    assert!(listed.stdout.contains(id) && !listed.stdout.contains(key), "{}", listed.stdout);
    assert!(revoked.status.success(), "{}", revoked.stderr);
    let unknown = sandbox.run(&["operator", "keys", "revoke", "opk_00000000000000000000000000"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(unknown.stderr.contains("there is no operator's key opk_"), "{}", unknown.stderr);
}

#[tokio::test]
async fn credit_is_added_once_for_each_reference() {
    let sandbox = Sandbox::new();
    let server = sandbox.start_server().await;
    let key = demo_key(&sandbox);

    for _ in 0..2 {
        let given = sandbox.run(&["credit", "demo", "5.00", "--reference", "invoice-1042"]);
        assert!(given.status.success(), "{}", given.stderr);
    }
    let other = sandbox.run(&["credit", "demo", "7.00", "--reference", "invoice-1042"]);
    let nothing = sandbox.run(&["credit", "demo", "0"]);
    let unnamed = sandbox.run(&["credit", "demo", "0.50"]);
    let unknown = sandbox.run(&["credit", "nobody", "1.00"]);

    assert_eq!((other.status.code(), nothing.status.code()), (Some(1), Some(1)));
    assert!(other.stderr.contains("for 5.00"), "{}", other.stderr);
    assert!(unnamed.stderr.contains("reference: "), "{}", unnamed.stderr);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(unknown.stderr.contains("nobody"), "{}", unknown.stderr);
    assert_eq!(balance(&server, &key).await.json()["data"]["balance"], "15.50");
}

#[tokio::test]
async fn a_workspace_file_is_dry_run_and_applied_while_a_server_runs() {
    let sandbox = Sandbox::new();
    let server = sandbox.start_server().await;
    let file = "[workspace]\nslug = \"shop\"\nname = \"Shop\"\nbalance = \"1.00\"\n";
    std::fs::write(sandbox.path().join("shop.toml"), file).unwrap();

    let tried = sandbox.run(&["apply", "shop.toml", "--dry-run"]);
    let no_key = sandbox.run(&["keys", "create", "--workspace", "shop", "--name", "x"]);
    let applied = sandbox.run(&["apply", "shop.toml"]);
    let mut again = sandbox.command(&["apply", "-"]);
    again.stdin(std::fs::File::open(sandbox.path().join("shop.toml")).unwrap());
    let again = ProcessOutput::from(again.output().unwrap());
    let created = sandbox.run(&["keys", "create", "--workspace", "shop", "--name", "x", "--json"]);

    let copied = concat!(env!("CARGO_MANIFEST_DIR"), "/config/demo/workspace.toml");
    let copied = std::fs::read_to_string(copied).unwrap().replace("slug = \"demo\"", "slug = \"copy\"");
    std::fs::write(sandbox.path().join("copy.toml"), copied).unwrap();
    let copied = sandbox.run(&["apply", "copy.toml"]);
    assert_eq!(copied.status.code(), Some(1));
    assert!(copied.stderr.contains("give it another id, or leave it out"), "{}", copied.stderr);
    assert!(tried.stdout.contains("this was a dry run"), "{}{}", tried.stdout, tried.stderr);
    assert_eq!(no_key.status.code(), Some(1), "a dry run creates nothing");
    assert!(applied.status.success(), "{}", applied.stderr);
    assert!(again.stdout.contains("no changes"), "{}", again.stdout);
    let created: Value = serde_json::from_str(&created.stdout).unwrap();
    let opening = balance(&server, created["secret"].as_str().unwrap()).await;
    assert_eq!(opening.json()["data"]["balance"], "1.00");
    std::fs::write(sandbox.path().join("bad.toml"), format!("{file}colour = \"red\"\n")).unwrap();
    let refused = sandbox.run(&["apply", "bad.toml"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stderr.contains("colour") && refused.stderr.contains('5'),
        "names the key and line: {}",
        refused.stderr
    );
}

#[test]
fn check_reports_the_state_of_each_part() {
    let sandbox = Sandbox::new();

    let good = sandbox.run(&["check"]);
    let mut bad = sandbox.command(&["check", "--json"]);
    bad.env("OPENAI_BASE_URL", "http://127.0.0.1:1/v1").env("OPENAI_MODEL", "x");
    bad.env("REJOINDER_EMBEDDINGS__BASE_URL", "http://127.0.0.1:1/v1")
        .env("REJOINDER_EMBEDDINGS__MODEL", "e");
    bad.env("REJOINDER_CONNECTIONS__SPARE__BASE_URL", "http://127.0.0.1:1/spare");
    let bad = bad.output().unwrap();

    assert!(good.status.success(), "{}{}", good.stdout, good.stderr);
    assert!(good.stdout.contains("model: the built-in demonstration"), "{}", good.stdout);
    assert!(good.stdout.contains("embeddings: none configured"), "{}", good.stdout);
    assert_eq!(bad.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert_eq!(
        (&report["model"]["ok"], &report["configuration"]["ok"]),
        (&json!(false), &json!(true)),
        "{report}"
    );
    let unavailable = "The model is unavailable (http://127.0.0.1:1/v1/";
    let detail = |part: &str| report[part]["detail"].as_str().unwrap().to_owned();
    assert!(detail("model").starts_with(&format!("127.0.0.1: {unavailable}models “")), "{report}");
    let spare = "127.0.0.1: The model is unavailable (http://127.0.0.1:1/spare/models “";
    assert!(detail("connections.spare").starts_with(spare), "{report}");
    assert!(
        detail("embeddings").starts_with(&format!("127.0.0.1, for e: {unavailable}embeddings “")),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_warns_about_a_model_that_its_endpoint_does_not_list() {
    let (sandbox, endpoint) = (Sandbox::new(), FakeTool::start().await);
    endpoint.script().respond_with(|_| ToolReply::json(&json!({ "data": [{ "id": "large" }] })));
    let check = |model: &str| {
        let mut command = sandbox.command(&["check"]);
        let command = command.env("OPENAI_BASE_URL", endpoint.url("/v1")).env("OPENAI_MODEL", model);
        ProcessOutput::from(command.output().unwrap())
    };

    let (listed, other) = (check("large"), check("small"));
    let without_endpoint = sandbox.command(&["check"]).env("OPENAI_MODEL", "large").output().unwrap();

    assert!(listed.stdout.contains("model: 127.0.0.1 reached, for large\n"), "{}", listed.stdout);
    let warning = "reached, for small; warning: its list of models does not contain it";
    assert!(other.status.success() && other.stdout.contains(warning), "{}", other.stdout);
    let without_endpoint = ProcessOutput::from(without_endpoint);
    assert_eq!(without_endpoint.status.code(), Some(1));
    assert!(
        without_endpoint.stdout.contains("OPENAI_MODEL (model.model) is set, so "),
        "{}",
        without_endpoint.stdout
    );
}

#[test]
fn check_reports_an_unreachable_postgresql_once_and_at_once() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["check", "--json"]);
    command.env("DATABASE_URL", "postgres://127.0.0.1:1/x").env("REJOINDER_MODEL__KIND", "offline");

    let begun = std::time::Instant::now();
    let ended = command.output().unwrap();

    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let detail = report["store"]["detail"].as_str().unwrap();
    assert!(begun.elapsed().as_secs() < 3, "a pool would have waited");
    assert!(detail.starts_with("PostgreSQL 127.0.0.1:1 (database x, user "), "{report}");
    assert_eq!(detail.matches("refused").count(), 1, "{report}");
    assert!(detail.contains("no server listens there"), "{report}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_data_folder_is_private_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;

    let sandbox = Sandbox::new();
    let _server = sandbox.start_server().await;

    let mode = std::fs::metadata(sandbox.path().join("data")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn an_unknown_or_invalid_setting_fails_the_start_with_its_name() {
    let sandbox = Sandbox::new();

    for (name, value, message) in [
        ("REJOINDER_TURN__DEADLIN", "1s", "REJOINDER_TURN__DEADLIN"),
        ("REJOINDER_TURN__DEADLINE", "soon", "REJOINDER_TURN__DEADLINE"),
    ] {
        let ended = sandbox.command(&["serve"]).env(name, value).output().unwrap();
        let err = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1));
        assert!(err.contains(message), "{err}");
    }
    std::fs::write(sandbox.path().join("rejoinder.toml"), "[turn]\nspeed = 1\n").unwrap();
    let ended = sandbox.run(&["serve"]);
    assert!(ended.stderr.contains("speed"), "{}", ended.stderr);
    let checked = sandbox.run(&["check", "--json"]);
    assert_eq!(checked.status.code(), Some(1));
    let report: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(report["configuration"]["ok"], false, "{report}");
    assert!(report["configuration"]["detail"].as_str().unwrap().contains("speed"), "{report}");
    assert!(!sandbox.path().join("data").exists(), "nothing was started");
}

#[test]
fn postgresql_without_a_model_is_refused_with_the_missing_settings() {
    let sandbox = Sandbox::new();

    let ended = sandbox.command(&["serve"]).env("DATABASE_URL", "postgres://127.0.0.1:1/x").output().unwrap();

    let err = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(err.contains("OPENAI_API_KEY") && err.contains("OPENAI_BASE_URL"), "{err}");
}

#[test]
fn a_document_is_extracted_without_configuration_and_database() {
    let sandbox = Sandbox::new();
    let read = |format: &str, page: &str| {
        std::fs::write(sandbox.path().join("page"), page).unwrap();
        let mut command = sandbox.command(&["read-document", "--format", format]);
        command.env("DATABASE_URL", "postgres://127.0.0.1:1/x").env("REJOINDER_TURN__DEADLIN", "wrong");
        let page = std::fs::File::open(sandbox.path().join("page")).unwrap();
        let ended = command.stdin(page).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap())
    };

    assert_eq!(read("html", "<h1>A</h1><p>b"), (Some(0), "# A\n\nb".to_owned()));
    assert_eq!(read("html", "<script>a</script>"), (Some(3), "has no text in it".to_owned()));
    assert_eq!(read("pdf", "%PDF-1.7 no more").0, Some(3));
    assert_eq!(read("doc", ""), (Some(2), String::new()));
    assert!(!sandbox.path().join("data").exists(), "nothing was started");
}
