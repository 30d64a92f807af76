//! Holds of times in calendars on a CalDAV server: exclusive while their turn is open, and ineffective afterwards.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use rejoinder::domain::calendar::{
    Booker, BookingRequest, BookingWrite, CalendarRules, CalendarRulesIn, CancelRequest, Hold, HoursIn,
    Interval,
};
use rejoinder::domain::clock::Clock as _;
use rejoinder::domain::conversation::ConversationKind;
use rejoinder::domain::failure::Failure;
use rejoinder::domain::ids::{BookingId, IdGenerator};
use rejoinder::domain::turn::{TurnEnd, TurnRef};
use rejoinder::store::Conn;
use rejoinder::store::bookings::{self, Filter, Holds};
use rejoinder::writer::{EndAuthority, WriteBooking, WriteBookingOutcome, decide_inline};
use serde_json::Value;
use uuid::Uuid;

use crate::support::db::{TestDb, both_backends};
use crate::support::seed::{self, Seed};
use crate::support::writer_process::{Process, end_turn, journal_append};

const URL: &str = "https://dav.example/me/";
const SLOT: &str = "2026-03-17T10:00";

fn rules() -> CalendarRules {
    let rules = CalendarRulesIn {
        time_zone: "Europe/Berlin".to_owned(),
        slot_minutes: 30,
        buffer_minutes: 15,
        minimum_notice_minutes: 0,
        horizon_days: 60,
        hours: HoursIn { tue: vec!["09:00-18:00".to_owned()], ..HoursIn::default() },
        holidays: Vec::new(),
        bookings_per_conversation: None,
        bookings_per_day: None,
    };
    rules.try_into().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn slot() -> Interval {
    Interval { start: at("2026-03-17T09:00Z"), end: at("2026-03-17T09:30Z") }
}

/// A hold of a time, with these busy times of the server.
fn hold(seeded: &Seed, call: &str, start: &str, busy: &[Interval]) -> BookingWrite {
    BookingWrite::Hold(Box::new(Hold {
        calendar: seeded.calendar,
        rules: rules(),
        request: BookingRequest {
            start: start.to_owned(),
            title: "Demo".to_owned(),
            name: None,
            email: None,
            notes: None,
        },
        id: BookingId(Uuid::now_v7()),
        call: call.to_owned(),
        url: URL.to_owned(),
        resource: format!("{URL}{call}.ics"),
        busy: busy.to_vec(),
    }))
}

/// Writes for a call that has no result yet.
async fn write(process: &Process, turn: TurnRef, write: BookingWrite) -> Value {
    let mut journaling = journal_append(turn, 1, Some(write));
    (journaling.rows, journaling.result) = (Vec::new(), None);
    process.writer.execute(journaling).await.unwrap().written.unwrap()
}

fn id(result: &Value) -> BookingId {
    result["booking_id"].as_str().unwrap().parse().unwrap()
}

async fn turn(process: &Process, seeded: &Seed) -> TurnRef {
    let conversation = process.conversation(seeded, ConversationKind::Widget).await;
    process.ask(&conversation).await
}

async fn read_holds(process: &Process, seeded: &Seed) -> Holds {
    read_holds_at(process, seeded, URL).await
}

async fn read_holds_at(process: &Process, seeded: &Seed, url: &str) -> Holds {
    let range = Interval { start: at("2026-03-17T00:00Z"), end: at("2026-03-18T00:00Z") };
    let mut read = process.db.acquire_read().await.unwrap();
    let now = process.clock.now();
    bookings::list_holds(read.conn(), seeded.workspace, seeded.calendar, url, range, now).await.unwrap()
}

async fn beginning(db: &TestDb) -> (Seed, Process) {
    (seed::workspace(db, 1_000_000).await, Process::start(db).await)
}

both_backends!(
    async fn one_of_twelve_gets_the_hold_and_can_repeat_it(db: TestDb) {
        let (seeded, process) = beginning(&db).await;
        let turns = join_all((0..12).map(|_| turn(&process, &seeded))).await;

        let ask = |(n, turn): (usize, &TurnRef)| {
            // Every second one is for a time that is too close.
            let start = if n % 2 == 0 { SLOT } else { "2026-03-17T10:30" };
            write(&process, *turn, hold(&seeded, &format!("call_{n}"), start, &[]))
        };
        let results = join_all(turns.iter().enumerate().map(ask)).await;

        let won: Vec<usize> = (0..12).filter(|n| results[*n].get("error").is_none()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        let again =
            write(&process, turns[won[0]], hold(&seeded, &format!("call_{}", won[0]), SLOT, &[slot()])).await;
        assert_eq!(again, results[won[0]]);
        let now = read_holds(&process, &seeded).await;
        assert_eq!((now.busy.len(), now.stale.len()), (1, 0));
    }
);

both_backends!(
    async fn holds_are_bounded_unless_they_were_released_and_a_repeated_call_finds_its_own(db: TestDb) {
        let (seeded, process) = beginning(&db).await;
        let turn = turn(&process, &seeded).await;
        let bounded = |call: &str, start: &str| {
            let source = CalendarRulesIn { bookings_per_conversation: Some(1), ..rules().source().clone() };
            match hold(&seeded, call, start, &[]) {
                BookingWrite::Hold(mut hold) => {
                    hold.rules = source.try_into().unwrap();
                    BookingWrite::Hold(hold)
                }
                other => panic!("{other:?}"),
            }
        };

        let withdrawn = write(&process, turn, bounded("call_1", SLOT)).await;
        let release = BookingWrite::Release { calendar: seeded.calendar, id: id(&withdrawn) };
        write(&process, turn, release).await;
        let held = write(&process, turn, bounded("call_2", SLOT)).await;
        let repeated = write(&process, turn, bounded("call_2", SLOT)).await;
        let refused = write(&process, turn, bounded("call_3", "2026-03-17T12:00")).await;

        assert_eq!(held["held"], true, "{held}");
        assert_eq!(repeated, held);
        let error = refused["error"].as_str().unwrap();
        assert!(error.starts_with("no more appointments can be booked in this conversation"), "{error}");
    }
);

both_backends!(
    async fn a_confirmed_booking_is_decided_by_its_server(db: TestDb) {
        let (seeded, process) = beginning(&db).await;
        let (first, second) = (turn(&process, &seeded).await, turn(&process, &seeded).await);
        let hold_result = write(&process, first, hold(&seeded, "call_1", SLOT, &[])).await;
        let confirm = || BookingWrite::Confirm {
            calendar: seeded.calendar,
            id: id(&hold_result),
            rules: Box::new(rules()),
        };
        let cancel = || BookingWrite::Cancel {
            calendar: seeded.calendar,
            request: CancelRequest { booking_id: id(&hold_result).to_string() },
            is_removed: true,
        };

        let too_soon = write(&process, first, cancel()).await;
        let confirmed = [write(&process, first, confirm()).await, write(&process, first, confirm()).await];
        let taken = write(&process, second, hold(&seeded, "call_2", SLOT, &[slot()])).await;
        let moved = write(&process, second, hold(&seeded, "call_3", SLOT, &[])).await;
        let cancelled = write(&process, first, cancel()).await;

        assert!(too_soon.get("error").is_some(), "a hold cannot be cancelled as a booking: {too_soon}");
        let mut confirmation = hold_result.clone();
        assert_eq!(confirmation.as_object_mut().unwrap().remove("held"), Some(Value::Bool(true)));
        assert_eq!(confirmed, [confirmation.clone(), confirmation]);
        assert_eq!(taken["error"], "2026-03-17 10:00 is already taken");
        assert_eq!(moved["success"], true, "the server has it free: {moved}");
        assert_eq!(cancelled["success"], true);
    }
);

both_backends!(
    async fn a_booking_on_another_server_is_busy_and_cancelled_only_there(db: TestDb) {
        let (seeded, process) = beginning(&db).await;
        let (first, second) = (turn(&process, &seeded).await, turn(&process, &seeded).await);
        let hold_result = write(&process, first, hold(&seeded, "call_1", SLOT, &[])).await;
        let confirm = BookingWrite::Confirm {
            calendar: seeded.calendar,
            id: id(&hold_result),
            rules: Box::new(rules()),
        };
        write(&process, first, confirm).await;
        let cancel = |is_removed| BookingWrite::Cancel {
            calendar: seeded.calendar,
            request: CancelRequest { booking_id: id(&hold_result).to_string() },
            is_removed,
        };
        let moved = || {
            let BookingWrite::Hold(mut hold) = hold(&seeded, "call_2", SLOT, &[]) else { unreachable!() };
            (hold.url, hold.resource) = ("https://other/".to_owned(), "https://other/call_2.ics".to_owned());
            BookingWrite::Hold(hold)
        };

        let (here, there) =
            (read_holds(&process, &seeded).await, read_holds_at(&process, &seeded, "https://other/").await);
        let taken = write(&process, second, moved()).await;
        let cancel_result = write(&process, first, cancel(false)).await;
        let cancelled = write(&process, first, cancel(true)).await;
        let late = read_holds(&process, &seeded).await;
        let free = write(&process, second, moved()).await;

        assert_eq!(here, Holds::default(), "the server decides");
        assert_eq!(there.busy, [("call_1".to_owned(), slot())]);
        assert_eq!(taken["error"], "2026-03-17 10:00 is already taken");
        assert!(
            cancel_result["error"].as_str().unwrap().contains("has to be cancelled there"),
            "{cancel_result}"
        );
        assert_eq!(cancelled["success"], true);
        assert_eq!(late.stale, [("call_1".to_owned(), slot())], "a late event belongs to no booking");
        assert_eq!(free["success"], true, "{free}");
    }
);

both_backends!(
    async fn a_released_hold_is_free(db: TestDb) {
        let (seeded, process) = beginning(&db).await;
        let (first, second) = (turn(&process, &seeded).await, turn(&process, &seeded).await);
        let hold_result = write(&process, first, hold(&seeded, "call_1", SLOT, &[])).await;

        write(&process, first, BookingWrite::Release { calendar: seeded.calendar, id: id(&hold_result) })
            .await;
        let again = write(&process, first, hold(&seeded, "call_1", SLOT, &[])).await;
        let confirm = BookingWrite::Confirm {
            calendar: seeded.calendar,
            id: id(&hold_result),
            rules: Box::new(rules()),
        };
        let confirmed = write(&process, first, confirm).await;
        let other = write(&process, second, hold(&seeded, "call_2", SLOT, &[])).await;

        assert!(again["error"].as_str().unwrap().contains("withdrawn"), "{again}");
        assert!(confirmed.get("error").is_some(), "{confirmed}");
        assert_eq!(other["success"], true, "{other}");
        let now = read_holds(&process, &seeded).await;
        assert_eq!(now.stale, [("call_1".to_owned(), slot())]);
        assert_eq!(now.busy, [("call_2".to_owned(), slot())]);
    }
);

both_backends!(
    async fn a_hold_ends_with_its_turn(db: TestDb) {
        let (seeded, process) = beginning(&db).await;
        let (first, second) = (turn(&process, &seeded).await, turn(&process, &seeded).await);
        write(&process, first, hold(&seeded, "call_1", SLOT, &[])).await;
        let refused = write(&process, second, hold(&seeded, "call_2", SLOT, &[])).await;

        process
            .writer
            .execute(end_turn(first, EndAuthority::ClientGone, TurnEnd::Failed(Failure::Timeout)))
            .await
            .unwrap();
        let now = read_holds(&process, &seeded).await;
        let hold_result = write(&process, second, hold(&seeded, "call_2", SLOT, &[])).await;

        assert!(refused.get("error").is_some(), "{refused}");
        assert_eq!(now, Holds { busy: Vec::new(), stale: vec![("call_1".to_owned(), slot())] });
        assert_eq!(hold_result["success"], true, "{hold_result}");
    }
);

/// Decides a write of a request of the API.
async fn write_for_request(process: &Process, seeded: &Seed, write: BookingWrite) -> WriteBookingOutcome {
    let booker = Booker { workspace: seeded.workspace, conversation: None, turn: None };
    let command = WriteBooking { booker, write, idempotency: None };
    let (clock, ids) = (process.clock.as_ref(), IdGenerator::random());
    let decide = async |conn: Conn<'_>| decide_inline(conn, clock, &ids, &command).await;
    process.db.write(seeded.workspace, decide).await.unwrap().unwrap()
}

fn decided(outcome: WriteBookingOutcome) -> Value {
    let WriteBookingOutcome::Decided(result) = outcome else { panic!("{outcome:?}") };
    result
}

both_backends!(
    async fn a_hold_of_a_request_is_exclusive_for_two_minutes_and_confirmed_within_one(db: TestDb) {
        let (seeded, process) = beginning(&db).await;
        let turn = turn(&process, &seeded).await;
        let request = async |call: &str, time: &str| {
            let held = write_for_request(&process, &seeded, hold(&seeded, call, time, &[])).await;
            decided(held)
        };
        let confirm = async |held: &Value| {
            let (calendar, rules) = (seeded.calendar, Box::new(rules()));
            let confirm = BookingWrite::Confirm { calendar, id: id(held), rules };
            write_for_request(&process, &seeded, confirm).await
        };

        let slow = request("req_1", SLOT).await;
        let taken = write(&process, turn, hold(&seeded, "call_1", SLOT, &[])).await;
        let quick = request("req_2", "2026-03-17T12:00").await;
        let booked = confirm(&quick).await;
        process.advance_clock(&db, Duration::from_secs(90)).await;
        let late = decided(confirm(&slow).await);
        let still_taken = write(&process, turn, hold(&seeded, "call_2", SLOT, &[])).await;
        process.advance_clock(&db, Duration::from_secs(31)).await;
        let stale = read_holds(&process, &seeded).await.stale;
        let free = write(&process, turn, hold(&seeded, "call_3", SLOT, &[])).await;

        assert_eq!(
            (&slow["held"], &taken["error"]),
            (&Value::Bool(true), &"2026-03-17 10:00 is already taken".into())
        );
        let WriteBookingOutcome::Booked(booking, answer) = booked else { panic!("{booked:?}") };
        assert_eq!((booking.conversation, booking.held_by, answer.status), (None, None, 200));
        assert!(late["error"].as_str().unwrap().contains("withdrawn"), "{late}");
        assert!(still_taken.get("error").is_some(), "{still_taken}");
        assert_eq!(stale, [("req_1".to_owned(), slot())], "its event is removed by the next call");
        assert_eq!(free["success"], true, "{free}");
    }
);

both_backends!(
    async fn a_conversation_that_was_deleted_gets_no_booking_and_its_hold_is_released(db: TestDb) {
        let (seeded, process) = beginning(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Api).await;
        let booker = Booker { workspace: seeded.workspace, conversation: Some(conversation.id), turn: None };
        let (clock, ids) = (process.clock.as_ref(), IdGenerator::random());
        let request = async |write: BookingWrite| {
            let command = WriteBooking { booker, write, idempotency: None };
            let decide = async |conn: Conn<'_>| decide_inline(conn, clock, &ids, &command).await;
            process.db.write(seeded.workspace, decide).await.unwrap()
        };
        let held = decided(request(hold(&seeded, "req_1", SLOT, &[])).await.unwrap());
        let con = seed::literal(&db, conversation.id.0);
        seed::execute(&db, &format!("update conversations set deleted_at = 1 where id = {con}")).await;

        let (calendar, id) = (seeded.calendar, id(&held));
        let confirmed = request(BookingWrite::Confirm { calendar, id, rules: Box::new(rules()) }).await;
        let another = request(hold(&seeded, "req_2", "2026-03-17T12:00", &[])).await;
        let released = request(BookingWrite::Release { calendar, id }).await;

        assert!(confirmed.is_err() && another.is_err(), "{confirmed:?} {another:?}");
        assert_eq!(decided(released.unwrap())["success"], true);
        let live = "select count(*) from bookings where cancelled_at is null";
        assert_eq!(seed::query_number(&db, live).await, 0);
    }
);

both_backends!(
    async fn the_latest_bookings_are_listed_in_order(db: TestDb) {
        let (seeded, process) = beginning(&db).await;
        let turn = turn(&process, &seeded).await;
        for (call, time) in [("call_1", SLOT), ("call_2", "2026-03-17T12:00"), ("call_3", "2026-03-17T14:00")]
        {
            let hold_result = write(&process, turn, hold(&seeded, call, time, &[])).await;
            let (calendar, id, rules) = (seeded.calendar, id(&hold_result), Box::new(rules()));
            write(&process, turn, BookingWrite::Confirm { calendar, id, rules }).await;
        }

        let filter = Filter { last: true, ..Filter::default() };
        let mut read = process.db.acquire_read().await.unwrap();
        let listed =
            bookings::list(read.conn(), seeded.workspace, seeded.calendar, &filter, 2).await.unwrap();

        let calls: Vec<&str> = listed.iter().map(|booking| booking.call.as_str()).collect();
        assert_eq!(calls, ["call_2", "call_3"]);
    }
);
