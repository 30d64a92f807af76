//! Describes the results of tools in sentences, and the offline model itself in every reply.

use jiff::civil::Date;
use serde_json::Value;

use crate::domain::chat::ToolSpec;

use super::history::{CompletedCall, slots_of};

const SIGNATURE: &str = "(I am Rejoinder's offline demonstration model: I follow simple rules. \
     Configure a real model for real conversations.)";
const MAX_DAYS: usize = 5;
const MAX_TIMES: usize = 6;
const MAX_VALUE: usize = 400;
const MAX_QUOTED: usize = 2;
const MAX_OTHER_SOURCES: usize = 2;

/// Appends the notice that every reply carries.
pub(super) fn with_signature(text: &str) -> String {
    format!("{text}\n\n{SIGNATURE}")
}

/// A greeting that lists what the available tools can do.
pub(super) fn introduction(tools: &[ToolSpec]) -> String {
    with_signature(&if tools.is_empty() {
        "Hello! This assistant has no tools, so there is little that I can do for you.".to_owned()
    } else {
        format!("Hello! {}", capabilities(tools))
    })
}

fn capabilities(tools: &[ToolSpec]) -> String {
    let mut can: Vec<String> = Vec::new();
    for tool in tools {
        can.push(match tool.name.as_str() {
            "check_calendar_availability" => {
                "look for free times (“What times are free for a demo next week?”)".to_owned()
            }
            "book_appointment" => "book one (“Book Tuesday at 10:00”)".to_owned(),
            "cancel_appointment" => "cancel what you booked (“Cancel it”)".to_owned(),
            "search_knowledge_base" => "search our documents (just ask)".to_owned(),
            name => format!("call `{name}` where you name it"),
        });
    }
    format!("Here is what I can do: {}.", can.join("; "))
}

pub(super) fn results(results: &[CompletedCall], tools: &[ToolSpec]) -> String {
    let sentences: Vec<String> = results.iter().map(|call| describe_result(call, tools)).collect();
    with_signature(&sentences.join("\n\n"))
}

fn describe_result(call: &CompletedCall, tools: &[ToolSpec]) -> String {
    let result = &call.result;
    let text = |key: &str| result.get(key).and_then(Value::as_str);
    if let Some(error) = text("error") {
        let slots = slots_of(result);
        let regret = format!("That did not work: {}", sentence(error));
        return if slots.is_empty() {
            regret
        } else {
            format!("{regret} These times are free:\n{}", list(&slots))
        };
    }
    match call.name.as_str() {
        "check_calendar_availability" => describe_slots(call),
        "book_appointment" => {
            let start =
                text("start").map_or_else(|| "the time that you asked for".to_owned(), format_datetime);
            let id = text("booking_id").map(|id| format!(" Its number is {id}.")).unwrap_or_default();
            format!("Your appointment is booked for {start}.{id} Say “cancel” if you cannot come.")
        }
        "cancel_appointment" => "Your appointment is cancelled.".to_owned(),
        "search_knowledge_base" => describe_passages(result).unwrap_or_else(|| {
            format!("I have found nothing about that in our documents. {}", capabilities(tools))
        }),
        name => format!("`{name}` answered: {}", describe_value(result)),
    }
}

fn describe_slots(call: &CompletedCall) -> String {
    let slots = slots_of(&call.result);
    let zone = call.result.get("time_zone").and_then(Value::as_str);
    let zone = zone.map(|zone| format!(" ({zone} time)")).unwrap_or_default();
    if slots.is_empty() {
        let day =
            |key: &str| call.arguments.get(key).and_then(Value::as_str).map(format_day).unwrap_or_default();
        return format!("Nothing is free from {} to {}.", day("start_date"), day("end_date"));
    }
    format!("These times are free{zone}:\n{}\n\nWhich one suits you?", list(&slots))
}

/// A line for each day with a few times.
fn list(slots: &[String]) -> String {
    let mut days: Vec<(&str, Vec<&str>)> = Vec::new();
    for slot in slots {
        let (day, time) = slot.split_once(' ').unwrap_or((slot, ""));
        match days.last_mut() {
            Some((last, times)) if *last == day => times.push(time),
            Some(_) | None => days.push((day, vec![time])),
        }
    }
    let more_days = days.len().saturating_sub(MAX_DAYS);
    let mut lines: Vec<String> = Vec::new();
    for (day, times) in days.iter().take(MAX_DAYS) {
        let listed: Vec<&str> = times.iter().take(MAX_TIMES).copied().collect();
        let more = times.len().saturating_sub(MAX_TIMES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("- {}: {}{more}", format_day(day), listed.join(", ")));
    }
    if more_days > 0 {
        lines.push(format!("- and {more_days} more days"));
    }
    lines.join("\n")
}

/// Quotes the best passages of the best source and names the others; says so if nothing was found.
fn describe_passages(result: &Value) -> Option<String> {
    let passages = result.get("passages").and_then(Value::as_array)?;
    let field = |passage: &Value, key: &str| passage.get(key).and_then(Value::as_str).map(str::to_owned);
    let source = field(passages.first()?, "source")?;
    let of_source = passages.iter().filter(|passage| field(passage, "source").as_ref() == Some(&source));
    let quoted = of_source.clone().take(MAX_QUOTED).filter_map(|passage| field(passage, "text"));
    let mut paragraphs = vec![format!("“{source}” says:")];
    paragraphs.extend(quoted.map(|text| truncate(&text)));
    paragraphs
        .extend(of_source.take(1).filter_map(|passage| field(passage, "url")).map(|url| format!("({url})")));
    let mut others: Vec<String> = Vec::new();
    for other in passages.iter().filter_map(|passage| field(passage, "source")) {
        if other != source && !others.contains(&other) && others.len() < MAX_OTHER_SOURCES {
            others.push(other);
        }
    }
    if !others.is_empty() {
        paragraphs.push(format!("See also “{}”.", others.join("”, “")));
    }
    Some(paragraphs.join("\n\n"))
}

fn describe_value(value: &Value) -> String {
    let Some(fields) = value.as_object() else { return truncate(&value.to_string()) };
    let fields = fields.iter().map(|(key, value)| match value.as_str() {
        Some(text) => format!("{key}: {text}"),
        None => format!("{key}: {value}"),
    });
    truncate(&fields.collect::<Vec<_>>().join("; "))
}

/// `Monday, 1 December`.
fn format_day(day: &str) -> String {
    match day.parse::<Date>() {
        Ok(date) => date.strftime("%A, %-d %B").to_string(),
        Err(_) => day.to_owned(),
    }
}

fn format_datetime(moment: &str) -> String {
    let day = moment.get(..10).map_or_else(|| moment.to_owned(), format_day);
    match moment.get(11..16) {
        Some(time) => format!("{day}, at {time}"),
        None => day,
    }
}

fn sentence(text: &str) -> String {
    let text = truncate(text);
    if text.ends_with(['.', '!', '?', '…']) { text } else { format!("{text}.") }
}

fn truncate(text: &str) -> String {
    let mut short: String = text.trim().chars().take(MAX_VALUE).collect();
    if short.len() < text.trim().len() {
        short.push('…');
    }
    short
}
