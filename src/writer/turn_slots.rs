//! The slots of this process, which limit its running turns by API and by workspace.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::batch::{PerApi, SlotBudget};
use crate::domain::ids::WorkspaceId;
use crate::domain::turn::Api;
use crate::store::turns::claims::DueWorkspace;

/// The limits of the turns that run in this process at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLimits {
    /// `turn.max_in_flight`; platform turns hold at most half of it, widget turns nine tenths.
    pub max_in_flight: usize,
    /// `turn.max_in_flight_per_workspace`. If it is not set, the share of a workspace is half of the slots of each API, which it exceeds
    /// while no other waits.
    pub per_workspace: Option<usize>,
}

/// The workspaces whose turns of an API wait for a slot of any process, as the last claim saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WaitingWorkspaces {
    None,
    One(WorkspaceId),
    /// Also before the first claim.
    #[default]
    Several,
}

impl WaitingWorkspaces {
    fn contain_other_than(self, workspace: WorkspaceId) -> bool {
        match self {
            Self::None => false,
            Self::One(waiting) => waiting != workspace,
            Self::Several => true,
        }
    }
}

#[derive(Debug, Default)]
struct SlotUsage {
    in_use: PerApi,
    /// The slots of each workspace that has some. Those of a batch count once their turns run.
    by_workspace: HashMap<WorkspaceId, PerApi>,
    /// Turns that run, without the slots that are only reserved.
    running: PerApi,
    waiting: PerApi<WaitingWorkspaces>,
    is_closed: bool,
}

impl SlotUsage {
    fn of(&self, workspace: WorkspaceId) -> PerApi {
        self.by_workspace.get(&workspace).copied().unwrap_or_default()
    }
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
    is_running: bool,
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
        let all = self.limits.max_in_flight.saturating_sub(usage.in_use.sum());
        all.min(self.most(api).saturating_sub(usage.in_use.get(api)))
    }

    /// The most slots that an API uses.
    fn most(&self, api: Api) -> usize {
        match api {
            Api::Widget => (self.limits.max_in_flight * 9 / 10).max(1),
            Api::Platform => (self.limits.max_in_flight / 2).max(1),
        }
    }

    /// The slots of an API that a workspace beyond its share leaves free, for the first turns of the next that comes.
    fn newcomer_slots(&self, api: Api) -> usize {
        self.most(api) / 16
    }

    /// The slots of an API that one workspace uses while others wait for some.
    fn share(&self, api: Api) -> usize {
        match self.limits.per_workspace {
            Some(_) => self.most(api),
            None => self.most(api).div_ceil(2),
        }
    }

    /// The most slots that one workspace uses.
    fn most_of_workspace(&self) -> usize {
        self.limits.per_workspace.unwrap_or(usize::MAX)
    }

    /// How many slots of an API are in use: turns run in them, or they are reserved.
    #[must_use]
    pub fn in_use(&self, api: Api) -> usize {
        self.lock().in_use.get(api)
    }

    /// How many turns of an API run.
    #[must_use]
    pub fn running(&self, api: Api) -> usize {
        self.lock().running.get(api)
    }

    /// The most slots that one workspace uses, and how many there are.
    #[must_use]
    pub fn largest_workspace(&self) -> (usize, usize) {
        let largest = self.lock().by_workspace.values().map(|used| used.sum()).max().unwrap_or(0);
        (largest, self.limits.max_in_flight)
    }

    /// Records the workspaces that have due turns of an API. While no other waits, a workspace starts turns beyond its share directly.
    pub fn set_waiting(&self, api: Api, due: &[DueWorkspace]) {
        let waiting = match due {
            [] => WaitingWorkspaces::None,
            [one] => WaitingWorkspaces::One(one.workspace),
            [_, _, ..] => WaitingWorkspaces::Several,
        };
        *self.lock().waiting.get_mut(api) = waiting;
    }

    /// Reserves slots of an API for a batch, not yet for a workspace: at most as many as each workspace wants and its share leaves it.
    #[must_use]
    pub fn reserve(&self, api: Api, wanted: &HashMap<WorkspaceId, usize>) -> Vec<TurnSlot> {
        // Under one lock: the shards and the claims reserve at the same time.
        let mut usage = self.lock();
        let within_share = |(workspace, count): (&WorkspaceId, &usize)| {
            let (of_apis, in_all) = self.remaining(&usage, PerApi::default(), *workspace);
            of_apis.get(api).min(in_all).min(*count)
        };
        let count: usize = wanted.iter().map(within_share).sum();
        let count = count.min(self.free_for(api, &usage));
        (0..count).map(|_| self.slot(&mut usage, api, None)).collect()
    }

    /// Reserves at most `count` slots of an API for workspaces with due turns: the next one for the workspace that uses the fewest, and
    /// then the one that has waited the longest. None exceeds its share, unless all have used theirs up: then all but a few are
    /// theirs, which are left to the next that comes.
    #[must_use]
    pub fn allocate(&self, api: Api, due: &[DueWorkspace], count: usize) -> Vec<TurnSlot> {
        let mut usage = self.lock();
        let free = self.free_for(api, &usage);
        let slots = self.fill(&mut usage, api, due, free.min(count), self.share(api));
        if !slots.is_empty() {
            return slots;
        }
        let beyond_shares = free.saturating_sub(self.newcomer_slots(api));
        self.fill(&mut usage, api, due, beyond_shares.min(count), usize::MAX)
    }

    fn fill(
        &self,
        usage: &mut SlotUsage,
        api: Api,
        due: &[DueWorkspace],
        count: usize,
        share: usize,
    ) -> Vec<TurnSlot> {
        let mut waiting: BinaryHeap<_> = due
            .iter()
            .map(|due| Reverse((usage.of(due.workspace).get(api), due.since, due.workspace)))
            .collect();
        let mut slots = Vec::new();
        while slots.len() < count
            && let Some(Reverse((used, since, workspace))) = waiting.pop()
        {
            if used < share && usage.of(workspace).sum() < self.most_of_workspace() {
                slots.push(self.slot(usage, api, Some(workspace)));
                waiting.push(Reverse((used + 1, since, workspace)));
            }
        }
        slots
    }

    fn slot(&self, usage: &mut SlotUsage, api: Api, workspace: Option<WorkspaceId>) -> TurnSlot {
        *usage.in_use.get_mut(api) += 1;
        if let Some(workspace) = workspace {
            *usage.by_workspace.entry(workspace).or_default().get_mut(api) += 1;
        }
        TurnSlot { slots: self.clone(), api, workspace, is_running: false }
    }

    /// The turns that a batch may start in these reserved slots. Other turns of these workspaces are claimed.
    pub(super) fn budget(
        &self,
        reserved: &[TurnSlot],
        workspaces: impl Iterator<Item = WorkspaceId>,
    ) -> SlotBudget {
        let count = |api| reserved.iter().filter(|slot| slot.api == api).count();
        let usage = self.lock();
        let slots = PerApi { widget: count(Api::Widget), platform: count(Api::Platform) };
        let remaining = |workspace| (workspace, self.remaining(&usage, slots, workspace));
        SlotBudget { slots, by_workspace: workspaces.map(remaining).collect() }
    }

    /// How many more turns a workspace may start directly, if the `reserved` slots are for it: of each API, and in all.
    fn remaining(&self, usage: &SlotUsage, reserved: PerApi, workspace: WorkspaceId) -> (PerApi, usize) {
        let used = usage.of(workspace);
        let of_api = |api| {
            let within_share = self.share(api).saturating_sub(used.get(api));
            if usage.waiting.get(api).contain_other_than(workspace) {
                return within_share;
            }
            let free = self.free_for(api, usage) + reserved.get(api);
            within_share.max(free.saturating_sub(self.newcomer_slots(api)))
        };
        let of_apis = PerApi { widget: of_api(Api::Widget), platform: of_api(Api::Platform) };
        (of_apis, self.most_of_workspace().saturating_sub(used.sum()))
    }

    fn lock(&self) -> MutexGuard<'_, SlotUsage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TurnSlot {
    /// Counts a turn of the workspace that runs in the slot from now on.
    #[must_use]
    pub fn assign(mut self, workspace: WorkspaceId) -> Self {
        let mut usage = self.slots.lock();
        if self.workspace.is_none() {
            *usage.by_workspace.entry(workspace).or_default().get_mut(self.api) += 1;
        }
        *usage.running.get_mut(self.api) += 1;
        drop(usage);
        self.workspace = Some(workspace);
        self.is_running = true;
        self
    }

    /// The API of the turns that may run in it.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api
    }

    /// The workspace that it is reserved for.
    #[must_use]
    pub fn workspace(&self) -> Option<WorkspaceId> {
        self.workspace
    }
}

impl Drop for TurnSlot {
    fn drop(&mut self) {
        let mut usage = self.slots.lock();
        *usage.in_use.get_mut(self.api) -= 1;
        if self.is_running {
            *usage.running.get_mut(self.api) -= 1;
        }
        let Some(workspace) = self.workspace else { return };
        if let Some(used) = usage.by_workspace.get_mut(&workspace) {
            *used.get_mut(self.api) -= 1;
            if used.sum() == 0 {
                usage.by_workspace.remove(&workspace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::clock::Micros;

    const UNLIMITED: Option<usize> = None;

    fn slots(max_in_flight: usize, per_workspace: Option<usize>) -> TurnSlots {
        TurnSlots::new(SlotLimits { max_in_flight, per_workspace })
    }

    /// Workspaces in the order in which they wait.
    fn due<const N: usize>(numbers: [u128; N]) -> [DueWorkspace; N] {
        let mut since = 0;
        numbers.map(|number| {
            since += 1;
            DueWorkspace { workspace: workspace(number), since: Micros(since) }
        })
    }

    fn workspace(number: u128) -> WorkspaceId {
        WorkspaceId(Uuid::from_u128(number))
    }

    /// Reserves slots for so many workspaces, one for each.
    fn reserve(slots: &TurnSlots, api: Api, count: u128) -> Vec<TurnSlot> {
        slots.reserve(api, &(1000..1000 + count).map(|number| (workspace(number), 1)).collect())
    }

    fn count(slots: &[TurnSlot], number: u128) -> usize {
        slots.iter().filter(|slot| slot.workspace() == Some(workspace(number))).count()
    }

    #[test]
    fn each_api_has_slots_that_the_other_cannot_use() {
        let slots = slots(10, UNLIMITED);

        let platform = reserve(&slots, Api::Platform, 100);
        let widget = reserve(&slots, Api::Widget, 100);

        assert_eq!((platform.len(), widget.len()), (5, 5));
        drop(platform);
        assert_eq!(slots.free(Api::Widget), 4, "nine tenths at most");
        drop(widget);
        assert_eq!(slots.free(Api::Widget), 9);
    }

    #[test]
    fn a_slot_counts_as_running_once_it_is_assigned() {
        let slots = slots(10, Some(1));
        let reserved = reserve(&slots, Api::Widget, 1).pop();
        assert_eq!(slots.running(Api::Widget), 0);

        let slot = reserved.map(|slot| slot.assign(workspace(1)));

        assert_eq!((slots.running(Api::Widget), slots.running(Api::Platform)), (1, 0));
        assert!(slots.allocate(Api::Platform, &due([1]), 9).is_empty(), "the workspace is at its limit");
        assert!(!slots.budget(&reserve(&slots, Api::Widget, 1), [workspace(1)].into_iter()).try_start(1));
        drop(slot);
        assert_eq!(slots.running(Api::Widget), 0);
        let allocated = slots.allocate(Api::Platform, &due([1]), 9);
        assert_eq!(allocated.len(), 1);
        let assigned: Vec<_> = allocated.into_iter().map(|slot| slot.assign(workspace(1))).collect();
        assert_eq!(slots.lock().of(workspace(1)).sum(), 1, "it is counted once");
        drop(assigned);
        assert!(slots.lock().by_workspace.is_empty());
    }

    impl SlotBudget {
        /// Whether a workspace may start a widget turn.
        fn try_start(&self, number: u128) -> bool {
            let (of_api, in_all) = self.by_workspace[&workspace(number)];
            self.slots.widget.min(of_api.widget).min(in_all) > 0
        }
    }

    #[test]
    fn a_batch_reserves_no_more_than_the_shares_of_its_workspaces() {
        let slots = slots(100, UNLIMITED);

        let reserved = slots.reserve(Api::Widget, &[(workspace(1), 256), (workspace(2), 3)].into());

        assert_eq!((reserved.len(), slots.free(Api::Widget)), (48, 42));
    }

    #[test]
    fn a_batch_starts_turns_within_half_of_the_slots() {
        let slots = slots(100, UNLIMITED);
        let running: Vec<_> =
            reserve(&slots, Api::Widget, 45).into_iter().map(|slot| slot.assign(workspace(1))).collect();
        let reserved = reserve(&slots, Api::Widget, 1);

        let budget = slots.budget(&reserved, [1, 2].map(workspace).into_iter());

        assert_eq!([1, 2].map(|number| budget.try_start(number)), [false, true]);
        drop(running);
    }

    #[test]
    fn the_next_slot_is_for_the_workspace_that_uses_the_fewest() {
        let slots = slots(1000, UNLIMITED);
        let _running: Vec<_> =
            reserve(&slots, Api::Widget, 10).into_iter().map(|slot| slot.assign(workspace(1))).collect();

        let first = slots.allocate(Api::Widget, &due([1, 2, 3]), 5);
        assert_eq!([1, 2, 3].map(|number| count(&first, number)), [0, 3, 2]);
        let more = slots.allocate(Api::Widget, &due([1, 2, 3]), 30);
        assert_eq!([1, 2, 3].map(|number| count(&first, number) + count(&more, number)), [5, 15, 15]);
    }

    #[test]
    fn a_workspace_exceeds_half_of_the_slots_while_no_other_waits() {
        let slots = slots(100, UNLIMITED);
        let half = slots.allocate(Api::Widget, &due([1]), 100);
        assert_eq!(half.len(), 45);
        let other = slots.allocate(Api::Widget, &due([1, 2]), 10);
        assert_eq!([1, 2].map(|number| count(&other, number)), [0, 10]);
        drop(other);

        let beyond = slots.allocate(Api::Widget, &due([1]), 100);

        assert_eq!(beyond.len(), 40);
        assert!(slots.allocate(Api::Widget, &due([1]), 100).is_empty());
        let newcomer = slots.allocate(Api::Widget, &due([1, 2]), 100);
        assert_eq!([1, 2].map(|number| count(&newcomer, number)), [0, 5], "a few slots are left to it");
    }

    #[test]
    fn a_batch_exceeds_the_share_of_a_workspace_while_no_other_waits() {
        let slots = slots(100, UNLIMITED);
        let running = |count, number| -> Vec<_> {
            let reserved = slots.reserve(Api::Widget, &[(workspace(number), count)].into());
            reserved.into_iter().map(|slot| slot.assign(workspace(number))).collect()
        };
        slots.set_waiting(Api::Platform, &[]);
        let half = running(100, 1);
        assert_eq!(half.len(), 45, "until it is known that no other waits");

        slots.set_waiting(Api::Widget, &due([2]));
        assert!(running(100, 1).is_empty());
        slots.set_waiting(Api::Widget, &due([1, 2]));
        assert!(running(100, 1).is_empty());
        slots.set_waiting(Api::Widget, &due([1]));
        let most = running(10, 1);
        slots.set_waiting(Api::Widget, &[]);
        let all_but_a_few = running(100, 1);

        assert_eq!((most.len(), all_but_a_few.len()), (10, 30));
        assert_eq!(running(100, 2).len(), 5, "the others are for the next that comes");
    }

    #[test]
    fn the_only_workspace_of_a_small_process_uses_all_slots() {
        let slots = slots(3, UNLIMITED);

        let first = slots.allocate(Api::Widget, &due([1]), 100);
        let second = slots.allocate(Api::Widget, &due([1]), 100);

        assert_eq!((first.len(), second.len(), slots.free(Api::Widget)), (1, 1, 0));
    }
}
