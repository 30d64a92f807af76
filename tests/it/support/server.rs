//! The real server, in process, on a test's database: two workspaces, an assistant with tools, keys, and fakes that it calls.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rejoinder::app::{Server, ServerDependencies};
use rejoinder::config::Config;
use rejoinder::domain::clock::{Clock, FixedClock, SystemClock};
use rejoinder::domain::ids::IdGenerator;
use rejoinder::domain::seal::SealKey;
use rejoinder::service::Services;
use rejoinder::store::Db;
use rejoinder::worker::Worker;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use tokio::net::TcpListener;

use super::db::{Backend, TestDb};
use super::document_extractor;
use super::fake_model::FakeModel;
use super::fake_tool::FakeTool;
use super::http::{Answer, Http, Request};
use super::workspaces::{self, Keys};
use super::{install_tls_provider, seed, store, wait::wait_for};

pub use super::workspaces::{ASSISTANT, GUARDED, TEST, WIDGET};

/// When the clock of a server stands still, unless a test says otherwise: the moment of the platform contract's example.
const NOW: &str = "2026-03-15T14:22:11Z";

/// What a test wants of a server, besides its database.
pub struct Setup {
    env: Vec<(String, String)>,
    edit: Box<dyn Fn(String) -> String>,
    /// None: the machine's clock.
    now: Option<&'static str>,
    /// Another way to the test's database than its own URL.
    store: Option<String>,
    lease: Option<String>,
}

impl Default for Setup {
    /// Limits off, no second attempt at a turn, a clock that stands still.
    fn default() -> Self {
        let setup =
            Self { env: Vec::new(), edit: Box::new(|text| text), now: Some(NOW), store: None, lease: None };
        setup
            .env("REJOINDER_LIMITS__ENABLED", "false")
            .env("REJOINDER_TURN__MAX_ATTEMPTS", "1")
            .env("REJOINDER_STORE__SHARDS", "2")
            .env("REJOINDER_STORE__READ_CONNECTIONS", "4")
            // PostgreSQL's own clock is far ahead of one that stands still.
            .env("REJOINDER_EVENTS__RETENTION", "3650d")
    }
}

impl Setup {
    /// A variable of the environment; a later one of a name counts.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With the limits of the widget door on.
    pub fn limited(self) -> Self {
        self.env("REJOINDER_LIMITS__ENABLED", "true")
    }

    /// Another workspace file than [`workspaces::workspace`], made of its text.
    pub fn workspace(mut self, edit: impl Fn(String) -> String + 'static) -> Self {
        self.edit = Box::new(edit);
        self
    }

    /// The workspace begins with this credit (`"0.01"`).
    pub fn balance(self, dollars: &'static str) -> Self {
        self.workspace(move |text| text.replace("balance = \"10.00\"", &format!("balance = \"{dollars}\"")))
    }

    /// The clock stands at another moment.
    pub fn at(mut self, now: &'static str) -> Self {
        self.now = Some(now);
        self
    }

    /// Time passes, as it does.
    pub fn system_clock(mut self) -> Self {
        self.now = None;
        self
    }

    /// The server reaches its PostgreSQL database through this URL.
    pub fn through(mut self, url: &str) -> Self {
        self.store = Some(url.to_owned());
        self
    }

    /// The server renews its lease through this URL, and reaches its database directly.
    pub fn lease_through(mut self, url: &str) -> Self {
        self.lease = Some(url.to_owned());
        self
    }

    fn store_url(&self, db: &TestDb) -> String {
        self.store.clone().unwrap_or_else(|| db.url())
    }

    pub async fn start(self, db: &TestDb) -> TestServer {
        let model = Arc::new(FakeModel::start().await);
        let tool = Arc::new(FakeTool::start().await);
        let opened = store::open(db).await;
        let clock = clock_or_time(self.fixed_clock().as_ref());
        let keys =
            workspaces::apply(&opened, clock.as_ref(), &tool, &(self.edit)(workspaces::workspace(&tool)))
                .await;
        opened.close().await;
        TestServer::run(self, db, model, tool, keys).await
    }

    fn fixed_clock(&self) -> Option<Arc<FixedClock>> {
        self.now.map(|now| Arc::new(FixedClock::at(now.parse().expect("a time"))))
    }

    fn config(&self, db: &TestDb, model: &FakeModel, tool: &FakeTool) -> Config {
        let mut env = vec![
            ("OPENAI_BASE_URL".to_owned(), model.base_url()),
            ("OPENAI_MODEL".to_owned(), "fake".to_owned()),
            ("REJOINDER_OUTBOUND__ALLOW_HOSTS".to_owned(), tool.host()),
        ];
        if db.backend() == Backend::Postgres {
            let url = self.lease.clone().unwrap_or_else(|| self.store_url(db));
            env.push(("DATABASE_URL".to_owned(), url));
        }
        env.retain(|(name, _)| self.env.iter().all(|(own, _)| own != name));
        env.extend(self.env.iter().cloned());
        Config::load(None, env.into_iter()).expect("the settings are good")
    }
}

/// The clock that stands still, or the machine's.
fn clock_or_time(fixed: Option<&Arc<FixedClock>>) -> Arc<dyn Clock> {
    match fixed {
        Some(clock) => Arc::<FixedClock>::clone(clock),
        None => Arc::new(SystemClock),
    }
}

/// A server that runs until it is stopped, or its test ends.
pub struct TestServer {
    server: Server,
    http: Http,
    /// None where time passes.
    clock: Option<Arc<FixedClock>>,
    /// What its assistants' model is.
    pub model: Arc<FakeModel>,
    /// What its assistants' webhook tool calls.
    pub tool: Arc<FakeTool>,
    pub keys: Keys,
}

impl TestServer {
    pub async fn start(db: &TestDb) -> Self {
        Setup::default().start(db).await
    }

    /// Another process on the same PostgreSQL database, with the same fakes.
    pub async fn beside(&self, db: &TestDb, setup: Setup) -> Self {
        Self::run(setup, db, Arc::clone(&self.model), Arc::clone(&self.tool), self.keys.clone()).await
    }

    async fn run(setup: Setup, db: &TestDb, model: Arc<FakeModel>, tool: Arc<FakeTool>, keys: Keys) -> Self {
        install_tls_provider();
        let config = setup.config(db, &model, &tool);
        let clock = setup.fixed_clock();
        let on = ServerDependencies {
            db: store::open_url(&setup.store_url(db)).await,
            clock: clock_or_time(clock.as_ref()),
            ids: Arc::new(IdGenerator::random()),
            seal_key: Some(Arc::new(SealKey::new(workspaces::SEAL_KEY))),
            document_extractor: document_extractor::child_process(),
            metrics: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a spare port");
        let server = Server::start(&config, on, listener).await.expect("the server starts");
        let http = Http::new(format!("http://{}", server.address));
        Self { server, http, clock, model, tool, keys }
    }

    /// Stops it, and starts another on the same database, with the same fakes.
    pub async fn restart(self, db: &TestDb, setup: Setup) -> Self {
        self.server.stop().await;
        Self::run(setup, db, self.model, self.tool, self.keys).await
    }

    pub async fn stop(self) {
        self.server.stop().await;
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Its address as a browser writes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    pub fn worker(&self) -> &Worker {
        &self.server.worker
    }

    /// How many streams and long polls follow the events here.
    pub fn followers(&self) -> usize {
        self.server.services.followers.count()
    }

    /// A message of a back end that asks for no reply; its conversation.
    pub async fn note(&self, con: Option<&str>, text: &str) -> String {
        let mut body = json!({ "sender_id": "u", "sender_type": "user", "text": text, "auto_reply": false });
        if let Some(con) = con {
            body["conversation_id"] = json!(con);
        }
        let sent = self.enqueue(body.to_string()).send().await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        sent.json()["data"]["conversation_id"].as_str().expect("an id").to_owned()
    }

    /// What the running server's use cases work with.
    pub fn services(&self) -> &Services {
        &self.server.services
    }

    /// Moves its clock on, and the clock of its PostgreSQL, which never stands still.
    pub async fn advance(&self, db: &TestDb, by: Duration) {
        self.clock.as_ref().expect("a clock that stands still").advance(by);
        if db.backend() == Backend::Postgres {
            let ahead = seed::number(
                db,
                "store_now() - cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)",
            )
            .await;
            let ahead = ahead + i64::try_from(by.as_micros()).expect("a few days");
            let function = format!(
                "create or replace function store_now() returns bigint language sql volatile as \
                 $$ select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) + {ahead} $$"
            );
            seed::execute(db, &function).await;
        }
    }

    /// The store of the running server itself.
    pub fn db(&self) -> &Db {
        &self.server.services.db
    }

    pub fn call(&self, method: &str, path: &str) -> Request {
        self.http.request(method.parse().expect("a method"), path)
    }

    /// A GET of the platform door, with the workspace's key.
    pub async fn get(&self, path: &str) -> Answer {
        self.http.get(path).bearer(&self.keys.all).send().await
    }

    /// A new conversation of the widget door, with a visitor named Ada: its UUID.
    pub async fn conversation(&self) -> String {
        let body = json!({ "assistant_id": ASSISTANT, "variables": { "name": "Ada" } });
        let made = self.http.post("/api/conversations", &body).send().await;
        assert_eq!(made.status, 200, "{}", made.text());
        made.json()["conversation_id"].as_str().expect("a UUID").to_owned()
    }

    /// The `con_` id behind a widget's UUID.
    pub async fn con_of(&self, uuid: &str) -> String {
        let found = self.get(&format!("/v1/conversations?widget_uuid={uuid}")).await.json();
        found["data"]["items"][0]["id"].as_str().expect("it is found").to_owned()
    }

    /// A message of the widget door, as these bytes.
    pub fn say(&self, uuid: &str, body: impl AsRef<[u8]>) -> Request {
        self.call("POST", &format!("/api/conversations/{uuid}/messages")).raw_json(body)
    }

    /// A message of the widget door, with this text.
    pub fn tell(&self, uuid: &str, text: &str) -> Request {
        self.say(uuid, json!({ "message": text }).to_string())
    }

    /// A message of the platform door, as these bytes.
    pub fn enqueue(&self, body: impl AsRef<[u8]>) -> Request {
        self.call("POST", "/v1/messages").bearer(&self.keys.all).raw_json(body)
    }

    /// The balance as it is shown (`"9.99"`).
    pub async fn balance(&self) -> String {
        self.get("/v1/balance").await.json()["data"]["balance"].as_str().expect("an amount").to_owned()
    }

    /// The messages of a conversation, oldest first.
    pub async fn messages_of(&self, con: &str) -> Vec<Value> {
        let listed = self.get(&format!("/v1/conversations/{con}/messages?limit=200")).await.json();
        listed["data"]["items"].as_array().expect("a list").clone()
    }

    /// Those messages, once there are that many.
    pub async fn messages_once(&self, con: &str, count: usize) -> Vec<Value> {
        let look = async || Some(self.messages_of(con).await).filter(|messages| messages.len() >= count);
        wait_for(&format!("{count} messages"), look).await
    }

    /// The workspace's events of one type, once there are that many.
    pub async fn events_once(&self, kind: &str, count: usize) -> Vec<Value> {
        let look = async || Some(self.events(kind).await).filter(|events| events.len() >= count);
        wait_for(&format!("{count} events {kind}"), look).await
    }

    /// The workspace's events of one type, in order.
    pub async fn events(&self, kind: &str) -> Vec<Value> {
        let listed = self.get("/v1/events?limit=200").await.json();
        let all = listed["data"]["items"].as_array().expect("a list").clone();
        all.into_iter().filter(|event| event["type"] == kind).collect()
    }

    /// How many rows each table holds that a request may write to, with what the workspaces' states say: what changes nothing
    /// leaves this as it was.
    pub async fn dump(&self) -> BTreeMap<String, i64> {
        const TABLES: [&str; 11] = [
            "conversations",
            "widget_links",
            "messages",
            "turns",
            "journal",
            "bookings",
            "calendar_links",
            "ledger",
            "events",
            "deliveries",
            "idempotency",
        ];
        let mut dump = BTreeMap::new();
        for table in TABLES {
            dump.insert(table.to_owned(), self.number(&format!("select count(*) from {table}")).await);
        }
        for column in ["balance", "next_cursor", "next_ledger_number", "open_turns"] {
            let sum =
                self.number(&format!("select cast(sum({column}) as bigint) from workspace_state")).await;
            dump.insert(format!("workspace_state.{column}"), sum);
        }
        dump
    }

    /// The number that a query gives.
    pub async fn number(&self, query: &str) -> i64 {
        number(self.db(), query).await
    }
}

/// The number that a query gives.
pub async fn number(db: &Db, query: &str) -> i64 {
    let query = AssertSqlSafe(query.to_owned());
    match db {
        Db::Postgres { read, .. } => sqlx::query(query).fetch_one(read).await.expect("a row").get(0),
        Db::Sqlite { read, .. } => sqlx::query(query).fetch_one(read).await.expect("a row").get(0),
    }
}
