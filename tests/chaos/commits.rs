//! Uncertain commits: the answer of PostgreSQL to a commit is lost. The server finds out whether the commit happened, and a
//! retry with the same key gets the outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::checker::check;
use crate::client::{Api, Client, Operation, Outcome};
use crate::cluster::{Cluster, DatabaseRoute, Setup};
use crate::evidence::gather;
use crate::fakes::Plan;
use crate::fault_proxy::{FaultProxy, Side, Verdict};
use crate::history::History;
use crate::ledger_monitor::LedgerMonitor;
use crate::sizes::size;
use crate::support::db::Backend;
use crate::support::wait::wait_for;

/// The commit whose answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Admission,
    Reply,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_resolved() {
    let cluster =
        Cluster::start(Setup::new(Backend::Postgres, 2).database_route(DatabaseRoute::FaultProxy)).await;
    let client = Client::new(&cluster, &Arc::new(History::new("commits", 0)));
    let monitor = LedgerMonitor::start(&cluster);
    let cuts = Arc::new(AtomicUsize::new(0));
    let mut done = Vec::new();
    for _ in 0..size("CHAOS_POINTS", 1) {
        for lost in [Lost::Admission, Lost::Reply] {
            for api in Api::ALL {
                for has_key in [true, false] {
                    let number = done.len();
                    let conversation = client.create_conversation(api).await;
                    let text = format!("conversation-{number} {lost:?} {}", Plan::Note.word());
                    let fault_proxy = cluster.fault_proxy.as_ref().expect("the setup has one");
                    cut(fault_proxy, lost, &text, &cuts);
                    let key = has_key.then(|| format!("key-{number}"));
                    let operation =
                        Operation { number, conversation, text, key, auto_reply: true, is_streamed: false };
                    done.push(client.perform(operation, number).await);
                    let is_cut = async || (cuts.load(Ordering::SeqCst) > number).then_some(());
                    wait_for("the cut", is_cut).await;
                }
            }
        }
    }
    let is_right = |outcome: &Outcome| matches!(outcome, Outcome::Ok(_));
    assert!(done.iter().all(|done| is_right(&done.outcome)), "{done:#?}");
    let messages = done.len();
    let evidence = gather(&cluster, done, monitor.stop().await).await;
    check(&evidence, "commits", &format!("the answers of {messages} commits were lost"));
}

/// Closes the connection once, before the server receives the answer to the commit of this message or reply.
fn cut(fault_proxy: &FaultProxy, lost: Lost, text: &str, cuts: &Arc<AtomicUsize>) {
    let sent = match lost {
        Lost::Admission => text.to_owned(),
        Lost::Reply => format!("re: {text}"),
    };
    let cuts = Arc::clone(cuts);
    let (mut writing, mut is_cut) = (None, false);
    fault_proxy.inspect(move |chunk| {
        if chunk.from == Side::Client && chunk.contains(&sent) {
            writing.get_or_insert(chunk.connection);
        }
        if is_cut || writing != Some(chunk.connection) || !chunk.is_committed() {
            return Verdict::Pass;
        }
        is_cut = true;
        cuts.fetch_add(1, Ordering::SeqCst);
        Verdict::Cut
    });
}
