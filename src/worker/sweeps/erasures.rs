//! Carries out erasures, in slices, so that a long one delays no other: each workspace that has any gets one slice after another, of the
//! erasure that has waited longest.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use uuid::Uuid;

use crate::domain::clock::{CLOCK_TOLERANCE, Micros};
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::service::erasures::work::{self, Progress};
use crate::store::{Conn, Tenant, conversations, erasures};
use crate::worker::Worker;

/// How often the erasures of other processes, and those that wait, are looked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a slice works on one erasure.
const SLICE: Duration = Duration::from_secs(2);
/// How long a claim holds, so that another process continues soon if this one dies. It is longer than a slice, the request to a CalDAV server
/// at its end included.
const CLAIM: Duration = Duration::from_secs(15);
/// The pause before a server is tried again, or another erasure is looked at.
const RETRY: Duration = Duration::from_secs(5);
/// How many workspaces are worked on at once. Most of the others go on while the servers of some hang; the database bounds the writes.
const CONCURRENCY: usize = 8;
/// How many workspaces one query lists at most, besides those that are known.
const WORKSPACE_BATCH: i64 = 8;
/// How many erasures end at once.
const END_BATCH: i64 = 256;
/// How many times longer than a cleaning of the files of SQLite the pause after it is: each cleaning keeps the writer waiting.
const CLEAN_PAUSE: u32 = 10;
const LONGEST_CLEAN_PAUSE: Duration = Duration::from_secs(10);
/// When a process cleans the files of what an earlier one has not cleaned: not while it starts, as that may take a second.
const FIRST_CLEANING: Duration = Duration::from_secs(5);
/// How many deleted conversations one query lists at most.
const FORGET_BATCH: i64 = 1000;

/// Works until the process stops. Each part has its own loop, so that a server that hangs delays no other part.
pub(in crate::worker) async fn run(worker: Worker) {
    if !worker.services.db.is_shared() {
        // Claims of this process before its restart.
        let released = worker.services.db.write(Tenant::Process, erasures::release_all).await;
        worker.failures.record("claims of erasures could not be released", released);
    }
    let first_cleaning = async {
        tokio::time::sleep(FIRST_CLEANING).await;
        worker.remnants.clean_soon();
    };
    tokio::join!(carry_out_all(&worker), end_all(&worker), forget_all(&worker), first_cleaning);
}

async fn carry_out_all(worker: &Worker) {
    loop {
        // Either way all erasures are looked at.
        let _ = tokio::time::timeout(INTERVAL, worker.services.erasures_changed.notified()).await;
        worker.failures.record("erasures could not be carried out", carry_out(worker).await);
    }
}

async fn end_all(worker: &Worker) {
    let mut cleaned_at = Instant::now();
    loop {
        let begun = Instant::now();
        let cleaned = end_emptied(worker, cleaned_at).await;
        match worker.failures.record("erasures could not be ended", cleaned) {
            Some(true) => {
                cleaned_at = Instant::now();
                let pause = begun.elapsed().saturating_mul(CLEAN_PAUSE).min(LONGEST_CLEAN_PAUSE);
                tokio::time::sleep(pause).await;
            }
            Some(false) => worker.remnants.requested_within(INTERVAL).await,
            None => tokio::time::sleep(INTERVAL).await,
        }
    }
}

async fn forget_all(worker: &Worker) {
    let mut forgotten_to = worker.services.clock.now();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = worker.services.clock.now();
        // A deletion also takes a while to be committed.
        let forgotten = forget_deleted(worker, forgotten_to.minus(CLOCK_TOLERANCE)).await;
        if worker.failures.record("deleted conversations could not be read", forgotten).is_some() {
            forgotten_to = now;
        }
    }
}

/// Drops the messages of conversations that any process has deleted since a time from the caches of this one.
async fn forget_deleted(worker: &Worker, since: Micros) -> Result<(), Error> {
    let services = &worker.services;
    let mut after = (since, ConversationId(Uuid::nil()));
    loop {
        let list = async |conn: Conn<'_>| conversations::list_deleted(conn, after, FORGET_BATCH).await;
        let deleted = services.db.read(Tenant::Process, list).await?;
        let Some(newest) = deleted.last() else { return Ok(()) };
        after = *newest;
        for (_, conversation) in deleted {
            services.histories.forget(conversation);
        }
    }
}

/// Works on erasures until none is due.
pub(in crate::worker) async fn carry_out(worker: &Worker) -> Result<(), Error> {
    // Those that are worked on, that another process works on, and that have failed.
    let (mut slices, mut seen) = (FuturesUnordered::new(), BTreeSet::new());
    loop {
        let free = CONCURRENCY - slices.len();
        for workspace in list_due(worker, &seen).await?.into_iter().take(free) {
            seen.insert(workspace);
            slices.push(async move { (workspace, work_on(worker, workspace).await) });
        }
        let Some((workspace, outcome)) = slices.next().await else { return Ok(()) };
        // An error of one does not affect the others; its claim expires.
        let has_worked = worker.failures.record("an erasure could not be carried out", outcome);
        if has_worked == Some(true) {
            seen.remove(&workspace);
        }
    }
}

/// The workspaces with an erasure that is due, except those that are worked on or could not be.
async fn list_due(worker: &Worker, seen: &BTreeSet<WorkspaceId>) -> Result<Vec<WorkspaceId>, Error> {
    let now = worker.services.clock.now();
    // Those that were seen may be due, too.
    let limit = WORKSPACE_BATCH.saturating_add(i64::try_from(seen.len()).unwrap_or(i64::MAX));
    let list = async |conn: Conn<'_>| erasures::list_due_workspaces(conn, now, limit).await;
    let mut due = worker.services.db.read(Tenant::Process, list).await?;
    due.retain(|workspace| !seen.contains(workspace));
    Ok(due)
}

/// One slice of the erasure of a workspace that has waited longest. Returns false if another process has claimed it.
async fn work_on(worker: &Worker, workspace: WorkspaceId) -> Result<bool, Error> {
    let services = &worker.services;
    let now = services.clock.now();
    let claim = async |conn: Conn<'_>| erasures::claim(conn, workspace, now, now.plus(CLAIM)).await;
    let Some(job) = services.db.write(workspace, claim).await? else { return Ok(false) };
    let progress = work::advance(services, &job, Instant::now() + SLICE).await?;
    let again_at = match progress {
        Progress::Emptied => {
            worker.remnants.clean_soon();
            return Ok(true);
        }
        Progress::Unfinished => services.clock.now(),
        Progress::Waiting => services.clock.now().plus(RETRY),
    };
    services.db.write(workspace, async |conn| erasures::release(conn, &job, again_at).await).await?;
    Ok(true)
}

/// Cleans the files if rows were removed, and ends the erasures that have nothing left in the tables. Returns whether there was anything
/// to clean.
async fn end_emptied(worker: &Worker, cleaned_at: Instant) -> Result<bool, Error> {
    let services = &worker.services;
    let list = async |conn: Conn<'_>| erasures::list_emptied(conn, END_BATCH).await;
    let emptied = services.db.read(Tenant::Process, list).await?;
    if emptied.is_empty() && !worker.remnants.is_due(cleaned_at.elapsed()) {
        return Ok(false);
    }
    let cleaning = worker.remnants.begin();
    let cleaned = services.db.remove_remnants().await;
    if !matches!(cleaned, Ok(true)) {
        worker.remnants.clean_soon();
        return Ok(cleaned.map(|_| true)?);
    }
    worker.remnants.end(cleaning);
    if !emptied.is_empty() {
        let now = services.clock.now();
        services.db.write(Tenant::Process, async |conn| erasures::end(conn, &emptied, now).await).await?;
    }
    Ok(true)
}
