//! The tools of a calendar in our own database: one reads, two use the writer.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Adapters, Call, CallContext, Tool, ToolOutcome};
use crate::domain::calendar::{
    AvailabilityRequest, BookingRequest, BookingWrite, CalendarRules, CancelRequest, Interval, Refusal,
    availability_range, find_availability,
};
use crate::domain::chat::ToolSpec;
use crate::domain::clock::Clock;
use crate::domain::ids::{BookingId, CalendarId, IdGenerator, WorkspaceId};
use crate::domain::tool::CompiledCalendar;
use crate::domain::tool_loop::CallResult;
use crate::store::{Conn, Db, StoreError, bookings};

/// Lists free times.
pub(super) struct Availability {
    spec: ToolSpec,
    calendar: CalendarId,
    rules: CalendarRules,
    db: Db,
    clock: Arc<dyn Clock>,
}

impl Availability {
    pub(super) fn new(spec: ToolSpec, calendar: &CompiledCalendar, adapters: &Adapters) -> Self {
        let (id, rules) = (calendar.id, calendar.settings.rules.clone());
        Self { spec, calendar: id, rules, db: adapters.db.clone(), clock: Arc::clone(&adapters.clock) }
    }

    async fn busy(&self, workspace: WorkspaceId, range: Interval) -> Result<Vec<Interval>, StoreError> {
        let now = self.clock.now();
        let read = async |conn: Conn<'_>| bookings::busy(conn, workspace, self.calendar, range, now).await;
        self.db.read(workspace, read).await
    }
}

#[async_trait]
impl Tool for Availability {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    async fn call(&self, call: &Call, context: &CallContext<'_>) -> ToolOutcome {
        let request = match AvailabilityRequest::parse(&call.arguments) {
            Ok(request) => request,
            Err(refusal) => return refused(&refusal),
        };
        let now = self.clock.now().timestamp();
        let range = availability_range(&self.rules, &request, now);
        let busy = match self.busy(context.workspace, range).await {
            Ok(busy) => busy,
            Err(error) => {
                tracing::warn!(
                    call.id = call.id,
                    error = &error as &dyn std::error::Error,
                    "a calendar could not be read"
                );
                return ToolOutcome::Result(CallResult::failed("The calendar cannot be read at the moment."));
            }
        };
        match find_availability(&self.rules, &request, &busy, now) {
            Ok(found) => ToolOutcome::Result(CallResult::new(found.to_result())),
            Err(refusal) => refused(&refusal),
        }
    }
}

/// Books a time.
pub(super) struct Booking {
    spec: ToolSpec,
    calendar: CalendarId,
    rules: Box<CalendarRules>,
    clock: Arc<dyn Clock>,
    ids: Arc<IdGenerator>,
}

impl Booking {
    pub(super) fn new(spec: ToolSpec, calendar: &CompiledCalendar, adapters: &Adapters) -> Self {
        let (clock, ids) = (Arc::clone(&adapters.clock), Arc::clone(&adapters.ids));
        let rules = Box::new(calendar.settings.rules.clone());
        Self { spec, calendar: calendar.id, rules, clock, ids }
    }
}

#[async_trait]
impl Tool for Booking {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// The writer finds a booking that this call already made.
    fn is_repeatable(&self) -> bool {
        true
    }

    async fn call(&self, call: &Call, _context: &CallContext<'_>) -> ToolOutcome {
        match BookingRequest::parse(&call.arguments) {
            Ok(request) => ToolOutcome::Write(BookingWrite::Book {
                calendar: self.calendar,
                rules: self.rules.clone(),
                request,
                id: BookingId(self.ids.uuid_v7(self.clock.as_ref())),
                call: call.id.clone(),
            }),
            Err(refusal) => refused(&refusal),
        }
    }
}

/// Cancels a booking of the same conversation.
pub(super) struct Cancellation {
    spec: ToolSpec,
    calendar: CalendarId,
}

impl Cancellation {
    pub(super) fn new(spec: ToolSpec, calendar: CalendarId) -> Self {
        Self { spec, calendar }
    }
}

#[async_trait]
impl Tool for Cancellation {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    async fn call(&self, call: &Call, _context: &CallContext<'_>) -> ToolOutcome {
        match CancelRequest::parse(&call.arguments) {
            Ok(request) => {
                let calendar = self.calendar;
                ToolOutcome::Write(BookingWrite::Cancel { calendar, request, is_removed: false })
            }
            Err(refusal) => refused(&refusal),
        }
    }
}

pub(super) fn refused(refusal: &Refusal) -> ToolOutcome {
    ToolOutcome::Result(CallResult::new(refusal.to_result()))
}
