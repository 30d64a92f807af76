//! The key that encrypts stored secrets.

use std::process::Stdio;

use serde_json::{Value, json};

use super::{Program, UNDO_FROM_11, change};
use crate::support::binary::ProcessOutput;
use crate::support::db::{Backend, both_backends};
use crate::support::fake_tool::FakeTool;

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// Its endpoint has a secret.
const WORKSPACE: &str = r#"
[workspace]
slug = "shop"
name = "Shop"

[[webhook_endpoints]]
slug = "crm"
url = "https://crm.example/hook"
"#;

/// Its endpoint, its tool and its assistant's version have secrets.
const WORKSPACE_WITH_TOOL: &str = r#"
[workspace]
slug = "shop"
name = "Shop"
allow_hosts = ["@HOST@"]

[[assistants]]
slug = "desk"
name = "Desk"
system_prompt = "You answer."
tools = ["orders"]

[[tools]]
slug = "orders"
kind = "webhook"
description = "Looks up an order"
method = "GET"
url = "@URL@"
headers = { authorization = { env = "ORDERS_TOKEN" } }

[[webhook_endpoints]]
slug = "crm"
url = "https://crm.example/hook"
"#;
const TOKEN: &str = "Bearer s3cret";

both_backends!(
    async fn another_key_or_none_is_refused_until_it_is_accepted(db: TestDb) {
        let program = Program::on(&db);
        let with_key = program.with("REJOINDER_SECRET_KEY", KEY);
        let with_other = program.with("REJOINDER_SECRET_KEY", OTHER_KEY);

        with_key.serve_once().await;
        let wrong = with_other.refusal("secret_key");
        let missing = program.refusal("secret_key");
        std::fs::write(with_other.sandbox.path().join("w.toml"), WORKSPACE).unwrap();
        let applied = with_other.run(&["apply", "w.toml"]);
        let accepted = with_other.run(&["migrate", "--accept-new-secret-key"]);

        assert!(
            wrong.contains("secret key in REJOINDER_SECRET_KEY is not the key of this database"),
            "{wrong}"
        );
        assert!(missing.contains("the secret key of this database is missing"), "{missing}");
        assert!(missing.contains("REJOINDER_SECRET_KEY_FILE"), "{missing}");
        assert!(!program.sandbox.path().join("data/secret.key").exists(), "no key was created");
        assert!(applied.stderr.contains("is not the key of this database"), "{}", applied.stderr);
        assert!(accepted.status.success(), "{}", accepted.stderr);
        with_other.serve_once().await;
        assert!(with_key.refusal("secret_key").contains("is not the key of this database"));
    }
);

both_backends!(
    async fn secrets_of_an_older_version_are_refused_until_that_is_accepted(db: TestDb) {
        let program = Program::on(&db);
        let with_key = program.with("REJOINDER_SECRET_KEY", KEY);
        std::fs::write(with_key.sandbox.path().join("w.toml"), WORKSPACE).unwrap();
        let applied = with_key.run(&["apply", "w.toml"]);
        assert!(applied.status.success(), "{}", applied.stderr);
        let undo = "delete from _sqlx_migrations where version > 8; alter table messages drop column is_stopped; \
            alter table messages drop column earlier_texts; alter table cancellations drop column is_stop; \
            alter table turns drop column is_stop_requested; alter table turns drop column stream_process; \
            drop table seal_keys; \
            create table seal_check (id integer primary key, sealed text not null); \
            insert into seal_check values (1, 'AAAA'); update webhook_endpoints set secret = 'AAAA'; \
            update schema_floor set oldest_binary = 1";
        change(&db, &program, UNDO_FROM_11).await;
        change(&db, &program, undo).await;

        let refused = with_key.refusal("secret_key");
        let not_migrated = with_key.run(&["migrate"]);
        let untouched = with_key.run(&["keys", "list"]);
        let accepted = with_key.run(&["migrate", "--accept-new-secret-key"]);
        let reencrypted = with_key.run(&["reencrypt"]);

        assert!(refused.contains("encrypted by an older version"), "{refused}");
        assert!(refused.contains("rejoinder migrate --accept-new-secret-key"), "{refused}");
        assert!(not_migrated.stderr.contains("encrypted by an older version"), "{}", not_migrated.stderr);
        // The older version can go on.
        assert!(untouched.stderr.contains("migrated by an older version"), "{}", untouched.stderr);
        assert!(accepted.status.success(), "{}", accepted.stderr);
        let unreadable = "1 values stay as they are: a stored secret is not in the form of this version";
        assert!(reencrypted.stdout.contains(unreadable), "{}{}", reencrypted.stdout, reencrypted.stderr);
        with_key.serve_once().await;
    }
);

both_backends!(
    async fn a_database_without_secrets_is_migrated_from_an_older_version(db: TestDb) {
        let program = Program::on(&db);
        let with_key = program.with("REJOINDER_SECRET_KEY", KEY);
        with_key.serve_once().await;
        let undo = "delete from _sqlx_migrations where version > 8; alter table messages drop column is_stopped; \
            alter table messages drop column earlier_texts; alter table cancellations drop column is_stop; \
            alter table turns drop column is_stop_requested; alter table turns drop column stream_process; \
            drop table seal_keys; \
            create table seal_check (id integer primary key, sealed text not null); \
            insert into seal_check values (1, 'AAAA'); update schema_floor set oldest_binary = 1";
        change(&db, &program, UNDO_FROM_11).await;
        change(&db, &program, undo).await;

        with_key.serve_once().await;
    }
);

both_backends!(
    async fn a_key_is_rotated_beside_a_running_server(db: TestDb) {
        let tool = FakeTool::start().await;
        let program = Program::on(&db);
        let with = |keys: &str| {
            let mut program = program.with("REJOINDER_SECRET_KEY", keys);
            program.env.push(("ORDERS_TOKEN", TOKEN.to_owned()));
            let file =
                WORKSPACE_WITH_TOOL.replace("@HOST@", &tool.host()).replace("@URL@", &tool.url("/orders"));
            std::fs::write(program.sandbox.path().join("w.toml"), file).unwrap();
            program
        };
        let (old, new) = (with(KEY), with(OTHER_KEY));
        let (prepared, current) = (with(&format!("{KEY},{OTHER_KEY}")), with(&format!("{OTHER_KEY} {KEY}")));
        let applied = old.run(&["apply", "w.toml"]);
        assert!(applied.status.success(), "{}", applied.stderr);
        assert!(new.refusal("secret_key").contains("is not the key of this database"));
        prepared.serve_once().await;
        old.serve_once().await;

        let env: Vec<_> = current.env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = current.sandbox.start_server_with_env(&env).await;
        let created = current.run(&["keys", "create", "--workspace", "shop", "--name", "test", "--json"]);
        let created: Value = serde_json::from_str(&created.stdout).unwrap();
        let key = created["secret"].as_str().unwrap();
        let call_tool = async || {
            let listed = server.http.get("/v1/tools").bearer(key).send().await.json();
            let path = format!("/v1/tools/{}/test", listed["data"]["items"][0]["id"].as_str().unwrap());
            let tested = server.http.post(&path, &json!({ "arguments": {} })).bearer(key).send().await;
            assert_eq!(tested.status, 200, "{}", tested.text());
            let calls = tool.calls().all();
            calls.last().unwrap().request.headers["authorization"].to_str().unwrap().to_owned()
        };
        assert_eq!(call_tool().await, TOKEN);
        let both = [&["reencrypt", "--json"]; 2].map(|arguments| {
            current.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        });
        let both = both.map(|child| ProcessOutput::from(child.wait_with_output().unwrap()));
        let again = current.run(&["reencrypt", "--json"]);
        assert_eq!(call_tool().await, TOKEN);
        assert!(server.terminate().await.success());

        let values = |output: &ProcessOutput| -> i64 {
            let report: Value =
                serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.stderr));
            report["values"].as_i64().unwrap()
        };
        // The tool, its endpoint, and the version of the assistant.
        assert_eq!(both.iter().map(values).sum::<i64>(), 3);
        assert_eq!(values(&again), 0);
        new.serve_once().await;
        assert!(old.refusal("secret_key").contains("is not the key of this database"));
        let unchanged = new.run(&["apply", "w.toml"]);
        assert!(unchanged.stdout.contains("no changes"), "{}{}", unchanged.stdout, unchanged.stderr);
    }
);

both_backends!(
    async fn a_start_names_the_key_that_it_lacks(db: TestDb) {
        let program = Program::on(&db);
        let with = |keys: &str| program.with("REJOINDER_SECRET_KEY", keys);
        with(KEY).serve_once().await;
        let both = with(&format!("{OTHER_KEY},{KEY}"));
        both.serve_once().await;

        let [without_new, without_old] = [KEY, OTHER_KEY].map(|key| with(key).refusal("secret_key"));
        let reencrypted = both.run(&["reencrypt"]);
        with(OTHER_KEY).serve_once().await;

        for refused in [&without_new, &without_old] {
            assert!(refused.contains("REJOINDER_SECRET_KEY lacks the key "), "{refused}");
            assert!(refused.contains("rejoinder reencrypt"), "{refused}");
        }
        assert_ne!(without_new, without_old, "each names another key");
        assert!(reencrypted.stdout.contains("No value has an earlier key"), "{}", reencrypted.stderr);
    }
);

#[tokio::test]
async fn the_lines_of_the_key_file_are_its_keys() {
    let program = Program::new();
    program.serve_once().await;
    let path = program.sandbox.path().join("data/secret.key");
    let old = std::fs::read_to_string(&path).unwrap();

    std::fs::write(&path, format!("{OTHER_KEY}\n{old}")).unwrap();
    program.serve_once().await;
    let reencrypted = program.run(&["reencrypt"]);
    std::fs::write(&path, OTHER_KEY).unwrap();
    program.serve_once().await;
    std::fs::write(&path, old).unwrap();

    assert!(reencrypted.status.success(), "{}", reencrypted.stderr);
    assert!(program.refusal("secret_key").contains("secret.key is not the key of this database"));
}

#[test]
fn malformed_keys_are_refused_without_showing_them() {
    let program = Program::new();
    let (broken, many) = (format!("{KEY},c2hvcnQ="), [KEY; 9].join(","));
    for keys in ["c2hvcnQ=", broken.as_str(), many.as_str()] {
        let refused = program.with("REJOINDER_SECRET_KEY", keys).run(&["check"]);

        assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
        assert!(refused.stdout.contains("expected 32 bytes in base64"), "{}", refused.stdout);
        assert!(!refused.stdout.contains(KEY) && !refused.stdout.contains("c2hvcnQ"), "{}", refused.stdout);
    }
}

both_backends!(
    async fn another_key_is_not_accepted_under_a_running_server(db: TestDb) {
        let program = Program::on(&db);
        let with_key = program.with("REJOINDER_SECRET_KEY", KEY);
        let env: Vec<_> = with_key.env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = with_key.sandbox.start_server_with_env(&env).await;
        let with_other = program.with("REJOINDER_SECRET_KEY", OTHER_KEY);
        let accept = || with_other.run(&["migrate", "--accept-new-secret-key"]);

        let refused = accept();
        assert!(server.terminate().await.success());
        let accepted = accept();

        let reason = match db.backend() {
            Backend::Postgres => "processes that use this database: 1; stop them first",
            Backend::Sqlite => "another server is running on this data folder",
        };
        assert!(refused.stderr.contains(reason), "{}", refused.stderr);
        assert!(accepted.status.success(), "{}", accepted.stderr);
    }
);

#[tokio::test]
async fn a_configured_key_is_named_if_the_key_file_is_the_right_one() {
    let program = Program::new();
    program.serve_once().await;

    let refused = program.with("REJOINDER_SECRET_KEY", OTHER_KEY).refusal("secret_key");

    assert!(
        refused.contains("but the one in /") && refused.contains("unset REJOINDER_SECRET_KEY"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_lost_key_file_is_not_created_anew() {
    let program = Program::new();
    program.serve_once().await;
    let key = program.sandbox.path().join("data/secret.key");
    let former = std::fs::read_to_string(&key).unwrap();
    std::fs::remove_file(&key).unwrap();

    let missing = program.refusal("secret_key");
    assert!(missing.contains(key.to_str().unwrap()), "{missing}");
    assert!(!key.exists());
    std::fs::write(&key, "short\n").unwrap();
    assert!(program.refusal("secret_key").contains("does not contain 32 bytes in base64"));
    std::fs::remove_file(&key).unwrap();
    let accepted = program.run(&["migrate", "--accept-new-secret-key"]);

    assert!(accepted.status.success(), "{}", accepted.stderr);
    assert_ne!(std::fs::read_to_string(&key).unwrap(), former);
    program.serve_once().await;
}

both_backends!(
    async fn without_a_key_the_start_says_how_to_get_one(db: TestDb) {
        let program = Program::on(&db);

        let checked = program.run(&["check"]);

        assert!(checked.status.success(), "{}", checked.stdout);
        let is_generated = db.backend() == Backend::Sqlite;
        let text = if is_generated { "the first start creates it" } else { "`openssl rand -base64 32`" };
        assert!(checked.stdout.contains(text), "{}", checked.stdout);
        if !is_generated {
            let accepted = program.run(&["migrate", "--accept-new-secret-key"]);
            assert!(accepted.stderr.contains("openssl rand -base64 32"), "{}", accepted.stderr);
        }
        program.serve_once().await;
    }
);
