//! Lists free times.

use async_trait::async_trait;

use super::remote_calendar::{RemoteCalendar, RemoteReadError};
use super::{READ_FAILED, failed, refused};
use crate::domain::calendar::{AvailabilityRequest, Caldav, availability_range, find_availability};
use crate::domain::chat::ToolSpec;
use crate::domain::tool::CompiledCalendar;
use crate::domain::tool_loop::CallResult;
use crate::tools::{Adapters, Call, CallContext, Exchange, Tool, ToolOutcome};

pub(in crate::tools) struct Availability {
    spec: ToolSpec,
    calendar: RemoteCalendar,
}

impl Availability {
    pub(in crate::tools) fn new(
        spec: ToolSpec,
        calendar: &CompiledCalendar,
        config: &Caldav,
        adapters: &Adapters,
    ) -> Self {
        Self { spec, calendar: RemoteCalendar::new(calendar, config, adapters) }
    }
}

impl Availability {
    async fn find(&self, call: &Call, context: &CallContext<'_>) -> Result<ToolOutcome, RemoteReadError> {
        let request = match AvailabilityRequest::parse(&call.arguments) {
            Ok(request) => request,
            Err(refusal) => return Ok(refused(&refusal)),
        };
        let rules = &self.calendar.rules;
        let now = self.calendar.clock.now().timestamp();
        let range = availability_range(rules, &request, now);
        let busy = self.calendar.busy(range, None, context).await.inspect_err(|error| {
            self.calendar.warn(&call.id, error, "a calendar could not be read");
        })?;
        Ok(match find_availability(rules, &request, &busy, now) {
            Ok(found) => ToolOutcome::Result(CallResult::new(found.to_result())),
            Err(refusal) => refused(&refusal),
        })
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
        self.find(call, context).await.unwrap_or_else(|_| failed(READ_FAILED))
    }

    /// A person who tests the tool can correct its configuration, and so gets the cause.
    async fn call_traced(&self, call: &Call, context: &CallContext<'_>) -> (ToolOutcome, Option<Exchange>) {
        let outcome = self.find(call, context).await.unwrap_or_else(|error| match error {
            RemoteReadError::Caldav(cause) => failed(&format!("The calendar cannot be read: {cause}.")),
            RemoteReadError::Store(_) => failed(READ_FAILED),
        });
        (outcome, None)
    }
}
