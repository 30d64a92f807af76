//! The HTTP client alone: it refuses every URL of the table.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use rejoinder::outbound::{
    AllowHosts, GuardedClient, OutboundError, OutboundRequest, OutboundResponse, UrlError, check_url,
};

use super::address_encodings::{OTHER_SPELLINGS, named, urls};
use super::canary::Canary;
use crate::support::fake_tool::{FakeTool, ToolReply};
use crate::support::install_tls_provider;

fn client(allow: &[&str]) -> GuardedClient {
    install_tls_provider();
    GuardedClient::new(allow_hosts(allow)).unwrap()
}

fn allow_hosts(hosts: &[&str]) -> AllowHosts {
    AllowHosts::parse(hosts).unwrap()
}

fn get(url: &str) -> OutboundRequest {
    OutboundRequest {
        method: Method::GET,
        url: url.to_owned(),
        headers: HeaderMap::new(),
        body: None,
        timeout: Duration::from_secs(30),
        max_response: 1024,
    }
}

/// Sends with these hosts allowed for the workspace.
async fn send(url: &str, allow: &[&str]) -> Result<OutboundResponse, OutboundError> {
    client(&[]).send(get(url), &allow_hosts(allow)).await
}

#[track_caller]
fn assert_not_public(outcome: &Result<OutboundResponse, OutboundError>, url: &str) {
    assert!(matches!(outcome, Err(OutboundError::Refused(UrlError::NotPublic))), "{url:?}: {outcome:?}");
}

#[tokio::test]
async fn no_encoding_of_a_private_address_is_called() {
    let canary = Canary::start();
    let client = client(&[]);

    for url in urls(canary.port()) {
        let outcome = client.send(get(&url), &AllowHosts::default()).await.err();

        assert!(matches!(outcome, Some(OutboundError::Refused(_))), "{url:?}: {outcome:?}");
        assert!(check_url(&url, &[]).is_err(), "{url:?} could be configured");
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_name_of_loopback_is_refused() {
    let canary = Canary::start();

    for url in named(canary.port()) {
        assert_not_public(&send(&url, &["127.0.0.1", "[::1]"]).await, &url);
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn an_address_is_allowed_in_one_spelling_and_at_one_port() {
    let server = FakeTool::start().await;
    let port = server.host().rsplit(':').next().unwrap().to_owned();
    let other = Canary::start();
    let allowed = [&*server.host(), "[::1]"];

    assert_eq!(send(&server.url("/"), &allowed).await.unwrap().status, 200);

    for host in OTHER_SPELLINGS {
        let url = format!("http://{host}:{port}/");
        assert_not_public(&send(&url, &allowed).await, &url);
    }
    let url = format!("http://127.0.0.1:{}/", other.port());
    assert_not_public(&send(&url, &allowed).await, &url);
    assert_eq!((server.calls().all().len(), other.connections()), (1, 0));
}

#[tokio::test]
async fn a_pooled_connection_serves_only_workspaces_that_may_use_it() {
    let server = FakeTool::start().await;
    let host = server.host().replace("127.0.0.1", "localhost");
    let url = format!("http://{host}/");
    let client = client(&[]);

    for _ in 0..2 {
        assert_eq!(client.send(get(&url), &allow_hosts(&[&host])).await.unwrap().status, 200);
        assert_not_public(&client.send(get(&url), &allow_hosts(&["crm.internal"])).await, &url);
    }
    assert_eq!(server.calls().all().len(), 2);
}

#[tokio::test]
async fn a_host_allowed_for_all_needs_no_list_of_the_workspace() {
    let server = FakeTool::start().await;
    server.script().queue([ToolReply::status(StatusCode::NO_CONTENT)]);

    let response = client(&["127.0.0.1"]).send(get(&server.url("/")), &AllowHosts::default()).await.unwrap();

    assert_eq!(response.status, 204);
}
