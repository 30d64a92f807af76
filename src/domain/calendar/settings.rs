//! The configuration of a calendar: as it is written in a workspace file or sent to the API, and as it is stored, as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use super::rules::CalendarRules;
use crate::domain::invalid_field::{InvalidField, check_text};
use crate::domain::seal::SealedSecret;

/// The longest URL of a server, in characters.
pub const MAX_URL: usize = 2048;
/// The longest username, in characters.
pub const MAX_USERNAME: usize = 255;

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

/// A calendar as it is configured, in a workspace file or through the API. `S` is the password of its server.
#[derive(Debug, Clone, PartialEq)]
pub struct CalendarDefinition<S> {
    /// Unique in its workspace.
    pub slug: String,
    pub rules: CalendarRules,
    /// The CalDAV server that stores the appointments, whose host is not yet checked. `None`: our own database.
    pub caldav: Option<Box<Caldav<S>>>,
}

/// A calendar on a CalDAV server (RFC 4791), with its credentials. `S` is the password: sealed in the database, the
/// name of an environment variable in a workspace file, itself in a request of the API.
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

/// Changes to the CalDAV server of a calendar. Absent fields stay.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an object with the url of the calendar")]
pub struct CaldavPatch {
    pub url: Option<String>,
    pub username: Option<String>,
    /// Only the password itself: a request cannot name a variable of the server's environment.
    pub password: Option<String>,
}

/// Without the password.
impl fmt::Debug for CaldavPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, username, password: _ } = self;
        f.debug_struct("CaldavPatch").field("url", url).field("username", username).finish_non_exhaustive()
    }
}

impl CaldavPatch {
    /// Whether it has no field, which removes the server.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.url.is_none() && self.username.is_none() && self.password.is_none()
    }

    /// The checked server after the change. Its password is the new one, or none: then the old one stays, if there is one.
    ///
    /// # Errors
    /// Among others, if the old password would be sent to another host or under another name.
    pub fn apply(self, old: Option<&Caldav>) -> Result<(Caldav<String>, bool), InvalidField> {
        let Some(url) = self.url.or_else(|| old.map(|old| old.url.clone())) else {
            return Err(InvalidField::new("url", "it is missing"));
        };
        let username = self.username.or_else(|| old.and_then(|old| old.username.clone()));
        let stays = old.filter(|old| self.password.is_none() && old.password.is_some());
        if let Some(old) = stays
            && (!has_same_origin(&old.url, &url) || old.username != username)
        {
            let problem = "it is needed again, because the host or the username of the calendar changes";
            return Err(InvalidField::new("password", problem));
        }
        // The check only asks whether there is a password.
        let checked = self.password.or_else(|| stays.map(|_| String::new()));
        let mut caldav = Caldav { url, username, password: checked };
        caldav.check()?;
        if [Some(&caldav.url), caldav.password.as_ref()].into_iter().flatten().any(|text| text.contains('\0'))
        {
            return Err(InvalidField::new("url", "url and password cannot contain U+0000"));
        }
        Ok((caldav, stays.is_some()))
    }
}

fn has_same_origin(one: &str, other: &str) -> bool {
    let origin = |url: &str| Url::parse(url).ok().map(|url| url.origin());
    origin(one).is_some_and(|one| one.is_tuple() && origin(other) == Some(one))
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
    use serde_json::json;

    use super::*;
    use crate::domain::calendar::samples::rules;
    use crate::domain::seal::SealedSecret;

    fn patch(fields: serde_json::Value) -> CaldavPatch {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn a_stored_password_stays_unless_it_would_be_sent_elsewhere() {
        let old = Caldav {
            url: "https://dav.example/me/".to_owned(),
            username: Some("me".to_owned()),
            password: Some(SealedSecret::from_stored("sealed".to_owned())),
        };
        for fields in [json!({ "url": "https://dav.example/other" }), json!({ "username": "me" })] {
            let (caldav, stays) = patch(fields).apply(Some(&old)).unwrap();
            assert!(stays && caldav.url.ends_with('/'));
        }
        for fields in [
            json!({ "url": "https://evil.example/me/" }),
            json!({ "url": "http://dav.example/me/" }),
            json!({ "url": "https://dav.example:444/me/" }),
            json!({ "username": "other" }),
        ] {
            let error = patch(fields).apply(Some(&old)).unwrap_err();
            assert_eq!(error.field, "password");
        }
        let moved = json!({ "url": "https://other.example/", "password": "s3cret" });
        let (caldav, stays) = patch(moved).apply(Some(&old)).unwrap();
        assert_eq!(
            (caldav.username.as_deref(), caldav.password.as_deref(), stays),
            (Some("me"), Some("s3cret"), false)
        );
    }

    #[test]
    fn a_patch_is_checked_like_a_file_and_does_not_show_its_password() {
        for (fields, field) in [
            (json!({ "username": "me", "password": "s3cret" }), "url"),
            (json!({ "url": "https://dav.example/?a" }), "url"),
            (json!({ "url": "https://dav.example/", "username": "me" }), "username"),
            (json!({ "url": "https://dav.example/", "password": "s3cret" }), "password"),
        ] {
            assert_eq!(patch(fields).apply(None).unwrap_err().field, field);
        }
        assert!(!format!("{:?}", patch(json!({ "password": "s3cret" }))).contains("s3cret"));
        let variable = json!({ "password": { "env": "CALDAV_PASSWORD" } });
        assert!(serde_json::from_value::<CaldavPatch>(variable).is_err());
    }

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
