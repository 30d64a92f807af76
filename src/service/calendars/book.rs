//! Free slots and bookings for a back end, by the rules of the calendar's tools: a booking is what a call of the booking tool makes,
//! except that no turn owns it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::civil::Date;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::account::Account;
use crate::domain::audit::{AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::calendar::{
    Availability, Booker, Booking, BookingWrite, Calendar, CalendarSettings, booking_spec, parse_start,
};
use crate::domain::error::Error;
use crate::domain::idempotency::{IdempotencyKey, IdempotencyRequest};
use crate::domain::ids::{CalendarId, ConversationId, WorkspaceId};
use crate::domain::tool::{CompiledCalendar, CompiledTool, ToolConfig};
use crate::domain::tool_loop::Toolbox as _;
use crate::fair_semaphore::FairPermit;
use crate::outbound::AllowHosts;
use crate::service::audit_log;
use crate::service::replay::replay;
use crate::service::tools::test_call::NoWrites;
use crate::service::write_error::write_error;
use crate::service::{ApiResponse, Services, read_conversation, resources, workspace_hosts};
use crate::store::{Conn, StoreError};
use crate::tools::{
    Call, CallContext, FreeSlotsError, StoreWriter, ToolOutcome, Toolset, WriteError, find_free_slots,
};
use crate::writer::{WriteBooking, WriteBookingOutcome, decide_inline};

/// The scope of idempotency keys on this route.
const ROUTE: &str = "POST /v1/calendars/{id}/bookings";
/// Maximum duration of a booking on a CalDAV server; its hold can be confirmed for longer than that.
const MAX_DURATION: Duration = Duration::from_secs(45);

/// A booking to make, with validated fields.
#[derive(Clone, Debug)]
pub struct BookAppointment {
    /// ISO 8601, or a label of a slot; without an offset in the calendar's time zone.
    pub start: String,
    pub title: String,
    pub name: Option<String>,
    pub email: Option<String>,
    pub notes: Option<String>,
    /// The id of a conversation, as it was sent: it counts towards the bookings of that conversation.
    pub conversation: Option<String>,
    /// The idempotency key, and the SHA-256 of route and raw body.
    pub idempotency: Option<(String, Vec<u8>)>,
}

/// A calendar and its free slots of some days.
pub async fn list_free_slots(
    services: &Services,
    account: &Account,
    name: &str,
    days: (Date, Date),
) -> Result<(Calendar, Availability), Error> {
    let calendar = resources::find::<Calendar>(services, account, name).await?;
    let _permit = server_permit(services, &calendar).await?;
    let allow_hosts = load_hosts(services, account).await?;
    let none = Map::new();
    let context = CallContext {
        workspace: account.workspace,
        conversation: ConversationId(Uuid::nil()),
        variables: &none,
        allow_hosts: &allow_hosts,
        writer: &NoWrites,
    };
    let found = find_free_slots(&compile(&calendar), days, &context, &services.tools).await;
    let free = found.map_err(|error| match error {
        FreeSlotsError::Store(error) => Error::from(error),
        failure @ FreeSlotsError::Caldav(_) => {
            let error = &failure as &dyn std::error::Error;
            tracing::warn!(calendar.id = %calendar.id, error, "the free slots of a calendar could not be read");
            Error::Conflict("The calendar cannot be read at the moment. Please retry.".to_owned())
        }
    })?;
    Ok((calendar, free))
}

/// Books an appointment, or replays the stored answer of its idempotency key.
pub async fn book(
    services: &Services,
    account: &Account,
    name: &str,
    request: BookAppointment,
) -> Result<ApiResponse, Error> {
    let calendar = resources::find::<Calendar>(services, account, name).await?;
    let conversation = match &request.conversation {
        Some(name) => Some(read_conversation::find(services, account, name).await?.id),
        None => None,
    };
    parse_start(&request.start, calendar.rules.zone())
        .map_err(|problem| Error::invalid("start", format!("Field 'start' is invalid: {problem}.")))?;
    let scope = booking_scope(calendar.id);
    let writer = RequestWriter {
        services,
        account,
        booker: Booker { workspace: account.workspace, conversation, turn: None },
        idempotency: request
            .idempotency
            .clone()
            .map(|sent| IdempotencyRequest::new(account.workspace, scope, sent, None)),
        end: Mutex::default(),
    };
    let outcome = call_tool(services, &calendar, &request, &writer).await?;
    if let Some(end) = writer.take_end() {
        return end.answer(services).await;
    }
    let result = match outcome {
        ToolOutcome::Result(result) => Value::Object(result.fields().clone()),
        ToolOutcome::Write(write) => match writer.decide(write).await? {
            WriteBookingOutcome::Booked(_, answer) => {
                return Ok(ApiResponse { answer, turn: None, is_replay: false, warning: None });
            }
            WriteBookingOutcome::Replayed(key) => return replay(services, &key, None, None).await,
            WriteBookingOutcome::Decided(result) => result,
        },
    };
    Err(refusal(&result))
}

/// The scope of the idempotency keys of requests that book in a calendar.
pub(in crate::service) fn booking_scope(calendar: CalendarId) -> String {
    format!("{ROUTE} {calendar}")
}

/// Calls the booking tool, as an assistant with this calendar would.
async fn call_tool(
    services: &Services,
    calendar: &Calendar,
    request: &BookAppointment,
    writer: &RequestWriter<'_>,
) -> Result<ToolOutcome, Error> {
    let _permit = server_permit(services, calendar).await?;
    let allow_hosts = load_hosts(services, writer.account).await?;
    let spec = booking_spec();
    let kind = ToolConfig::CalendarBooking { calendar: Box::new(compile(calendar)) };
    let compiled = CompiledTool { slug: calendar.slug.clone(), spec: spec.clone(), label: None, kind };
    let toolset = Toolset::from_tools(&[compiled], &services.tools).map_err(Error::internal)?;
    let arguments = toolset.prepare(&spec.name, &arguments(request));
    let arguments = arguments.map_err(|problem| Error::invalid("body", problem))?;
    let tool = toolset.get(&spec.name).ok_or_else(|| Error::internal("the booking tool is missing"))?;
    let none = Map::new();
    let context = CallContext {
        workspace: calendar.workspace,
        conversation: writer.booker.conversation.unwrap_or(ConversationId(Uuid::nil())),
        variables: &none,
        allow_hosts: &allow_hosts,
        writer,
    };
    let call = Call { id: format!("req_{}", services.ids.uuid_v4().simple()), arguments };
    let called = tokio::time::timeout(MAX_DURATION, tool.call(&call, &context)).await;
    called.map_err(|_| {
        Error::Conflict("Nothing was booked: the calendar took too long. Please retry.".to_owned())
    })
}

fn arguments(request: &BookAppointment) -> Map<String, Value> {
    let BookAppointment { start, title, name, email, notes, conversation: _, idempotency: _ } = request;
    let optional = [("name", name), ("email", email), ("notes", notes)];
    let optional = optional.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?)));
    let given = [("start", start), ("title", title)].into_iter().chain(optional);
    given.map(|(field, text)| (field.to_owned(), json!(text))).collect()
}

/// The calendar as a version of an assistant has it.
fn compile(calendar: &Calendar) -> CompiledCalendar {
    let settings = CalendarSettings { rules: calendar.rules.clone(), caldav: calendar.caldav.clone() };
    CompiledCalendar { id: calendar.id, settings }
}

/// The permit of a request that calls a CalDAV server, so that slow servers of one workspace do not delay others.
async fn server_permit(
    services: &Services,
    calendar: &Calendar,
) -> Result<Option<FairPermit<WorkspaceId>>, Error> {
    match &calendar.caldav {
        Some(_) => Ok(Some(services.caldav_limiter.acquire(calendar.workspace).await?)),
        None => Ok(None),
    }
}

async fn load_hosts(services: &Services, account: &Account) -> Result<AllowHosts, Error> {
    let load = async |conn: Conn<'_>| workspace_hosts::load(conn, account.workspace).await;
    Ok(services.db.read(account.workspace, load).await?)
}

/// The error of a refused booking, with the free times that the tool offers instead.
fn refusal(result: &Value) -> Error {
    let problem = result["error"].as_str().unwrap_or("the calendar refused it").trim_end_matches('.');
    let slots: Vec<&str> =
        result["available_slots"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let free = if slots.is_empty() { String::new() } else { format!(" Free: {}.", slots.join(", ")) };
    Error::Conflict(format!("Nothing was booked: {problem}.{free}"))
}

/// Writes on behalf of a request of the API.
#[derive(Debug)]
struct RequestWriter<'a> {
    services: &'a Services,
    account: &'a Account,
    booker: Booker,
    idempotency: Option<IdempotencyRequest>,
    /// What ends the request during the tool's call.
    end: Mutex<Option<EarlyEnd>>,
}

/// Why the tool's call was not finished.
#[derive(Debug)]
enum EarlyEnd {
    Replayed(IdempotencyKey),
    Failed(Error),
}

impl EarlyEnd {
    async fn answer(self, services: &Services) -> Result<ApiResponse, Error> {
        match self {
            Self::Replayed(key) => replay(services, &key, None, None).await,
            Self::Failed(error) => Err(error),
        }
    }
}

impl RequestWriter<'_> {
    fn take_end(&self) -> Option<EarlyEnd> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set_end(&self, end: EarlyEnd) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// Decides a write in a transaction, and records a booking that it makes.
    async fn decide(&self, write: BookingWrite) -> Result<WriteBookingOutcome, Error> {
        // The end of a hold has no answer of its own.
        let has_answer = !matches!(write, BookingWrite::Release { .. });
        let idempotency = self.idempotency.clone().filter(|_| has_answer);
        let command = WriteBooking { booker: self.booker, write, idempotency };
        let decide = async |conn: Conn<'_>| self.decide_in_tx(conn, &command).await;
        self.services.db.write(self.booker.workspace, decide).await.map_err(write_error)?
    }

    async fn decide_in_tx(
        &self,
        mut conn: Conn<'_>,
        command: &WriteBooking,
    ) -> Result<Result<WriteBookingOutcome, Error>, StoreError> {
        let Services { clock, ids, .. } = self.services;
        let outcome = decide_inline(conn.reborrow(), clock.as_ref(), ids, command).await?;
        if let Ok(WriteBookingOutcome::Booked(booking, _)) = &outcome {
            let object = AuditObject::new(ObjectKind::Booking, booking.id, None);
            let entry = AuditEntry::new(booking.workspace, &self.account.actor, AuditAction::Created, object);
            audit_log::record(
                conn,
                self.services.clock.as_ref(),
                &self.services.ids,
                &entry.with_changes(Value::Null, audit_fields(booking)),
            )
            .await?;
        }
        Ok(outcome)
    }
}

/// The ids of a booking, and the names of its fields that were given: the audit log has no values of people's fields.
fn audit_fields(booking: &Booking) -> Value {
    let optional = [
        ("name", booking.name.is_some()),
        ("email", booking.email.is_some()),
        ("notes", booking.notes.is_some()),
    ];
    let optional = optional.into_iter().filter(|(_, is_given)| *is_given).map(|(field, _)| field);
    let fields: Vec<&str> = ["start", "title"].into_iter().chain(optional).collect();
    json!({
        "calendar_id": booking.calendar,
        "conversation_id": booking.conversation,
        "fields": fields,
    })
}

#[async_trait]
impl StoreWriter for RequestWriter<'_> {
    async fn write(&self, write: BookingWrite) -> Result<Value, WriteError> {
        // If it fails, the hold ends by itself, and the tool's result stays.
        let is_release = matches!(write, BookingWrite::Release { .. });
        match self.decide(write).await {
            Ok(WriteBookingOutcome::Decided(result)) => Ok(result),
            Ok(WriteBookingOutcome::Replayed(key)) => {
                self.set_end(EarlyEnd::Replayed(key));
                Err(WriteError::FencedOff)
            }
            // The tool leaves the last write to its caller.
            Ok(WriteBookingOutcome::Booked(..)) => Err(WriteError::Store),
            Err(error) => {
                if !is_release {
                    self.set_end(EarlyEnd::Failed(error));
                }
                Err(WriteError::Store)
            }
        }
    }
}
