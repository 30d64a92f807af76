//! Every way we know to write an address that is not public.

use super::server::{Canary, Server};
use super::{PATIENCE, allow, get, send};
use crate::outbound::{AllowHosts, GuardedClient, OutboundError, UrlRefused, check_url};

/// Hosts whose URL is refused for its text alone.
const LITERALS: [&str; 93] = [
    // Loopback: decimal, octal, hexadecimal, short, mixed, padded, with a dot at the end.
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.1.",
    "127.255.255.254",
    "127.000.000.001",
    "127.0.0.01",
    "127.0.0.0x1",
    "2130706433",
    "2130706433.",
    "0x7f000001",
    "0X7F000001",
    "0x7f.1",
    "0x7f.0.0.1",
    "0x7F.0x0.0x0.0x1",
    "0x7f.0x000001",
    "0x0000000007f000001",
    "0177.0.0.1",
    "0177.1",
    "0177.0.0.01",
    "00000177.0.0.1",
    "017700000001",
    "0177.0x0.0.1",
    "127.0x1",
    "127.00000001",
    "0x7f.00.0.01",
    // Percent-encoded, full-width, circled, superscript and other digits and dots.
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "%30x7f000001",
    "127.0.0.%31",
    "①②⑦.⓪.⓪.①",
    "１２７.０.０.１",
    "127。0。0。1",
    "127．0．0．1",
    "127｡0｡0｡1",
    "¹²⁷.⁰.⁰.¹",
    "₁₂₇.₀.₀.₁",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    "𝟶𝚡𝟽𝚏.𝟷",
    "127.0.0.1\u{ad}",
    "12\u{200b}7.0.0.1",
    "127.0.\t0.1",
    "127.0.0\n.1",
    // This network, and what Linux takes for loopback.
    "0.0.0.0",
    "0",
    "0x0",
    "00000",
    "0.0",
    "000.000.000.000",
    "0.1.2.3",
    // Private, link-local with the metadata service, shared, multicast, broadcast.
    "10.0.0.1",
    "10.1",
    "0xa.0.0.1",
    "012.0.0.1",
    "167772161",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.1",
    "0xc0a80001",
    "3232235521",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "255.255.255.255",
    "4294967295",
    // IPv6: loopback, any, mapped, compatible, translated, NAT64, 6to4, Teredo, local, multicast.
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fec0::1]",
    "[ff02::1]",
];

/// Whole URLs with something odd about more than the host; `PORT` is the canary's.
const URLS: [&str; 22] = [
    "http:127.0.0.1:PORT/",
    "http:/127.0.0.1:PORT/",
    "http:///127.0.0.1:PORT/",
    "http:\\\\127.0.0.1:PORT\\",
    "http://\\127.0.0.1:PORT/",
    " http://127.0.0.1:PORT/ ",
    "\thttp://127.0.0.1:PORT/",
    "ht\ntp://127.0.0.1:PORT/",
    "HTTP://127.0.0.1:PORT/",
    "http://@127.0.0.1:PORT/",
    "http://:@127.0.0.1:PORT/",
    "http://public.example@127.0.0.1:PORT/",
    "http://public.example:80@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT@public.example/",
    "http://127.0.0.1:PORT\\@public.example/",
    "http://127.0.0.1:PORT#@public.example/",
    "http://127.0.0.1:PORT?@public.example/",
    "http://public.example%40127.0.0.1:PORT/",
    "ftp://127.0.0.1:PORT/",
    "ws://127.0.0.1:PORT/",
    "file://127.0.0.1/etc/passwd",
    "gopher://127.0.0.1:PORT/_GET",
];

#[tokio::test]
async fn no_spelling_of_an_address_that_is_not_public_is_called() {
    let canary = Canary::new();
    let twin = canary.twin();
    let client = GuardedClient::new(AllowHosts::default()).unwrap();
    let hosts = LITERALS.iter().map(|host| format!("http://{host}:{}/", canary.port()));
    let urls = URLS.iter().map(|url| url.replace("PORT", &canary.port().to_string()));

    for url in hosts.chain(urls) {
        let outcome = client.send(get(&url), &AllowHosts::default()).await.err();

        assert!(matches!(outcome, Some(OutboundError::Refused(_))), "{url:?}: {outcome:?}");
        assert!(check_url(&url, &[]).is_err(), "{url:?} could be configured");
    }
    canary.assert_untouched();
    if let Some(twin) = twin {
        twin.assert_untouched();
    }
}

#[tokio::test]
async fn a_name_that_leads_to_loopback_is_refused() {
    let canary = Canary::new();
    let twin = canary.twin();

    for name in ["localhost", "LOCALHOST", "ｌocalhost", "loc%61lhost", "local\u{ad}host"] {
        let outcome =
            send(get(format!("http://{name}:{}/", canary.port())), &["127.0.0.1", "[::1]"]).await.err();

        assert!(
            matches!(outcome, Some(OutboundError::Refused(UrlRefused::NotPublic))),
            "{name}: {outcome:?}"
        );
    }
    canary.assert_untouched();
    if let Some(twin) = twin {
        twin.assert_untouched();
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
            matches!(outcome, Some(OutboundError::Refused(UrlRefused::NotPublic))),
            "{spelling}: {outcome:?}"
        );
    }
    let outcome = send(get(format!("http://127.0.0.1:{}/", other.port())), &[&host]).await.err();
    assert!(matches!(outcome, Some(OutboundError::Refused(UrlRefused::NotPublic))), "{outcome:?}");
    assert!(server.requests.try_recv().is_err(), "it was called again");
    other.assert_untouched();
}

#[tokio::test]
async fn a_kept_connection_serves_only_those_who_may_use_it() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let url = format!("http://localhost:{}/", server.port);
    let client = GuardedClient::new(AllowHosts::default()).unwrap();
    let one = allow(&[&format!("localhost:{}", server.port)]);
    let two = allow(&["crm.internal"]);

    for _ in 0..2 {
        assert_eq!(client.send(get(&url), &one).await.unwrap().status, 200);
        let outcome = client.send(get(&url), &two).await.err();
        assert!(matches!(outcome, Some(OutboundError::Refused(UrlRefused::NotPublic))), "{outcome:?}");
    }
    assert_eq!(server.requests.try_iter().count(), 2);
}

#[tokio::test]
async fn a_host_allowed_for_all_needs_no_list_of_the_workspace() {
    let server = Server::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let client = GuardedClient::new(allow(&["127.0.0.1"])).unwrap();

    let answer = client.send(get(server.url()), &AllowHosts::default()).await.unwrap();

    assert_eq!(answer.status, 204);
}
