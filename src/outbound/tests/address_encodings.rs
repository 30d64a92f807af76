//! All known encodings of addresses that are not public.

#[path = "../../../tests/it/guard/address_encodings.rs"]
mod encodings;

use super::server::{Canary, Server};
use super::{PATIENCE, allow, get, send};
use crate::outbound::{AllowHosts, GuardedClient, OutboundError, UrlError, check_url};

#[tokio::test]
async fn no_spelling_of_an_address_that_is_not_public_is_called() {
    let canary = Canary::new();
    let ipv6_canary = canary.on_ipv6();
    let client = GuardedClient::new(AllowHosts::default()).unwrap();

    for url in encodings::urls(canary.port()) {
        let outcome = client.send(get(&url), &AllowHosts::default()).await.err();

        assert!(matches!(outcome, Some(OutboundError::Refused(_))), "{url:?}: {outcome:?}");
        assert!(check_url(&url, &[]).is_err(), "{url:?} could be configured");
    }
    canary.assert_untouched();
    if let Some(ipv6_canary) = ipv6_canary {
        ipv6_canary.assert_untouched();
    }
}

#[tokio::test]
async fn a_name_that_leads_to_loopback_is_refused() {
    let canary = Canary::new();
    let ipv6_canary = canary.on_ipv6();

    for url in encodings::named(canary.port()) {
        let outcome = send(get(&url), &["127.0.0.1", "[::1]"]).await.err();

        assert!(matches!(outcome, Some(OutboundError::Refused(UrlError::NotPublic))), "{url}: {outcome:?}");
    }
    canary.assert_untouched();
    if let Some(ipv6_canary) = ipv6_canary {
        ipv6_canary.assert_untouched();
    }
}

#[tokio::test]
async fn an_allowed_address_is_called_and_another_spelling_of_it_is_not() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    let other = Canary::new();
    let host = server.host();

    assert_eq!(send(get(server.url()), &[&host]).await.unwrap().body, "hi");
    assert!(server.requests.recv_timeout(PATIENCE).is_ok());

    let port = server.port;
    for spelling in
        ["2130706433", "127.1", "0x7f.1", "127.0.0.1.", "①27.0.0.1", "localhost", "[::ffff:127.0.0.1]"]
    {
        let outcome = send(get(format!("http://{spelling}:{port}/")), &[&host]).await.err();
        assert!(
            matches!(outcome, Some(OutboundError::Refused(UrlError::NotPublic))),
            "{spelling}: {outcome:?}"
        );
    }
    let outcome = send(get(format!("http://127.0.0.1:{}/", other.port())), &[&host]).await.err();
    assert!(matches!(outcome, Some(OutboundError::Refused(UrlError::NotPublic))), "{outcome:?}");
    assert!(server.requests.try_recv().is_err(), "it was called again");
    other.assert_untouched();
}

#[tokio::test]
async fn a_pooled_connection_serves_only_workspaces_that_may_use_it() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let url = format!("http://localhost:{}/", server.port);
    let client = GuardedClient::new(AllowHosts::default()).unwrap();
    let one = allow(&[&format!("localhost:{}", server.port)]);
    let two = allow(&["crm.internal"]);

    for _ in 0..2 {
        assert_eq!(client.send(get(&url), &one).await.unwrap().status, 200);
        let outcome = client.send(get(&url), &two).await.err();
        assert!(matches!(outcome, Some(OutboundError::Refused(UrlError::NotPublic))), "{outcome:?}");
    }
    assert_eq!(server.requests.try_iter().count(), 2);
}

#[tokio::test]
async fn a_host_allowed_for_all_needs_no_list_of_the_workspace() {
    let server = Server::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let client = GuardedClient::new(allow(&["127.0.0.1"])).unwrap();

    let response = client.send(get(server.url()), &AllowHosts::default()).await.unwrap();

    assert_eq!(response.status, 204);
}
