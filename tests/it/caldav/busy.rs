//! Busy times from events that other programs have written.

use serde_json::{Value, json};

use super::{check_availability, result, setup_on};
use crate::support::db::both_backends;
use crate::support::radicale::{Radicale, event};
use crate::support::server::{TestServer, WIDGET};

async fn free(server: &TestServer, first: &str, last: &str) -> Value {
    result(server, WIDGET, check_availability(first, last)).await["available_slots"].clone()
}

both_backends!(
    async fn busy_times_respect_days_zones_transparency_and_cancellation(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let before = free(&server, "2026-03-17", "2026-03-17").await;
        for (name, lines) in [
            ("utc", "DTSTART:20260317T080000Z\nDTEND:20260317T083000Z"),
            ("tokyo", "DTSTART;TZID=Asia/Tokyo:20260317T180000\nDURATION:PT30M"),
            ("transparent", "DTSTART:20260317T100000Z\nDTEND:20260317T110000Z\nTRANSP:TRANSPARENT"),
            ("cancelled", "DTSTART:20260317T100000Z\nDTEND:20260317T110000Z\nSTATUS:CANCELLED"),
            ("day", "DTSTART;VALUE=DATE:20260318"),
            ("floating", "DTSTART:20260319T110000\nDTEND:20260319T120000"),
        ] {
            radicale.put(&format!("{name}.ics"), &event(name, lines)).await;
        }

        let after = free(&server, "2026-03-17", "2026-03-19").await;

        assert_eq!(before, json!(["2026-03-17 09:00", "2026-03-17 10:00", "2026-03-17 11:00"]));
        assert_eq!(after, json!(["2026-03-17 11:00", "2026-03-19 09:00", "2026-03-19 10:00"]));
    }
);

both_backends!(
    async fn a_weekly_event_keeps_local_time_across_dst_with_exceptions(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let zone = "BEGIN:VTIMEZONE\nTZID:Europe/Berlin\nBEGIN:STANDARD\nDTSTART:19961027T030000\nRRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\n\
            TZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nEND:STANDARD\nBEGIN:DAYLIGHT\nDTSTART:19810329T020000\n\
            RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nEND:DAYLIGHT\nEND:VTIMEZONE";
        let master = event(
            "weekly",
            "DTSTART;TZID=Europe/Berlin:20260303T100000\nDTEND;TZID=Europe/Berlin:20260303T110000\n\
             RRULE:FREQ=WEEKLY;BYDAY=TU\nEXDATE;TZID=Europe/Berlin:20260324T100000",
        );
        let moved = event(
            "weekly",
            "RECURRENCE-ID;TZID=Europe/Berlin:20260407T100000\nDTSTART;TZID=Europe/Berlin:20260408T090000\n\
             DTEND;TZID=Europe/Berlin:20260408T100000",
        );
        radicale.put("weekly.ics", &format!("{zone}\n{master}\n{moved}")).await;

        for (day, hours) in [
            ("2026-03-17", vec!["09:00", "11:00"]),
            ("2026-03-24", vec!["09:00", "10:00", "11:00"]),
            ("2026-03-31", vec!["09:00", "11:00"]),
            ("2026-04-07", vec!["09:00", "10:00", "11:00"]),
            ("2026-04-08", vec!["10:00", "11:00"]),
            ("2026-04-14", vec!["09:00", "11:00"]),
        ] {
            let expected: Vec<String> = hours.iter().map(|hour| format!("{day} {hour}")).collect();
            assert_eq!(free(&server, day, day).await, json!(expected), "{day}");
        }
    }
);

both_backends!(
    async fn a_zone_that_only_the_event_defines_is_used(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let rules = "BEGIN:STANDARD\nDTSTART:16010101T020000\nTZOFFSETFROM:-0400\nTZOFFSETTO:-0500\n\
            RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=1SU;BYMONTH=11\nEND:STANDARD\n\
            BEGIN:DAYLIGHT\nDTSTART:16010101T020000\nTZOFFSETFROM:-0500\nTZOFFSETTO:-0400\n\
            RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=2SU;BYMONTH=3\nEND:DAYLIGHT";
        for (name, day) in [("Customized Time Zone", "20260317"), ("tzone://Microsoft/Custom", "20260407")] {
            let zone = format!("BEGIN:VTIMEZONE\nTZID:{name}\n{rules}\nEND:VTIMEZONE");
            let lines = format!("DTSTART;TZID=\"{name}\":{day}T050000\nDTEND;TZID=\"{name}\":{day}T060000");
            radicale.put(&format!("{day}.ics"), &format!("{zone}\n{}", event(day, &lines))).await;
        }

        // Germany changes its clocks two weeks after the zone.
        let march = free(&server, "2026-03-17", "2026-03-17").await;
        let april = free(&server, "2026-04-07", "2026-04-07").await;

        assert_eq!(march, json!(["2026-03-17 09:00", "2026-03-17 11:00"]));
        assert_eq!(april, json!(["2026-04-07 09:00", "2026-04-07 10:00"]));
    }
);

both_backends!(
    async fn hours_that_an_unknown_zone_may_mean_are_not_offered(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        radicale.put("x.ics", &event("x", "DTSTART;TZID=Nowhere:20260317T230000\nDURATION:PT1H")).await;

        let offered = free(&server, "2026-03-17", "2026-03-19").await;

        let expected = ["2026-03-17 09:00", "2026-03-19 09:00", "2026-03-19 10:00", "2026-03-19 11:00"];
        assert_eq!(offered, json!(expected));
    }
);

both_backends!(
    async fn invitations_that_the_user_has_declined_are_free(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        for (day, attendees) in [
            ("20260317", "ATTENDEE;PARTSTAT=DECLINED:MAILTO:Owner@Shop.example"),
            ("20260318", "ATTENDEE;PARTSTAT=TENTATIVE:mailto:owner@shop.example"),
            ("20260319", "ATTENDEE;PARTSTAT=DECLINED:mailto:another@shop.example"),
            // The server reports this address as the user's.
            ("20260320", "ATTENDEE;PARTSTAT=DECLINED:/owner%40shop.example/"),
        ] {
            let lines = format!("DTSTART;VALUE=DATE:{day}\nTRANSP:OPAQUE\n{attendees}");
            radicale.put(&format!("{day}.ics"), &event(day, &lines)).await;
        }

        let offered = free(&server, "2026-03-17", "2026-03-20").await;

        let days: Vec<&str> =
            offered.as_array().unwrap().iter().map(|slot| &slot.as_str().unwrap()[..10]).collect();
        assert_eq!(days, ["2026-03-17"; 3].into_iter().chain(["2026-03-20"; 3]).collect::<Vec<_>>());
    }
);

both_backends!(
    async fn events_of_another_program_are_seen_at_once(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let all = free(&server, "2026-03-20", "2026-03-20").await;

        radicale.put("x.ics", &event("x", "DTSTART:20260320T080000Z\nDTEND:20260320T100000Z")).await;
        let busy = free(&server, "2026-03-20", "2026-03-20").await;
        radicale.send("DELETE", "x.ics", &[], String::new()).await;
        let again = free(&server, "2026-03-20", "2026-03-20").await;

        assert_eq!(busy, json!(["2026-03-20 11:00"]));
        assert_eq!((again.as_array().unwrap().len(), again), (3, all));
    }
);
