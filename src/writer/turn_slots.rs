//! The slots of this process, which limit its running turns by API and by workspace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::batch::SlotBudget;
use crate::domain::ids::WorkspaceId;
use crate::domain::turn::Api;
use crate::store::turns::claims::WorkspaceCapacity;

/// The limits of the turns that run in this process at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLimits {
    /// `turn.max_in_flight`; platform turns hold at most half of it, widget turns nine tenths.
    pub max_in_flight: usize,
    /// `turn.max_in_flight_per_workspace`.
    pub per_workspace: Option<usize>,
}

#[derive(Debug, Default)]
struct SlotUsage {
    widget: usize,
    platform: usize,
    by_workspace: HashMap<WorkspaceId, usize>,
    /// Turns that run, without the slots that are only reserved for a claim.
    running: HashMap<Api, usize>,
    is_closed: bool,
}

/// The slots in use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TurnSlots {
    limits: SlotLimits,
    usage: Arc<Mutex<SlotUsage>>,
}

/// A slot, which is free again when this is dropped.
#[derive(Debug)]
pub struct TurnSlot {
    slots: TurnSlots,
    api: Api,
    workspace: Option<WorkspaceId>,
}

impl TurnSlots {
    /// All slots free.
    #[must_use]
    pub fn new(limits: SlotLimits) -> Self {
        Self { limits, usage: Arc::default() }
    }

    /// No slot is free from now on: the process stops.
    pub fn close(&self) {
        self.lock().is_closed = true;
    }

    /// How many more turns of an API could start here.
    #[must_use]
    pub fn free(&self, api: Api) -> usize {
        self.free_for(api, &self.lock())
    }

    fn free_for(&self, api: Api, usage: &SlotUsage) -> usize {
        if usage.is_closed {
            return 0;
        }
        let all = self.limits.max_in_flight.saturating_sub(usage.widget + usage.platform);
        let of_api = match api {
            Api::Widget => (self.limits.max_in_flight * 9 / 10).max(1).saturating_sub(usage.widget),
            Api::Platform => (self.limits.max_in_flight / 2).max(1).saturating_sub(usage.platform),
        };
        all.min(of_api)
    }

    /// How many slots of an API are in use: turns run in them, or they are reserved.
    #[must_use]
    pub fn in_use(&self, api: Api) -> usize {
        let usage = self.lock();
        match api {
            Api::Widget => usage.widget,
            Api::Platform => usage.platform,
        }
    }

    /// How many turns of an API run.
    #[must_use]
    pub fn running(&self, api: Api) -> usize {
        self.lock().running.get(&api).copied().unwrap_or(0)
    }

    /// The most slots that one workspace uses, and how many there are.
    #[must_use]
    pub fn largest_workspace(&self) -> (usize, usize) {
        let largest = self.lock().by_workspace.values().copied().max().unwrap_or(0);
        (largest, self.limits.max_in_flight)
    }

    /// Reserves at most `count` slots of an API, not yet for a workspace.
    #[must_use]
    pub fn reserve(&self, api: Api, count: usize) -> Vec<TurnSlot> {
        // Under one lock: the shards and the claims reserve at the same time.
        let mut usage = self.lock();
        let count = count.min(self.free_for(api, &usage));
        match api {
            Api::Widget => usage.widget += count,
            Api::Platform => usage.platform += count,
        }
        drop(usage);
        (0..count).map(|_| TurnSlot { slots: self.clone(), api, workspace: None }).collect()
    }

    /// How many more turns each workspace may run here; `None` if that is not limited.
    #[must_use]
    pub fn workspace_capacity(&self) -> Option<WorkspaceCapacity> {
        let limit = self.limits.per_workspace?;
        let usage = self.lock();
        let remaining = usage.by_workspace.iter().map(|(id, count)| (*id, limit.saturating_sub(*count)));
        Some(WorkspaceCapacity { limit, remaining: remaining.collect() })
    }

    /// The turns that a batch may start in these reserved slots.
    pub(super) fn budget(
        &self,
        reserved: &[TurnSlot],
        workspaces: impl Iterator<Item = WorkspaceId>,
    ) -> SlotBudget {
        let of = |api| reserved.iter().filter(|slot| slot.api == api).count();
        let usage = self.lock();
        let per_workspace = self.limits.per_workspace.map(|limit| {
            let remaining = |id| limit.saturating_sub(usage.by_workspace.get(&id).copied().unwrap_or(0));
            workspaces.map(|id| (id, remaining(id))).collect()
        });
        SlotBudget { widget: of(Api::Widget), platform: of(Api::Platform), per_workspace }
    }

    fn lock(&self) -> MutexGuard<'_, SlotUsage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TurnSlot {
    /// Counts the slot for the workspace whose turn runs in it.
    #[must_use]
    pub fn assign(mut self, workspace: WorkspaceId) -> Self {
        let mut usage = self.slots.lock();
        *usage.by_workspace.entry(workspace).or_default() += 1;
        *usage.running.entry(self.api).or_default() += 1;
        drop(usage);
        self.workspace = Some(workspace);
        self
    }

    /// The API of the turns that may run in it.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api
    }
}

impl Drop for TurnSlot {
    fn drop(&mut self) {
        let mut usage = self.slots.lock();
        match self.api {
            Api::Widget => usage.widget -= 1,
            Api::Platform => usage.platform -= 1,
        }
        let Some(workspace) = self.workspace else { return };
        if let Some(count) = usage.running.get_mut(&self.api) {
            *count -= 1;
        }
        if let Some(count) = usage.by_workspace.get_mut(&workspace) {
            *count -= 1;
            if *count == 0 {
                usage.by_workspace.remove(&workspace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_has_slots_that_the_other_cannot_use() {
        let slots = TurnSlots::new(SlotLimits { max_in_flight: 10, per_workspace: None });

        let platform = slots.reserve(Api::Platform, 100);
        let widget = slots.reserve(Api::Widget, 100);

        assert_eq!((platform.len(), widget.len()), (5, 5));
        drop(platform);
        assert_eq!(slots.free(Api::Widget), 4, "nine tenths at most");
        drop(widget);
        assert_eq!(slots.free(Api::Widget), 9);
    }

    #[test]
    fn a_workspace_at_its_limit_has_no_capacity() {
        let slots = TurnSlots::new(SlotLimits { max_in_flight: 10, per_workspace: Some(1) });
        let workspace = WorkspaceId(uuid::Uuid::from_u128(1));

        let reserved = slots.reserve(Api::Widget, 1).pop();
        assert_eq!(slots.running(Api::Widget), 0);
        let slot = reserved.map(|slot| slot.assign(workspace));

        assert_eq!((slots.running(Api::Widget), slots.running(Api::Platform)), (1, 0));
        assert_eq!(
            slots.workspace_capacity(),
            Some(WorkspaceCapacity { limit: 1, remaining: vec![(workspace, 0)] })
        );
        drop(slot);
        assert_eq!(slots.running(Api::Widget), 0);
        assert_eq!(slots.workspace_capacity(), Some(WorkspaceCapacity { limit: 1, remaining: Vec::new() }));
    }
}
