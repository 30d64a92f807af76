//! What is sent to set up webhook endpoints, field by field.

use std::time::Duration;

use jiff::Timestamp;

use super::wire::{DeliveriesQuery, EndpointIn, EndpointUpdateIn, ReplayIn, RotationIn};
use crate::domain::delivery::DeliveryState;
use crate::domain::error::Error;
use crate::domain::event::EventType;
use crate::domain::signature::SigningSecret;
use crate::domain::webhook_endpoint::{
    DEFAULT_ROTATION_OVERLAP, DisabledReason, EndpointPatch, MAX_URL, Switch,
};
use crate::http::fields::{Field, integer, strings};
use crate::http::platform::cursor::SequenceCursor;
use crate::http::platform::validate::{
    fields, flag, invalid, invalid_field, optional_text, reject_unknown_fields, required, short_text,
};
use crate::service::read_events::StartPosition;
use crate::service::webhook_endpoints::CreateEndpoint;
use crate::service::webhook_endpoints::deliveries::{DeliveryQuery, ReplayFrom, ReplayRequest};

const MAX_OVERLAP: Duration = Duration::from_hours(7 * 24);

/// The fields of [`EndpointUpdateIn`].
const UPDATABLE: [&str; 4] = ["url", "types", "description", "enabled"];

/// An endpoint to be made.
pub(super) fn endpoint(body: &[u8]) -> Result<CreateEndpoint, Error> {
    let input: EndpointIn = fields(body)?;
    Ok(CreateEndpoint {
        url: url(input.url)?.ok_or_else(|| required("url"))?,
        types: types(input.types)?.unwrap_or_default(),
        description: short_text("description", input.description)?,
        secret: secret(input.secret)?,
    })
}

/// What is to change in an endpoint.
pub(super) fn update(body: &[u8]) -> Result<EndpointPatch, Error> {
    reject_unknown_fields(body, &UPDATABLE)?;
    let input: EndpointUpdateIn = fields(body)?;
    let has_description = input.description.is_some();
    let description = short_text("description", input.description)?;
    let enabled = flag("enabled", input.enabled)?;
    let update = EndpointPatch {
        url: url(input.url)?,
        types: types(input.types)?,
        description: has_description.then_some(description),
        switch: enabled.map(|on| if on { Switch::On } else { Switch::Off(DisabledReason::Api) }),
        ..EndpointPatch::default()
    };
    if update.url.is_none() && update.types.is_none() && !has_description && enabled.is_none() {
        let text = "One of the fields 'url', 'types', 'description', 'enabled' is required.";
        return Err(Error::invalid("body", text));
    }
    Ok(update)
}

/// The new secret, if one is given, and for how long the old one signs too.
pub(super) fn rotation(body: &[u8]) -> Result<(Option<SigningSecret>, Duration), Error> {
    let input: RotationIn = fields(body)?;
    let overlap = match input.overlap_seconds {
        None => DEFAULT_ROTATION_OVERLAP,
        Some(input) => {
            let seconds = integer(&input).ok().and_then(|seconds| u64::try_from(seconds).ok());
            let overlap = seconds.map(Duration::from_secs).filter(|overlap| *overlap <= MAX_OVERLAP);
            overlap.ok_or_else(|| invalid("overlap_seconds", "must be a whole number from 0 to 604800."))?
        }
    };
    Ok((secret(input.secret)?, overlap))
}

/// Which events are to be sent again.
pub(super) fn replay(body: &[u8]) -> Result<ReplayRequest, Error> {
    let input: ReplayIn = fields(body)?;
    let after = optional_text("after", input.after)?;
    let since = optional_text("since", input.since)?;
    let from = match (after, since) {
        (Some(position), None) => ReplayFrom::After(event_position(&position)?),
        (None, Some(time)) => ReplayFrom::Since(timestamp(&time)?.into()),
        _ => return Err(Error::invalid("body", "Exactly one of the fields 'after', 'since' is required.")),
    };
    Ok(ReplayRequest { from, types: types(input.types)? })
}

/// Which deliveries a query asks for.
pub(super) fn deliveries(query: &DeliveriesQuery) -> Result<DeliveryQuery, Error> {
    let state = query.state.as_deref().map(|word| {
        let message = "must be one of: queued, running, delivered, failed, closed.";
        word.parse::<DeliveryState>().map_err(|_| invalid("state", message))
    });
    let before = match &query.cursor {
        Some(cursor) => SequenceCursor::Deliveries.decode(Some(cursor))?,
        None => i64::MAX,
    };
    Ok(DeliveryQuery { state: state.transpose()?, before })
}

fn url(input: Field) -> Result<Option<String>, Error> {
    let Some(url) = optional_text("url", input)? else { return Ok(None) };
    if url.trim().is_empty() {
        return Err(required("url"));
    }
    if url.chars().count() > MAX_URL {
        return Err(invalid("url", "must not be greater than 2048 characters."));
    }
    Ok(Some(url.trim().to_owned()))
}

/// Each named type once.
fn types(input: Field) -> Result<Option<Vec<EventType>>, Error> {
    let Some(input) = input else { return Ok(None) };
    let words = strings(&input).map_err(|kind| invalid_field("types", kind, "must be a list of strings."))?;
    let mut types = Vec::new();
    for word in words {
        let kind = word.parse().ok().filter(|kind: &EventType| kind.is_subscribable());
        let kind = kind.ok_or_else(|| invalid("types", &subscribable_types()))?;
        if !types.contains(&kind) {
            types.push(kind);
        }
    }
    Ok(Some(types))
}

fn subscribable_types() -> String {
    let subscribable = EventType::ALL.iter().filter(|kind| kind.is_subscribable());
    let subscribable: Vec<_> = subscribable.map(|kind| kind.as_str()).collect();
    format!("must be a list of these: {}.", subscribable.join(", "))
}

fn secret(input: Field) -> Result<Option<SigningSecret>, Error> {
    let Some(text) = optional_text("secret", input)? else { return Ok(None) };
    let message = "must be `whsec_` and 24 to 64 bytes in base64.";
    SigningSecret::parse(&text).map(Some).map_err(|_| invalid("secret", message))
}

fn event_position(text: &str) -> Result<StartPosition, Error> {
    let cursor = text.parse().ok().filter(|cursor| *cursor >= 0).map(StartPosition::Cursor);
    let position = cursor.or_else(|| text.parse().ok().map(StartPosition::Event));
    position.ok_or_else(|| invalid("after", "must be the cursor or the id of an event."))
}

fn timestamp(text: &str) -> Result<Timestamp, Error> {
    text.parse().map_err(|_| invalid("since", "must be a time such as 2026-03-15T14:00:00Z."))
}
