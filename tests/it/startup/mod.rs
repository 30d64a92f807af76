//! The start: `check` fails where `serve` would, only `serve` and `migrate` create a store, another key is noticed, and
//! errors say what to do.

mod certificates;
mod connections;
mod keys;
mod upgrades;

use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::support::binary::{ProcessOutput, Sandbox};
use crate::support::db::{Backend, Template, TestDb, both_backends};
use crate::support::store;
use rejoinder::store::Conn;

/// A database without tables.
const EMPTY: Template = Template { name: "empty", migrate: |_| Box::pin(async { Ok(()) }) };

/// Takes the migrations from 11 on back. That of the bookings may be run again.
const UNDO_FROM_11: &str = "delete from _sqlx_migrations where version > 10; \
    drop index conversations_by_identity; drop index conversations_of_identity; drop table identity_secrets; \
    alter table conversations drop column identity; alter table conversations drop column identity_variables; \
    alter table conversations drop column identity_expires_at; \
    alter table messages drop column rating; alter table messages drop column rating_comment; drop table typing; \
    drop table usage_counts; drop table usage_positions; alter table turns drop column api_key_id; \
    drop table operator_keys; drop index workspaces_suspended; alter table workspaces drop column from_file; \
    alter table workspaces drop column suspended_at; alter table workspaces drop column deleted_at; \
    alter table workspaces drop column removed_at; drop index api_keys_by_previous_hash; \
    alter table api_keys drop column previous_hash; alter table api_keys drop column previous_until; \
    drop table erasures; alter table workspaces drop column retention_conversations; \
    alter table workspaces drop column retention_journals; alter table workspaces drop column retention_bookings; \
    drop index conversations_to_erase; drop index conversations_deleted; \
    alter table conversations drop column erasure_id; alter table conversations drop column erased_at; \
    drop index messages_by_sender; drop index bookings_to_erase; drop index bookings_by_end; \
    alter table bookings drop column erased_at; drop index idempotency_of_conversation; \
    alter table idempotency drop column conversation_id; \
    drop table message_index; drop table if exists message_search; drop table message_index_state; \
    drop index turns_of_conversation; alter table turns drop column retried_by; \
    drop index conversations_by_update; alter table conversations drop column updated_at; drop table audit_log; \
    update schema_floor set oldest_binary = 2";

/// A sandbox whose program uses the test's database.
struct Program {
    sandbox: Sandbox,
    env: Vec<(&'static str, String)>,
}

impl Program {
    /// On SQLite, the database is moved into the data folder.
    fn on(db: &TestDb) -> Self {
        let sandbox = Sandbox::new();
        let mut env =
            vec![("REJOINDER_MODEL__KIND", "offline".to_owned()), ("REJOINDER_DEMO", "true".to_owned())];
        match db.backend() {
            Backend::Postgres => env.push(("DATABASE_URL", db.url())),
            Backend::Sqlite => {
                let data = sandbox.path().join("data");
                std::fs::create_dir(&data).unwrap();
                std::fs::rename(db.url().trim_start_matches("sqlite://"), data.join("rejoinder.db")).unwrap();
            }
        }
        Self { sandbox, env }
    }

    /// Without a database, on SQLite.
    fn new() -> Self {
        Self { sandbox: Sandbox::new(), env: Vec::new() }
    }

    fn with(&self, name: &'static str, value: &str) -> Self {
        let sandbox = Sandbox::new();
        // The same folder under another name.
        let data = self.sandbox.path().join("data").to_str().unwrap().to_owned();
        let changed = [("REJOINDER_DATA_DIR", data), (name, value.to_owned())];
        let env = self.env.iter().cloned().chain(changed).collect();
        Self { sandbox, env }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(arguments);
        command.envs(self.env.iter().map(|(name, value)| (*name, value)));
        command
    }

    fn run(&self, arguments: &[&str]) -> ProcessOutput {
        self.command(arguments).output().unwrap().into()
    }

    /// Starts a server, waits until it is ready, and stops it.
    async fn serve_once(&self) {
        let env: Vec<_> = self.env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = self.sandbox.start_server_with_env(&env).await;
        assert_eq!(server.terminate().await.code(), Some(0));
    }

    /// The error of `serve`, which `check` reports for its `part` too.
    fn refusal(&self, part: &str) -> String {
        let served = self.run(&["serve"]);
        let checked = self.run(&["check", "--json"]);
        assert_eq!((served.status.code(), checked.status.code()), (Some(1), Some(1)), "{}", checked.stdout);
        let report: Value = serde_json::from_str(&checked.stdout).unwrap();
        assert_eq!(report[part]["ok"], false, "{report}");
        let error = served.stderr.rsplit("error: ").next().unwrap().trim().to_owned();
        let detail = report[part]["detail"].as_str().unwrap();
        let common = error.rsplit(": ").next().unwrap();
        assert!(detail.contains(common), "serve: {error}\ncheck: {detail}");
        error
    }
}

async fn execute(db: &TestDb, file: Option<&str>, statement: &'static str) {
    let store = match file {
        Some(file) => store::open_url(&format!("sqlite://{file}")).await,
        None => store::open(db).await,
    };
    let mut tx = store.begin().await.unwrap();
    let statement = sqlx::raw_sql(AssertSqlSafe(statement));
    match tx.conn() {
        Conn::Postgres(conn) => drop(statement.execute(conn).await.unwrap()),
        Conn::Sqlite(conn) => drop(statement.execute(conn).await.unwrap()),
    }
    tx.commit().await.unwrap();
    store.close().await;
}

/// The database of a program on the test's database.
async fn change(db: &TestDb, program: &Program, statement: &'static str) {
    let file = program.sandbox.path().join("data/rejoinder.db");
    let file = (db.backend() == Backend::Sqlite).then(|| file.to_str().unwrap());
    execute(db, file, statement).await;
}

#[test]
fn an_operator_address_in_use_fails_the_start_and_the_check() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let mut program = Program::new();
    program.env.push(("REJOINDER_OPERATOR__LISTEN", address.clone()));

    let error = program.refusal("listen");

    assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
    assert!(error.ends_with("(REJOINDER_OPERATOR__LISTEN)"), "{error}");
}

#[test]
fn an_address_in_use_fails_the_start_and_the_check() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let mut program = Program::new();
    program.env.push(("REJOINDER_LISTEN", address.clone()));

    let error = program.refusal("listen");
    let foreign = {
        program.env.pop();
        program.env.push(("REJOINDER_LISTEN", "192.0.2.1:80".to_owned()));
        program.refusal("listen")
    };

    assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
    assert!(error.contains("another program"), "{error}");
    assert!(foreign.contains("no network interface"), "{foreign}");
    assert!(!program.sandbox.path().join("data").exists(), "nothing was created");
}

#[test]
fn an_unusable_data_folder_is_named_by_the_start_and_the_check() {
    let program = Program::new();
    std::fs::write(program.sandbox.path().join("data"), "a file").unwrap();

    let error = program.refusal("store");

    let path = program.sandbox.path().join("data");
    assert!(error.contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
}

#[test]
fn a_file_that_is_not_a_database_is_named_with_what_to_do() {
    let program = Program::new();
    let data = program.sandbox.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("rejoinder.db"), "a text ".repeat(200)).unwrap();

    let error = program.refusal("store");

    assert!(
        error.contains("rejoinder.db: it is not a database of SQLite, or it is damaged: restore it"),
        "{error}"
    );
}

#[tokio::test]
async fn a_running_server_fails_the_check_of_its_folder() {
    let program = Program::new();
    let _server = program.sandbox.start_server().await;

    let error = program.refusal("store");

    assert!(error.contains("another server is running on this data folder"), "{error}");
}

#[test]
fn commands_refuse_a_store_that_does_not_exist_and_say_where_they_looked() {
    let program = Program::new();
    std::fs::write(program.sandbox.path().join("w.toml"), "[workspace]\nslug = \"a\"\nname = \"A\"\n")
        .unwrap();
    let create = ["keys", "create", "--workspace", "a", "--name", "n"];
    let commands: [&[&str]; 4] = [&["apply", "w.toml"], &create, &["keys", "list"], &["credit", "a", "1.00"]];

    for command in commands {
        let ended = program.run(command);
        assert_eq!(ended.status.code(), Some(1), "{command:?}");
        assert!(ended.stderr.contains("store: SQLite /"), "{}", ended.stderr);
        assert!(ended.stderr.contains("there is no database at /"), "{}", ended.stderr);
        assert!(ended.stderr.contains("data/rejoinder.db; `rejoinder serve`"), "{}", ended.stderr);
    }
    let mut checked = program.command(&["check"]);
    checked.env("REJOINDER_STORE__MIGRATE", "false");
    let checked = ProcessOutput::from(checked.output().unwrap());
    assert_eq!(checked.status.code(), Some(1));
    assert!(checked.stdout.contains("there is no database at /"), "{}", checked.stdout);
    assert!(program.run(&["check"]).status.success(), "`serve` would create it");
    assert!(!program.sandbox.path().join("data").exists(), "nothing was created");

    assert!(program.run(&["migrate"]).status.success());
    let applied = program.run(&["apply", "w.toml"]);
    assert!(applied.status.success(), "{}", applied.stderr);
}

both_backends!(EMPTY =>
    async fn a_database_that_was_not_migrated_is_refused_by_commands(db: TestDb) {
        let program = Program::on(&db);

        let listed = program.run(&["keys", "list"]);
        let without = program.with("REJOINDER_STORE__MIGRATE", "false");
        let error = without.refusal("store");
        let checked = program.run(&["check"]);

        assert_eq!(listed.status.code(), Some(1));
        assert!(listed.stderr.contains("has not been migrated; run `rejoinder migrate`"), "{}", listed.stderr);
        assert!(error.contains("has not been migrated; run `rejoinder migrate`"), "{error}");
        assert!(checked.stdout.contains("reached; `rejoinder serve` will migrate it"), "{}", checked.stdout);
    }
);

both_backends!(EMPTY =>
    async fn a_database_of_another_program_is_refused_and_left_alone(db: TestDb) {
        let program = Program::on(&db);
        change(&db, &program, "create table conversations (id integer)").await;

        let error = program.refusal("store");
        let migrated = program.run(&["migrate"]);

        assert!(error.contains("has a table `conversations`, and was not made by rejoinder: use an empty database"), "{error}");
        assert!(migrated.stderr.contains("was not made by rejoinder"), "{}", migrated.stderr);
        // Neither did they begin to migrate it: the table does not exist.
        change(&db, &program, "create table _sqlx_migrations (version integer)").await;
    }
);

#[tokio::test]
async fn an_sqlite_file_of_another_program_is_refused_whatever_its_tables_are() {
    let db = TestDb::copy_of(&EMPTY, Backend::Sqlite).await;
    let program = Program::on(&db);
    change(&db, &program, "create table notes (id integer)").await;

    let error = program.refusal("store");

    assert!(error.contains("has a table `notes`, and was not made by rejoinder"), "{error}");
}

both_backends!(
    async fn a_database_of_another_version_is_refused_by_the_start_and_the_check(db: TestDb) {
        let program = Program::on(&db);
        let unmigrated = program.with("REJOINDER_STORE__MIGRATE", "false");

        change(
            &db,
            &program,
            "insert into _sqlx_migrations values (9999, 'newer', current_timestamp, true, '', 0)",
        )
        .await;
        let newer = program.run(&["keys", "list"]);
        let undo = "delete from _sqlx_migrations where version > 3; drop index turns_to_claim_by_workspace; \
            create index turns_to_claim on turns (api, not_before) where state = 'queued'; \
            drop index conversations_untouched; alter table idempotency drop column warning; \
            alter table conversations drop column untouched; alter table workspace_state drop column untouched; \
            alter table conversations drop column tokens; alter table workspace_state drop column day_tokens; \
            alter table workspaces drop column tokens_per_conversation; \
            alter table workspaces drop column tokens_per_day; \
            alter table messages drop column is_stopped; \
            alter table messages drop column earlier_texts; alter table cancellations drop column is_stop; \
            alter table turns drop column is_stop_requested; alter table turns drop column stream_process; \
            drop table store_epoch; drop table seal_keys; create table seal_check (id integer primary key, sealed text not null)";
        change(&db, &program, UNDO_FROM_11).await;
        change(&db, &program, undo).await;
        let outdated = unmigrated.refusal("store");
        let migrated = program.run(&["migrate"]);
        change(&db, &program, "update schema_floor set oldest_binary = 1000").await;
        let too_new = program.refusal("store");

        assert!(newer.status.success(), "a newer version has only expanded the schema: {}", newer.stderr);
        assert!(outdated.contains("migrated by an older version; run `rejoinder migrate`"), "{outdated}");
        assert!(migrated.status.success(), "{}", migrated.stderr);
        assert!(too_new.contains("migrated by a newer version"), "{too_new}");
    }
);

both_backends!(
    async fn commands_name_their_store_without_its_password(db: TestDb) {
        let mut program = Program::on(&db);
        for (name, value) in &mut program.env {
            if *name == "DATABASE_URL" {
                *value =
                    value.replacen("//", "//postgres:hunter2@", 1).replace("hunter2@postgres@", "hunter2@");
            }
        }

        let listed = program.run(&["keys", "list", "--json"]);

        assert!(listed.status.success(), "{}", listed.stderr);
        assert!(
            listed.stderr.starts_with("store: ") && !listed.stderr.contains("hunter2"),
            "{}",
            listed.stderr
        );
        if db.backend() == Backend::Postgres {
            assert!(listed.stderr.contains("(database t_") && listed.stderr.contains("user postgres)"));
        }
    }
);

#[cfg(unix)]
#[tokio::test]
async fn the_files_of_the_data_folder_are_private_to_their_owner() {
    use std::os::unix::fs::PermissionsExt;

    let sandbox = Sandbox::new();
    let data = sandbox.path().join("data");
    let mode = |name: &str| std::fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    let server = sandbox.start_server().await;

    let files =
        ["rejoinder.db", "rejoinder.db-wal", "rejoinder.db-shm", "rejoinder.lock", "secret.key", "demo.key"];
    for file in files {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    server.terminate().await;
    let public = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(data.join("rejoinder.db"), public).unwrap();
    let _server = sandbox.start_server().await;
    assert_eq!(mode("rejoinder.db"), 0o600);
}

#[tokio::test]
async fn the_log_has_one_line_about_the_start_and_warns_about_a_public_address() {
    let sandbox = Sandbox::new();
    let env = [
        ("REJOINDER_LISTEN", "0.0.0.0:0"),
        ("REJOINDER_DEMO", "true"),
        ("REJOINDER_LIMITS__ENABLED", "false"),
        ("RUST_LOG", "info"),
    ];
    let (server, log) = sandbox.start_server_with_trace_log(&env).await;
    server.terminate().await;

    let log = std::fs::read_to_string(log).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let starts: Vec<_> = lines.iter().filter(|line| line["message"] == "starting").collect();
    let [start] = &starts[..] else { panic!("{log}") };
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(start["model"], "offline");
    assert!(start["store"].as_str().unwrap().starts_with("SQLite /"), "{start}");
    assert!(start["address"].as_str().unwrap().starts_with("0.0.0.0:"), "{start}");
    assert!(start["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{start}");
    assert!(start["workers"].as_u64().unwrap() > 0, "{start}");
    let warnings: Vec<_> = lines.iter().filter(|line| line["level"] == "WARN").collect();
    for about in ["rate limits", "demo workspace", "public_url"] {
        assert!(
            warnings.iter().any(|line| line["message"].as_str().unwrap().contains(about)),
            "{about}: {log}"
        );
    }
}

#[tokio::test]
async fn the_health_check_asks_the_configured_address() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sandbox = Sandbox::new();
    let listen = format!("0.0.0.0:{}", free.port());
    let env = [("REJOINDER_LISTEN", listen.as_str()), ("REJOINDER_DEMO", "true")];
    let ask = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        ProcessOutput::from(command.envs(env).output().unwrap())
    };

    let stopped = ask(&["healthcheck"]);
    let mut command = sandbox.command(&["healthcheck"]);
    let of_operator = command.envs(env).env("REJOINDER_OPERATOR__LISTEN", "127.0.0.1:9").output().unwrap();
    let of_operator = ProcessOutput::from(of_operator).stderr;
    let server = sandbox.start_server_with_env(&env).await;
    let (ready, live) = (ask(&["healthcheck"]), ask(&["healthcheck", "--live"]));
    server.terminate().await;

    assert_eq!(stopped.status.code(), Some(1));
    assert!(stopped.stderr.contains(&format!("no answer from http://{free}/readyz")), "{}", stopped.stderr);
    assert!(of_operator.contains("no answer from http://127.0.0.1:9/readyz"), "{of_operator}");
    assert_eq!((ready.status.code(), ready.stdout.as_str()), (Some(0), "ready\n"), "{}", ready.stderr);
    assert_eq!((live.status.code(), live.stdout.as_str()), (Some(0), "alive\n"), "{}", live.stderr);
}
