//! The webhook endpoints of a file.

use super::FileEndpoint;
use crate::domain::event::EventType;
use crate::domain::invalid_field::{InvalidField, check_text};
use crate::domain::webhook_endpoint::MAX_URL;

const MAX_DESCRIPTION: usize = 255;

pub(super) fn check(endpoint: &FileEndpoint) -> Result<(), InvalidField> {
    check_text("url", &endpoint.url, MAX_URL)?;
    if let Some(text) = &endpoint.description {
        check_text("description", text, MAX_DESCRIPTION)?;
    }
    for (at, word) in endpoint.types.iter().enumerate() {
        if !word.parse().is_ok_and(|kind: EventType| kind.is_subscribable()) {
            let problem = format_args!("there is no event of type \"{word}\"");
            return Err(InvalidField::new(format_args!("types[{at}]"), problem));
        }
    }
    Ok(())
}
