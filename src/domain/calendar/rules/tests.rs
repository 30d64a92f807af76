use serde_json::json;

use super::*;
use crate::domain::calendar::samples::rules_in;

fn rules_error(change: impl FnOnce(&mut CalendarRulesIn)) -> String {
    let mut source = rules_in("Europe/Berlin", &["09:00-12:00", "13:00-17:00"]);
    change(&mut source);
    CalendarRules::try_from(source).unwrap_err().to_string()
}

#[test]
fn absent_settings_of_the_workspace_file_have_defaults() {
    let file = r#"
        time_zone = "europe/berlin"
        hours = { mon = ["13:00-17:00", "09:00-12:00"], tue = ["20:00-24:00"] }
        holidays = ["2026-12-25"]
    "#;
    let rules: CalendarRules = toml::from_str(file).unwrap();

    assert_eq!(rules.time_zone(), "Europe/Berlin");
    assert_eq!((rules.slot.as_mins(), rules.buffer.as_mins()), (30, 0));
    assert_eq!((rules.minimum_notice.as_mins(), rules.horizon_days), (0, 60));
    assert_eq!((rules.bookings_per_conversation(), rules.bookings_per_day()), (10, 100));
    let monday: Vec<String> = rules.windows(Weekday::Monday).iter().map(ToString::to_string).collect();
    assert_eq!(monday, ["09:00-12:00", "13:00-17:00"]);
    assert!(rules.windows(Weekday::Sunday).is_empty());
    assert!(rules.is_holiday(jiff::civil::date(2026, 12, 25)));
}

#[test]
fn rules_round_trip_through_json() {
    let rules: CalendarRules = CalendarRulesIn {
        holidays: vec!["2026-12-25".to_owned()],
        ..rules_in("Asia/Tokyo", &["09:00-12:00"])
    }
    .try_into()
    .unwrap();

    let value = serde_json::to_value(&rules).unwrap();

    assert_eq!(value["time_zone"], "Asia/Tokyo");
    assert_eq!(value["hours"]["sun"], json!(["09:00-12:00"]));
    assert_eq!(serde_json::from_value::<CalendarRules>(value).unwrap(), rules);
}

#[test]
fn unknown_and_missing_settings_are_named_in_the_error() {
    for (value, expected) in [
        (json!({ "time_zone": "UTC", "slot_minute": 30 }), "unknown field `slot_minute`"),
        (json!({ "time_zone": "UTC", "hours": { "monday": [] } }), "unknown field `monday`"),
        (json!({}), "missing field `time_zone`"),
        (json!({ "time_zone": "UTC" }), "hours: no day has a window"),
    ] {
        let error = serde_json::from_value::<CalendarRules>(value).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn each_error_names_its_setting() {
    type Change = fn(&mut CalendarRulesIn);
    let cases: [(Change, &str); 15] = [
        (|r| r.time_zone = "Berlin".to_owned(), "time_zone: \"Berlin\" is not a time zone"),
        (|r| r.time_zone = String::new(), "time_zone: \"\" is not a time zone"),
        (|r| r.slot_minutes = 0, "slot_minutes: 0 is not between 1 and 1440"),
        (|r| r.slot_minutes = 1441, "slot_minutes: 1441 is not between"),
        (|r| r.buffer_minutes = 1441, "buffer_minutes: 1441 is not between"),
        (|r| r.minimum_notice_minutes = 600_000, "minimum_notice_minutes: 600000 is not between"),
        (|r| r.horizon_days = 0, "horizon_days: 0 is not between 1 and 3650"),
        (
            |r| r.bookings_per_conversation = Some(0),
            "bookings_per_conversation: 0 is not between 1 and 10000",
        ),
        (|r| r.bookings_per_day = Some(100_001), "bookings_per_day: 100001 is not between 1 and 100000"),
        (|r| r.minimum_notice_minutes = 86_400, "minimum_notice_minutes: as long as the horizon of 60 days"),
        (
            |r| r.holidays = vec!["2026-12-25".into(), "25.12.".into()],
            "holidays[1]: \"25.12.\" is not a date",
        ),
        (|r| r.hours.mon = vec!["9-12".into()], "hours.mon[0]: \"9-12\" is not a window"),
        (|r| r.hours.tue.push("11:30-13:00".into()), "hours.tue[2]: 11:30-13:00 overlaps 09:00-12:00"),
        (|r| r.hours.sun[1] = "17:00-13:00".into(), "hours.sun[1]: \"17:00-13:00\" ends before it starts"),
        (|r| r.slot_minutes = 200, "hours.mon[0]: 09:00-12:00 is shorter than a slot of 200 minutes"),
    ];
    for (change, expected) in cases {
        let text = rules_error(change);
        assert!(text.starts_with(expected), "{text}");
    }
    assert_eq!(
        rules_error(|rules| rules.hours = HoursIn::default()),
        "hours: no day has a window, such as mon = [\"09:00-17:00\"]"
    );
}

#[test]
fn the_time_zone_database_is_bundled() {
    let bundled = jiff::tz::TimeZoneDatabase::bundled();
    for name in ["Europe/Berlin", "Australia/Lord_Howe", "UTC"] {
        assert!(bundled.get(name).is_ok(), "{name}");
    }
}

#[test]
fn the_rules_can_be_flattened_into_another_struct() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct CalendarIn {
        slug: String,
        #[serde(flatten)]
        rules: CalendarRulesIn,
    }
    let file = "slug = 'demos'\ntime_zone = 'UTC'\nhours = { mon = ['09:00-17:00'] }\n";
    let read: CalendarIn = toml::from_str(file).unwrap();
    assert_eq!((read.slug.as_str(), read.rules.slot_minutes), ("demos", 30));

    let error = toml::from_str::<CalendarIn>(&format!("{file}colour = 'red'\n")).err().unwrap();
    assert!(error.to_string().contains("unknown field `colour`"), "{error}");
}
