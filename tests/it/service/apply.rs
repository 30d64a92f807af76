//! A workspace file, applied.

use rejoinder::domain::assistant::AssistantVersion;
use rejoinder::domain::event::EventFilter;
use rejoinder::domain::ids::WidgetUuid;
use rejoinder::domain::money::Money;
use rejoinder::domain::seal::{SecretContext, SecretField};
use rejoinder::domain::tool::{HeaderText, ToolConfig};
use rejoinder::domain::workspace::Workspace;
use rejoinder::service::apply_workspace::Mode;
use rejoinder::store::assistants::{self, AssistantRow};
use rejoinder::store::workspace_config::{self, Section};
use rejoinder::store::{Db, ReadLimit, conversations, events, ledger, messages, workspaces};
use secrecy::ExposeSecret;

use super::operator::{Operator, change_summaries};
use crate::support::db::both_backends;
use crate::support::store;

const LINK: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
const ID: &str = "550e8400-e29b-41d4-a716-446655440000";

const FILE: &str = r#"
[workspace]
slug = "shop"
name = "Shop"
balance = "10.00"
default_assistant = "desk"

[[assistants]]
slug = "desk"
id = "550e8400-e29b-41d4-a716-446655440000"
name = "Desk"
system_prompt = "You answer for {{company}}."
first_message = "Hello from {{company}}!"
variables = { company = "Shop" }
tools = ["booking", "orders"]

[[calendars]]
slug = "visits"
time_zone = "Europe/Berlin"
hours = { mon = ["09:00-17:00"] }

[[tools]]
slug = "booking"
kind = "calendar_booking"
calendar = "visits"

[[tools]]
slug = "orders"
kind = "webhook"
description = "Looks up an order"
url = "https://shop.example/orders"
headers = { authorization = { env = "ORDERS_TOKEN" } }

[[conversations]]
widget_uuid = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
assistant = "desk"
type = "widget"
"#;

/// The same without tools, calendar and conversation.
const BARE: &str = r#"
[workspace]
slug = "shop"
name = "Shop"

[[assistants]]
slug = "back"
name = "Back"
system_prompt = "You answer."
"#;

fn operator(db: Db) -> Operator {
    let operator = Operator::of(db);
    operator.set("ORDERS_TOKEN", "s3cret");
    operator
}

async fn workspace(db: &Db) -> Workspace {
    let mut read = db.acquire_read().await.unwrap();
    workspaces::find_by_slug(read.conn(), "shop").await.unwrap().unwrap()
}

async fn desk(db: &Db) -> AssistantRow {
    let workspace = workspace(db).await.id;
    let listed = assistants::list_all(db.acquire_read().await.unwrap().conn(), workspace).await.unwrap();
    listed.into_iter().find(|row| row.slug == "desk").unwrap()
}

fn link() -> WidgetUuid {
    WidgetUuid(LINK.parse().unwrap())
}

both_backends!(
    async fn the_ids_of_all_entries_are_told_each_time(db: TestDb) {
        let operator = operator(store::open(&db).await);

        let first = operator.try_apply(FILE, Mode::Apply).await.unwrap().ids;
        let again = operator.try_apply(FILE, Mode::Apply).await.unwrap().ids;

        assert_eq!(first, again);
        let kinds: Vec<_> = first
            .iter()
            .map(|entry| (entry.section, entry.slug.as_str(), entry.id.split('_').next().unwrap()))
            .collect();
        let expected = [
            ("assistant", "desk", "ast"),
            ("calendar", "visits", "cal"),
            ("tool", "booking", "tool"),
            ("tool", "orders", "tool"),
        ];
        assert_eq!(kinds, expected);
        let assistant = desk(&operator.db).await.id;
        assert_eq!(first[0].to_string(), format!("assistant desk: {assistant} or {ID}"));
    }
);

both_backends!(
    async fn applying_a_file_creates_the_workspace_and_again_changes_nothing(db: TestDb) {
        let operator = operator(store::open(&db).await);

        let changes = operator.apply(FILE).await;
        let again = operator.apply(FILE).await;

        assert_eq!(
            changes,
            [
                "workspace shop: made",
                "calendar visits: made",
                "tool booking: made",
                "tool orders: made",
                "assistant desk: made",
                "conversation 7c9e6679-7425-40de-944b-e07fc1f90ae7: made",
            ]
        );
        assert_eq!(again, Vec::<String>::new());
        let workspace = workspace(&operator.db).await;
        let desk = desk(&operator.db).await;
        assert_eq!(workspace.default_assistant, Some(desk.id));
        assert_eq!((desk.id.0.to_string().as_str(), desk.current_version), (ID, 1));
        let compiled: AssistantVersion = serde_json::from_str(&desk.compiled).unwrap();
        assert_eq!(compiled.tools[0].spec.name, "book_appointment");
    }
);

both_backends!(
    async fn the_opening_credit_is_a_ledger_entry_and_is_given_once(db: TestDb) {
        let operator = operator(store::open(&db).await);
        operator.apply(FILE).await;

        operator.apply(&FILE.replace("10.00", "99.00")).await;

        let workspace = workspace(&operator.db).await.id;
        let mut read = operator.db.acquire_read().await.unwrap();
        let entries = ledger::list_after(read.conn(), workspace, 0, 10).await.unwrap();
        let balance = workspaces::balance(read.conn(), workspace).await.unwrap();
        assert_eq!(entries.iter().map(|entry| entry.amount).collect::<Vec<_>>(), [Money(10_000_000)]);
        assert_eq!(entries[0].reference.as_deref(), Some("opening"));
        assert_eq!(balance, Some(Money(10_000_000)));
    }
);

both_backends!(
    async fn a_conversation_begins_with_the_first_message_and_its_event(db: TestDb) {
        let operator = operator(store::open(&db).await);

        operator.apply(FILE).await;

        let mut read = operator.db.acquire_read().await.unwrap();
        let linked = conversations::find_by_link(read.conn(), link()).await.unwrap().unwrap();
        let conversation = linked.conversation;
        let (workspace, limit) = (conversation.workspace, ReadLimit { rows: 10, bytes: i64::MAX });
        let listed =
            messages::list_after(read.conn(), workspace, conversation.id, 0, limit).await.unwrap().rows;
        let all = EventFilter::default();
        let (_, created) = events::read_after(read.conn(), workspace, 0, &all, limit).await.unwrap();
        let created_events = created.rows;
        assert_eq!(
            listed.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(),
            ["Hello from Shop!"]
        );
        assert_eq!(created_events.len(), 1);
        assert!(created_events[0].body.contains("conversation.created"));
    }
);

both_backends!(
    async fn a_dry_run_reports_the_same_changes_and_stores_nothing(db: TestDb) {
        let operator = operator(store::open(&db).await);

        let dry = operator.try_apply(FILE, Mode::DryRun).await.unwrap();

        let mut read = operator.db.acquire_read().await.unwrap();
        assert_eq!(workspaces::count(read.conn()).await.unwrap(), 0);
        drop(read);
        assert_eq!(change_summaries(&dry), operator.apply(FILE).await);
    }
);

both_backends!(
    async fn a_new_version_is_created_only_if_the_compiled_assistant_differs(db: TestDb) {
        let operator = operator(store::open(&db).await);
        operator.apply(FILE).await;

        let renamed = operator.apply(&FILE.replace("name = \"Shop\"", "name = \"The Shop\"")).await;
        assert_eq!(renamed, ["workspace shop: changed name"]);
        assert_eq!(desk(&operator.db).await.current_version, 1);

        let hours =
            operator.apply(&FILE.replace("09:00", "10:00").replace("\"Shop\"\nb", "\"The Shop\"\nb")).await;
        assert_eq!(hours, ["calendar visits: changed hours", "assistant desk: changed tools"]);
        assert_eq!(desk(&operator.db).await.current_version, 2);
    }
);

both_backends!(
    async fn a_secret_is_sealed_and_keeps_its_text_until_it_changes(db: TestDb) {
        let operator = operator(store::open(&db).await);
        operator.apply(FILE).await;
        let row = desk(&operator.db).await;
        assert!(!row.compiled.contains("s3cret"));
        let compiled: AssistantVersion = serde_json::from_str(&row.compiled).unwrap();
        let ToolConfig::Webhook(webhook) = &compiled.tools[1].kind else { panic!("no webhook") };
        let HeaderText::Secret(sealed) = &webhook.headers["authorization"] else { panic!("not sealed") };
        let field = SecretField::Header("authorization");
        let context = SecretContext::of_tool(workspace(&operator.db).await.id, "orders", field);
        let opened = operator.seal.as_ref().unwrap().open(&context, sealed).unwrap();
        assert_eq!(opened.expose_secret(), "s3cret");

        assert_eq!(operator.apply(FILE).await, Vec::<String>::new());
        operator.set("ORDERS_TOKEN", "n3w-s3cret");

        assert_eq!(
            operator.apply(FILE).await,
            ["tool orders: changed config", "assistant desk: changed tools"]
        );
    }
);

both_backends!(
    async fn a_calendars_password_is_sealed_and_its_address_checked(db: TestDb) {
        let operator = operator(store::open(&db).await);
        operator.set("CALDAV_PASSWORD", "pa55");
        let on = |url: &str| {
            let keys = "username = \"me\", password = { env = \"CALDAV_PASSWORD\" }";
            FILE.replacen("hours = {", &format!("caldav = {{ url = \"{url}\", {keys} }}\nhours = {{"), 1)
        };
        let rules = async || {
            let id = workspace(&operator.db).await.id;
            let mut read = operator.db.acquire_read().await.unwrap();
            workspace_config::list(read.conn(), Section::Calendars, id).await.unwrap().remove(0).text
        };

        operator.apply(&on("https://dav.example/me/work")).await;
        let first = rules().await;
        assert_eq!(operator.apply(&on("https://dav.example/me/work/")).await, Vec::<String>::new());
        operator.set("CALDAV_PASSWORD", "other");
        let changes = operator.apply(&on("https://dav.example/me/work/")).await;

        assert!(first.contains("https://dav.example/me/work/") && !first.contains("pa55"), "{first}");
        assert_eq!(changes, ["calendar visits: changed caldav", "assistant desk: changed tools"]);
        assert_ne!(rules().await, first);
        for (url, why) in [
            ("http://10.0.0.7/me/", "is not a public address; allow it with `allow_hosts` in [workspace]"),
            ("ftp://dav.example/", "must begin with http"),
            ("http://dav.example/me/", "a password is sent over https only"),
        ] {
            let refusal = operator.refusal(&on(url)).await;
            assert!(
                refusal.starts_with("line 20: calendars[0].caldav.url: ") && refusal.contains(why),
                "{refusal}"
            );
        }
    }
);

both_backends!(
    async fn an_invalid_file_is_refused_with_the_reason_and_changes_nothing(db: TestDb) {
        let mut operator = operator(store::open(&db).await);

        let missing = FILE.replace("ORDERS_TOKEN", "OTHER_TOKEN");
        assert_eq!(
            operator.refusal(&missing).await,
            "the secret { env = \"OTHER_TOKEN\" } is not set in the environment"
        );
        let private = FILE.replace("shop.example", "10.0.0.7");
        assert_eq!(
            operator.refusal(&private).await,
            "line 31: tools[1].url: the URL's host is not a public address; allow it with `allow_hosts` in \
             [workspace], or with outbound.allow_hosts"
        );
        let hosts = FILE.replace("balance =", "allow_hosts = [\"https://shop.example\"]\nbalance =");
        assert_eq!(
            operator.refusal(&hosts).await,
            "line 5: workspace.allow_hosts: `https://shop.example` is not a host or host:port (no scheme, path or \
             wildcard)"
        );
        let signed = FILE.replace("url = \"https", "secret = { env = \"SIGNING\" }\nurl = \"https");
        for secret in ["hello", "whsec_abc"] {
            operator.set("SIGNING", secret);
            assert_eq!(
                operator.refusal(&signed).await,
                "line 31: tools[1].secret: { env = \"SIGNING\" } is not usable: a signing secret is `whsec_` and 24 to \
                 64 bytes in base64"
            );
        }
        let unknown = FILE.replace("first_message", "greeting");
        assert!(
            operator.refusal(&unknown).await.starts_with("line 13: assistants[0].greeting: unknown field")
        );
        operator.seal = None;
        assert!(operator.refusal(FILE).await.contains("set REJOINDER_SECRET_KEY"));

        let count = workspaces::count(operator.db.acquire_read().await.unwrap().conn()).await.unwrap();
        assert_eq!(count, 0);
    }
);

both_backends!(
    async fn a_file_cannot_use_a_variable_of_the_server(db: TestDb) {
        let operator = operator(store::open(&db).await);
        for name in ["DATABASE_URL", "DATABASE_URL_FILE", "REJOINDER_SECRET_KEY", "OPENAI_API_KEY"] {
            operator.set(name, "a secret of the server");

            let refusal = operator.refusal(&FILE.replace("ORDERS_TOKEN", name)).await;

            let at = "line 32: tools[1].headers.authorization.env";
            assert!(refusal.starts_with(&format!("{at}: {name} is a variable of the server")), "{refusal}");
        }
        let count = workspaces::count(operator.db.acquire_read().await.unwrap().conn()).await.unwrap();
        assert_eq!(count, 0);
    }
);

both_backends!(
    async fn removed_entries_are_archived_and_can_be_restored(db: TestDb) {
        let operator = operator(store::open(&db).await);
        operator.apply(FILE).await;

        let gone = operator.apply(BARE).await;

        assert_eq!(
            gone,
            [
                "workspace shop: changed default_assistant",
                "calendar visits: archived",
                "tool booking: archived",
                "tool orders: archived",
                "assistant back: made",
                "assistant desk: archived",
            ]
        );
        let mut read = operator.db.acquire_read().await.unwrap();
        assert!(conversations::find_by_link(read.conn(), link()).await.unwrap().is_some());
        drop(read);
        let back = operator.apply(FILE).await;
        assert_eq!(
            back[1..5],
            [
                "calendar visits: restored",
                "tool booking: restored",
                "tool orders: restored",
                "assistant desk: restored",
            ]
        );
        assert_eq!(desk(&operator.db).await.current_version, 1);
    }
);

both_backends!(
    async fn objects_created_through_the_api_are_untouched(db: TestDb) {
        let operator = operator(store::open(&db).await);
        operator.apply(FILE).await;
        let id = workspace(&operator.db).await.id;
        let rows =
            workspace_config::list(operator.db.acquire_read().await.unwrap().conn(), Section::Tools, id)
                .await
                .unwrap();
        let mut added = rows.iter().find(|row| row.slug == "orders").unwrap().clone();
        added.id = operator.ids.uuid_v4();
        "crm".clone_into(&mut added.slug);
        added.from_file = false;
        let mut tx = operator.db.begin().await.unwrap();
        workspace_config::put(tx.conn(), Section::Tools, id, &added, rejoinder::domain::clock::Micros(0))
            .await
            .unwrap();
        tx.commit().await.unwrap();

        operator.apply(BARE).await;

        let rows =
            workspace_config::list(operator.db.acquire_read().await.unwrap().conn(), Section::Tools, id)
                .await
                .unwrap();
        let archived: Vec<_> = rows.iter().map(|row| (row.slug.as_str(), row.archived)).collect();
        assert_eq!(archived, [("booking", true), ("crm", false), ("orders", true)]);
        let refusal = operator.refusal(&FILE.replace("\"orders\"", "\"crm\"")).await;
        assert_eq!(refusal, "tool \"crm\" was made through the API; choose another slug");
    }
);

both_backends!(
    async fn a_fallback_with_an_unknown_connection_is_applied_with_a_warning(db: TestDb) {
        let operator = operator(store::open(&db).await);
        let fallbacks =
            r#"fallbacks = [{ connection = "backup", model = "a" }, { connection = "bakcup", model = "b" }]"#;
        let file = BARE.replace("[[assistants]]", &format!("[[assistants]]\n{fallbacks}"));

        let applied = operator.try_apply(&file, Mode::Apply).await.unwrap();

        let warning = "assistant back: the fallback to b is passed over, for the configuration has no connection \"bakcup\"";
        assert_eq!(applied.warnings, [warning]);
        assert!(!applied.changes.is_empty());
    }
);

both_backends!(
    async fn variables_without_a_default_are_warned_about_once(db: TestDb) {
        let operator = operator(store::open(&db).await);
        let prompt = "You answer {{name}} of {{company}}, {x}.";
        let file = FILE
            .replace("You answer for {{company}}.", prompt)
            .replace("Hello from {{company}}!", "Hello {{ name }}, {{title}}!");

        let applied = operator.try_apply(&file, Mode::Apply).await.unwrap();

        let warning = "assistant desk: neither `variables` nor `visitor_variables` has {{name}}, {{title}}: empty unless an API key sets it";
        assert_eq!(applied.warnings, [warning]);
        let complete = file
            .replace("{ company =", "{ title = \"\", company =")
            .replace("tools = [\"booking\"", "visitor_variables = { name = {} }\ntools = [\"booking\"");
        assert_eq!(operator.try_apply(&complete, Mode::Apply).await.unwrap().warnings, Vec::<String>::new());
    }
);

both_backends!(
    async fn an_id_of_another_workspace_is_an_error_and_nothing_is_applied(db: TestDb) {
        let operator = operator(store::open(&db).await);
        operator.apply(FILE).await;
        let other = FILE.replace("\"shop\"", "\"other\"");

        let link = operator.refusal(&other).await;
        let id = operator.refusal(&other.replace(LINK, "7c9e6679-7425-40de-944b-e07fc1f90ae8")).await;

        assert_eq!(
            link,
            format!("the conversation {LINK} is another workspace's: give it another id, or leave it out")
        );
        assert_eq!(
            id,
            format!("the id {ID} of assistant \"desk\" is another's: give it another, or leave it out")
        );
        let count = workspaces::count(operator.db.acquire_read().await.unwrap().conn()).await.unwrap();
        assert_eq!(count, 1);
    }
);

both_backends!(
    async fn ids_and_types_stay_while_a_conversation_may_get_another_assistant(db: TestDb) {
        let operator = operator(store::open(&db).await);
        operator.apply(FILE).await;
        let two =
            format!("{FILE}\n[[assistants]]\nslug = \"back\"\nname = \"Back\"\nsystem_prompt = \"Hi\"\n");

        let moved = operator.apply(&two.replace("\nassistant = \"desk\"", "\nassistant = \"back\"")).await;
        let id = operator.refusal(&FILE.replace(ID, "550e8400-e29b-41d4-a716-446655440001")).await;
        let kind = operator.refusal(&FILE.replace("\"widget\"", "\"test\"")).await;

        assert_eq!(
            moved,
            ["assistant back: made", "conversation 7c9e6679-7425-40de-944b-e07fc1f90ae7: changed assistant"]
        );
        assert_eq!(id, format!("assistant \"desk\" has the id {ID}; it cannot change"));
        assert_eq!(kind, format!("the conversation {LINK} is of type \"widget\"; that cannot change"));
    }
);

both_backends!(
    async fn concurrent_applies_create_one_workspace(db: TestDb) {
        let one = operator(store::open(&db).await);
        let two = operator(store::open(&db).await);

        let (first, second) = tokio::join!(one.apply(FILE), two.apply(FILE));

        // Each seals with a nonce of its own, but the later one finds the earlier one's secret unchanged.
        assert_eq!(first.len() + second.len(), 6, "{first:?} {second:?}");
        assert_eq!(desk(&one.db).await.current_version, 1);
        let id = workspace(&one.db).await.id;
        let balance = workspaces::balance(one.db.acquire_read().await.unwrap().conn(), id).await.unwrap();
        assert_eq!(balance, Some(Money(10_000_000)));
    }
);
