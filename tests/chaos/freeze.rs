//! A frozen process (SIGSTOP) loses its turns to another process, and is fenced off when it wakes up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checker::check;
use crate::client::{Api, Client, Operation, Outcome, join_operations};
use crate::cluster::{Cluster, Setup, try_get};
use crate::evidence::{Reader, gather};
use crate::fakes::{self, Plan};
use crate::history::History;
use crate::ledger_monitor::LedgerMonitor;
use crate::support::db::Backend;
use crate::support::fake_model::ModelRequest;
use crate::support::fake_tool::ToolRequest;
use crate::support::script::Gate;
use crate::support::wait::wait_for;

/// Upper bound of a takeover beyond the lease of these tests, 2 s.
const MARGIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_is_fenced_off_when_it_wakes_up() {
    let cluster = Cluster::start(Setup::new(Backend::Postgres, 2)).await;
    let client = Client::new(&cluster, &Arc::new(History::new("freeze", 0)));
    let monitor = LedgerMonitor::start(&cluster);
    let mut waiting = Vec::new();
    let gate = hold_first_calls(&cluster);

    // Turns of both APIs wait for the model and for a tool that must not be repeated.
    for (number, (api, plan)) in
        Api::ALL.into_iter().flat_map(|api| [Plan::Plain, Plan::Note].map(|plan| (api, plan))).enumerate()
    {
        let conversation = client.create_conversation(api).await;
        let text = format!("conversation-{number} {}", plan.word());
        let operation =
            Operation { number, conversation, text, key: None, auto_reply: true, is_streamed: false };
        let client = Arc::clone(&client);
        waiting.push(tokio::spawn(async move { client.perform(operation, 0).await }));
    }
    cluster.fakes.tool.calls().wait_for_count(2).await;
    cluster.fakes.model.calls().wait_for_count(4).await;
    cluster.freeze(0);
    let frozen = Instant::now();
    let reader = Reader::at(&cluster, 1);
    let replied = async || {
        let events = reader.list("/v1/events", "after").await;
        let replies =
            events.iter().filter(|event| event["data"]["message"].get("reply_to_message_id").is_some());
        (replies.count() == 4).then_some(())
    };
    wait_for("the other process to answer all", replied).await;
    let taken_over = frozen.elapsed();
    // The answers that the frozen process waits for arrive.
    gate.open();
    cluster.wake(0);
    let idle = async || {
        let metrics = try_get(&format!("{}/metrics", cluster.address(0)?)).await?;
        let mut lines = metrics.lines().filter(|line| line.starts_with("rejoinder_turns_running"));
        lines.all(|line| line.ends_with(" 0")).then_some(())
    };
    wait_for("the woken process to give up its turns", idle).await;

    let done = join_operations(waiting).await;
    assert!(done.iter().all(|done| matches!(done.outcome, Outcome::Ok(_))), "{done:#?}");
    let evidence = gather(&cluster, done, monitor.stop().await).await;
    check(&evidence, "freeze", &format!("all four turns were run by the other process {taken_over:?} later"));
    assert!(taken_over < Duration::from_secs(2) + MARGIN, "the takeover took {taken_over:?}");
}

/// The first model call for each plain answer and all `note` tool calls wait for the gate.
fn hold_first_calls(cluster: &Cluster) -> Gate {
    let gate = Gate::closed();
    let reply_gate = gate.clone();
    let mut held_texts = Vec::new();
    cluster.fakes.model.script().respond_with(move |request: &ModelRequest| {
        let reply = fakes::default_answer(request);
        let prompt = request.prompt().unwrap_or_default();
        if Plan::of(&prompt) == Plan::Plain && !held_texts.contains(&prompt) {
            held_texts.push(prompt);
            return reply.gated_by(&reply_gate);
        }
        reply
    });
    let reply_gate = gate.clone();
    cluster
        .fakes
        .tool
        .script()
        .respond_with(move |request: &ToolRequest| fakes::default_result(request).gated_by(&reply_gate));
    gate
}
