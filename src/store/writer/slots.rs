//! The slots of this process: how many turns may run here at once, by door and by workspace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::batch::SlotBudget;
use crate::domain::ids::WorkspaceId;
use crate::domain::turn::Door;

/// How many turns may run here at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLimits {
    /// `turn.max_in_flight`; platform turns hold at most half of it, widget turns nine tenths.
    pub max_in_flight: usize,
    /// `turn.max_in_flight_per_workspace`.
    pub per_workspace: Option<usize>,
}

#[derive(Debug, Default)]
struct Held {
    widget: usize,
    platform: usize,
    by_workspace: HashMap<WorkspaceId, usize>,
    closed: bool,
}

/// How many more turns of each workspace may start here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Of a workspace that has none here.
    pub most: usize,
    /// Of those that have some.
    pub left: Vec<(WorkspaceId, usize)>,
}

/// Counts who runs here. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Slots {
    limits: SlotLimits,
    held: Arc<Mutex<Held>>,
}

/// One slot; free again when it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    door: Door,
    workspace: Option<WorkspaceId>,
}

impl Slots {
    /// All slots free.
    #[must_use]
    pub fn new(limits: SlotLimits) -> Self {
        Self { limits, held: Arc::default() }
    }

    /// From now on no slot is free: the process stops.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// How many more turns of a door could start here.
    #[must_use]
    pub fn free(&self, door: Door) -> usize {
        self.free_of(door, &self.lock())
    }

    fn free_of(&self, door: Door, held: &Held) -> usize {
        if held.closed {
            return 0;
        }
        let all = self.limits.max_in_flight.saturating_sub(held.widget + held.platform);
        let of_door = match door {
            Door::Widget => (self.limits.max_in_flight * 9 / 10).max(1).saturating_sub(held.widget),
            Door::Platform => (self.limits.max_in_flight / 2).max(1).saturating_sub(held.platform),
        };
        all.min(of_door)
    }

    /// How many slots of a door are held.
    #[must_use]
    pub fn in_use(&self, door: Door) -> usize {
        let held = self.lock();
        match door {
            Door::Widget => held.widget,
            Door::Platform => held.platform,
        }
    }

    /// Reserves at most `count` slots of a door, before it is known whose turns will run in them.
    #[must_use]
    pub fn reserve(&self, door: Door, count: usize) -> Vec<Slot> {
        // Under one lock: the lanes and the claims reserve at the same time.
        let mut held = self.lock();
        let count = count.min(self.free_of(door, &held));
        match door {
            Door::Widget => held.widget += count,
            Door::Platform => held.platform += count,
        }
        drop(held);
        (0..count).map(|_| Slot { slots: self.clone(), door, workspace: None }).collect()
    }

    /// How many more turns each workspace may have here; none where that has no limit.
    #[must_use]
    pub fn room(&self) -> Option<Room> {
        let most = self.limits.per_workspace?;
        let held = self.lock();
        let left = held.by_workspace.iter().map(|(id, count)| (*id, most.saturating_sub(*count)));
        Some(Room { most, left: left.collect() })
    }

    /// What a batch may start with these reserved slots.
    pub(super) fn budget(
        &self,
        reserved: &[Slot],
        workspaces: impl Iterator<Item = WorkspaceId>,
    ) -> SlotBudget {
        let of = |door| reserved.iter().filter(|slot| slot.door == door).count();
        let held = self.lock();
        let per_workspace = self.limits.per_workspace.map(|most| {
            let left = |id| most.saturating_sub(held.by_workspace.get(&id).copied().unwrap_or(0));
            workspaces.map(|id| (id, left(id))).collect()
        });
        SlotBudget { widget: of(Door::Widget), platform: of(Door::Platform), per_workspace }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Whose turn runs in it, from now on.
    #[must_use]
    pub fn assigned(mut self, workspace: WorkspaceId) -> Self {
        *self.slots.lock().by_workspace.entry(workspace).or_default() += 1;
        self.workspace = Some(workspace);
        self
    }

    /// The door whose turns may run in it.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.slots.lock();
        match self.door {
            Door::Widget => held.widget -= 1,
            Door::Platform => held.platform -= 1,
        }
        if let Some(workspace) = self.workspace
            && let Some(count) = held.by_workspace.get_mut(&workspace)
        {
            *count -= 1;
            if *count == 0 {
                held.by_workspace.remove(&workspace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_door_takes_the_slots_of_the_other() {
        let slots = Slots::new(SlotLimits { max_in_flight: 10, per_workspace: None });

        let platform = slots.reserve(Door::Platform, 100);
        let widget = slots.reserve(Door::Widget, 100);

        assert_eq!((platform.len(), widget.len()), (5, 5));
        drop(platform);
        assert_eq!(slots.free(Door::Widget), 4, "nine tenths at most");
        drop(widget);
        assert_eq!(slots.in_use(Door::Widget), 0);
    }

    #[test]
    fn a_workspace_at_its_cap_starts_nothing() {
        let slots = Slots::new(SlotLimits { max_in_flight: 10, per_workspace: Some(1) });
        let workspace = WorkspaceId(uuid::Uuid::from_u128(1));

        let slot = slots.reserve(Door::Widget, 1).pop().map(|slot| slot.assigned(workspace));

        assert_eq!(slots.room(), Some(Room { most: 1, left: vec![(workspace, 0)] }));
        drop(slot);
        assert_eq!(slots.room(), Some(Room { most: 1, left: Vec::new() }));
    }
}
