//! Typed arguments of the calendar tools. The caller has already checked them against their schemas.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::results::Refusal;

/// Two inclusive dates, not parsed yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AvailabilityRequest {
    /// The first day.
    pub start_date: String,
    /// The last day.
    pub end_date: String,
}

/// A requested booking. Its time is not parsed yet; its texts are trimmed and not empty.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BookingRequest {
    /// ISO 8601, or a label of `available_slots`.
    pub start: String,
    pub title: String,
    /// The attendee.
    pub name: Option<String>,
    /// Not validated.
    pub email: Option<String>,
    pub notes: Option<String>,
}

/// A requested cancellation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CancelRequest {
    /// The id in the result of the booking.
    pub booking_id: String,
}

impl AvailabilityRequest {
    /// Reads the tool's arguments; the refusal is the tool's result.
    pub fn parse(arguments: &Map<String, Value>) -> Result<Self, Refusal> {
        read(arguments)
    }
}

impl BookingRequest {
    /// Reads the tool's arguments; the refusal is the tool's result.
    pub fn parse(arguments: &Map<String, Value>) -> Result<Self, Refusal> {
        let raw: Self = read(arguments)?;
        let title = non_blank(&raw.title).ok_or_else(|| Refusal::new("the title is empty"))?;
        Ok(Self {
            start: raw.start,
            title,
            name: raw.name.as_deref().and_then(non_blank),
            email: raw.email.as_deref().and_then(non_blank),
            notes: raw.notes.as_deref().and_then(non_blank),
        })
    }
}

impl CancelRequest {
    /// Reads the tool's arguments; the refusal is the tool's result.
    pub fn parse(arguments: &Map<String, Value>) -> Result<Self, Refusal> {
        let raw: Self = read(arguments)?;
        Ok(Self { booking_id: raw.booking_id.trim().to_owned() })
    }
}

fn read<'a, T: Deserialize<'a>>(arguments: &'a Map<String, Value>) -> Result<T, Refusal> {
    T::deserialize(arguments).map_err(|error| Refusal::new(format!("the arguments cannot be read: {error}")))
}

/// The trimmed text, or `None` if it is blank: models write "" for values that they do not know.
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
        let arguments = json!({ "start": "2026-11-30T10:00", "title": " Demo ", "name": "", "notes": " x" });
        let request = BookingRequest::parse(arguments.as_object().unwrap()).unwrap();

        assert_eq!((request.title.as_str(), request.name, request.email), ("Demo", None, None));
        assert_eq!(request.notes.as_deref(), Some("x"));
    }

    #[test]
    fn invalid_arguments_are_refused() {
        let blank = json!({ "start": "2026-11-30T10:00", "title": "  " });
        let title = BookingRequest::parse(blank.as_object().unwrap()).unwrap_err();
        assert_eq!(title.error, "the title is empty");
        let start = json!({ "start_date": "2026-11-30" });
        let missing = AvailabilityRequest::parse(start.as_object().unwrap()).unwrap_err();
        assert!(missing.error.contains("end_date"), "{missing}");
        let cancel = json!({ "booking_id": " b " });
        assert_eq!(CancelRequest::parse(cancel.as_object().unwrap()).unwrap().booking_id, "b");
    }
}
