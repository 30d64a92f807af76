//! The arguments of the calendar's tools, typed. They were checked against their schemas before.

use serde::Deserialize;
use serde_json::Value;

use super::results::Refusal;

/// Two dates, both included, still as they were written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AvailabilityRequest {
    /// The first day.
    pub start_date: String,
    /// The last day.
    pub end_date: String,
}

/// What is to be booked; the time still as it was written, the texts trimmed and none of them empty.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BookingRequest {
    /// ISO 8601, or a label of `available_slots`.
    pub datetime: String,
    /// What it is about.
    pub title: String,
    /// Who comes.
    pub name: Option<String>,
    /// Their address, unchecked.
    pub email: Option<String>,
    /// Whatever else was said.
    pub notes: Option<String>,
}

/// Which booking is to be cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CancelRequest {
    /// The id that the booking's result had.
    pub booking_id: String,
}

impl AvailabilityRequest {
    /// Reads the tool's arguments; the refusal is the tool's result.
    pub fn parse(arguments: &Value) -> Result<Self, Refusal> {
        read(arguments)
    }
}

impl BookingRequest {
    /// Reads the tool's arguments; the refusal is the tool's result.
    pub fn parse(arguments: &Value) -> Result<Self, Refusal> {
        let raw: Self = read(arguments)?;
        let title = non_blank(&raw.title).ok_or_else(|| Refusal::new("the title is empty"))?;
        Ok(Self {
            datetime: raw.datetime,
            title,
            name: raw.name.as_deref().and_then(non_blank),
            email: raw.email.as_deref().and_then(non_blank),
            notes: raw.notes.as_deref().and_then(non_blank),
        })
    }
}

impl CancelRequest {
    /// Reads the tool's arguments; the refusal is the tool's result.
    pub fn parse(arguments: &Value) -> Result<Self, Refusal> {
        let raw: Self = read(arguments)?;
        Ok(Self { booking_id: raw.booking_id.trim().to_owned() })
    }
}

fn read<'a, T: Deserialize<'a>>(arguments: &'a Value) -> Result<T, Refusal> {
    T::deserialize(arguments).map_err(|error| Refusal::new(format!("the arguments cannot be read: {error}")))
}

/// The text without white space around it, if anything is left: models fill what they do not know with "".
fn non_blank(text: &str) -> Option<String> {
    let trimmed = text.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blank_texts_count_as_absent() {
        let arguments =
            json!({ "datetime": "2026-11-30T10:00", "title": " Demo ", "name": "", "notes": " x" });
        let request = BookingRequest::parse(&arguments).unwrap();

        assert_eq!((request.title.as_str(), request.name, request.email), ("Demo", None, None));
        assert_eq!(request.notes.as_deref(), Some("x"));
    }

    #[test]
    fn arguments_that_do_not_fit_are_a_refusal() {
        let blank = json!({ "datetime": "2026-11-30T10:00", "title": "  " });
        assert_eq!(BookingRequest::parse(&blank).unwrap_err().error, "the title is empty");
        let missing = AvailabilityRequest::parse(&json!({ "start_date": "2026-11-30" })).unwrap_err();
        assert!(missing.error.contains("end_date"), "{missing}");
        assert_eq!(CancelRequest::parse(&json!({ "booking_id": " b " })).unwrap().booking_id, "b");
    }
}
