//! What is sent to set up webhook endpoints, field by field.

use std::time::Duration;

use jiff::Timestamp;

use super::wire::{DeliveriesQuery, EndpointChangeIn, EndpointIn, ReplayIn, RotationIn};
use crate::domain::batch::{EndpointChange, Switch};
use crate::domain::delivery::DeliveryState;
use crate::domain::error::Error;
use crate::domain::event::EventType;
use crate::domain::signature::Secret;
use crate::domain::webhook_endpoint::{DisabledReason, MAX_URL, USUAL_OVERLAP};
use crate::http::fields::{Field, texts, whole};
use crate::http::v1::cursor::Numbered;
use crate::http::v1::validate::{
    fields, flag, flawed, invalid, optional_text, refuse_others, required, short_text,
};
use crate::service::read_events::After;
use crate::service::webhook_endpoints::Wanted;
use crate::service::webhook_endpoints::deliveries::{ReplayFrom, WantedDeliveries, WantedReplay};

const LONGEST_OVERLAP: Duration = Duration::from_hours(7 * 24);

/// The fields of [`EndpointChangeIn`].
const CHANGEABLE: [&str; 4] = ["url", "types", "description", "enabled"];

/// An endpoint to be made.
pub(super) fn endpoint(body: &[u8]) -> Result<Wanted, Error> {
    let sent: EndpointIn = fields(body)?;
    Ok(Wanted {
        url: url(sent.url)?.ok_or_else(|| required("url"))?,
        types: types(sent.types)?.unwrap_or_default(),
        description: short_text("description", sent.description)?,
        secret: secret(sent.secret)?,
    })
}

/// What is to change in an endpoint.
pub(super) fn change(body: &[u8]) -> Result<EndpointChange, Error> {
    refuse_others(body, &CHANGEABLE)?;
    let sent: EndpointChangeIn = fields(body)?;
    let describes = sent.description.is_some();
    let description = short_text("description", sent.description)?;
    let enabled = flag("enabled", sent.enabled)?;
    let change = EndpointChange {
        url: url(sent.url)?,
        types: types(sent.types)?,
        description: describes.then_some(description),
        switch: enabled.map(|on| if on { Switch::On } else { Switch::Off(DisabledReason::Api) }),
        ..EndpointChange::default()
    };
    if change.url.is_none() && change.types.is_none() && !describes && enabled.is_none() {
        let text = "One of the fields 'url', 'types', 'description', 'enabled' is required.";
        return Err(Error::invalid("body", text));
    }
    Ok(change)
}

/// The new secret, if one is given, and for how long the old one signs too.
pub(super) fn rotation(body: &[u8]) -> Result<(Option<Secret>, Duration), Error> {
    let sent: RotationIn = fields(body)?;
    let overlap = match sent.overlap_seconds {
        None => USUAL_OVERLAP,
        Some(sent) => {
            let seconds = whole(&sent).ok().and_then(|seconds| u64::try_from(seconds).ok());
            let overlap = seconds.map(Duration::from_secs).filter(|overlap| *overlap <= LONGEST_OVERLAP);
            overlap.ok_or_else(|| invalid("overlap_seconds", "must be a whole number from 0 to 604800."))?
        }
    };
    Ok((secret(sent.secret)?, overlap))
}

/// Which events are to be sent again.
pub(super) fn replay(body: &[u8]) -> Result<WantedReplay, Error> {
    let sent: ReplayIn = fields(body)?;
    let after = optional_text("after", sent.after)?;
    let since = optional_text("since", sent.since)?;
    let from = match (after, since) {
        (Some(place), None) => ReplayFrom::After(event_place(&place)?),
        (None, Some(time)) => ReplayFrom::Since(moment(&time)?.into()),
        _ => return Err(Error::invalid("body", "Exactly one of the fields 'after', 'since' is required.")),
    };
    Ok(WantedReplay { from, types: types(sent.types)? })
}

/// Which deliveries a query asks for.
pub(super) fn deliveries(query: &DeliveriesQuery) -> Result<WantedDeliveries, Error> {
    let state = query.state.as_deref().map(|word| {
        let flaw = "must be one of: queued, running, delivered, failed, closed.";
        word.parse::<DeliveryState>().map_err(|_| invalid("state", flaw))
    });
    let before = match &query.cursor {
        Some(cursor) => Numbered::Deliveries.place(Some(cursor))?,
        None => i64::MAX,
    };
    Ok(WantedDeliveries { state: state.transpose()?, before })
}

fn url(sent: Field) -> Result<Option<String>, Error> {
    let Some(url) = optional_text("url", sent)? else { return Ok(None) };
    if url.trim().is_empty() {
        return Err(required("url"));
    }
    if url.chars().count() > MAX_URL {
        return Err(invalid("url", "must not be greater than 2048 characters."));
    }
    Ok(Some(url.trim().to_owned()))
}

/// Each named type once.
fn types(sent: Field) -> Result<Option<Vec<EventType>>, Error> {
    let Some(sent) = sent else { return Ok(None) };
    let words = texts(&sent).map_err(|flaw| flawed("types", flaw, "must be a list of strings."))?;
    let mut types = Vec::new();
    for word in words {
        let kind = word.parse().ok().filter(|kind: &EventType| kind.is_subscribable());
        let kind = kind.ok_or_else(|| invalid("types", &known_types()))?;
        if !types.contains(&kind) {
            types.push(kind);
        }
    }
    Ok(Some(types))
}

fn known_types() -> String {
    let known = EventType::ALL.iter().filter(|kind| kind.is_subscribable());
    let known: Vec<_> = known.map(|kind| kind.as_str()).collect();
    format!("must be a list of these: {}.", known.join(", "))
}

fn secret(sent: Field) -> Result<Option<Secret>, Error> {
    let Some(text) = optional_text("secret", sent)? else { return Ok(None) };
    let flaw = "must be `whsec_` and 24 to 64 bytes in base64.";
    Secret::parse(&text).map(Some).map_err(|_| invalid("secret", flaw))
}

fn event_place(text: &str) -> Result<After, Error> {
    let cursor = text.parse().ok().filter(|cursor| *cursor >= 0).map(After::Cursor);
    let place = cursor.or_else(|| text.parse().ok().map(After::Event));
    place.ok_or_else(|| invalid("after", "must be the cursor or the id of an event."))
}

fn moment(text: &str) -> Result<Timestamp, Error> {
    text.parse().map_err(|_| invalid("since", "must be a time such as 2026-03-15T14:00:00Z."))
}
