//! Ownership of turns: claims, fences, takeovers, and ends by another process.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use rejoinder::domain::calendar::{
    BookingRequest, BookingWrite, CalendarRules, CalendarRulesIn, CancelRequest, HoursIn,
};
use rejoinder::domain::clock::Clock;
use rejoinder::domain::conversation::ConversationKind;
use rejoinder::domain::failure::Failure;
use rejoinder::domain::ids::{BookingId, WorkspaceId};
use rejoinder::domain::turn::{Api, Turn, TurnEnd, TurnRef, TurnState};
use rejoinder::store::turns::claims::ClaimRequest;
use rejoinder::store::turns::overdue::{self, LifetimeLimits, OverdueReason};
use rejoinder::store::turns::{cancellations, journal};
use rejoinder::store::{ownership, processes, turns};
use rejoinder::writer::{CancelTurn, EndAuthority, HandBackTurn, RetryTurn, TurnWriteOutcome};
use serde_json::Value;
use uuid::Uuid;

use crate::support::db::{Backend, both_backends};
use crate::support::seed::{self, Seed, assert_invariants};
use crate::support::store;
use crate::support::writer_process::{BOUNDS, Process, admission, ai, end_turn, journal_append};

const LEASE: Duration = Duration::from_secs(30);
const LIFE: LifetimeLimits = LifetimeLimits {
    max_age: Duration::from_mins(15),
    max_wait: Duration::from_hours(24),
    max_takeovers: 20,
};

/// Claims at most so many turns of each workspace.
async fn claim(process: &Process, api: Api, limit: usize) -> Vec<Turn> {
    let requests: Vec<_> = due(process, api)
        .await
        .into_iter()
        .map(|workspace| ClaimRequest { workspace, count: limit })
        .collect();
    claim_of(process, api, &requests).await
}

async fn claim_of(process: &Process, api: Api, requests: &[ClaimRequest]) -> Vec<Turn> {
    let mut tx = process.db.begin().await.unwrap();
    let clock = process.clock.as_ref();
    let claimed = turns::claims::claim(tx.conn(), process.id, api, requests, 20, clock).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

/// The workspaces with due turns.
async fn due(process: &Process, api: Api) -> Vec<WorkspaceId> {
    let mut read = process.db.acquire_read().await.unwrap();
    let due = turns::claims::list_due(read.conn(), api, process.clock.as_ref()).await.unwrap();
    due.into_iter().map(|due| due.workspace).collect()
}

async fn renew(process: &Process) {
    let mut tx = process.db.begin().await.unwrap();
    processes::renew_lease(tx.conn(), process.id, LEASE, process.clock.as_ref()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn take_over(process: &Process) -> u64 {
    take_over_after(process, Some(Duration::from_secs(150))).await
}

async fn take_over_after(process: &Process, overdue: Option<Duration>) -> u64 {
    let mut tx = process.db.begin().await.unwrap();
    let taken = ownership::take_over::<TurnRef>(tx.conn(), process.id, overdue, 100, process.clock.as_ref())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    taken
}

both_backends!(
    async fn an_owner_that_is_fenced_off_changes_nothing(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let turn = process.ask(&conversation).await;
        let retried = process
            .writer
            .execute(RetryTurn {
                turn,
                fence: 1,
                delay: Duration::from_secs(4),
                model_error: None,
                tokens: 0,
            })
            .await
            .unwrap();
        let TurnWriteOutcome::Accepted(retried) = retried else { panic!("{retried:?}") };
        assert_eq!((retried.fence, retried.attempts, retried.state), (2, 1, TurnState::Running));
        assert_eq!(retried.not_before, process.clock.now().plus(Duration::from_secs(4)));
        let before = seed::contents(&db).await;

        assert!(matches!(process.complete(turn, 1).await, TurnWriteOutcome::FencedOff(Some(_))));
        let delay = Duration::ZERO;
        assert!(matches!(
            process
                .writer
                .execute(RetryTurn { turn, fence: 1, delay, model_error: None, tokens: 0 })
                .await
                .unwrap(),
            TurnWriteOutcome::FencedOff(_)
        ));
        assert!(matches!(
            process.writer.execute(HandBackTurn { turn, fence: 1, delay, is_takeover: false }).await.unwrap(),
            TurnWriteOutcome::FencedOff(_)
        ));
        let step = process.writer.execute(journal_append(turn, 1, None)).await.unwrap();
        assert!(matches!(step.turn, TurnWriteOutcome::FencedOff(_)));
        let early = process
            .writer
            .execute(end_turn(turn, EndAuthority::Deadline, TurnEnd::Failed(Failure::Timeout)))
            .await
            .unwrap();
        assert!(matches!(early, TurnWriteOutcome::FencedOff(_)), "the deadline has not passed");

        assert_eq!(seed::contents(&db).await, before);
        process.advance_clock(&db, Duration::from_secs(55)).await;
        let late = process
            .writer
            .execute(end_turn(turn, EndAuthority::Deadline, TurnEnd::Failed(Failure::Timeout)))
            .await
            .unwrap();
        assert!(matches!(late, TurnWriteOutcome::Accepted(_)));
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn a_turn_is_claimed_once(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        process.lease.mark_lost();
        let conversations =
            join_all((0..40).map(|_| process.conversation(&seeded, ConversationKind::Widget))).await;
        let turns = join_all(conversations.iter().map(|conversation| process.ask(conversation))).await;
        let claimed = join_all((0..8).map(|_| async {
            let mut mine = Vec::new();
            loop {
                let claimed = claim(&process, Api::Widget, 3).await;
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(claimed.into_iter().map(|turn| turn.id));
            }
        }))
        .await;

        let claimed: Vec<_> = claimed.into_iter().flatten().collect();
        assert_eq!(claimed.len(), turns.len());
        assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), turns.len());
        assert!(claim(&process, Api::Platform, 3).await.is_empty());
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn a_handed_back_turn_is_claimed_when_it_is_due(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Api).await;
        process.writer.execute(admission(&conversation, Api::Platform)).await.unwrap();
        let turn = owned(&process).await[0];
        let delay = Duration::from_secs(9);
        let hand_back = HandBackTurn { turn, fence: 1, delay, is_takeover: false };
        process.writer.execute(hand_back).await.unwrap();
        assert!(claim(&process, Api::Platform, 9).await.is_empty());

        process.advance_clock(&db, Duration::from_secs(9)).await;

        let claimed = claim(&process, Api::Platform, 9).await;
        assert_eq!((claimed.len(), claimed[0].fence, claimed[0].attempts), (1, 3, 0));
    }
);

both_backends!(
    async fn a_turn_whose_task_is_lost_again_and_again_is_claimed_no_more(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Api).await;
        process.writer.execute(admission(&conversation, Api::Platform)).await.unwrap();
        let turn = owned(&process).await[0];
        let lose = async |fence| {
            let lost = HandBackTurn { turn, fence, delay: Duration::ZERO, is_takeover: true };
            let handed_back = process.writer.execute(lost).await.unwrap();
            assert!(matches!(handed_back, TurnWriteOutcome::Accepted(_)), "{handed_back:?}");
        };

        lose(1).await;
        for takeovers in 1..=20 {
            let claimed = claim(&process, Api::Platform, 9).await;
            assert_eq!((claimed.len(), claimed[0].takeovers), (1, takeovers));
            lose(claimed[0].fence).await;
        }

        assert!(claim(&process, Api::Platform, 9).await.is_empty());
        let mut read = process.db.acquire_read().await.unwrap();
        let overdue = overdue::list(read.conn(), LIFE, 9, process.clock.as_ref()).await.unwrap();
        let reasons: Vec<_> = overdue.iter().map(|overdue| (overdue.turn.id, overdue.reason)).collect();
        assert_eq!(reasons, [(turn.turn, OverdueReason::Takeovers)]);
    }
);

async fn owned(process: &Process) -> Vec<TurnRef> {
    let mut read = process.db.acquire_read().await.unwrap();
    let owned = ownership::list_owned(read.conn(), process.id).await.unwrap();
    owned.into_iter().map(|owned| owned.key).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_turns_of_a_dead_process_are_taken_over() {
    let db = store::postgres().await;
    let seeded = seed::workspace(&db, 1_000_000).await;
    let (dead, living) = (Process::start(&db).await, Process::start(&db).await);
    renew(&dead).await;
    renew(&living).await;
    let conversation = dead.conversation(&seeded, ConversationKind::Api).await;
    dead.writer.execute(admission(&conversation, Api::Platform)).await.unwrap();
    let turn = owned(&dead).await[0];
    assert_eq!(take_over(&living).await, 0);

    living.advance_clock(&db, LEASE + Duration::from_secs(1)).await;
    renew(&living).await;
    assert_eq!(take_over(&living).await, 1);

    let taken = living.turn(turn).await;
    assert_eq!((taken.state, taken.owner, taken.fence, taken.takeovers), (TurnState::Queued, None, 2, 1));
    assert!(matches!(dead.complete(turn, 1).await, TurnWriteOutcome::FencedOff(_)));
    assert_eq!(claim(&living, Api::Platform, 9).await.len(), 1);
    // The owner is alive, but the attempt has run for too long.
    living.advance_clock(&db, Duration::from_secs(151)).await;
    renew(&living).await;
    assert_eq!(take_over(&dead).await, 1);
    assert_invariants(&db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_of_an_owner_without_a_row_are_taken_over_at_once() {
    let db = store::postgres().await;
    let seeded = seed::workspace(&db, 1_000_000).await;
    let (stopped, expired, taker) =
        (Process::start(&db).await, Process::start(&db).await, Process::start(&db).await);
    renew(&expired).await;
    for owner in [&stopped, &expired] {
        let conversation = owner.conversation(&seeded, ConversationKind::Api).await;
        owner.writer.execute(admission(&conversation, Api::Platform)).await.unwrap();
    }
    taker.advance_clock(&db, LEASE + Duration::from_secs(1)).await;

    assert_eq!(take_over_after(&taker, None).await, 1);

    assert_eq!((owned(&stopped).await.len(), owned(&expired).await.len()), (0, 1));
}

both_backends!(
    async fn a_claim_takes_at_most_the_requested_turns_of_each_workspace(db: TestDb) {
        let (busy, idle) = (seed::workspace(&db, 1_000_000).await, seed::workspace(&db, 1_000_000).await);
        let process = Process::start_with(&db, store::open(&db).await, BOUNDS, 0).await;
        for seeded in [&busy, &busy, &busy, &busy, &idle, &idle, &idle] {
            let conversation = process.conversation(seeded, ConversationKind::Api).await;
            process.writer.execute(admission(&conversation, Api::Platform)).await.unwrap();
        }
        let claimed = async |counts: [usize; 2]| {
            let requests = [(busy, counts[0]), (idle, counts[1])]
                .map(|(seeded, count)| ClaimRequest { workspace: seeded.workspace, count });
            let turns = claim_of(&process, Api::Platform, &requests).await;
            let of = turns.into_iter().map(|turn| turn.workspace);
            let mut of: Vec<_> = of.map(|id| if id == busy.workspace { "busy" } else { "idle" }).collect();
            of.sort_unstable();
            of
        };

        assert_eq!(due(&process, Api::Platform).await.len(), 2);
        assert!(due(&process, Api::Widget).await.is_empty());
        assert_eq!(claimed([1, 1]).await, ["busy", "idle"]);
        assert_eq!(claimed([2, 9]).await, ["busy", "busy", "idle", "idle"]);
        assert_eq!(due(&process, Api::Platform).await, [busy.workspace]);
        assert_eq!(claimed([9, 9]).await, ["busy"]);
        assert!(due(&process, Api::Platform).await.is_empty());
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_to_stop_reaches_the_owner_and_who_takes_the_turn_over() {
    let db = store::postgres().await;
    let seeded = seed::workspace(&db, 1_000_000).await;
    let (owner, other) = (Process::start(&db).await, Process::start(&db).await);
    renew(&owner).await;
    let conversation = owner.conversation(&seeded, ConversationKind::Api).await;
    owner.writer.execute(admission(&conversation, Api::Platform)).await.unwrap();
    let TurnRef { workspace, conversation, turn } = owned(&owner).await[0];
    let stop = CancelTurn { workspace, conversation, turn: Some(turn), api: None };

    for _ in 0..2 {
        let asked = other.writer.execute(stop).await.unwrap().unwrap();
        assert_eq!(
            (asked.state, asked.fence),
            (TurnState::Running, 1),
            "the owner goes on until it hears of it"
        );
    }
    let mut tx = owner.db.begin().await.unwrap();
    assert_eq!(cancellations::drain(tx.conn(), owner.id).await.unwrap(), [(turn, true)]);
    drop(tx);
    other.advance_clock(&db, LEASE + Duration::from_secs(1)).await;
    renew(&other).await;
    assert_eq!(take_over(&other).await, 1);

    assert!(claim(&other, Api::Platform, 9).await[0].is_stop_requested);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_is_notified_of_an_end() {
    let db = store::postgres().await;
    let seeded = seed::workspace(&db, 1_000_000).await;
    let (owner, other) = (Process::start(&db).await, Process::start(&db).await);
    let conversation = owner.conversation(&seeded, ConversationKind::Widget).await;
    let turn = owner.ask(&conversation).await;

    other.change(&conversation, ai(false)).await.unwrap();

    let mut tx = owner.db.begin().await.unwrap();
    assert_eq!(cancellations::drain(tx.conn(), owner.id).await.unwrap(), [(turn.turn, false)]);
    assert!(cancellations::drain(tx.conn(), owner.id).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_never_run_two_turns_of_a_conversation() {
    let db = store::postgres().await;
    let seeded = seed::workspace(&db, 10_000_000).await;
    let processes = [Process::start(&db).await, Process::start(&db).await];
    let conversation = processes[0].conversation(&seeded, ConversationKind::Widget).await;
    let load = (0..40).map(|n| processes[n % 2].ask(&conversation));

    let turns = join_all(load).await;

    assert_eq!(turns.len(), 40);
    for round in 1..=40 {
        let mut ended = 0;
        for process in &processes {
            for turn in owned(process).await {
                let fence = process.turn(turn).await.fence;
                assert!(matches!(process.complete(turn, fence).await, TurnWriteOutcome::Accepted(_)));
                ended += 1;
                assert_invariants(&db).await;
            }
        }
        if ended == 0 {
            assert!(round > 1, "turns ran");
            break;
        }
    }
    assert_eq!(seed::query_number(&db, "select count(*) from turns where state <> 'completed'").await, 0);
}

both_backends!(
    async fn a_restarted_process_queues_what_was_running(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let (first, second) = (process.ask(&conversation).await, process.ask(&conversation).await);

        let mut tx = process.db.begin().await.unwrap();
        assert_eq!(
            ownership::queue_all_running::<TurnRef>(tx.conn(), process.clock.as_ref()).await.unwrap(),
            1
        );
        tx.commit().await.unwrap();

        let queued = process.turn(first).await;
        assert_eq!((queued.state, queued.fence, queued.takeovers), (TurnState::Queued, 2, 1));
        assert_eq!(process.turn(second).await.state, TurnState::Waiting);
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn a_turn_is_overdue_by_deadline_age_wait_or_takeovers(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let mut turns = Vec::new();
        for _ in 0..6 {
            let conversation = process.conversation(&seeded, ConversationKind::Api).await;
            let admission = admission(&conversation, Api::Platform);
            turns.push(admission.turn);
            process.writer.execute(admission).await.unwrap();
        }
        let now = process.clock.now();
        let ago = |seconds| now.minus(Duration::from_secs(seconds)).0;
        let rows = [
            ("running", format!("deadline_at = {}", now.0)),
            ("running", format!("first_started_at = {0}, admitted_at = {0}", ago(901))),
            ("queued", format!("first_started_at = null, admitted_at = {}", ago(86_401))),
            // It waited for a day and has just started, so it is not overdue.
            ("queued", format!("first_started_at = {}, admitted_at = {}", ago(10), ago(86_401))),
            ("queued", "takeovers = 20".to_owned()),
            ("queued", "takeovers = 21".to_owned()),
        ];
        for (turn, (state, change)) in turns.iter().zip(&rows) {
            let owner = if *state == "queued" { ", owner = null" } else { "" };
            let id = seed::literal(&db, turn.0);
            seed::execute(
                &db,
                &format!("update turns set state = '{state}'{owner}, {change} where id = {id}"),
            )
            .await;
        }

        let mut read = process.db.acquire_read().await.unwrap();
        let overdue = overdue::list(read.conn(), LIFE, 100, process.clock.as_ref()).await.unwrap();

        let mut found: Vec<_> = overdue.iter().map(|overdue| (overdue.turn.id, overdue.reason)).collect();
        found.sort_by_key(|(id, _)| turns.iter().position(|turn| turn == id));
        let expected = [
            (0, OverdueReason::Deadline),
            (1, OverdueReason::Age),
            (2, OverdueReason::Age),
            (5, OverdueReason::Takeovers),
        ];
        assert_eq!(found, expected.map(|(index, why)| (turns[index], why)));
        let two = overdue::list(read.conn(), LIFE, 2, process.clock.as_ref()).await.unwrap();
        assert_eq!(two.len(), 2);
    }
);

fn rules() -> CalendarRules {
    let day = vec!["09:00-18:00".to_owned()];
    let [mon, tue, wed, thu, fri, sat, sun] = std::array::from_fn(|_| day.clone());
    let rules = CalendarRulesIn {
        time_zone: "Europe/Berlin".to_owned(),
        slot_minutes: 30,
        buffer_minutes: 0,
        minimum_notice_minutes: 0,
        horizon_days: 60,
        hours: HoursIn { mon, tue, wed, thu, fri, sat, sun },
        holidays: Vec::new(),
        bookings_per_conversation: None,
        bookings_per_day: None,
    };
    rules.try_into().unwrap()
}

fn book(seeded: &Seed, call: &str, start: &str) -> BookingWrite {
    BookingWrite::Book {
        calendar: seeded.calendar,
        rules: Box::new(rules()),
        request: BookingRequest {
            start: start.to_owned(),
            title: "Démo".to_owned(),
            name: None,
            email: None,
            notes: None,
        },
        id: BookingId(Uuid::now_v7()),
        call: call.to_owned(),
    }
}

async fn write(process: &Process, turn: TurnRef, write: BookingWrite) -> Value {
    let step = process.writer.execute(journal_append(turn, 1, Some(write))).await.unwrap();
    assert!(matches!(step.turn, TurnWriteOutcome::Accepted(_)));
    step.written.unwrap()
}

both_backends!(
    async fn one_of_twelve_gets_a_slot(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let turns = join_all((0..12).map(async |_| {
            let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
            process.ask(&conversation).await
        }))
        .await;

        let slot = "2026-03-17T10:00:00";
        let results = join_all(
            turns
                .iter()
                .enumerate()
                .map(|(n, turn)| write(&process, *turn, book(&seeded, &format!("call {n}"), slot))),
        )
        .await;

        let booked: Vec<_> =
            results.iter().enumerate().filter(|(_, result)| result.get("error").is_none()).collect();
        assert_eq!(booked.len(), 1, "{results:?}");
        assert_eq!(seed::query_number(&db, "select count(*) from bookings").await, 1);
        let (winner, result) = booked[0];
        let again = write(&process, turns[winner], book(&seeded, &format!("call {winner}"), slot)).await;
        assert_eq!(again, *result, "a repeated call is the same booking");

        let booking_id = seed::query_texts(
            &db,
            &match db.backend() {
                Backend::Postgres => "select id::text from bookings".to_owned(),
                Backend::Sqlite => "select lower(hex(id)) from bookings".to_owned(),
            },
        )
        .await;
        let booking_id = BookingId(booking_id[0].parse().unwrap()).to_string();
        let cancel = || BookingWrite::Cancel {
            calendar: seeded.calendar,
            request: CancelRequest { booking_id: booking_id.clone() },
            is_removed: false,
        };
        let loser = (winner + 1) % 12;
        assert!(
            write(&process, turns[loser], cancel()).await.get("error").is_some(),
            "another's booking is unknown"
        );
        let (cancelled, rebooked) = tokio::join!(
            write(&process, turns[winner], cancel()),
            write(&process, turns[loser], book(&seeded, "once more", slot))
        );
        assert!(cancelled.get("error").is_none(), "{cancelled}");
        assert!(rebooked.get("error").is_none(), "{rebooked}");
        let mut read = process.db.acquire_read().await.unwrap();
        let entries = journal::list(read.conn(), turns[winner]).await.unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].result, Some(result.to_string()), "the first result counts");
    }
);

both_backends!(
    async fn an_overdue_turn_that_went_on_is_not_ended(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let turn = process.ask(&conversation).await;
        let found = process.turn(turn).await.fence;
        let end = |fence| end_turn(turn, EndAuthority::Overdue { fence }, TurnEnd::Failed(Failure::TooOld));

        process
            .writer
            .execute(RetryTurn { turn, fence: found, delay: Duration::ZERO, model_error: None, tokens: 0 })
            .await
            .unwrap();

        assert!(matches!(
            process.writer.execute(end(found)).await.unwrap(),
            TurnWriteOutcome::FencedOff(Some(_))
        ));
        assert!(matches!(
            process.writer.execute(end(found + 1)).await.unwrap(),
            TurnWriteOutcome::Accepted(_)
        ));
        assert_invariants(&db).await;
    }
);
