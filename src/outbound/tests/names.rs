//! Names whose addresses change or are disguised, with a resolver of our own.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;

use super::get;
use super::server::{Canary, Server};
use crate::outbound::address::is_public;
use crate::outbound::resolver::PublicResolver;
use crate::outbound::{AllowHosts, GuardedClient, OutboundError, OutboundResponse, UrlError};

/// Counts as a public address, so that nothing leaves this machine.
const FAKE_PUBLIC: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn is_public_or_fake(address: IpAddr) -> bool {
    address == FAKE_PUBLIC || is_public(address)
}

/// A client whose resolver returns these answers in turn, and then repeats the last one. Also returns the list of resolved
/// names.
fn client(answers: &[&[&str]]) -> (GuardedClient, Arc<Mutex<Vec<String>>>) {
    let parse = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
    let answers: VecDeque<Vec<SocketAddr>> =
        answers.iter().map(|answer| answer.iter().map(parse).collect()).collect();
    let answers = Mutex::new(answers);
    let lookups = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&lookups);
    let lookup = move |name: String| {
        log.lock().unwrap().push(name);
        let mut answers = answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        async move { Ok(answer.unwrap()) }.boxed()
    };
    let resolver = PublicResolver::with_lookup(Arc::new(lookup), is_public_or_fake);
    (GuardedClient::with_resolver(AllowHosts::default(), resolver).unwrap(), lookups)
}

async fn send(client: &GuardedClient, port: u16) -> Result<OutboundResponse, OutboundError> {
    client.send(get(format!("http://rebinding.example:{port}/")), &AllowHosts::default()).await
}

fn is_refused(outcome: &Result<OutboundResponse, OutboundError>) -> bool {
    matches!(outcome, Err(OutboundError::Refused(UrlError::NotPublic)))
}

#[tokio::test]
async fn a_name_with_an_address_that_is_not_public_is_refused_at_any_position() {
    let canary = Canary::new();
    let ipv6_canary = canary.on_ipv6();
    let public = FAKE_PUBLIC.to_string();
    let addresses = [
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
    ];
    let answers: Vec<Vec<&str>> = addresses
        .into_iter()
        .flat_map(|address| {
            let (public, address) = (public.as_str(), address);
            [vec![address], vec![address, public], vec![public, address], vec![public, address, public]]
        })
        .collect();
    let slices: Vec<&[&str]> = answers.iter().map(Vec::as_slice).collect();
    let (client, lookups) = client(&slices);

    for answer in &answers {
        let outcome = send(&client, canary.port()).await;

        assert!(is_refused(&outcome), "{answer:?}: {outcome:?}");
    }

    assert_eq!((answers.len(), lookups.lock().unwrap().len()), (84, 84));
    canary.assert_untouched();
    ipv6_canary.as_ref().inspect(|ipv6_canary| ipv6_canary.assert_untouched());
}

#[tokio::test]
async fn the_address_that_was_looked_at_is_the_one_that_is_called() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let canary = Canary::new();
    let server = Server::on(FAKE_PUBLIC.into(), canary.port(), answer);
    let public = FAKE_PUBLIC.to_string();
    // A public address for the first lookup, and this machine for the second.
    let (client, lookups) = client(&[&[&public], &["127.0.0.1"], &[&public], &["127.0.0.1"]]);

    let outcomes = [
        send(&client, server.port).await,
        send(&client, server.port).await,
        send(&client, server.port).await,
        send(&client, server.port).await,
    ];

    assert_eq!(lookups.lock().unwrap().len(), 4, "each call asked once");
    assert_eq!(server.requests.try_iter().count(), 2);
    for (nth, outcome) in outcomes.iter().enumerate() {
        let is_served = outcome.as_ref().is_ok_and(|answer| answer.status == 200);
        assert_eq!((is_served, is_refused(outcome)), (nth % 2 == 0, nth % 2 == 1), "{nth}: {outcome:?}");
    }
    canary.assert_untouched();
}

#[tokio::test]
async fn whatever_a_name_looks_like_its_address_decides() {
    let canary = Canary::new();
    let (client, lookups) = client(&[&["127.0.0.1"]]);

    let names = [
        "localhost.",
        "localhost.localdomain",
        "ip6-localhost",
        "db",
        "metadata.google.internal",
        "127.0.0.1.nip.example",
        "public.example",
        "xn--fsq.example",
        "1.2.3.4.5",
        "١٢٧.٠.٠.١",
        "१२७.०.०.१",
    ];
    for name in names {
        let url = format!("http://{name}:{}/", canary.port());
        let outcome = client.send(get(url), &AllowHosts::default()).await;

        assert!(matches!(outcome, Err(OutboundError::Refused(_))), "{name}: {outcome:?}");
    }

    assert!(!lookups.lock().unwrap().is_empty());
    canary.assert_untouched();
}
