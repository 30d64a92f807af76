//! Honest clients beside hostile ones, which attack the server in all known ways at once. No honest client sees an error, every
//! reply is right, the server is always ready, and its memory does not grow.

mod doubles;
mod honest;
mod hostile;
mod payloads;
mod record;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::honest::{Expected, TENANTS};
use self::hostile::{ATTACKS, Target};
use self::record::{Record, Samples, percentile};
use crate::cluster::{Cluster, Setup};
use crate::sizes::size;
use crate::support::db::Backend;
use crate::support::http::client_builder;
use crate::support::wait::wait_at_most;

/// The address that asks whether the server is ready.
const OPERATOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
/// The longest time of honest clients alone, a fifth of the time under attack.
const LONGEST_ALONE: Duration = Duration::from_mins(1);
/// From the last message to its arrival in the feed and at the receiver.
const UNTIL_ARRIVED: Duration = Duration::from_mins(1);
/// What the memory may grow by, in KiB, besides a fifth.
const GROWTH: u64 = 32 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    Box::pin(run("mixed_load_sqlite", Backend::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    Box::pin(run("mixed_load_postgres", Backend::Postgres)).await;
}

/// Limits and times that are met within seconds, so that a short run shows what they do.
fn setup(backend: Backend) -> Setup {
    Setup::new(backend, 1)
        .env("REJOINDER_SECRET_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        .env("REJOINDER_HTTP__H2C", "true")
        .env("REJOINDER_HTTP__HEAD_TIMEOUT", "3s")
        .env("REJOINDER_HTTP__BODY_TIMEOUT", "4s")
        .env("REJOINDER_HTTP__WRITE_TIMEOUT", "3s")
        .env("REJOINDER_HTTP__IDLE_TIMEOUT", "3s")
        .env("REJOINDER_HTTP__MAX_CONNECTIONS_PER_ADDRESS", "256")
        .env("REJOINDER_HTTP__MAX_UNSENT", "64MiB")
        .env("REJOINDER_LIMITS__ENABLED", "true")
        .env("REJOINDER_LIMITS__PER_KEY", "3000/min")
        .env("REJOINDER_LIMITS__UNTOUCHED_CONVERSATIONS", "200")
        .env("REJOINDER_LIMITS__TRUSTED_PROXIES", &format!("{}/32", hostile::PROXY))
        .env("REJOINDER_STORE__SHARDS", "4")
        .env("REJOINDER_STORE__READ_CONNECTIONS", "8")
        .env("REJOINDER_TURN__LEASE", "30s")
        .env("REJOINDER_TURN__MAX_IN_FLIGHT", "128")
        .env("REJOINDER_TURN__MAX_OPEN", "1000")
        .env("REJOINDER_WEBHOOKS__TIMEOUT", "2s")
}

/// A client with an address of this machine. It closes idle connections before the server does.
fn client_from(address: Ipv4Addr) -> reqwest::Client {
    let client = client_builder().local_address(IpAddr::from(address));
    client.pool_idle_timeout(Duration::from_secs(1)).build().unwrap()
}

async fn run(test: &str, backend: Backend) {
    let length = Duration::from_secs(u64::try_from(size("CHAOS_SECONDS", 25)).unwrap());
    let cluster = Cluster::start(setup(backend)).await;
    let expected = TENANTS.map(|(name, ..)| (name, Arc::<Expected>::default()));
    doubles::install(&cluster.fakes, expected.clone());
    let record = Arc::new(Record::new());
    let target = Target::prepare(&cluster, &record).await;
    let stop = CancellationToken::new();

    let (mut clients, readers) = honest::start(&cluster, &record, &expected, &stop).await;
    clients.spawn(observe(Arc::clone(&cluster), Arc::clone(&record), stop.clone()));
    tokio::time::sleep(LONGEST_ALONE.min(length / 5)).await;
    let attacked = record.elapsed();
    let attackers = hostile::start(&target);
    tokio::time::sleep(length).await;
    let until = record.elapsed();
    drop(attackers);
    stop.cancel();
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    report(test, &record.samples(), attacked, until);
    let missing = async || expected.iter().all(|(_, expected)| expected.missing() == 0).then_some(());
    wait_at_most(UNTIL_ARRIVED, "every reply in the feeds and at the receivers", missing).await;
    drop(readers);
    judge(&record.samples(), attacked, until);
}

/// Samples the server's memory and readiness every second.
async fn observe(cluster: Arc<Cluster>, record: Arc<Record>, stop: CancellationToken) {
    let url = format!("{}/readyz", cluster.some_address(0).await);
    let http = client_from(OPERATOR);
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        pace.tick().await;
        record.memory(cluster.resident_kib(0));
        match http.get(&url).timeout(Duration::from_secs(10)).send().await {
            Ok(response) if response.status() == 200 => record.ready(),
            other => record.error(format!("not ready: {other:?}")),
        }
    }
}

/// Prints what happened, and writes the table and the graph.
fn report(test: &str, samples: &Samples, attacked: Duration, until: Duration) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    samples.write(folder, test, attacked, until);
    println!("{test}: {0}/{test}.csv and {0}/{test}.svg", folder.display());
    let line = |name: &str, from, until| {
        let times = samples.times(from, until);
        let (p50, p99) = (percentile(&times, 50), percentile(&times, 99));
        println!("{test}: honest, {name}: {} requests, p50 {p50} ms, p99 {p99} ms", times.len());
        p99
    };
    let middle = attacked + until.saturating_sub(attacked) / 2;
    let alone = line("alone", Duration::ZERO, attacked);
    line("first half under attack", attacked, middle);
    line("second half under attack", middle, until);
    let under_attack = line("under attack", attacked, until);
    println!("{test}: honest p99 under attack: {} % of that alone", under_attack * 100 / alone.max(1));
    println!("{test}: honest errors: {}; /readyz answered 200 {} times", samples.errors, samples.ready);
    for (attack, outcomes) in &samples.attacks {
        println!("{test}: attack, {attack}: {outcomes:?}");
    }
    let (warm, end) = warm_and_end(samples, attacked, until);
    println!("{test}: memory after a third {} MiB, at the end {} MiB", warm / 1024, end / 1024);
}

/// The median memory under attack, in KiB: after a third of the time, and at the end.
fn warm_and_end(samples: &Samples, attacked: Duration, until: Duration) -> (u64, u64) {
    let length = until.saturating_sub(attacked);
    let warm = samples.memory(attacked + length / 3, attacked + length / 2);
    (warm, samples.memory(until.saturating_sub(length / 6), until))
}

/// Fails if an honest client saw an error, or if the memory grew.
fn judge(samples: &Samples, attacked: Duration, until: Duration) {
    assert_eq!(samples.errors, 0, "honest clients: {:#?}", samples.shown_errors);
    assert!(!samples.times(attacked, until).is_empty(), "honest clients send requests");
    let made: Vec<_> = samples.attacks.keys().copied().collect();
    assert_eq!(made, ATTACKS, "all attacks are made");
    let (warm, end) = warm_and_end(samples, attacked, until);
    assert!(end <= warm + warm / 5 + GROWTH, "the memory grows from {warm} KiB to {end} KiB");
}
