//! Streams that break while a text is shown or a tool works: the process is killed or stopped, or the attempt fails. The client
//! comes back, and ends with exactly the stored text.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;

use crate::checker::check;
use crate::client::{Api, Client, CompletedOperation, Operation, Outcome};
use crate::cluster::{Cluster, Setup};
use crate::evidence::gather;
use crate::fakes::{self, Plan};
use crate::history::History;
use crate::ledger_monitor::LedgerMonitor;
use crate::sizes::size;
use crate::support::db::Backend;
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::fake_tool::ToolRequest;
use crate::support::script::Gate;
use crate::support::wait::wait_for;
use crate::transcript::Ending;

/// What breaks the stream off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    KillInText,
    KillInTool,
    /// A stop whose grace ends before the text does.
    StopInText,
    /// A stop whose grace is longer than the text.
    StopInTime,
    /// The model breaks off, and is asked again.
    ModelFails,
}

const CUTS: [Cut; 5] = [Cut::KillInText, Cut::KillInTool, Cut::StopInText, Cut::StopInTime, Cut::ModelFails];

const GRACE: &str = "2s";
/// Between the six pieces of the model's answer, the second of which is the first text.
const PACE: Duration = Duration::from_millis(200);
/// So slow that an answer takes longer than [`GRACE`] after its first text.
const SLOW_PACE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    run("streams_sqlite", Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_two_processes() {
    run("streams_postgres", Backend::Postgres, 2).await;
}

async fn run(test: &str, backend: Backend, processes: usize) {
    let setup = Setup::new(backend, processes)
        .env("REJOINDER_TURN__LEASE", "1s")
        .env("REJOINDER_SHUTDOWN_GRACE", GRACE);
    let cluster = Cluster::start(setup).await;
    let client = Client::new(&cluster, &Arc::new(History::new(test, 0)));
    let monitor = LedgerMonitor::start(&cluster);
    let mut done = Vec::new();
    for round in 0..size("CHAOS_POINTS", 1) {
        for (nth, cut) in CUTS.into_iter().enumerate() {
            for api in Api::ALL {
                let number = (round * CUTS.len() + nth) * Api::ALL.len() + usize::from(api == Api::Platform);
                done.push(break_stream(&client, number, cut, api).await);
            }
        }
    }
    let evidence = gather(&cluster, done, monitor.stop().await).await;
    check(&evidence, test, &format!("{} streams were broken off", evidence.done.len()));
}

/// Sends one message, breaks its stream off, and returns what the client ended with.
async fn break_stream(client: &Arc<Client>, number: usize, cut: Cut, api: Api) -> CompletedOperation {
    let cluster = &client.cluster;
    let plan = if cut == Cut::KillInTool { Plan::Lookup } else { Plan::Plain };
    let text = format!("conversation-{number} {cut:?} {}", plan.word());
    let trigger = Arc::new(Trigger {
        cut,
        cluster: Arc::downgrade(cluster),
        has_fired: AtomicBool::new(false),
        is_done: AtomicBool::new(false),
    });
    script(client, &text, &trigger);
    let operation = Operation {
        number,
        conversation: client.create_conversation(api).await,
        text: text.clone(),
        // Without a key a client comes back only with the resume route.
        key: (number % 4 < 2).then(|| format!("key-{number}")),
        auto_reply: true,
        is_streamed: true,
    };
    let performed = tokio::spawn({
        let (client, trigger) = (Arc::clone(client), Arc::clone(&trigger));
        let watch = move |frame: &Value| {
            if cut != Cut::KillInTool && frame["type"] == "text-delta" {
                trigger.fire();
            }
        };
        async move { client.perform_streamed(operation, 0, watch).await }
    });
    let is_done = async || trigger.is_done.load(Ordering::SeqCst).then_some(());
    wait_for("the first text or the call", is_done).await;
    if matches!(cut, Cut::StopInText | Cut::StopInTime) {
        let status = cluster.ended(0).await;
        assert_eq!(status.code(), Some(0), "{}", cluster.log(0));
    }
    if cut != Cut::ModelFails && cluster.len() == 1 {
        cluster.start_node(0).await;
    }
    let done = performed.await.unwrap();
    if cut != Cut::ModelFails && cluster.len() > 1 {
        cluster.start_node(0).await;
    }
    let Outcome::Ok(response) = &done.outcome else { panic!("{done:?}") };
    let reply = response.streamed.as_ref().expect("the reply was streamed");
    let first = &reply.transcripts[0];
    if cut == Cut::StopInTime {
        assert_eq!(first.ending, Ending::Finished, "{done:?}");
        assert_eq!(first.text(), format!("first: {text}"), "{done:?}");
    } else {
        assert_eq!(first.ending, Ending::BrokenOff, "{done:?}");
        assert_eq!(reply.text(), Some(&*format!("re: {text}")), "{done:?}");
        assert!(cut == Cut::KillInTool || !first.text().is_empty(), "{done:?}");
    }
    done
}

/// Breaks a stream off, once.
struct Trigger {
    cut: Cut,
    /// Weak, because the fakes that own this belong to the cluster.
    cluster: Weak<Cluster>,
    has_fired: AtomicBool,
    /// The process was killed, or has its signal.
    is_done: AtomicBool,
}

impl Trigger {
    /// False if it has fired before.
    fn fire(&self) -> bool {
        if self.has_fired.swap(true, Ordering::SeqCst) {
            return false;
        }
        let cluster = self.cluster.upgrade().expect("the test owns the cluster");
        match self.cut {
            Cut::KillInText | Cut::KillInTool => drop(cluster.kill(0)),
            Cut::StopInText | Cut::StopInTime => cluster.terminate(0),
            // The fake does it.
            Cut::ModelFails => {}
        }
        self.is_done.store(true, Ordering::SeqCst);
        true
    }
}

/// Sets what the fakes do. The first answer of the model differs from the later ones, so that a joined text would be noticed.
fn script(client: &Client, text: &str, trigger: &Arc<Trigger>) {
    let (cut, text) = (trigger.cut, text.to_owned());
    let mut is_first = true;
    client.cluster.fakes.model.script().respond_with(move |request: &ModelRequest| {
        let is_cut = cut != Cut::KillInTool && request.prompt().as_ref() == Some(&text);
        if !is_cut || !std::mem::take(&mut is_first) {
            return fakes::default_answer(request);
        }
        let first = format!("first: {text}");
        match cut {
            Cut::ModelFails => Reply::cut(&first).paced(PACE),
            Cut::StopInText => Reply::text(&first).paced(SLOW_PACE),
            _ => Reply::text(&first).paced(PACE),
        }
    });
    let (trigger, never) = (Arc::clone(trigger), Gate::closed());
    client.cluster.fakes.tool.script().respond_with(move |request: &ToolRequest| {
        let reply = fakes::default_result(request);
        // A dead process gets no answer.
        if cut == Cut::KillInTool && trigger.fire() { reply.gated_by(&never) } else { reply }
    });
}
