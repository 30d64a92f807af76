//! Chooses what the offline model does: call a tool, describe a result, or introduce itself. The first matching rule
//! wins.

use jiff::civil::Date;
use serde_json::{Map, Value, json};

use crate::domain::chat::{ChatMessage, ChatRequest, ToolSpec};

use super::{
    Answer, arguments,
    history::CallHistory,
    phrases::{self, Phrase},
    wording,
};

const AVAILABILITY: &str = "check_calendar_availability";
const BOOKING: &str = "book_appointment";
const CANCELLATION: &str = "cancel_appointment";
const KNOWLEDGE: &str = "search_knowledge_base";
const BUILT_IN: [&str; 4] = [AVAILABILITY, BOOKING, CANCELLATION, KNOWLEDGE];

pub(super) fn answer(request: &ChatRequest, today: Date) -> Answer {
    let last_user = request.messages.iter().rposition(|message| matches!(message, ChatMessage::User(_)));
    let (before, since) = request.messages.split_at(last_user.unwrap_or_default());

    let results = CallHistory::read(since).into_results();
    if !results.is_empty() {
        return Answer::Say(wording::results(&results, &request.tools));
    }
    let Some(ChatMessage::User(text)) = since.first() else {
        return Answer::Say(wording::introduction(&request.tools));
    };
    let history = CallHistory::read(before);
    let phrase = phrases::parse(text, today);
    let has = |name: &str| request.tools.iter().any(|tool| tool.name == name);
    let searches = has(KNOWLEDGE);

    named_tool(text, &request.tools)
        .or_else(|| has(CANCELLATION).then(|| cancel(&phrase, &history, searches)).flatten())
        .or_else(|| has(BOOKING).then(|| book(&phrase, &history)).flatten())
        .or_else(|| has(AVAILABILITY).then(|| check_availability(&phrase, today, searches)).flatten())
        .or_else(|| searches.then(|| search(text, &phrase)).flatten())
        .unwrap_or_else(|| Answer::Say(wording::introduction(&request.tools)))
}

fn call(name: &str, arguments: Value) -> Answer {
    let arguments = if let Value::Object(fields) = arguments { fields } else { Map::new() };
    Answer::Call { name: name.to_owned(), arguments }
}

/// A tool of another kind than the built-in ones, if the message contains its name as words.
fn named_tool(text: &str, tools: &[ToolSpec]) -> Option<Answer> {
    // ASCII lower case keeps byte positions.
    let lower = text.to_ascii_lowercase();
    tools.iter().filter(|tool| !BUILT_IN.contains(&tool.name.as_str())).find_map(|tool| {
        let name = tool.name.to_ascii_lowercase();
        let rest = end_of_words(&lower, &name).or_else(|| end_of_words(&lower, &name.replace('_', " ")))?;
        let rest = text.get(rest..).unwrap_or_default();
        Some(Answer::Call {
            name: tool.name.clone(),
            arguments: arguments::fill(&tool.parameters, text, rest),
        })
    })
}

/// The end of these words in a text, if they occur as whole words.
fn end_of_words(text: &str, words: &str) -> Option<usize> {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(words).find_map(|(start, found)| {
        let end = start + found.len();
        let before = text.get(..start).and_then(|before| before.chars().next_back());
        let after = text.get(end..).and_then(|after| after.chars().next());
        (!is_word(before) && !is_word(after)).then_some(end)
    })
}

/// Also none for a question about cancelling that documents may answer: a question must not cancel an appointment.
fn cancel(phrase: &Phrase, history: &CallHistory, searches: bool) -> Option<Answer> {
    if !phrase.has(&["cancel", "cancelled", "canceled", "cancelling"]) || searches && phrase.asks_about() {
        return None;
    }
    let named = history.bookings().find(|id| phrase.text.contains(&id.to_lowercase()));
    match named.or_else(|| history.bookings().next_back()) {
        Some(id) => Some(call(CANCELLATION, json!({"booking_id": id}))),
        None => Some(Answer::Say(wording::with_signature(
            "There is no appointment of yours that I could cancel.",
        ))),
    }
}

fn book(phrase: &Phrase, history: &CallHistory) -> Option<Answer> {
    let wants_booking = phrase.has(&["book", "reserve", "take", "confirm", "schedule", "arrange"]);
    let only_asks = phrase.has(&["free", "available", "availability"]);
    let slots = history.offered_slots();
    if !wants_booking && (only_asks || phrase.is_question()) {
        return None;
    }

    let chosen = match (phrase.time, &phrase.days) {
        (Some(time), Some(days)) => {
            let label = format!("{} {time}", days.first);
            let offered = slots.iter().find(|slot| slot.starts_with(&label));
            Some(offered.cloned().unwrap_or(label)).filter(|_| wants_booking || !slots.is_empty())
        }
        (Some(time), None) => {
            let time = format!(" {time}");
            slots.iter().find(|slot| slot.contains(&time)).cloned()
        }
        (None, None) if phrase.has(&["first", "earliest"]) => slots.first().cloned(),
        (None, _) => None,
    };
    let mut arguments = Map::new();
    arguments.insert("start".to_owned(), Value::String(chosen?.replacen(' ', "T", 1)));
    arguments.insert("title".to_owned(), if phrase.has(&["demo"]) { "Demo" } else { "Appointment" }.into());
    if let Some(email) = phrase.email() {
        arguments.insert("email".to_owned(), email.into());
    }
    Some(Answer::Call { name: BOOKING.to_owned(), arguments })
}

fn check_availability(phrase: &Phrase, today: Date, searches: bool) -> Option<Answer> {
    let about_times = phrase.has(&[
        "available",
        "availability",
        "slot",
        "slots",
        "appointment",
        "appointments",
        "schedule",
        "book",
        "reserve",
    ]);
    let has_time = phrase.days.is_some() || phrase.time.is_some();
    let is_free = phrase.has(&["free"]) && (has_time || phrase.has(&["time", "times", "when"]));
    // Documents may answer a question about a demo or a meeting; a wish for one needs a time.
    let wants_meeting = phrase.has(&["demo", "meeting", "calendar"])
        && (!searches || !phrase.is_question() || has_time || phrase.has(&["when"]));
    if !about_times && !is_free && !wants_meeting {
        return None;
    }
    let days = phrase.days.unwrap_or_else(|| phrases::Days::week_from(today));
    Some(call(AVAILABILITY, json!({"start_date": days.first.to_string(), "end_date": days.last.to_string()})))
}

/// Documents may answer anything but small talk.
fn search(text: &str, phrase: &Phrase) -> Option<Answer> {
    (!phrase.is_small_talk()).then(|| call(KNOWLEDGE, json!({"query": text.trim()})))
}
