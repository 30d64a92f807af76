//! Words, days and times of day in a message.

use std::fmt;

use jiff::{
    ToSpan,
    civil::{Date, Weekday},
};

/// A parsed message.
pub(super) struct Phrase {
    /// In lower case.
    pub(super) text: String,
    words: Vec<String>,
    pub(super) days: Option<Days>,
    pub(super) time: Option<TimeOfDay>,
}

/// A range of days, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) first: Date,
    pub(super) last: Date,
}

/// Shown as `HH:MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeOfDay {
    hour: u8,
    minute: u8,
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

impl Phrase {
    /// Whether it contains one of these words.
    pub(super) fn has(&self, any: &[&str]) -> bool {
        self.words.iter().any(|word| any.contains(&word.as_str()))
    }

    pub(super) fn is_question(&self) -> bool {
        const WORDS: [&str; 14] = [
            "what", "how", "where", "which", "who", "why", "when", "does", "can", "is", "are", "tell",
            "explain", "do",
        ];
        self.text.contains('?') || self.has(&WORDS)
    }

    /// Whether it asks for a rule (`How …`, `Until when can I …`) rather than for an action.
    pub(super) fn asks_about(&self) -> bool {
        const WORDS: [&str; 9] = ["what", "how", "why", "when", "until", "which", "fee", "cost", "costs"];
        self.has(&WORDS)
    }

    /// Greetings, thanks and requests for an introduction.
    pub(super) fn is_small_talk(&self) -> bool {
        const WORDS: [&str; 32] = [
            "hello",
            "hi",
            "hey",
            "hallo",
            "good",
            "morning",
            "afternoon",
            "evening",
            "day",
            "there",
            "thanks",
            "thank",
            "you",
            "very",
            "much",
            "ok",
            "okay",
            "yes",
            "no",
            "bye",
            "goodbye",
            "please",
            "help",
            "me",
            "what",
            "can",
            "do",
            "who",
            "are",
            "your",
            "great",
            "nice",
        ];
        self.words.iter().all(|word| WORDS.contains(&word.as_str()))
    }

    pub(super) fn email(&self) -> Option<&str> {
        let is_email = |word: &&String| {
            word.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
        };
        self.words.iter().find(is_email).map(String::as_str)
    }
}

impl Days {
    fn one(day: Date) -> Self {
        Self { first: day, last: day }
    }

    fn from(first: Date, more_days: i64) -> Self {
        Self { first, last: first.saturating_add(more_days.days()) }
    }

    pub(super) fn week_from(day: Date) -> Self {
        Self::from(day, 6)
    }
}

/// Parses a message; its days are relative to `today`.
pub(super) fn parse(message: &str, today: Date) -> Phrase {
    let text = message.to_lowercase();
    let separates = |c: char| !(c.is_alphanumeric() || "-:+@._'".contains(c));
    let words: Vec<String> = text
        .split(separates)
        .map(|word| word.trim_matches(['.', ':', '-', '\'']).to_owned())
        .filter(|word| !word.is_empty())
        .collect();
    let days = read_days(&words, today);
    let time = read_time(&words);
    Phrase { text, words, days, time }
}

fn read_days(words: &[String], today: Date) -> Option<Days> {
    let dates: Vec<Date> = words.iter().filter_map(|word| word.get(..10)?.parse().ok()).collect();
    if let (Some(first), Some(last)) = (dates.iter().min(), dates.iter().max()) {
        return Some(Days { first: *first, last: *last });
    }
    let monday = today.saturating_sub(i64::from(today.weekday().to_monday_zero_offset()).days());
    let next_monday = monday.saturating_add(7.days());
    let position_of = |word: &str| words.iter().position(|found| found == word);
    let comes_before = |at: usize, word: &str| {
        at.checked_sub(1).and_then(|before| words.get(before)).is_some_and(|found| found == word)
    };

    if let Some(at) = position_of("tomorrow") {
        let is_day_after = comes_before(at, "after");
        return Some(Days::one(today.saturating_add(if is_day_after { 2 } else { 1 }.days())));
    }
    if position_of("today").is_some() {
        return Some(Days::one(today));
    }
    for (at, word) in words.iter().enumerate() {
        let Some(weekday) = weekday_of(word) else { continue };
        if comes_before(at, "next") {
            let offset = i64::from(weekday.to_monday_zero_offset());
            return Some(Days::one(next_monday.saturating_add(offset.days())));
        }
        let ahead = i64::from(today.weekday().until(weekday));
        return Some(Days::one(today.saturating_add(ahead.days())));
    }
    if let Some(at) = position_of("week") {
        // Next week is shown from Monday to Friday.
        return Some(if comes_before(at, "next") {
            Days::from(next_monday, 4)
        } else {
            Days::week_from(today)
        });
    }
    if let Some(at) = position_of("month") {
        let first = today.last_of_month().saturating_add(1.day());
        let next = Days { first, last: first.last_of_month() };
        let this = Days { first: today, last: today.last_of_month() };
        return Some(if comes_before(at, "next") { next } else { this });
    }
    None
}

fn weekday_of(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" | "tues" => Weekday::Tuesday,
        "wednesday" | "wed" => Weekday::Wednesday,
        "thursday" | "thu" | "thur" | "thurs" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" | "sat" => Weekday::Saturday,
        "sunday" | "sun" => Weekday::Sunday,
        _ => return None,
    })
}

/// `10:30`, `10:30 am`, `2pm`, `at 10`, `noon`, and the time after the `t` of a date.
fn read_time(words: &[String]) -> Option<TimeOfDay> {
    for (at, word) in words.iter().enumerate() {
        if word == "noon" {
            return Some(TimeOfDay { hour: 12, minute: 0 });
        }
        let after_date = word.get(..10).filter(|date| date.parse::<Date>().is_ok());
        let clock = if after_date.is_some() { word.get(11..16).unwrap_or_default() } else { word };

        let (clock, half) = match clock.strip_suffix("am").or_else(|| clock.strip_suffix("pm")) {
            Some(number) => (number, clock.get(number.len()..)),
            None => (clock, words.get(at + 1).map(String::as_str).filter(|next| ["am", "pm"].contains(next))),
        };
        let is_after_at = at.checked_sub(1).and_then(|before| words.get(before)).is_some_and(|w| w == "at");
        let (hour, minute) = match clock.split_once(':') {
            Some((hour, minute)) => (hour, minute),
            None if half.is_some() || is_after_at => (clock, "0"),
            None => continue,
        };
        let (Ok(hour), Ok(minute)) = (hour.parse::<u8>(), minute.parse::<u8>()) else { continue };
        // "At 3" means the afternoon.
        let is_afternoon = half == Some("pm") || (half.is_none() && !clock.contains(':') && hour < 7);
        let hour = match (hour, half) {
            (12, Some("am")) => 0,
            (1..=11, _) if is_afternoon => hour + 12,
            _ => hour,
        };
        if hour < 24 && minute < 60 {
            return Some(TimeOfDay { hour, minute });
        }
    }
    None
}
