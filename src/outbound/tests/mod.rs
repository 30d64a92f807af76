//! The client against real listeners on loopback.

mod address_encodings;
mod environment;
mod names;
mod responses;
mod server;

use std::time::Duration;

use http::{HeaderMap, Method};

use super::{AllowHosts, GuardedClient, OutboundError, OutboundRequest, OutboundResponse};

/// Long enough for a busy machine; no test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

fn get(url: impl Into<String>) -> OutboundRequest {
    OutboundRequest {
        method: Method::GET,
        url: url.into(),
        headers: HeaderMap::new(),
        body: None,
        timeout: PATIENCE,
        max_response: 1024,
    }
}

fn allow(entries: &[&str]) -> AllowHosts {
    AllowHosts::parse(entries).unwrap()
}

/// Sends with `entries` as the workspace's allowed hosts, and none for all workspaces.
async fn send(request: OutboundRequest, entries: &[&str]) -> Result<OutboundResponse, OutboundError> {
    GuardedClient::new(AllowHosts::default()).unwrap().send(request, &allow(entries)).await
}
