//! The key that encrypts stored secrets.

use super::{Program, change};
use crate::support::db::{Backend, both_backends};

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
    async fn a_database_from_before_the_check_is_compared_by_its_secrets(db: TestDb) {
        let program = Program::on(&db);
        let with_key = program.with("REJOINDER_SECRET_KEY", KEY);
        let with_other = program.with("REJOINDER_SECRET_KEY", OTHER_KEY);
        std::fs::write(with_key.sandbox.path().join("w.toml"), WORKSPACE).unwrap();
        let applied = with_key.run(&["apply", "w.toml"]);
        assert!(applied.status.success(), "{}", applied.stderr);
        change(&db, &program, "delete from seal_check").await;

        assert!(with_other.refusal("secret_key").contains("is not the key of this database"));
        assert!(program.refusal("secret_key").contains("the secret key of this database is missing"));
        assert!(with_key.run(&["apply", "w.toml"]).status.success());
    }
);

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
