//! Carries out erasures, in slices, so that a long one delays no other: each round works on one of each workspace that has any.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};

use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::service::erasures::work::{self, Progress};
use crate::store::{Conn, Tenant, conversations, erasures};
use crate::worker::Worker;

const INTERVAL: Duration = Duration::from_secs(1);
/// How long a round works on one erasure.
const SLICE: Duration = Duration::from_secs(2);
/// How long a claim holds, so that another process continues soon if this one dies. Requests to CalDAV servers may take longer; then both
/// make them.
const CLAIM: Duration = Duration::from_secs(15);
/// The pause before a server is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How many workspaces are worked on at once.
const CONCURRENCY: usize = 2;
/// How many workspaces one query lists at most.
const WORKSPACE_BATCH: i64 = 100;
/// How many erasures end at once.
const END_BATCH: i64 = 256;
/// The shortest time between two cleanings of the files of SQLite.
const CLEAN_INTERVAL: Duration = Duration::from_secs(5);
/// How far the clocks of processes may differ, and how long a deletion may take to be committed.
const FORGET_OVERLAP: Duration = Duration::from_secs(30);
const FORGET_BATCH: i64 = 10_000;

/// Works until the process stops.
pub(in crate::worker) async fn run(worker: Worker) {
    if !worker.services.db.is_shared() {
        // Claims of this process before its restart.
        let released = worker.services.db.write(Tenant::Process, erasures::release_all).await;
        worker.failures.record("claims of erasures could not be released", released);
    }
    let mut cleaned_at: Option<Instant> = None;
    let mut forgotten_to = worker.services.clock.now();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = worker.services.clock.now();
        let forgotten = forget_deleted(&worker, forgotten_to.minus(FORGET_OVERLAP)).await;
        if worker.failures.record("deleted conversations could not be read", forgotten).is_some() {
            forgotten_to = now;
        }
        worker.failures.record("erasures could not be carried out", carry_out(&worker).await);
        if cleaned_at.is_none_or(|at| at.elapsed() >= CLEAN_INTERVAL) {
            let ended = worker.failures.record("erasures could not be ended", end_emptied(&worker).await);
            if ended != Some(0) {
                cleaned_at = Some(Instant::now());
            }
        }
    }
}

/// Drops the messages of conversations that any process has deleted since a time from the caches of this one.
async fn forget_deleted(worker: &Worker, after: Micros) -> Result<(), Error> {
    let services = &worker.services;
    let list = async |conn: Conn<'_>| conversations::list_deleted(conn, after, FORGET_BATCH).await;
    for conversation in services.db.read(Tenant::Process, list).await? {
        services.histories.forget(conversation);
    }
    Ok(())
}

/// Works on erasures until none is due.
pub(in crate::worker) async fn carry_out(worker: &Worker) -> Result<(), Error> {
    let services = &worker.services;
    loop {
        let now = services.clock.now();
        let list = async |conn: Conn<'_>| erasures::list_due_workspaces(conn, now, WORKSPACE_BATCH).await;
        let due = services.db.read(Tenant::Process, list).await?;
        let slices = stream::iter(due).map(|workspace| work_on(worker, workspace));
        let outcomes: Vec<Result<bool, Error>> = slices.buffer_unordered(CONCURRENCY).collect().await;
        let mut has_worked = false;
        for outcome in outcomes {
            // An error of one does not affect the others; its claim expires.
            has_worked |=
                worker.failures.record("an erasure could not be carried out", outcome) == Some(true);
        }
        if !has_worked {
            return Ok(());
        }
    }
}

/// One slice of the erasure of a workspace that has waited longest. Returns false if another process has claimed it.
async fn work_on(worker: &Worker, workspace: WorkspaceId) -> Result<bool, Error> {
    let services = &worker.services;
    let now = services.clock.now();
    let claim = async |conn: Conn<'_>| erasures::claim(conn, workspace, now, now.plus(CLAIM)).await;
    let Some(job) = services.db.write(workspace, claim).await? else { return Ok(false) };
    let progress = work::advance(services, &job, Instant::now() + SLICE).await?;
    let again_at = match progress {
        Progress::Emptied => return Ok(true),
        Progress::Unfinished => services.clock.now(),
        Progress::Waiting => services.clock.now().plus(RETRY),
    };
    services.db.write(workspace, async |conn| erasures::release(conn, &job, again_at).await).await?;
    Ok(true)
}

/// Ends the erasures that have nothing left in the tables, once the files have no remnants either. Returns how many there were.
pub(in crate::worker) async fn end_emptied(worker: &Worker) -> Result<usize, Error> {
    let services = &worker.services;
    let list = async |conn: Conn<'_>| erasures::list_emptied(conn, END_BATCH).await;
    let emptied = services.db.read(Tenant::Process, list).await?;
    if emptied.is_empty() || !services.db.remove_remnants().await? {
        return Ok(emptied.len());
    }
    let now = services.clock.now();
    services.db.write(Tenant::Process, async |conn| erasures::end(conn, &emptied, now).await).await?;
    Ok(emptied.len())
}
