//! A server for one test, with a workspace, its keys and an assistant.

use std::net::SocketAddr;
use std::sync::Arc;

use rejoinder::app::{Foundation, Server};
use rejoinder::config::Config;
use rejoinder::domain::clock::SystemClock;
use rejoinder::domain::ids::Ids;
use rejoinder::store::Db;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::client::Call;
use crate::support::db::{Backend, TestDb};
use crate::support::fake_model::FakeModel;
use crate::support::{install_tls_provider, store};

pub const ASSISTANT: &str = "550e8400-e29b-41d4-a716-446655440000";
/// Of the workspace, with all scopes.
pub const KEY: &str = "sk_all_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Of the workspace, with the scope `read` alone.
pub const READING_KEY: &str = "sk_read_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Of another workspace, with all scopes.
pub const FOREIGN_KEY: &str = "sk_foreign_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const EXPIRED_KEY: &str = "sk_expired_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const REVOKED_KEY: &str = "sk_revoked_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const UNKNOWN_KEY: &str = "sk_unknown_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Tokens that open nothing.
pub const BAD_KEYS: [&str; 5] = [UNKNOWN_KEY, EXPIRED_KEY, REVOKED_KEY, "sk_test_51_fakeapikey123456", ""];

const ALL: &str = "messages:write billing:read read config";
/// Ten dollars.
const CREDIT: i64 = 10_000_000;

/// Runs a statement, the same on both databases.
macro_rules! execute {
    ($db:expr, $sql:literal $(, $value:expr)*) => {
        match $db {
            Db::Postgres(pool) => drop(sqlx::query($sql)$(.bind($value))*.execute(pool).await.unwrap()),
            Db::Sqlite { write, .. } => drop(sqlx::query($sql)$(.bind($value))*.execute(write).await.unwrap()),
        }
    };
}

pub struct App {
    pub address: SocketAddr,
    pub model: FakeModel,
    pub server: Server,
}

impl App {
    /// With the limits off.
    pub async fn new(db: &TestDb) -> Self {
        Self::with(db, |config| config.limits.enabled = false).await
    }

    pub async fn with(db: &TestDb, change: impl FnOnce(&mut Config)) -> Self {
        install_tls_provider();
        let model = FakeModel::start().await;
        let mut settings = vec![
            ("OPENAI_BASE_URL".to_owned(), model.base_url()),
            ("OPENAI_MODEL".to_owned(), "fake".to_owned()),
        ];
        if db.backend() == Backend::Postgres {
            settings.push(("DATABASE_URL".to_owned(), db.url()));
        }
        let mut config = Config::load(None, settings.into_iter()).unwrap();
        change(&mut config);
        let store = store::open(db).await;
        seed(&store).await;
        let on = Foundation {
            db: store,
            clock: Arc::new(SystemClock),
            ids: Arc::new(Ids::random()),
            seal_key: None,
            metrics: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start(&config, on, listener).await.unwrap();
        Self { address: server.address, model, server }
    }

    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.address, method, path)
    }

    /// A new conversation of the widget door: its UUID.
    pub async fn conversation(&self) -> String {
        let body = json!({"assistant_id": ASSISTANT, "variables": {"name": "Ada"}}).to_string();
        let made = self.call("POST", "/api/conversations").body(body).send().await;
        assert_eq!(made.status, 200, "{}", made.body);
        made.json()["conversation_id"].as_str().unwrap().to_owned()
    }

    /// Posts a message to a conversation of the widget door.
    pub fn say(&self, uuid: &str, body: impl AsRef<[u8]>) -> Call {
        self.call("POST", &format!("/api/conversations/{uuid}/messages")).json(body)
    }

    /// Posts a message to the platform door.
    pub fn enqueue(&self, body: impl AsRef<[u8]>) -> Call {
        self.call("POST", "/v1/messages").key(KEY).json(body)
    }

    pub async fn balance(&self) -> Value {
        self.call("GET", "/v1/balance").key(KEY).send().await.json()["data"]["balance"].clone()
    }

    /// In millionths of a dollar.
    pub async fn set_balance(&self, balance: i64) {
        execute!(&self.server.services.db, "update workspace_state set balance = $1", balance);
    }

    /// How many messages the store has.
    pub async fn messages(&self) -> i64 {
        const COUNT: &str = "select count(*) from messages";
        let (count,): (i64,) = match &self.server.services.db {
            Db::Postgres(pool) => sqlx::query_as(COUNT).fetch_one(pool).await.unwrap(),
            Db::Sqlite { read, .. } => sqlx::query_as(COUNT).fetch_one(read).await.unwrap(),
        };
        count
    }

    /// Another assistant of the workspace, that pages of these origins alone may talk to.
    pub async fn assistant(&self, origins: &Value) -> Uuid {
        let id = Uuid::new_v4();
        put_assistant(&self.server.services.db, id, origins).await;
        id
    }
}

fn workspace(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

async fn seed(db: &Db) {
    let assistant: Uuid = ASSISTANT.parse().unwrap();
    for number in [1, 2] {
        let id = workspace(number);
        execute!(
            db,
            "insert into workspaces (id, slug, name, auto_create_conversations, default_assistant_id, price_widget, \
             price_test, price_api, allow_hosts, created_at) values ($1, $2, $2, $3, $4, 10000, 0, 0, '', 0)",
            id,
            format!("w{number}"),
            true,
            (number == 1).then_some(assistant)
        );
        execute!(
            db,
            "insert into workspace_state (workspace_id, balance, next_cursor, next_ledger_number, open_turns, day, \
             day_test_turns, day_spent, low_notified) values ($1, $2, 1, 2, 0, 0, 0, 0, $3)",
            id,
            CREDIT,
            false
        );
        execute!(
            db,
            "insert into ledger (workspace_id, number, kind, amount, balance_after, reference, created_at) \
             values ($1, 1, 'top_up', $2, $2, 'opening', 0)",
            id,
            CREDIT
        );
    }
    for (key, number, scopes, expires, revoked) in [
        (KEY, 1, ALL, None, None),
        (READING_KEY, 1, "read", Some(i64::MAX), None),
        (FOREIGN_KEY, 2, ALL, None, None),
        (EXPIRED_KEY, 1, ALL, Some(1_i64), None),
        (REVOKED_KEY, 1, ALL, None, Some(1_i64)),
    ] {
        execute!(
            db,
            "insert into api_keys (hash, id, workspace_id, name, prefix, scopes, created_at, expires_at, revoked_at) \
             values ($1, $2, $3, 'k', 'sk_', $4, 0, $5, $6)",
            Sha256::digest(key.as_bytes()).to_vec(),
            Uuid::new_v4(),
            workspace(number),
            scopes,
            expires,
            revoked
        );
    }
    put_assistant(db, assistant, &json!([])).await;
}

async fn put_assistant(db: &Db, id: Uuid, origins: &Value) {
    let compiled = json!({
        "slug": "front-desk", "name": "Front desk", "system_prompt": "You help.",
        "first_message": "Hello {{name}}!", "allowed_origins": origins,
    });
    execute!(
        db,
        "insert into assistants (workspace_id, id, slug, name, current_version, pause_on_agent_message, from_file, \
         created_at) values ($1, $2, $3, 'Front desk', 1, $4, $4, 0)",
        workspace(1),
        id,
        id.to_string(),
        false
    );
    execute!(
        db,
        "insert into assistant_versions (workspace_id, assistant_id, version, compiled, created_at) \
         values ($1, $2, 1, $3, 0)",
        workspace(1),
        id,
        compiled.to_string()
    );
}
