//! The client's handling of names, responses and the environment, against listeners on loopback. `tests/it/guard` tries
//! every encoding of a private address.

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

/// Sends for a workspace that may call this machine.
async fn send(request: OutboundRequest) -> Result<OutboundResponse, OutboundError> {
    let allow_hosts = AllowHosts::parse(["127.0.0.1"]).unwrap();
    GuardedClient::new(AllowHosts::default()).unwrap().send(request, &allow_hosts).await
}
