//! A commit whose answer is lost: the server settles what became of it, and whoever asks again with a key hears it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::checker::check;
use crate::client::{Api, Client, Operation, Outcome};
use crate::cluster::{Between, Cluster, Setup};
use crate::evidence::gather;
use crate::fakes::Plan;
use crate::fault_proxy::{Side, Tap, Verdict};
use crate::history::History;
use crate::ledger_monitor::Watch;
use crate::sizes::size;
use crate::support::db::Backend;
use crate::support::wait::wait_for;

/// What the commit that is lost keeps of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Admission,
    Reply,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_answer_is_lost_are_settled() {
    let cluster = Cluster::start(Setup::new(Backend::Postgres, 2).between(Between::Tap)).await;
    let client = Client::new(&cluster, &Arc::new(History::new("commits", 0)));
    let watch = Watch::start(&cluster);
    let cuts = Arc::new(AtomicUsize::new(0));
    let mut done = Vec::new();
    for _ in 0..size("CHAOS_POINTS", 1) {
        for lost in [Lost::Admission, Lost::Reply] {
            for (api, kind) in [(Api::Widget, "widget"), (Api::Platform, "api")] {
                for has_key in [true, false] {
                    let number = done.len();
                    let talk = client.talk(api, kind).await;
                    let text = format!("talk-{number} {lost:?} {}", Plan::Note.word());
                    let tap = cluster.tap.as_ref().expect("the setup has one");
                    cut(tap, lost, &text, &cuts);
                    let key = has_key.then(|| format!("key-{number}"));
                    let operation = Operation { number, talk, text, key, auto_reply: true };
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
    let evidence = gather(&cluster, done, watch.end().await).await;
    check(&evidence, "commits", &format!("the answers of {messages} commits were lost"));
}

/// Ends the connection on which this is committed, once, before the server hears that it is.
fn cut(tap: &Tap, lost: Lost, text: &str, cuts: &Arc<AtomicUsize>) {
    let sent = match lost {
        Lost::Admission => text.to_owned(),
        Lost::Reply => format!("re: {text}"),
    };
    let cuts = Arc::clone(cuts);
    let (mut writing, mut is_cut) = (None, false);
    tap.watch(move |piece| {
        if piece.from == Side::Client && piece.contains(&sent) {
            writing.get_or_insert(piece.connection);
        }
        if is_cut || writing != Some(piece.connection) || !piece.is_committed() {
            return Verdict::Pass;
        }
        is_cut = true;
        cuts.fetch_add(1, Ordering::SeqCst);
        Verdict::Cut
    });
}
