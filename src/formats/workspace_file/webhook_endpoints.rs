//! The webhook endpoints of a file.

use super::FileEndpoint;
use super::check::{Slugs, check_text};
use super::document::{Document, WorkspaceFileError};
use super::raw::EndpointIn;
use crate::domain::event::EventType;
use crate::domain::webhook_endpoint::{MAX_ENDPOINTS, MAX_URL};

const MAX_DESCRIPTION: usize = 255;

pub(super) fn check(
    document: &Document<'_>,
    raw: Vec<EndpointIn>,
) -> Result<Vec<FileEndpoint>, WorkspaceFileError> {
    if raw.len() > MAX_ENDPOINTS {
        let path = format!("webhook_endpoints[{MAX_ENDPOINTS}]");
        return Err(document.error(&path, format_args!("more than {MAX_ENDPOINTS} webhook endpoints")));
    }
    let mut slugs = Slugs::new(document, "webhook_endpoints");
    let mut checked = Vec::new();
    for (index, endpoint) in raw.into_iter().enumerate() {
        slugs.add(index, &endpoint.slug)?;
        let path = |key: &str| format!("webhook_endpoints[{index}].{key}");
        check_text(document, &path("url"), &endpoint.url, MAX_URL)?;
        if let Some(text) = &endpoint.description {
            check_text(document, &path("description"), text, MAX_DESCRIPTION)?;
        }
        let mut types = Vec::new();
        for (at, word) in endpoint.events.iter().enumerate() {
            let kind = word.parse().ok().filter(|kind: &EventType| kind.is_subscribable());
            let unknown = || {
                let path = path(&format!("events[{at}]"));
                document.error(&path, format_args!("there is no event of type \"{word}\""))
            };
            let kind = kind.ok_or_else(unknown)?;
            if !types.contains(&kind) {
                types.push(kind);
            }
        }
        checked.push(FileEndpoint {
            slug: endpoint.slug,
            url: endpoint.url,
            description: endpoint.description,
            types,
            secret: endpoint.secret,
            enabled: endpoint.enabled,
        });
    }
    Ok(checked)
}
