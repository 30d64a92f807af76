//! `healthcheck`: asks the server on this machine whether it is ready, for images without a shell.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::Report;
use crate::app::reachable_address;
use crate::config::Config;
use crate::outbound::{AllowHosts, GuardedClient, OutboundRequest};

/// For the whole exchange. The readiness check itself takes at most 2 s.
const TIMEOUT: Duration = Duration::from_secs(4);
const MAX_RESPONSE: usize = 4096;

/// Asks `/readyz`, or `/healthz` if `live`, at the address of the operator's routes, because connections of clients do not count towards
/// the limits of that one.
///
/// # Errors
/// If the server does not answer, or answers that it is not ready.
pub async fn healthcheck(config: &Config, live: bool) -> anyhow::Result<Report> {
    let (setting, listen) =
        config.operator.listen.map_or(("listen", config.listen), |listen| ("operator.listen", listen));
    let address = reachable_address(listen);
    ensure!(address.port() != 0, "`{setting}` has port 0, so the port of the server is unknown");
    let url = format!("http://{address}/{}", if live { "healthz" } else { "readyz" });
    let host = if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() };
    let allow_hosts = AllowHosts::parse([host])
        .ok()
        .with_context(|| format!("the address of `{setting}` cannot be requested"))?;
    let client = GuardedClient::new(allow_hosts.clone())?;
    let request = OutboundRequest {
        method: Method::GET,
        url: url.clone(),
        headers: HeaderMap::new(),
        body: None::<Bytes>,
        timeout: TIMEOUT,
        max_response: MAX_RESPONSE,
    };
    let response =
        client.send(request, &allow_hosts).await.with_context(|| format!("no answer from {url}"))?;
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    if response.status != 200 {
        bail!("{url} answers {}: {}", response.status, body["reason"].as_str().unwrap_or("no reason"));
    }
    let status = body["status"].as_str().unwrap_or("ok").to_owned();
    Ok(Report { text: format!("{status}\n"), json: json!({ "status": status }) })
}
