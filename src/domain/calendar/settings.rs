//! A calendar's configuration, as it is stored in JSON.

use serde::{Deserialize, Serialize};

use super::rules::CalendarRules;
use crate::domain::seal::SealedSecret;

/// A calendar: when it can be booked, and where its appointments are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalendarSettings {
    /// When it can be booked.
    #[serde(flatten)]
    pub rules: CalendarRules,
    /// The CalDAV server that stores it; none: the store does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caldav: Option<Box<Caldav>>,
}

/// A calendar on a CalDAV server (RFC 4791), and who may read and write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caldav {
    /// The calendar's own collection, spelt as it was configured, but ending in a slash.
    pub url: String,
    /// For HTTP's Basic authentication; none: no credentials are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SealedSecret>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::samples::rules;

    #[test]
    fn a_local_calendar_is_only_its_rules_and_a_remote_one_has_its_server() {
        let rules = rules("Europe/Berlin", &["09:00-12:00"]);
        let local = CalendarSettings { rules: rules.clone(), caldav: None };
        let caldav = Caldav { url: "https://dav.example/me/".to_owned(), username: None, password: None };
        let remote = CalendarSettings { rules: rules.clone(), caldav: Some(Box::new(caldav)) };

        let text = serde_json::to_string(&local).unwrap();
        assert_eq!(text, serde_json::to_string(&rules).unwrap());
        for settings in [local, remote] {
            let text = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<CalendarSettings>(&text).unwrap(), settings);
        }
    }
}
