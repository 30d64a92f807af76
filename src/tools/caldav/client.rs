//! A calendar's collection on its server: what is asked of it, request by request.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::error::CaldavError;
use super::multistatus::{read_collection, read_user_addresses};
use super::parsing::{has_uid, read_events};
use super::readers::{CalendarReaders, Caller};
use crate::domain::calendar::{Caldav, CalendarRules, Interval};
use crate::domain::ids::CalendarId;
use crate::domain::seal::{SealKeys, SecretContext};
use crate::formats::icalendar::{ParsedResource, user_address};
use crate::outbound::{GuardedClient, OutboundRequest, OutboundResponse};
use crate::tools::Adapters;

/// For one request, its whole answer included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// For the addresses of the calendar's user, without which the calendar can be read, too.
const USER_TIMEOUT: Duration = Duration::from_secs(3);
/// How much is read of an answer that lists events, in bytes.
const MAX_EVENTS: usize = 4 * 1024 * 1024;
/// The same of one event, with what is attached to it.
const MAX_EVENT: usize = 1024 * 1024;
/// The largest other response, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;
/// Added to both ends of a range, because servers interpret a time without a zone in a zone of their choice.
const MARGIN: SignedDuration = SignedDuration::from_hours(26);
/// Attempts to remove an event that changes in the meantime.
const MAX_REMOVE_ATTEMPTS: usize = 3;

const NO_ADDRESSES: &str = "the addresses of a calendar's user could not be read";

const DEPTH: HeaderName = HeaderName::from_static("depth");
const XML: HeaderValue = HeaderValue::from_static("application/xml; charset=utf-8");
const ICALENDAR: HeaderValue = HeaderValue::from_static("text/calendar; charset=utf-8");

const COLLECTION_PROPFIND: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:current-user-principal/></D:prop></D:propfind>"#;
const PRINCIPAL_PROPFIND: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<D:propfind xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
<D:prop><C:calendar-user-address-set/></D:prop></D:propfind>"#;

/// A calendar on a server.
pub(super) struct CaldavClient {
    calendar: CalendarId,
    config: Caldav,
    outbound: GuardedClient,
    seal_keys: Option<Arc<SealKeys>>,
    pub(super) readers: CalendarReaders,
    /// The addresses of the calendar's user. Read once the server has confirmed that the address is a calendar's.
    users: OnceLock<Vec<String>>,
}

/// Without credentials.
impl fmt::Debug for CaldavClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaldavClient").field("url", &self.config.url).finish_non_exhaustive()
    }
}

/// What is at an address.
pub(super) struct CalendarObject {
    pub text: String,
    etag: Option<HeaderValue>,
}

/// The outcome of creating an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PutOutcome {
    Created,
    /// Its address is taken.
    Exists,
}

struct DavRequest<'r> {
    method: &'static str,
    url: &'r str,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<String>,
}

impl CaldavClient {
    pub(super) fn new(calendar: CalendarId, config: &Caldav, adapters: &Adapters) -> Self {
        Self {
            calendar,
            config: config.clone(),
            outbound: adapters.outbound.clone(),
            seal_keys: adapters.seal_keys.clone(),
            readers: adapters.calendar_readers.clone(),
            users: OnceLock::new(),
        }
    }

    /// The calendar's own address.
    pub(super) fn url(&self) -> &str {
        &self.config.url
    }

    /// The address of the event that a call makes.
    pub(super) fn event_url(&self, call: &str) -> String {
        format!("{}{call}.ics", self.config.url)
    }

    /// The events that bear on `range`, or may do so.
    pub(super) async fn events(
        &self,
        rules: &CalendarRules,
        range: Interval,
        caller: Caller<'_>,
    ) -> Result<Vec<ParsedResource>, CaldavError> {
        let users = self.users(caller).await?;
        let request = DavRequest {
            method: "REPORT",
            url: &self.config.url,
            headers: vec![(DEPTH, HeaderValue::from_static("1")), (CONTENT_TYPE, XML)],
            body: Some(query(range)),
        };
        let response = self.send(request, caller).await?;
        if response.status != 207 {
            return Err(unexpected_status("REPORT", response.status));
        }
        let rules = rules.clone();
        let read = move || read_events(&response.body, &rules, range, &users);
        self.readers.run(caller.workspace, read).await
    }

    /// The addresses by which events name the calendar's user as an attendee.
    ///
    /// # Errors
    /// The address is not that of a calendar: other collections answer a query with nothing, as if all times
    /// were free.
    async fn users(&self, caller: Caller<'_>) -> Result<Vec<String>, CaldavError> {
        if let Some(users) = self.users.get() {
            return Ok(users.clone());
        }
        let body = self.propfind(&self.config.url, COLLECTION_PROPFIND, caller).await?;
        let collection = self.readers.run(caller.workspace, move || read_collection(&body)).await?;
        if !collection.is_calendar {
            return Err(CaldavError::NotACalendar);
        }
        let mut users: Vec<String> =
            self.config.username.iter().filter(|name| name.contains('@')).cloned().collect();
        let mut is_known = true;
        if let Some(principal) = collection.principal {
            let addresses = self.principal_addresses(&principal, caller);
            match tokio::time::timeout(USER_TIMEOUT, addresses).await {
                Ok(Ok(addresses)) => users.extend(addresses),
                // Invitations that were declined are busy then. The next look-up may succeed.
                Ok(Err(error)) => {
                    is_known = false;
                    tracing::warn!(error = &error as &dyn std::error::Error, "{NO_ADDRESSES}");
                }
                Err(_) => {
                    is_known = false;
                    tracing::warn!("{NO_ADDRESSES}: no answer in time");
                }
            }
        }
        let users: Vec<String> =
            users.iter().map(|user| user_address(user)).filter(|user| !user.is_empty()).collect();
        if !is_known {
            return Ok(users);
        }
        Ok(self.users.get_or_init(|| users).clone())
    }

    async fn principal_addresses(
        &self,
        principal: &str,
        caller: Caller<'_>,
    ) -> Result<Vec<String>, CaldavError> {
        let calendar =
            Url::parse(&self.config.url).map_err(|_| CaldavError::Unreadable("its own address"))?;
        let url = calendar.join(principal).map_err(|_| CaldavError::Unreadable("the user's address"))?;
        // The credentials are for no other server.
        if url.origin() != calendar.origin() {
            return Err(CaldavError::Unreadable("the user is on another server"));
        }
        let body = self.propfind(url.as_str(), PRINCIPAL_PROPFIND, caller).await?;
        self.readers.run(caller.workspace, move || read_user_addresses(&body)).await
    }

    async fn propfind(
        &self,
        url: &str,
        properties: &str,
        caller: Caller<'_>,
    ) -> Result<bytes::Bytes, CaldavError> {
        let request = DavRequest {
            method: "PROPFIND",
            url,
            headers: vec![(DEPTH, HeaderValue::from_static("0")), (CONTENT_TYPE, XML)],
            body: Some(properties.to_owned()),
        };
        let response = self.send(request, caller).await?;
        if response.status != 207 {
            return Err(unexpected_status("PROPFIND", response.status));
        }
        Ok(response.body)
    }

    /// Makes an event, unless something is at its address.
    pub(super) async fn put(
        &self,
        url: &str,
        text: String,
        caller: Caller<'_>,
    ) -> Result<PutOutcome, CaldavError> {
        let headers = vec![(IF_NONE_MATCH, HeaderValue::from_static("*")), (CONTENT_TYPE, ICALENDAR)];
        let response =
            self.send(DavRequest { method: "PUT", url, headers, body: Some(text) }, caller).await?;
        match response.status {
            200..=299 => Ok(PutOutcome::Created),
            412 => Ok(PutOutcome::Exists),
            status => Err(unexpected_status("PUT", status)),
        }
    }

    /// What is at an address.
    pub(super) async fn get(
        &self,
        url: &str,
        caller: Caller<'_>,
    ) -> Result<Option<CalendarObject>, CaldavError> {
        let response =
            self.send(DavRequest { method: "GET", url, headers: Vec::new(), body: None }, caller).await?;
        match response.status {
            200 => {
                let etag = response.headers.get(ETAG).cloned();
                Ok(Some(CalendarObject { text: String::from_utf8_lossy(&response.body).into_owned(), etag }))
            }
            404 | 410 => Ok(None),
            status => Err(unexpected_status("GET", status)),
        }
    }

    /// Removes the event with this UID from its address, as it now is. Nothing, or an event that is not ours,
    /// is left as it is.
    pub(super) async fn remove(&self, url: &str, uid: &str, caller: Caller<'_>) -> Result<(), CaldavError> {
        for _ in 0..MAX_REMOVE_ATTEMPTS {
            let Some(found) = self.get(url, caller).await? else { return Ok(()) };
            let (text, own) = (found.text, uid.to_owned());
            if !self.readers.run(caller.workspace, move || Ok(has_uid(&text, &own))).await? {
                return Ok(());
            }
            let headers = found.etag.map(|etag| (IF_MATCH, etag)).into_iter().collect();
            let response =
                self.send(DavRequest { method: "DELETE", url, headers, body: None }, caller).await?;
            match response.status {
                200..=299 | 404 | 410 => return Ok(()),
                // Changed since it was looked at.
                412 => {}
                status => return Err(unexpected_status("DELETE", status)),
            }
        }
        Err(CaldavError::Contended)
    }

    async fn send(
        &self,
        request: DavRequest<'_>,
        caller: Caller<'_>,
    ) -> Result<OutboundResponse, CaldavError> {
        let mut headers: HeaderMap = request.headers.into_iter().collect();
        if let Some(credentials) = self.credentials(caller)? {
            headers.insert(AUTHORIZATION, credentials);
        }
        let method = Method::from_bytes(request.method.as_bytes());
        let max_response = match request.method {
            "REPORT" => MAX_EVENTS,
            "GET" => MAX_EVENT,
            _ => MAX_RESPONSE,
        };
        let outbound_request = OutboundRequest {
            method: method.map_err(|_| CaldavError::Unreadable("a method that is none"))?,
            url: request.url.to_owned(),
            headers,
            body: request.body.map(Into::into),
            timeout: TIMEOUT,
            max_response,
        };
        Ok(self.outbound.send(outbound_request, caller.allow_hosts).await?)
    }

    /// For HTTP's Basic authentication (RFC 7617).
    fn credentials(&self, caller: Caller<'_>) -> Result<Option<HeaderValue>, CaldavError> {
        let Some(username) = &self.config.username else { return Ok(None) };
        let password = match &self.config.password {
            None => SecretString::default(),
            Some(sealed) => {
                let keys = self.seal_keys.as_ref().ok_or(CaldavError::NoSecretKey)?;
                keys.open(&SecretContext::of_calendar(caller.workspace, self.calendar), sealed)?
            }
        };
        let pair = SecretString::from(STANDARD.encode(format!("{username}:{}", password.expose_secret())));
        let mut value = HeaderValue::from_str(&format!("Basic {}", pair.expose_secret()))
            .map_err(|_| CaldavError::InvalidCredentials)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn unexpected_status(method: &'static str, status: u16) -> CaldavError {
    match status {
        300..=399 => CaldavError::Redirect { method },
        status => CaldavError::Status { method, status },
    }
}

/// Asks for all events that bear on a range; recurring ones come with their rule.
fn query(range: Interval) -> String {
    let format_utc = |at: Timestamp| Offset::UTC.to_datetime(at).strftime("%Y%m%dT%H%M%SZ").to_string();
    let start = format_utc(range.start.saturating_sub(MARGIN).unwrap_or(range.start));
    let end = format_utc(range.end.saturating_add(MARGIN).unwrap_or(range.end));
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
