//! Calendars on a real CalDAV server, tested through whole turns.

mod booking;
mod busy;
mod erasures;
mod failures;
mod platform;
mod races;
mod turns;

use serde_json::{Value, json};

use crate::support::fake_model::{Reply, ToolCall};
use crate::support::radicale::{OWNER, Radicale};
use crate::support::server::{Setup, TestServer};

/// A Sunday, two weeks before daylight-saving time begins in Berlin.
const NOW: &str = "2026-03-15T14:22:11Z";

/// Every day from nine to twelve, in slots of an hour.
const HOURS: &str = r#"hours = { mon = ["09:00-12:00"], tue = ["09:00-12:00"], wed = ["09:00-12:00"], thu = ["09:00-12:00"], fri = ["09:00-12:00"], sat = ["09:00-12:00"], sun = ["09:00-12:00"] }"#;

/// A server whose calendar is on the CalDAV server at this address.
fn setup_at(url: &str, host: &str) -> Setup {
    setup_with_keys(url, host, &format!("username = \"{OWNER}\", password = {{ env = \"CALDAV_PASSWORD\" }}"))
}

fn setup_with_keys(url: &str, host: &str, keys: &str) -> Setup {
    let separator = if keys.is_empty() { "" } else { ", " };
    let caldav = format!("caldav = {{ url = \"{url}\"{separator}{keys} }}");
    let host = format!("allow_hosts = [\"{host}\"]");
    Setup::default().clock_at(NOW).workspace(move |text| {
        let text = text.replace("balance = \"10.00\"", &format!("balance = \"10.00\"\n{host}"));
        text.replace("slot_minutes = 60", &format!("slot_minutes = 60\n{caldav}")).replace(
            r#"hours = { mon = ["14:00-15:00"], wed = ["10:00-11:00"], fri = ["15:00-16:00"] }"#,
            HOURS,
        )
    })
}

fn setup_on(radicale: &Radicale) -> Setup {
    setup_at(&radicale.url(), radicale.host())
}

/// The result of a turn's only call.
async fn result(server: &TestServer, uuid: &str, call: ToolCall) -> Value {
    server.model.script().queue([Reply::tool_calls([call]), Reply::text("Done.")]);
    let answer = server.post_message(uuid, "Please.").send().await;
    let body = answer.json();
    assert_eq!((answer.status, &body["message"]), (200, &json!("Done.")), "{body}");
    body["function_calls"][0]["result"].clone()
}

fn check_availability(first: &str, last: &str) -> ToolCall {
    ToolCall::new("check_calendar_availability", &json!({ "start_date": first, "end_date": last }))
}

fn book(start: &str) -> ToolCall {
    let arguments = json!({
        "start": start, "title": "Demo; with, signs\nand lines", "name": "Ada", "email": "ada@example.com",
    });
    ToolCall::new("book_appointment", &arguments)
}

fn cancel(id: &Value) -> ToolCall {
    ToolCall::new("cancel_appointment", &json!({ "booking_id": id }))
}
