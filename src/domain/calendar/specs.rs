//! The default names, descriptions and JSON Schemas of the calendar tools, for the model.

use serde_json::{Value, json};

use crate::domain::chat::ToolSpec;

/// The default spec of the availability tool.
pub fn availability_spec() -> ToolSpec {
    spec(
        "check_calendar_availability",
        "Lists the free appointment times between two dates. Each of available_slots is the start of a free \
         appointment in time_zone. truncated means that there are more: ask again for later dates. Use it before \
         you offer or book a time.",
        json!({
            "type": "object",
            "properties": {
                "start_date": text(64, "First day to look at, as YYYY-MM-DD"),
                "end_date": text(64, "Last day to look at, included, as YYYY-MM-DD; the same as start_date for one \
                    day. At most 31 days are looked at"),
            },
            "required": ["start_date", "end_date"],
            "additionalProperties": false,
        }),
    )
}

/// The default spec of the booking tool.
pub fn booking_spec() -> ToolSpec {
    spec(
        "book_appointment",
        "Books an appointment at a free time. Book only what the user has agreed to. The answer has the booking_id, \
         which is needed to cancel it; where the time cannot be booked, it has an error and, in available_slots, \
         times that can.",
        json!({
            "type": "object",
            "properties": {
                "start": text(64, "Start of the appointment: one of available_slots as it was listed, or ISO \
                    8601 such as 2026-11-30T10:00. Without an offset it is in the calendar's time zone"),
                "title": text(200, "What the appointment is about, in a few words"),
                "name": text(200, "Name of the person who comes"),
                "email": text(320, "Email address of that person"),
                "notes": text(2000, "Anything else that should be known"),
            },
            "required": ["start", "title"],
            "additionalProperties": false,
        }),
    )
}

/// The default spec of the cancellation tool.
pub fn cancel_spec() -> ToolSpec {
    spec(
        "cancel_appointment",
        "Cancels an appointment that was booked in this conversation. Cancel only what the user has asked to cancel.",
        json!({
            "type": "object",
            "properties": { "booking_id": text(255, "The booking_id that book_appointment answered") },
            "required": ["booking_id"],
            "additionalProperties": false,
        }),
    )
}

fn spec(name: &str, description: &str, parameters: Value) -> ToolSpec {
    ToolSpec { name: name.to_owned(), description: description.to_owned(), parameters }
}

fn text(max_length: u32, description: &str) -> Value {
    json!({ "type": "string", "maxLength": max_length, "description": description })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_valid_and_reject_malformed_arguments() {
        let contract = json!({ "start_date": "2025-01-13", "end_date": "2025-01-17" });
        for (spec, good, bad) in [
            (availability_spec(), contract, json!({ "start_date": "2025-01-13" })),
            (
                booking_spec(),
                json!({ "start": "2026-11-30T10:00", "title": "Demo" }),
                json!({ "start": 5, "title": "Demo" }),
            ),
            (cancel_spec(), json!({ "booking_id": "bkg_1" }), json!({ "booking_id": "b", "why": "" })),
        ] {
            let validator = jsonschema::validator_for(&spec.parameters).unwrap();
            assert!(validator.is_valid(&good), "{good}");
            assert!(!validator.is_valid(&bad), "{bad}");
        }
    }
}
