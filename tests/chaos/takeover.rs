//! A killed process's turns are taken over within one lease plus five seconds. `scripts/chaos` runs it with the default lease
//! of the product.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::checker::check;
use crate::client::{Api, Client, Operation, Outcome, join_operations};
use crate::cluster::{Cluster, Setup};
use crate::evidence::{Reader, gather};
use crate::fakes::{self, Plan};
use crate::history::History;
use crate::ledger_monitor::LedgerMonitor;
use crate::sizes::size;
use crate::support::db::Backend;
use crate::support::fake_model::ModelRequest;
use crate::support::script::Gate;
use crate::support::wait::wait_at_most;

/// Upper bound of a takeover beyond the lease, including the reply.
const MARGIN: Duration = Duration::from_secs(5);
/// Turns through each API.
const TURNS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_of_a_killed_process_are_taken_over_within_the_lease_and_five_seconds() {
    let seconds = size("CHAOS_LEASE", 2);
    let lease = Duration::from_secs(seconds.try_into().unwrap());
    let setup = Setup::new(Backend::Postgres, 2).env("REJOINDER_TURN__LEASE", &format!("{seconds}s"));
    let cluster = Cluster::start(setup).await;
    let client = Client::new(&cluster, &Arc::new(History::new("takeover", 0)));
    let monitor = LedgerMonitor::start(&cluster);
    let never = Gate::closed();
    cluster
        .fakes
        .model
        .script()
        .respond_with(move |request: &ModelRequest| fakes::default_answer(request).gated_by(&never));
    let mut waiting = Vec::new();
    for number in 0..TURNS * 2 {
        let conversation = client.create_conversation(Api::nth(number)).await;
        let text = format!("conversation-{number} {}", Plan::Plain.word());
        let key = Some(format!("key-{number}"));
        let operation = Operation { number, conversation, text, key, auto_reply: true, is_streamed: false };
        let client = Arc::clone(&client);
        waiting.push(tokio::spawn(async move { client.perform(operation, 0).await }));
    }
    cluster.fakes.model.calls().wait_for_count(TURNS * 2).await;
    cluster.fakes.model.script().respond_with(fakes::default_answer);

    let killed = cluster.kill(0);
    let reader = Reader::at(&cluster, 1);
    let all_answered = async || (replies(&reader).await == TURNS * 2).then_some(());
    wait_at_most(lease + MARGIN * 4, "all replies", all_answered).await;
    let took = killed.elapsed();

    let done = join_operations(waiting).await;
    assert!(done.iter().all(|done| matches!(done.outcome, Outcome::Ok(_))), "{done:#?}");
    let evidence = gather(&cluster, done, monitor.stop().await).await;
    let remark = format!("with a lease of {lease:?} all {} turns were answered {took:?} later", TURNS * 2);
    check(&evidence, "takeover", &remark);
    assert!(took < lease + MARGIN, "{remark}");
}

async fn replies(reader: &Reader) -> usize {
    let events = reader.list("/v1/events", "after").await;
    let is_reply = |event: &&Value| event["data"]["message"].get("reply_to_message_id").is_some();
    events.iter().filter(is_reply).count()
}
