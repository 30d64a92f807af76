//! Lists free times.

use std::sync::Arc;

use async_trait::async_trait;

use super::remote_calendar::RemoteCalendar;
use super::{READ_FAILED, failed, refused};
use crate::domain::calendar::{AvailabilityRequest, Caldav, availability_range, find_availability};
use crate::domain::chat::ToolSpec;
use crate::domain::clock::Clock;
use crate::domain::tool::CompiledCalendar;
use crate::domain::tool_loop::CallResult;
use crate::tools::{Adapters, Call, CallContext, Tool, ToolOutcome};

pub(in crate::tools) struct Availability {
    spec: ToolSpec,
    calendar: RemoteCalendar,
    clock: Arc<dyn Clock>,
}

impl Availability {
    pub(in crate::tools) fn new(
        spec: ToolSpec,
        calendar: &CompiledCalendar,
        config: &Caldav,
        adapters: &Adapters,
    ) -> Self {
        let calendar = RemoteCalendar::new(calendar, config, adapters);
        Self { spec, calendar, clock: Arc::clone(&adapters.clock) }
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
        let rules = &self.calendar.rules;
        let now = self.clock.now().timestamp();
        let range = availability_range(rules, &request, now);
        let busy = match self.calendar.busy(range, None, context).await {
            Ok(busy) => busy,
            Err(error) => {
                self.calendar.warn(&call.id, &error, "a calendar could not be read");
                return failed(READ_FAILED);
            }
        };
        match find_availability(rules, &request, &busy, now) {
            Ok(found) => ToolOutcome::Result(CallResult::new(found.to_result())),
            Err(refusal) => refused(&refusal),
        }
    }
}
