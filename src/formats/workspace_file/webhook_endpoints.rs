//! The webhook endpoints of a file.

use super::FileEndpoint;
use super::check::{Slugs, check_text};
use super::document::{Document, WorkspaceFileError};
use crate::domain::event::EventType;
use crate::domain::webhook_endpoint::{MAX_ENDPOINTS, MAX_URL};

const MAX_DESCRIPTION: usize = 255;

pub(super) fn check(document: &Document<'_>, endpoints: &[FileEndpoint]) -> Result<(), WorkspaceFileError> {
    if endpoints.len() > MAX_ENDPOINTS {
        let path = format!("webhook_endpoints[{MAX_ENDPOINTS}]");
        return Err(document.error(&path, format_args!("more than {MAX_ENDPOINTS} webhook endpoints")));
    }
    let mut slugs = Slugs::new(document, "webhook_endpoints");
    for (index, endpoint) in endpoints.iter().enumerate() {
        slugs.add(index, &endpoint.slug)?;
        let path = |key: &str| format!("webhook_endpoints[{index}].{key}");
        check_text(document, &path("url"), &endpoint.url, MAX_URL)?;
        if let Some(text) = &endpoint.description {
            check_text(document, &path("description"), text, MAX_DESCRIPTION)?;
        }
        for (at, word) in endpoint.events.iter().enumerate() {
            if !word.parse().is_ok_and(|kind: EventType| kind.is_subscribable()) {
                let path = path(&format!("events[{at}]"));
                return Err(document.error(&path, format_args!("there is no event of type \"{word}\"")));
            }
        }
    }
    Ok(())
}
