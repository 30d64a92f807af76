//! The time zones that an iCalendar text names.
//!
//! `Area/Location` names of the IANA database are that database's zones, whatever the text defines: its
//! definitions are often shortened or out of date, and calendar programs ignore them, too (RFC 7809 lets servers
//! omit them). All other names are the text's own (RFC 5545, 3.2.19): its `VTIMEZONE` decides, then its
//! `X-LIC-LOCATION`, then the names that are in common use. A name without any meaning is an uncertain zone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, LazyLock};

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::component::Component;
use super::windows_zones::WINDOWS_ZONES;
use super::zone_definition::ZoneDefinitions;
use crate::domain::calendar::saturating_add;

/// No name of a zone is longer, be it a path that ends in one, in bytes.
const MAX_NAME: usize = 255;
/// Offsets of clocks from UTC, in hours: an unknown zone has one of these.
const EASTERNMOST: i64 = 14;
const WESTERNMOST: i64 = -12;
/// Names for no particular zone, or for that of the machine.
const NOT_ZONES: [&str; 3] = ["factory", "localtime", "posixrules"];

/// A zone that times are in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Zone {
    /// Nominal where it is uncertain.
    pub time_zone: TimeZone,
    pub uncertainty: Option<Uncertainty>,
}

/// How far the times of a zone may be from their nominal instants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Uncertainty {
    name: Arc<str>,
    earlier: SignedDuration,
    later: SignedDuration,
}

impl Zone {
    pub(super) fn exact(time_zone: TimeZone) -> Self {
        Self { time_zone, uncertainty: None }
    }

    pub(super) fn utc() -> Self {
        Self::exact(TimeZone::UTC)
    }

    /// `nominal` is an offset near that of the zone.
    fn uncertain(name: &str, nominal: Offset, earlier: i64, later: i64) -> Self {
        let [earlier, later] = [earlier, later].map(SignedDuration::from_hours);
        let uncertainty = Some(Uncertainty { name: name.into(), earlier, later });
        Self { time_zone: TimeZone::fixed(nominal), uncertainty }
    }

    pub(super) fn is_uncertain(&self) -> bool {
        self.uncertainty.is_some()
    }

    /// How much earlier than its nominal instant a time may be.
    pub(super) fn earlier(&self) -> SignedDuration {
        self.uncertainty.as_ref().map_or(SignedDuration::ZERO, |uncertainty| uncertainty.earlier)
    }

    /// How much later than its nominal instant a time may be.
    pub(super) fn later(&self) -> SignedDuration {
        self.uncertainty.as_ref().map_or(SignedDuration::ZERO, |uncertainty| uncertainty.later)
    }
}

/// The time zones that one text names.
pub(super) struct Zones {
    /// By [`key`]; none if the text contradicts itself, or its definition cannot be read.
    defined: HashMap<String, Option<TimeZone>>,
    /// An instant at which zones are compared.
    reference: Timestamp,
    /// Used for days.
    pub calendar: Zone,
    /// Used for times without a zone.
    pub floating: Zone,
}

impl Zones {
    pub(super) fn new(
        calendars: &[Component],
        calendar: &TimeZone,
        definitions: &mut ZoneDefinitions,
        is_timed_out: &dyn Fn() -> bool,
    ) -> Self {
        let mut defined = HashMap::new();
        for definition in calendars.iter().flat_map(|calendar| calendar.children("VTIMEZONE")) {
            if is_timed_out() {
                break;
            }
            let Some(name) = definition.value("TZID").map(key) else { continue };
            if find_location(&name).is_some() {
                continue;
            }
            let hint = || definition.value("X-LIC-LOCATION").and_then(|hint| find(&key(hint)));
            let zone = definitions.get(definition, is_timed_out).or_else(hint);
            match defined.entry(name) {
                Entry::Vacant(entry) => _ = entry.insert(zone),
                Entry::Occupied(mut entry) if *entry.get() != zone => _ = entry.insert(None),
                Entry::Occupied(_) => {}
            }
        }
        let calendar_zone = Zone::exact(calendar.clone());
        let reference = definitions.last_onset;
        let mut zones = Self { defined, reference, calendar: calendar_zone.clone(), floating: calendar_zone };
        if let Some(name) = calendars.iter().find_map(|calendar| calendar.value("X-WR-TIMEZONE")) {
            zones.floating = zones.get(name);
        }
        zones
    }

    /// The zone of this name.
    pub(super) fn get(&self, name: &str) -> Zone {
        let name = key(name);
        let defined = || self.defined.get(&name).cloned().flatten();
        let zone = find_location(&name).or_else(defined).or_else(|| find(&name));
        zone.map_or_else(|| find_display_name(&name, self.reference), Zone::exact)
    }
}

/// A name in the form in which names are compared: in parameters it may be quoted, and in the text of a property
/// some characters are escaped.
fn key(name: &str) -> String {
    let name = name.get(..MAX_NAME + 1).unwrap_or(name);
    name.replace(['"', '\\'], "").trim().to_lowercase()
}

/// By a path that ends in `Area/Location`, such as `/freeassociation.sourceforge.net/Europe/Berlin`.
fn find_location(name: &str) -> Option<TimeZone> {
    let is_location = |name: &&str| name.contains('/') && !name.starts_with("etc/");
    endings(name).filter(is_location).find_map(find_iana)
}

/// By all names that are in common use.
fn find(name: &str) -> Option<TimeZone> {
    let last = endings(name).last()?;
    // `Etc/GMT+5` is west of Greenwich, and `GMT+5` usually east: only the database reads what follows `Etc/`.
    let offset = || if name.contains("etc/") { None } else { find_offset(last) };
    endings(name)
        .find_map(find_iana)
        .or_else(|| find_windows(last))
        .or_else(|| Some(TimeZone::fixed(offset()?)))
}

/// A name and what follows each of its slashes, the longest first.
fn endings(name: &str) -> impl Iterator<Item = &str> {
    let name = if name.len() > MAX_NAME { "" } else { name };
    let endings = name.match_indices('/').map(|(at, _)| name.get(at + 1..).unwrap_or_default());
    std::iter::once(name).chain(endings)
}

fn find_iana(name: &str) -> Option<TimeZone> {
    if NOT_ZONES.contains(&name) {
        return None;
    }
    TimeZone::get(&name.replace(' ', "_")).ok().filter(|zone| !zone.is_unknown())
}

/// By the name of Windows, of its standard time or its daylight-saving time, with or without dots and spaces.
pub(super) fn find_windows(name: &str) -> Option<TimeZone> {
    static BY_LETTERS: LazyLock<HashMap<String, &str>> =
        LazyLock::new(|| WINDOWS_ZONES.iter().map(|(name, iana)| (letters(name), *iana)).collect());
    let name = letters(name).replace("daylighttime", "standardtime");
    TimeZone::get(BY_LETTERS.get(&name)?).ok()
}

fn letters(name: &str) -> String {
    let is_letter = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-');
    name.chars().filter(is_letter).map(|c| c.to_ascii_lowercase()).collect()
}

/// `GMT+0100`, `UTC-05:00`, `+02`.
fn find_offset(name: &str) -> Option<Offset> {
    let name = name.replace(' ', "");
    let prefix = ["utc", "gmt"].into_iter().find_map(|prefix| name.strip_prefix(prefix));
    if prefix == Some("") { Some(Offset::UTC) } else { parse_offset(prefix.unwrap_or(&name)) }
}

/// By a name such as `(UTC+01:00) Amsterdam, Berlin`, which contains the offset of standard time. It is exact if all
/// its places that are known agree with each other and with the offset. Any other zone is uncertain.
fn find_display_name(name: &str, reference: Timestamp) -> Zone {
    let parts = name.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let parts = parts.and_then(|(offset, places)| Some((find_offset(offset)?, places)));
    let Some((standard, places)) = parts else {
        return Zone::uncertain(name, Offset::UTC, EASTERNMOST, -WESTERNMOST);
    };
    let offsets = |zone: &TimeZone| {
        [0, 91 * 24, 182 * 24, 273 * 24]
            .map(|hours| zone.to_offset(saturating_add(reference, -SignedDuration::from_hours(hours))))
    };
    let zones = find_places(places);
    let agree = |zone: &TimeZone| {
        offsets(zone).iter().min() == Some(&standard) && zones.first().map(offsets) == Some(offsets(zone))
    };
    match zones.first() {
        Some(zone) if zones.iter().all(agree) => Zone::exact(zone.clone()),
        _ => Zone::uncertain(name, standard, 1, 1),
    }
}

/// The zones of `eastern time (us & canada)` or `amsterdam, berlin`.
fn find_places(places: &str) -> Vec<TimeZone> {
    static BY_CITY: LazyLock<HashMap<String, Vec<String>>> = LazyLock::new(|| {
        let mut by_city: HashMap<_, Vec<_>> = HashMap::new();
        for name in jiff::tz::db().available() {
            if let Some((_, city)) = name.as_str().rsplit_once('/') {
                by_city
                    .entry(city.to_lowercase().replace('_', " "))
                    .or_default()
                    .push(name.as_str().to_lowercase());
            }
        }
        by_city
    });
    let windows = places.split('(').next().and_then(|name| name.trim().strip_suffix(" time"));
    if let Some(zone) = windows.and_then(|name| find_windows(&format!("{name} standard time"))) {
        return vec![zone];
    }
    let names = places.split([',', '/']).filter_map(|city| BY_CITY.get(city.trim())).flatten();
    names.filter_map(|name| find_iana(name)).collect()
}

/// `+01`, `-0500`, `+05:30`, `+013015`.
pub(super) fn parse_offset(text: &str) -> Option<Offset> {
    const MAX_SECONDS: i32 = 18 * 3600;
    let (sign, digits) = match text.trim().replace('\u{2212}', "-").split_at_checked(1)? {
        ("+", digits) => (1, digits.replace('.', ":")),
        ("-", digits) => (-1, digits.replace('.', ":")),
        _ => return None,
    };
    let parts: Vec<&str> = match digits.len() {
        _ if digits.contains(':') => digits.split(':').collect(),
        1 | 2 => vec![&digits],
        4 => vec![digits.get(..2)?, digits.get(2..)?],
        6 => vec![digits.get(..2)?, digits.get(2..4)?, digits.get(4..)?],
        _ => return None,
    };
    let is_number =
        |part: &&str| matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(is_number) {
        return None;
    }
    let numbers: Vec<i32> = parts.iter().filter_map(|part| part.parse().ok()).collect();
    if numbers.iter().skip(1).any(|number| *number > 59) {
        return None;
    }
    let seconds: i32 = numbers.iter().zip([3600, 60, 1]).map(|(number, unit)| number * unit).sum();
    if seconds > MAX_SECONDS { None } else { Offset::from_seconds(sign * seconds).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(name: &str) -> Option<String> {
        let name = key(name);
        find_location(&name).or_else(|| find(&name))?.iana_name().map(str::to_owned)
    }

    #[test]
    fn names_of_the_database_of_windows_and_paths_are_found() {
        for (name, expected) in [
            ("Europe/Berlin", "Europe/Berlin"),
            ("\"europe/berlin\"", "Europe/Berlin"),
            ("W. Europe Standard Time", "Europe/Berlin"),
            ("w europe daylight time", "Europe/Berlin"),
            ("EASTERN STANDARD TIME", "America/New_York"),
            ("UTC-02", "Etc/GMT+2"),
            ("/freeassociation.sourceforge.net/America/Argentina/Salta", "America/Argentina/Salta"),
            ("/citadel.org/20210210_1/Europe/London", "Europe/London"),
            ("tzone://Microsoft/Utc", "UTC"),
            ("America/New York", "America/New_York"),
            ("Etc/GMT+5", "Etc/GMT+5"),
        ] {
            assert_eq!(name_of(name).as_deref(), Some(expected), "{name}");
        }
        for name in ["", "/", "Customized Time Zone", "Mars/Base", "Etc/Unknown", "Factory", "localtime"] {
            assert_eq!(name_of(name), None, "{name}");
        }
        assert_eq!(name_of(&format!("{}Europe/Berlin", "x/".repeat(2_000_000))), None, "too long");
    }

    #[test]
    fn fixed_offsets_are_read_as_people_write_them() {
        for (name, hours, minutes) in [
            ("GMT+0100", 1, 0),
            ("gmt +1", 1, 0),
            ("UTC-05:00", -5, 0),
            ("UTC+05.30", 5, 30),
            ("-0930", -9, -30),
            ("\u{2212}03", -3, 0),
            ("/example.com/GMT-0300", -3, 0),
        ] {
            let expected = TimeZone::fixed(Offset::from_seconds(hours * 3600 + minutes * 60).unwrap());
            assert_eq!(find(&key(name)), Some(expected), "{name}");
        }
        for name in ["GMT+25", "UTC+1:99", "UTC+100", "+", "UTC+a", "5", "Etc/GMT+0500", "UTC+1:2:3:4"] {
            assert_eq!(find(&key(name)), None, "{name}");
        }
    }

    #[test]
    fn every_name_of_windows_leads_to_a_zone() {
        for (windows, _) in WINDOWS_ZONES {
            assert!(find_windows(windows).is_some(), "{windows}");
        }
    }
}
