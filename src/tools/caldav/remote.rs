//! A calendar's collection on its server: what is asked of it, request by request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use super::fault::Fault;
use super::multistatus::is_calendar;
use super::reading::{aside, has_uid, read_events};
use crate::domain::calendar::{Caldav, CalendarRules, Interval, ReadResource};
use crate::domain::seal::SealKey;
use crate::outbound::{AllowHosts, GuardedClient, OutboundRequest, OutboundResponse};
use crate::tools::Adapters;

/// For one request, its whole answer included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much is read of an answer that lists events, in bytes.
const MAX_EVENTS: usize = 4 * 1024 * 1024;
/// The same of one event, with what is attached to it.
const MAX_EVENT: usize = 1024 * 1024;
/// The same of any other answer.
const MAX_RESPONSE: usize = 64 * 1024;
/// Servers read a time without a zone in one of their own choice: so much around the range is asked for.
const MARGIN: SignedDuration = SignedDuration::from_hours(26);
/// How often an event is removed that changes meanwhile.
const REMOVALS: usize = 3;

const DEPTH: HeaderName = HeaderName::from_static("depth");
const XML: HeaderValue = HeaderValue::from_static("application/xml; charset=utf-8");
const ICALENDAR: HeaderValue = HeaderValue::from_static("text/calendar; charset=utf-8");

const WHAT_IT_IS: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/></D:prop></D:propfind>"#;

/// A calendar on a server.
pub(super) struct Remote {
    at: Caldav,
    outbound: GuardedClient,
    seal_key: Option<Arc<SealKey>>,
    /// The server has said so.
    is_calendar: AtomicBool,
}

/// Without credentials.
impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("url", &self.at.url).finish_non_exhaustive()
    }
}

/// What is at an address.
pub(super) struct Found {
    pub text: String,
    etag: Option<HeaderValue>,
}

/// What became of an event that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Made,
    /// Something is at its address.
    IsThere,
}

struct Asked<'r> {
    method: &'static str,
    url: &'r str,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<String>,
}

impl Remote {
    pub(super) fn new(at: &Caldav, adapters: &Adapters) -> Self {
        Self {
            at: at.clone(),
            outbound: adapters.outbound.clone(),
            seal_key: adapters.seal_key.clone(),
            is_calendar: AtomicBool::new(false),
        }
    }

    /// The calendar's own address.
    pub(super) fn url(&self) -> &str {
        &self.at.url
    }

    /// The address of the event that a call makes.
    pub(super) fn address(&self, call: &str) -> String {
        format!("{}{call}.ics", self.at.url)
    }

    /// The events that bear on `range`, or may do so.
    pub(super) async fn events(
        &self,
        rules: &CalendarRules,
        range: Interval,
        allow: &AllowHosts,
    ) -> Result<Vec<ReadResource>, Fault> {
        self.make_sure_that_it_is_a_calendar(allow).await?;
        let asked = Asked {
            method: "REPORT",
            url: &self.at.url,
            headers: vec![(DEPTH, HeaderValue::from_static("1")), (CONTENT_TYPE, XML)],
            body: Some(query(range)),
        };
        let answer = self.send(asked, allow).await?;
        if answer.status != 207 {
            return Err(unexpected("REPORT", answer.status));
        }
        read_events(answer.body, rules, range).await
    }

    /// Other collections answer a query with nothing, as if all times were free.
    async fn make_sure_that_it_is_a_calendar(&self, allow: &AllowHosts) -> Result<(), Fault> {
        if self.is_calendar.load(Ordering::Relaxed) {
            return Ok(());
        }
        let asked = Asked {
            method: "PROPFIND",
            url: &self.at.url,
            headers: vec![(DEPTH, HeaderValue::from_static("0")), (CONTENT_TYPE, XML)],
            body: Some(WHAT_IT_IS.to_owned()),
        };
        let answer = self.send(asked, allow).await?;
        if answer.status != 207 {
            return Err(unexpected("PROPFIND", answer.status));
        }
        if !aside(move || is_calendar(&answer.body)).await? {
            return Err(Fault::NotACalendar);
        }
        self.is_calendar.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Makes an event, unless something is at its address.
    pub(super) async fn put(&self, url: &str, text: String, allow: &AllowHosts) -> Result<Put, Fault> {
        let headers = vec![(IF_NONE_MATCH, HeaderValue::from_static("*")), (CONTENT_TYPE, ICALENDAR)];
        let answer = self.send(Asked { method: "PUT", url, headers, body: Some(text) }, allow).await?;
        match answer.status {
            200..=299 => Ok(Put::Made),
            412 => Ok(Put::IsThere),
            status => Err(unexpected("PUT", status)),
        }
    }

    /// What is at an address.
    pub(super) async fn get(&self, url: &str, allow: &AllowHosts) -> Result<Option<Found>, Fault> {
        let answer = self.send(Asked { method: "GET", url, headers: Vec::new(), body: None }, allow).await?;
        match answer.status {
            200 => {
                let etag = answer.headers.get(ETAG).cloned();
                Ok(Some(Found { text: String::from_utf8_lossy(&answer.body).into_owned(), etag }))
            }
            404 | 410 => Ok(None),
            status => Err(unexpected("GET", status)),
        }
    }

    /// Removes the event with this UID from its address, as it now is. Nothing, or an event that is not ours,
    /// is left as it is.
    pub(super) async fn remove(&self, url: &str, uid: &str, allow: &AllowHosts) -> Result<(), Fault> {
        for _ in 0..REMOVALS {
            let Some(found) = self.get(url, allow).await? else { return Ok(()) };
            if !has_uid(found.text, uid).await? {
                return Ok(());
            }
            let headers = found.etag.map(|etag| (IF_MATCH, etag)).into_iter().collect();
            let answer = self.send(Asked { method: "DELETE", url, headers, body: None }, allow).await?;
            match answer.status {
                200..=299 | 404 | 410 => return Ok(()),
                // Changed since it was looked at.
                412 => {}
                status => return Err(unexpected("DELETE", status)),
            }
        }
        Err(Fault::Contended)
    }

    async fn send(&self, asked: Asked<'_>, allow: &AllowHosts) -> Result<OutboundResponse, Fault> {
        let mut headers: HeaderMap = asked.headers.into_iter().collect();
        if let Some(credentials) = self.credentials()? {
            headers.insert(AUTHORIZATION, credentials);
        }
        let method = Method::from_bytes(asked.method.as_bytes());
        let max_response = match asked.method {
            "REPORT" => MAX_EVENTS,
            "GET" => MAX_EVENT,
            _ => MAX_RESPONSE,
        };
        let request = OutboundRequest {
            method: method.map_err(|_| Fault::Unreadable("a method that is none"))?,
            url: asked.url.to_owned(),
            headers,
            body: asked.body.map(Into::into),
            timeout: TIMEOUT,
            max_response,
        };
        Ok(self.outbound.send(request, allow).await?)
    }

    /// For HTTP's Basic authentication (RFC 7617).
    fn credentials(&self) -> Result<Option<HeaderValue>, Fault> {
        let Some(username) = &self.at.username else { return Ok(None) };
        let password = match &self.at.password {
            None => SecretString::default(),
            Some(sealed) => {
                let opened = self.seal_key.as_ref().and_then(|key| key.open(sealed).ok());
                opened.ok_or(Fault::Secret)?
            }
        };
        let pair = SecretString::from(STANDARD.encode(format!("{username}:{}", password.expose_secret())));
        let mut value =
            HeaderValue::from_str(&format!("Basic {}", pair.expose_secret())).map_err(|_| Fault::Secret)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn unexpected(method: &'static str, status: u16) -> Fault {
    match status {
        300..=399 => Fault::Redirect { method },
        status => Fault::Status { method, status },
    }
}

/// Asks for all events that bear on a range; recurring ones come with their rule.
fn query(range: Interval) -> String {
    let written = |at: Timestamp| Offset::UTC.to_datetime(at).strftime("%Y%m%dT%H%M%SZ").to_string();
    let start = written(range.start.saturating_sub(MARGIN).unwrap_or(range.start));
    let end = written(range.end.saturating_add(MARGIN).unwrap_or(range.end));
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
<D:prop><D:getetag/><C:calendar-data/></D:prop>
<C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT">
<C:time-range start="{start}" end="{end}"/>
</C:comp-filter></C:comp-filter></C:filter>
</C:calendar-query>"#
    )
}
