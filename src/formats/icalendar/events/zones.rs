//! The time zones that an iCalendar text names, found in the IANA database.
//!
//! A `TZID` is a name of the text's own, which its `VTIMEZONE` defines. Its rules are not read: practically
//! every program writes a name that the database knows, a path that ends in one, or that of Windows.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use super::component::Component;
use super::windows_zones::WINDOWS_ZONES;

/// No name of a zone is longer, be it a path that ends in one, in bytes.
const MAX_NAME: usize = 255;

/// The time zones that one text names.
pub(super) struct Zones {
    by_name: HashMap<String, TimeZone>,
    /// Used for times without a zone, and for unknown names.
    pub calendar: TimeZone,
}

impl Zones {
    pub(super) fn new(calendars: &[Component], calendar: &TimeZone) -> Self {
        let mut by_name = HashMap::new();
        for definition in calendars.iter().flat_map(|calendar| calendar.children("VTIMEZONE")) {
            let Some(name) = definition.value("TZID") else { continue };
            let hint = definition.value("X-LIC-LOCATION");
            if let Some(zone) = find(name).or_else(|| hint.and_then(find)) {
                by_name.insert(name.to_owned(), zone);
            }
        }
        Self { by_name, calendar: calendar.clone() }
    }

    /// The zone of this name; none where it means nothing here.
    pub(super) fn get(&self, name: &str) -> Option<TimeZone> {
        self.by_name.get(name).cloned().or_else(|| find(name))
    }
}

fn find(name: &str) -> Option<TimeZone> {
    let name = name.trim();
    if name.len() > MAX_NAME {
        return None;
    }
    if let Ok(at) = WINDOWS_ZONES.binary_search_by_key(&name, |(windows, _)| windows) {
        let (_, iana) = WINDOWS_ZONES.get(at)?;
        return TimeZone::get(iana).ok();
    }
    // `/freeassociation.sourceforge.net/Europe/Berlin`: the longest ending that is a name.
    let endings = name.match_indices('/').map(|(at, _)| name.get(at + 1..).unwrap_or_default());
    std::iter::once(name).chain(endings).find_map(|ending| TimeZone::get(ending).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_database_of_windows_and_paths_are_found() {
        for (name, expected) in [
            ("Europe/Berlin", "Europe/Berlin"),
            ("europe/berlin", "Europe/Berlin"),
            ("W. Europe Standard Time", "Europe/Berlin"),
            ("/freeassociation.sourceforge.net/America/Argentina/Salta", "America/Argentina/Salta"),
            ("/citadel.org/20210210_1/Europe/London", "Europe/London"),
        ] {
            assert_eq!(find(name).unwrap().iana_name(), Some(expected), "{name}");
        }
        for name in ["", "/", "Customized Time Zone", "Mars/Base"] {
            assert_eq!(find(name), None, "{name}");
        }
        assert_eq!(find(&format!("{}Europe/Berlin", "x/".repeat(2_000_000))), None, "too long");
    }

    #[test]
    fn every_name_of_windows_is_in_order_and_leads_to_a_zone() {
        assert!(WINDOWS_ZONES.is_sorted());
        for (windows, _) in WINDOWS_ZONES {
            assert!(find(windows).is_some(), "{windows}");
        }
    }
}
