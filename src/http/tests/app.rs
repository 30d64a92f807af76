//! A server for one test, with a workspace, its keys and an assistant.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::SqlitePool;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::client::Call;
use crate::config::{self, Config};
use crate::domain::batch::{Bounds, Ending, Right, TopUp, TurnRef};
use crate::domain::clock::{Clock, FixedClock};
use crate::domain::ids::{AssistantId, Ids, MessageId, ProcessId, WorkspaceId};
use crate::domain::money::Money;
use crate::domain::turn::{Reply, TurnEnd};
use crate::http::{AppState, Limits, router, serve};
use crate::lifecycle::Tasks;
use crate::service::Services;
use crate::service::versions::Versions;
use crate::service::waiters::Waiters;
use crate::store::Db;
use crate::store::writer::{Effect, SlotLimits, Slots, Writer, WriterContext, top_up};

pub(super) const ASSISTANT: &str = "550e8400-e29b-41d4-a716-446655440000";
/// Of the workspace, with all scopes.
pub(super) const KEY: &str = "sk_all";
/// Of the workspace, with the scope `read` alone.
pub(super) const READING_KEY: &str = "sk_read";
/// Of another workspace, with all scopes.
pub(super) const FOREIGN_KEY: &str = "sk_foreign";
const ALL: &str = "messages:write billing:read read config";

/// What the stand-in for the engine ends turns with; none: it leaves them open.
type Script = Arc<Mutex<Option<TurnEnd>>>;

pub(super) struct App {
    pub(super) address: SocketAddr,
    pub(super) services: Services,
    pub(super) pool: SqlitePool,
    context: WriterContext,
    script: Script,
    _tasks: Tasks,
    _folder: tempfile::TempDir,
}

impl App {
    /// With the limits off.
    pub(super) async fn new() -> Self {
        Self::with(|config| config.limits.enabled = false).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::load(None, std::iter::empty()).unwrap();
        change(&mut config);
        let folder = tempfile::tempdir().unwrap();
        let db = Db::sqlite(&folder.path().join("db")).await.unwrap();
        db.migrate().await.unwrap();
        let Db::Sqlite { write: pool, .. } = db.clone() else { unreachable!() };
        seed(&pool).await;
        let tasks = Tasks::new();
        let (context, services, effects) = services(db, &config, &tasks);
        let script: Script = Arc::new(Mutex::new(Some(reply("Monday at 2 PM.", "[]"))));
        tasks.spawn("engine", engine(services.clone(), effects, Arc::clone(&script)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = AppState {
            services: services.clone(),
            limits: Limits::new(&config.limits),
            metrics: None,
            body_timeout: config.http.body_timeout,
        };
        let serving = serve(listener, router(state), tasks.clone(), config.http);
        tasks.spawn_critical("http", serving);
        let app = Self { address, services, pool, context, script, _tasks: tasks, _folder: folder };
        app.credit("10.00").await;
        app
    }

    pub(super) fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.address, method, path)
    }

    /// A new conversation of the widget door: its UUID.
    pub(super) async fn conversation(&self) -> String {
        let body = format!(r#"{{"assistant_id": "{ASSISTANT}", "variables": {{"name": "Ada"}}}}"#);
        let made = self.call("POST", "/api/conversations").body(body).send().await;
        assert_eq!(made.status, 200, "{}", made.body);
        made.json()["conversation_id"].as_str().unwrap().to_owned()
    }

    /// Posts a message to a conversation of the widget door.
    pub(super) fn say(&self, uuid: &str, body: impl AsRef<[u8]>) -> Call {
        self.call("POST", &format!("/api/conversations/{uuid}/messages")).json(body)
    }

    /// Posts a message to the platform door.
    pub(super) fn enqueue(&self, body: impl AsRef<[u8]>) -> Call {
        self.call("POST", "/v1/messages").key(KEY).json(body)
    }

    /// What turns end with from now on.
    pub(super) fn script(&self, end: Option<TurnEnd>) {
        *self.script.lock().unwrap() = end;
    }

    pub(super) async fn credit(&self, amount: &str) {
        let reference = self.services.ids.capability().to_string();
        let credit = TopUp { workspace: workspace(1), amount: amount.parse().unwrap(), reference };
        top_up(&self.context, credit).await.unwrap();
    }

    pub(super) async fn balance(&self) -> Money {
        let (balance,): (i64,) =
            sqlx::query_as("select balance from workspace_state where workspace_id = $1")
                .bind(workspace(1).0)
                .fetch_one(&self.pool)
                .await
                .unwrap();
        Money(balance)
    }

    pub(super) async fn messages(&self) -> i64 {
        let count = sqlx::query_as("select count(*) from messages").fetch_one(&self.pool).await;
        let (count,): (i64,) = count.unwrap();
        count
    }
}

/// A reply to be scripted; the id that it is stored under is made anew for each turn.
pub(super) fn reply(text: &str, function_calls: &str) -> TurnEnd {
    let id = MessageId(Uuid::nil());
    TurnEnd::Completed(Reply { id, text: text.to_owned(), function_calls: function_calls.to_owned() })
}

fn workspace(number: u128) -> WorkspaceId {
    WorkspaceId(Uuid::from_u128(number))
}

fn services(
    db: Db,
    config: &Config,
    tasks: &Tasks,
) -> (WriterContext, Services, mpsc::UnboundedReceiver<Effect>) {
    let start = "2026-03-15T14:22:11Z".parse().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(start));
    let ids = Arc::new(Ids::seeded(7));
    let (sender, effects) = mpsc::unbounded_channel();
    let slots = Slots::new(SlotLimits { max_in_flight: 16, per_workspace: None });
    let process = ProcessId(ids.ordered(clock.as_ref()));
    let context = WriterContext {
        db: db.clone(),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        process,
        bounds: bounds(config),
        slots,
        effects: sender,
        has_lease: tokio::sync::watch::channel(true).1,
    };
    let (writer, lanes) = Writer::new(&context, 1, &tasks.soft());
    for lane in lanes {
        tasks.spawn("lane", lane);
    }
    let services = Services {
        db,
        writer,
        clock,
        ids,
        versions: Versions::default(),
        keys: crate::service::authenticate::Keys::default(),
        waiters: Waiters::new(config.widget.max_waiting),
        widget_deadline: config.widget.deadline,
    };
    (context, services, effects)
}

fn bounds(config: &Config) -> Bounds {
    let limits: &config::Limits = &config.limits;
    Bounds {
        max_open_per_conversation: config.turn.max_open_per_conversation.into(),
        max_open: config.turn.max_open.into(),
        messages_per_conversation: limits.enabled.then(|| limits.messages_per_conversation.into()),
        spend_per_conversation: None,
        spend_per_day: None,
        test_turns_per_day: limits.enabled.then(|| limits.test_turns_per_day.into()),
    }
}

async fn engine(services: Services, mut effects: mpsc::UnboundedReceiver<Effect>, script: Script) {
    while let Some(effect) = effects.recv().await {
        match effect {
            Effect::Started(turn, _slot) => {
                let Some(mut end) = script.lock().unwrap().clone() else { continue };
                if let TurnEnd::Completed(reply) = &mut end {
                    reply.id = MessageId(services.ids.ordered(services.clock.as_ref()));
                }
                let place =
                    TurnRef { workspace: turn.workspace, conversation: turn.conversation, turn: turn.id };
                let right = Right::Owner { fence: turn.fence };
                services.writer.end(Ending { turn: place, right, end, journal: None }).await.unwrap();
            }
            Effect::Ended(turn, end) => services.waiters.wake(turn, &end),
            Effect::Cancelled(_) => {}
        }
    }
}

async fn seed(pool: &SqlitePool) {
    let assistant = AssistantId(ASSISTANT.parse().unwrap());
    for number in [1, 2] {
        let id = workspace(number).0;
        sqlx::query("insert into workspaces values ($1, $2, $2, 1, $3, 10000, 0, 0, null, '', 0)")
            .bind(id)
            .bind(format!("w{number}"))
            .bind((number == 1).then_some(assistant.0))
            .execute(pool)
            .await
            .unwrap();
        sqlx::query("insert into workspace_state values ($1, 0, 1, 1, 0, 0, 0, 0, 0)")
            .bind(id)
            .execute(pool)
            .await
            .unwrap();
    }
    let soon = Duration::from_hours(1);
    let far = i64::try_from(Duration::from_hours(24 * 365 * 200).as_micros()).unwrap();
    let past = i64::try_from(soon.as_micros()).unwrap();
    for (key, number, scopes, expires, revoked) in [
        (KEY, 1, ALL, None, None),
        (READING_KEY, 1, "read", Some(far), None),
        (FOREIGN_KEY, 2, ALL, None, None),
        ("sk_expired", 1, ALL, Some(past), None),
        ("sk_revoked", 1, ALL, None, Some(past)),
    ] {
        sqlx::query("insert into api_keys values ($1, $2, $3, 'k', 'sk_', $4, 0, $5, $6, null)")
            .bind(Sha256::digest(key.as_bytes()).to_vec())
            .bind(Uuid::from_slice(&Sha256::digest(key.as_bytes())[..16]).unwrap())
            .bind(workspace(number).0)
            .bind(scopes)
            .bind(expires)
            .bind(revoked)
            .execute(pool)
            .await
            .unwrap();
    }
    put_assistant(pool, assistant.0, &json!([])).await;
}

/// Puts the assistant of the workspace, in a version that lists these origins.
pub(super) async fn put_assistant(pool: &SqlitePool, id: Uuid, origins: &serde_json::Value) {
    let compiled = json!({
        "slug": "front-desk", "name": "Front desk", "system_prompt": "You help.",
        "first_message": "Hello {{name}}!", "allowed_origins": origins,
    });
    sqlx::query("insert into assistants values ($1, $2, $3, 'Front desk', 1, 0, 0, null, 0)")
        .bind(workspace(1).0)
        .bind(id)
        .bind(id.to_string())
        .execute(pool)
        .await
        .unwrap();
    sqlx::query("insert into assistant_versions values ($1, $2, 1, $3, 0)")
        .bind(workspace(1).0)
        .bind(id)
        .bind(compiled.to_string())
        .execute(pool)
        .await
        .unwrap();
}
