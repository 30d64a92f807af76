//! The real server, in the test's process and on its database, with two workspaces, assistants with tools, API keys, and the
//! fake services that it calls.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rejoinder::app::{Listeners, Server, ServerDependencies};
use rejoinder::config::Config;
use rejoinder::domain::clock::{Clock, FixedClock, SystemClock};
use rejoinder::domain::ids::IdGenerator;
use rejoinder::domain::seal::{SealKey, SealKeys};
use rejoinder::service::Services;
use rejoinder::store::{Conn, Db};
use rejoinder::worker::Worker;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tokio::net::TcpListener;

use super::db::{Backend, TestDb};
use super::document_extractor;
use super::fake_model::FakeModel;
use super::fake_tool::FakeTool;
use super::http::{Http, Request, Response};
use super::workspaces::{self, Keys};
use super::{install_tls_provider, seed, store, wait::wait_for};

pub use super::workspaces::{ASSISTANT, RESTRICTED, TEST, WIDGET};

/// The time of the fixed clock, from the platform contract's example.
const NOW: &str = "2026-03-15T14:22:11Z";

/// The configuration of a [`TestServer`].
pub struct Setup {
    env: Vec<(String, String)>,
    edit: Box<dyn Fn(String) -> String>,
    /// The time of the fixed clock; `None` for the system clock.
    now: Option<&'static str>,
    /// Replaces the system clock.
    clock: Option<Arc<dyn Clock>>,
    /// Replaces the URL of the test's database.
    database_url: Option<String>,
    /// Replaces that URL for renewing the lease.
    lease_database_url: Option<String>,
}

impl Default for Setup {
    /// No limits, one attempt for each turn, a fixed clock.
    fn default() -> Self {
        let setup = Self {
            env: Vec::new(),
            edit: Box::new(|text| text),
            now: Some(NOW),
            clock: None,
            database_url: None,
            lease_database_url: None,
        };
        setup
            .env("REJOINDER_LIMITS__ENABLED", "false")
            .env("REJOINDER_TURN__MAX_ATTEMPTS", "1")
            .env("REJOINDER_STORE__SHARDS", "2")
            .env("REJOINDER_STORE__READ_CONNECTIONS", "4")
            // PostgreSQL's clock is far ahead of the fixed clock.
            .env("REJOINDER_EVENTS__RETENTION", "3650d")
    }
}

impl Setup {
    /// Sets a variable of the environment, in place of an earlier one of this name.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Enables the limits of both APIs.
    pub fn with_limits(self) -> Self {
        self.env("REJOINDER_LIMITS__ENABLED", "true")
    }

    /// Accepts HTTP/2 without TLS.
    pub fn h2c(self) -> Self {
        self.env("REJOINDER_HTTP__H2C", "true")
    }

    /// Changes the text of the workspace file, [`workspaces::workspace`], after earlier changes.
    pub fn workspace(mut self, edit: impl Fn(String) -> String + 'static) -> Self {
        let earlier = self.edit;
        self.edit = Box::new(move |text| edit(earlier(text)));
        self
    }

    /// The workspace's initial balance (`"0.01"`).
    pub fn balance(self, dollars: &'static str) -> Self {
        self.workspace(move |text| text.replace("balance = \"10.00\"", &format!("balance = \"{dollars}\"")))
    }

    /// Sets the fixed clock to another time.
    pub fn clock_at(mut self, now: &'static str) -> Self {
        self.now = Some(now);
        self
    }

    /// Uses the system clock.
    pub fn system_clock(mut self) -> Self {
        self.now = None;
        self
    }

    /// Uses this clock, which must run like the system clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self.system_clock()
    }

    /// Connects to PostgreSQL through this URL.
    pub fn database_url(mut self, url: &str) -> Self {
        self.database_url = Some(url.to_owned());
        self
    }

    /// Renews the lease through this URL, and uses the database directly for everything else.
    pub fn lease_database_url(mut self, url: &str) -> Self {
        self.lease_database_url = Some(url.to_owned());
        self
    }

    fn url_of(&self, db: &TestDb) -> String {
        self.database_url.clone().unwrap_or_else(|| db.url())
    }

    pub async fn start(self, db: &TestDb) -> TestServer {
        let model = Arc::new(FakeModel::start().await);
        let tool = Arc::new(FakeTool::start().await);
        let opened = store::open(db).await;
        let clock = clock_or_system(self.fixed_clock().as_ref());
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
            let url = self.lease_database_url.clone().unwrap_or_else(|| self.url_of(db));
            env.push(("DATABASE_URL".to_owned(), url));
        }
        env.retain(|(name, _)| self.env.iter().all(|(own, _)| own != name));
        env.extend(self.env.iter().cloned());
        Config::load(None, env.into_iter()).expect("the settings are valid")
    }
}

/// The fixed clock, or the system clock without one.
fn clock_or_system(fixed: Option<&Arc<FixedClock>>) -> Arc<dyn Clock> {
    match fixed {
        Some(clock) => Arc::<FixedClock>::clone(clock),
        None => Arc::new(SystemClock),
    }
}

/// A server that runs until it is stopped or the test ends.
pub struct TestServer {
    server: Server,
    http: Http,
    /// With `operator.listen`, whatever its value.
    operator_address: Option<SocketAddr>,
    /// `None` with the system clock.
    clock: Option<Arc<FixedClock>>,
    /// The model of the assistants.
    pub model: Arc<FakeModel>,
    /// The endpoint that the assistants' webhook tools call.
    pub tool: Arc<FakeTool>,
    pub keys: Keys,
}

/// What remains of a server that was stopped.
pub struct PausedServer {
    model: Arc<FakeModel>,
    tool: Arc<FakeTool>,
    keys: Keys,
}

impl PausedServer {
    pub async fn start(self, db: &TestDb, setup: Setup) -> TestServer {
        TestServer::run(setup, db, self.model, self.tool, self.keys).await
    }
}

impl TestServer {
    pub async fn start(db: &TestDb) -> Self {
        Setup::default().start(db).await
    }

    /// Starts another server on the same PostgreSQL database, with the same fakes.
    pub async fn start_peer(&self, db: &TestDb, setup: Setup) -> Self {
        Self::run(setup, db, Arc::clone(&self.model), Arc::clone(&self.tool), self.keys.clone()).await
    }

    async fn run(setup: Setup, db: &TestDb, model: Arc<FakeModel>, tool: Arc<FakeTool>, keys: Keys) -> Self {
        install_tls_provider();
        let config = setup.config(db, &model, &tool);
        let clock = setup.fixed_clock();
        let dependencies = ServerDependencies {
            db: store::open_with(&setup.url_of(db), &config).await,
            clock: setup.clock.clone().unwrap_or_else(|| clock_or_system(clock.as_ref())),
            ids: Arc::new(IdGenerator::random()),
            seal_keys: Some(Arc::new(SealKeys::from(SealKey::new(workspaces::SEAL_KEY)))),
            document_extractor: document_extractor::child_process(),
            metrics: None,
        };
        let listen = async || TcpListener::bind("127.0.0.1:0").await.expect("a spare port");
        let operator = if config.operator.listen.is_some() { Some(listen().await) } else { None };
        let operator_address = operator.as_ref().map(|listener| listener.local_addr().expect("its address"));
        let listeners = Listeners { public: listen().await, operator };
        let server = Server::start(&config, dependencies, listeners).await.expect("the server starts");
        let http = Http::new(format!("http://{}", server.address));
        Self { server, http, operator_address, clock, model, tool, keys }
    }

    /// Stops the server, and starts another on this database, with the same fakes.
    pub async fn restart(self, db: &TestDb, setup: Setup) -> Self {
        self.pause().await.start(db, setup).await
    }

    /// Stops the server, to start another with the same fakes later.
    pub async fn pause(self) -> PausedServer {
        self.server.stop().await;
        PausedServer { model: self.model, tool: self.tool, keys: self.keys }
    }

    pub async fn stop(self) {
        self.server.stop().await;
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The address of the operator's routes.
    pub fn operator_address(&self) -> SocketAddr {
        self.operator_address.expect("`operator.listen` is set")
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    pub fn worker(&self) -> &Worker {
        &self.server.worker
    }

    /// The number of event streams and long polls.
    pub fn followers(&self) -> usize {
        self.server.services.followers.count()
    }

    /// Stores a platform message that asks for no reply, in a new conversation without `con`. Returns the conversation's id.
    pub async fn store_message(&self, con: Option<&str>, text: &str) -> String {
        let mut body = json!({ "sender_id": "u", "sender_type": "user", "text": text, "auto_reply": false });
        if let Some(con) = con {
            body["conversation_id"] = json!(con);
        }
        let sent = self.enqueue(body.to_string()).send().await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        sent.json()["data"]["conversation_id"].as_str().expect("an id").to_owned()
    }

    pub fn services(&self) -> &Services {
        &self.server.services
    }

    /// Advances the fixed clock and PostgreSQL's clock, which keeps running.
    pub async fn advance_clock(&self, db: &TestDb, by: Duration) {
        self.clock.as_ref().expect("a fixed clock").advance(by);
        if db.backend() == Backend::Postgres {
            let clock = "cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)";
            let ahead = seed::query_number(db, &format!("store_now() - {clock}")).await;
            let ahead = ahead + i64::try_from(by.as_micros()).expect("a few days");
            seed::set_store_clock(db, &format!("{clock} + {ahead}")).await;
        }
    }

    /// The server's own database handle.
    pub fn db(&self) -> &Db {
        &self.server.services.db
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        self.http.request(method.parse().expect("a method"), path)
    }

    /// A GET request of the platform API, with the workspace's key.
    pub async fn get(&self, path: &str) -> Response {
        self.http.get(path).bearer(&self.keys.full).send().await
    }

    /// Creates a widget conversation with a visitor named Ada, and returns its UUID.
    pub async fn create_conversation(&self) -> String {
        let body = json!({ "assistant_id": ASSISTANT, "variables": { "name": "Ada" } });
        let created = self.http.post("/api/conversations", &body).send().await;
        assert_eq!(created.status, 200, "{}", created.text());
        created.json()["conversation_id"].as_str().expect("a UUID").to_owned()
    }

    /// The `con_` id of the conversation with this widget UUID.
    pub async fn conversation_id(&self, uuid: &str) -> String {
        let found = self.get(&format!("/v1/conversations?widget_uuid={uuid}")).await.json();
        found["data"]["items"][0]["id"].as_str().expect("the conversation exists").to_owned()
    }

    /// A message of the widget API with this body.
    pub fn post_message_body(&self, uuid: &str, body: impl AsRef<[u8]>) -> Request {
        self.request("POST", &format!("/api/conversations/{uuid}/messages")).raw_json(body)
    }

    /// A message of the widget API with this text.
    pub fn post_message(&self, uuid: &str, text: &str) -> Request {
        self.post_message_body(uuid, json!({ "message": text }).to_string())
    }

    /// A message of the platform API with this body.
    pub fn enqueue(&self, body: impl AsRef<[u8]>) -> Request {
        self.request("POST", "/v1/messages").bearer(&self.keys.full).raw_json(body)
    }

    /// The balance as the API formats it (`"9.99"`).
    pub async fn balance(&self) -> String {
        self.get("/v1/balance").await.json()["data"]["balance"].as_str().expect("an amount").to_owned()
    }

    /// The messages of a conversation, oldest first.
    pub async fn messages(&self, con: &str) -> Vec<Value> {
        let listed = self.get(&format!("/v1/conversations/{con}/messages?limit=200")).await.json();
        listed["data"]["items"].as_array().expect("a list").clone()
    }

    /// Waits until the conversation has at least `count` messages, and returns all of them.
    pub async fn wait_for_messages(&self, con: &str, count: usize) -> Vec<Value> {
        let look = async || Some(self.messages(con).await).filter(|messages| messages.len() >= count);
        wait_for(&format!("{count} messages"), look).await
    }

    /// Waits until the workspace has at least `count` events of a type, and returns all of them.
    pub async fn wait_for_events(&self, kind: &str, count: usize) -> Vec<Value> {
        let look = async || Some(self.events(kind).await).filter(|events| events.len() >= count);
        wait_for(&format!("{count} events {kind}"), look).await
    }

    /// The workspace's events of a type, in order.
    pub async fn events(&self, kind: &str) -> Vec<Value> {
        let listed = self.get("/v1/events?limit=200").await.json();
        let all = listed["data"]["items"].as_array().expect("a list").clone();
        all.into_iter().filter(|event| event["type"] == kind).collect()
    }

    /// The number of rows of each table and the counters of the workspaces: equal before and after a request that changes
    /// nothing.
    pub async fn row_counts(&self) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        let backend = if self.db().is_shared() { Backend::Postgres } else { Backend::Sqlite };
        let tables = query_texts(self.db(), seed::list_tables_statement(backend)).await;
        for table in tables.into_iter().filter(|table| !seed::is_written_later(table)) {
            let count = self.query_number(&format!("select count(*) from {table}")).await;
            counts.insert(table, count);
        }
        for column in ["balance", "next_cursor", "next_ledger_number", "open_turns"] {
            let sum = self
                .query_number(&format!("select cast(sum({column}) as bigint) from workspace_state"))
                .await;
            counts.insert(format!("workspace_state.{column}"), sum);
        }
        counts
    }

    /// The number that a query returns.
    pub async fn query_number(&self, query: &str) -> i64 {
        let numbers = query_texts(self.db(), &format!("select cast(({query}) as text)")).await;
        numbers[0].parse().expect("a number")
    }
}

/// The first column of each row, as text.
async fn query_texts(db: &Db, query: &str) -> Vec<String> {
    let query = AssertSqlSafe(query.to_owned());
    let mut conn = db.acquire_read().await.expect("a connection");
    let texts = match conn.conn() {
        Conn::Postgres(conn) => sqlx::query_scalar(query).fetch_all(conn).await,
        Conn::Sqlite(conn) => sqlx::query_scalar(query).fetch_all(conn).await,
    };
    texts.expect("a query that succeeds")
}
