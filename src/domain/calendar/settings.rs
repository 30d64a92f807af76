//! The configuration of a calendar, stored as JSON.

use serde::{Deserialize, Serialize};
use url::Url;

use super::rules::CalendarRules;
use crate::domain::invalid_field::{InvalidField, check_text};
use crate::domain::seal::SealedSecret;

const MAX_URL: usize = 2048;
const MAX_USERNAME: usize = 255;

/// The rules of a calendar, and the CalDAV server that stores its appointments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalendarSettings {
    /// The times at which it can be booked.
    #[serde(flatten)]
    pub rules: CalendarRules,
    /// The CalDAV server that stores the appointments. `None`: our own database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caldav: Option<Box<Caldav>>,
}

/// A calendar on a CalDAV server (RFC 4791), with its credentials. `S` is the password: sealed in the database, the
/// name of an environment variable in a workspace file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with the url of the calendar")]
pub struct Caldav<S = SealedSecret> {
    /// The URL of the calendar collection as it was configured, with a trailing slash.
    pub url: String,
    /// For HTTP Basic authentication, with `password`. `None`: no credentials are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<S>,
}

impl<S> Caldav<S> {
    /// Validates the configuration, and appends a slash to the URL if it has none.
    pub fn check(&mut self) -> Result<(), InvalidField> {
        check_text("url", &self.url, MAX_URL)?;
        let url =
            Url::parse(&self.url).map_err(|_| InvalidField::new("url", "it cannot be read as a URL"))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidField::new("url", "the URL of a calendar must not contain ? or #"));
        }
        if let Some(username) = &self.username {
            check_text("username", username, MAX_USERNAME)?;
            if username.contains(|c: char| c == ':' || c.is_control()) {
                return Err(InvalidField::new("username", "it cannot hold a colon or control characters"));
            }
            if self.password.is_none() {
                return Err(InvalidField::new("username", "there is no password for it"));
            }
        } else if self.password.is_some() {
            return Err(InvalidField::new("password", "there is no username for it"));
        }
        // Event URLs are relative to it. The rest of the text stays as written, because `allow_hosts` matches it.
        if !self.url.ends_with('/') {
            self.url.push('/');
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::samples::rules;

    #[test]
    fn settings_round_trip_and_a_local_calendar_serializes_only_its_rules() {
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
