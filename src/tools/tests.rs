//! The tools of an assistant over an `SQLite` store.

use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::domain::assistant::AssistantVersion;
use crate::domain::calendar::{
    CalendarSettings, availability_spec, booking_spec, cancel_spec, decide_booking,
};
use crate::domain::clock::{FixedClock, Micros};
use crate::domain::ids::CalendarId;
use crate::domain::tool::{CompiledCalendar, CompiledConfig, CompiledTool, ToolConfig, WebhookTool};
use crate::domain::tool_loop::Toolbox as _;
use crate::store::{Conn, Tx};

const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(1));
const CALENDAR: CalendarId = CalendarId(Uuid::from_u128(2));
/// A Tuesday; the tests search for slots on the following Monday.
const NOW: &str = "2026-11-24T13:00:00Z";

struct World {
    adapters: Adapters,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::sqlite(&folder.path().join("tools.db")).await.unwrap();
        db.migrate().await.unwrap();
        let adapters = Adapters {
            searcher: Searcher::new(db.clone(), None),
            db,
            outbound: GuardedClient::new(AllowHosts::default()).unwrap(),
            mcp: mcp::Sessions::default(),
            seal_keys: None,
            clock: Arc::new(FixedClock::at(NOW.parse().unwrap())),
            ids: Arc::new(IdGenerator::seeded(1)),
            calendar_readers: CalendarReaders::default(),
        };
        let world = Self { adapters, _folder: folder };
        world
            .execute(
                "insert into workspaces (id, slug, name, auto_create_conversations, price_widget, price_test, \
                 price_api, allow_hosts, created_at) values ($1, 'w', 'W', 0, 0, 0, 0, '[]', 0)",
            )
            .await;
        world.execute("insert into calendars values ($1, $2, 'c', '{}', 0, null, 0)").await;
        world
    }

    /// Runs a statement with the workspace as `$1` and the calendar as `$2`.
    async fn execute(&self, statement: &'static str) {
        let mut tx = self.adapters.db.begin().await.unwrap();
        let Conn::Sqlite(conn) = tx.conn() else { panic!("an SQLite store") };
        let query = sqlx::query(statement).bind(WORKSPACE);
        let query = if statement.contains("$2") { query.bind(CALENDAR) } else { query };
        query.execute(conn).await.unwrap();
        Tx::commit(tx).await.unwrap();
    }

    /// Inserts a booking from `start` to `end`.
    async fn book(&self, id: u128, start: &str, end: &str, cancelled: bool) {
        const INSERT: &str = "insert into bookings (workspace_id, calendar_id, id, call_id, conversation_id, \
            starts_at, ends_at, title, created_at, cancelled_at) values ($1, $2, $3, $4, $3, $5, $6, 't', 0, $7)";
        let micros = |text: &str| Micros::from(text.parse::<Timestamp>().unwrap());
        let mut tx = self.adapters.db.begin().await.unwrap();
        let Conn::Sqlite(conn) = tx.conn() else { panic!("an SQLite store") };
        let query = sqlx::query(INSERT).bind(WORKSPACE).bind(CALENDAR).bind(Uuid::from_u128(id));
        let query = query.bind(id.to_string()).bind(micros(start)).bind(micros(end));
        query.bind(cancelled.then_some(Micros(1))).execute(conn).await.unwrap();
        Tx::commit(tx).await.unwrap();
    }

    fn toolset(&self) -> Toolset {
        Toolset::build(&assistant(tools()), &self.adapters).unwrap()
    }
}

fn calendar() -> Box<CompiledCalendar> {
    let rules = json!({"time_zone": "Europe/Berlin", "slot_minutes": 60, "hours": {"mon": ["09:00-12:00"]}});
    let settings = CalendarSettings { rules: serde_json::from_value(rules).unwrap(), caldav: None };
    Box::new(CompiledCalendar { id: CALENDAR, settings })
}

fn tool(name: &str, parameters: Value, kind: CompiledConfig) -> CompiledTool {
    let spec = ToolSpec { name: name.to_owned(), description: String::new(), parameters };
    CompiledTool { slug: format!("its-{name}"), spec, label: None, kind }
}

fn tools() -> Vec<CompiledTool> {
    vec![
        tool(
            "look",
            availability_spec().parameters,
            ToolConfig::CalendarAvailability { calendar: calendar() },
        ),
        tool("book", booking_spec().parameters, ToolConfig::CalendarBooking { calendar: calendar() }),
        tool("cancel", cancel_spec().parameters, ToolConfig::CalendarCancel { calendar: calendar() }),
        tool("hook", json!({"type": "object"}), webhook("POST", "https://shop.example/{id}")),
    ]
}

fn webhook(method: &str, url: &str) -> CompiledConfig {
    let webhook = json!({"method": method, "url": url, "timeout": "1s"});
    ToolConfig::Webhook(Box::new(serde_json::from_value::<WebhookTool>(webhook).unwrap()))
}

fn assistant(tools: Vec<CompiledTool>) -> AssistantVersion {
    let mut compiled: AssistantVersion =
        serde_json::from_value(json!({"slug": "a", "name": "A", "system_prompt": ""})).unwrap();
    compiled.tools = tools;
    compiled
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(fields) = value else { panic!("an object") };
    fields
}

/// Fails the test on a write: the tools under test never use the writer directly.
#[derive(Debug)]
pub(super) struct PanickingWriter;

#[async_trait::async_trait]
impl StoreWriter for PanickingWriter {
    async fn write(&self, write: BookingWrite) -> Result<Value, WriteError> {
        panic!("{write:?}")
    }
}

async fn call(toolset: &Toolset, name: &str, arguments: Value) -> ToolOutcome {
    let arguments = toolset.prepare(name, &object(arguments)).unwrap();
    let context = CallContext {
        workspace: WORKSPACE,
        conversation: ConversationId(Uuid::from_u128(3)),
        variables: &Map::new(),
        allow_hosts: &AllowHosts::default(),
        writer: &PanickingWriter,
    };
    toolset.get(name).unwrap().call(&Call { id: "call_1".to_owned(), arguments }, &context).await
}

async fn result(toolset: &Toolset, name: &str, arguments: Value) -> Value {
    match call(toolset, name, arguments).await {
        ToolOutcome::Result(result) => Value::Object(result.fields().clone()),
        ToolOutcome::Write(write) => panic!("{write:?}"),
    }
}

#[tokio::test]
async fn booked_times_are_not_offered_and_cancelled_ones_are() {
    let world = World::new().await;
    let toolset = world.toolset();
    let days = json!({"start_date": "2026-11-30", "end_date": "2026-12-02"});

    let before = result(&toolset, "look", days.clone()).await;
    world.book(10, "2026-11-30T08:30:00Z", "2026-11-30T09:00:00Z", false).await;
    world.book(11, "2026-11-30T10:00:00Z", "2026-11-30T11:00:00Z", true).await;
    let after = result(&toolset, "look", days).await;

    let slots = ["2026-11-30 09:00", "2026-11-30 10:00", "2026-11-30 11:00"];
    assert_eq!(before, json!({"available_slots": slots, "time_zone": "Europe/Berlin"}));
    assert_eq!(after, json!({"available_slots": slots[1..], "time_zone": "Europe/Berlin"}));
}

#[tokio::test]
async fn a_refused_request_returns_alternatives() {
    let world = World::new().await;

    let past = json!({"start_date": "2026-01-01", "end_date": "2026-01-02"});
    let answer = result(&world.toolset(), "look", past).await;

    assert!(answer["error"].as_str().unwrap().contains("is in the past"), "{answer}");
    assert_eq!(answer["available_slots"][0], "2026-11-30 09:00");
}

#[tokio::test]
async fn an_unavailable_database_is_an_error_result() {
    let world = World::new().await;
    let toolset = world.toolset();
    world.adapters.db.close().await;

    let days = json!({"start_date": "2026-11-30", "end_date": "2026-11-30"});
    let answer = result(&toolset, "look", days).await;

    assert_eq!(answer, json!({"error": "The calendar cannot be read at the moment."}));
}

#[tokio::test]
async fn booking_and_cancelling_are_delegated_to_the_writer() {
    let world = World::new().await;
    let toolset = world.toolset();
    let arguments = json!({"start": "2026-11-30T10:00", "title": " Demo ", "email": ""});

    let booking = call(&toolset, "book", arguments).await;
    let cancelling = call(&toolset, "cancel", json!({"booking_id": " bkg_1 "})).await;

    let ToolOutcome::Write(BookingWrite::Book { calendar, rules, request, call: id, .. }) = booking else {
        panic!("{booking:?}")
    };
    assert_eq!((calendar, id.as_str(), request.title.as_str()), (CALENDAR, "call_1", "Demo"));
    let slot = decide_booking(&rules, &request, &[], NOW.parse().unwrap()).unwrap();
    assert_eq!(slot.start.to_string(), "2026-11-30T09:00:00Z");
    let ToolOutcome::Write(BookingWrite::Cancel { calendar, request, is_removed: false }) = cancelling else {
        panic!("{cancelling:?}")
    };
    assert_eq!((calendar, request.booking_id.as_str()), (CALENDAR, "bkg_1"));
    let blank = result(&toolset, "book", json!({"start": "2026-11-30T10:00", "title": " "})).await;
    assert_eq!(blank, json!({"error": "the title is empty"}));
}

#[tokio::test]
async fn the_toolset_checks_names_arguments_and_repeatability() {
    let world = World::new().await;
    let toolset = world.toolset();

    let names: Vec<String> = toolset.specs().iter().map(|spec| spec.name.clone()).collect();
    assert_eq!(names, ["look", "book", "cancel", "hook"]);
    let repeatable: Vec<bool> = names.iter().map(|name| toolset.is_repeatable(name)).collect();
    assert_eq!(repeatable, [true, true, true, false]);
    assert!(!toolset.is_repeatable("lookup"));
    let unknown = toolset.prepare("lookup", &Map::new()).unwrap_err();
    assert_eq!(unknown, "There is no tool `lookup`. The tools are: look, book, cancel, hook.");
    let long = toolset.prepare(&"é".repeat(1000), &Map::new()).unwrap_err();
    assert!(long.chars().count() < 140, "{long}");
    let error = toolset.prepare("cancel", &object(json!({"booking_id": 5}))).unwrap_err();
    assert!(error.contains(r#"/booking_id: 5 is not of type "string""#), "{error}");
    let none = Toolset::build(&assistant(Vec::new()), &world.adapters).unwrap();
    assert_eq!(none.prepare("x", &Map::new()).unwrap_err(), "There is no tool `x`: there are no tools.");
}

#[tokio::test]
async fn the_error_names_the_invalid_tool() {
    let world = World::new().await;
    let hook = |kind| tool("hook", json!({"type": "object"}), kind);
    let build_error = |tools| Toolset::build(&assistant(tools), &world.adapters).unwrap_err().to_string();

    let twice = [tools(), vec![hook(webhook("GET", "https://shop.example/"))]].concat();
    assert_eq!(build_error(twice), "tool `its-hook`: another tool is named `hook`, too");
    let bad_schema = tool("hook", json!({"type": "string"}), webhook("GET", "https://shop.example/"));
    assert_eq!(build_error(vec![bad_schema]), "tool `its-hook`: parameters: its `type` must be \"object\"");
    let bad_method = hook(webhook("HEAD", "https://shop.example/"));
    assert!(build_error(vec![bad_method]).starts_with("tool `its-hook`: method: `HEAD`"));
}
