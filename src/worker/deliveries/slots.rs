//! How many deliveries this process sends at once: in all, to one endpoint, and to failing endpoints, which must not use
//! up the slots of the others while their answers are awaited.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::DeliverySettings;
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::store::deliveries::claims::{ClaimRequest, DueEndpoint};

/// How many deliveries to a failing endpoint are in flight at once: enough to notice that it has recovered.
const MAX_PER_FAILING_ENDPOINT: usize = 2;

/// The slots in use. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct DeliverySlots(Arc<Mutex<SlotState>>);

#[derive(Debug, Default)]
struct SlotState {
    by_endpoint: HashMap<(WorkspaceId, EndpointId), usize>,
    /// Slots of endpoints that were failing when their deliveries were claimed.
    failing: usize,
}

/// The slot of a delivery that has no answer yet; freed when it is dropped.
#[derive(Debug)]
pub(super) struct DeliverySlot {
    slots: DeliverySlots,
    endpoint: (WorkspaceId, EndpointId),
    is_failing: bool,
}

impl DeliverySlots {
    /// Takes a slot for a claimed delivery, for which [`Self::allocate`] left room.
    pub(super) fn take(&self, endpoint: (WorkspaceId, EndpointId), is_failing: bool) -> DeliverySlot {
        let mut state = self.lock();
        *state.by_endpoint.entry(endpoint).or_default() += 1;
        state.failing += usize::from(is_failing);
        drop(state);
        DeliverySlot { slots: self.clone(), endpoint, is_failing }
    }

    /// How many slots are in use.
    pub(super) fn in_use(&self) -> usize {
        self.lock().by_endpoint.values().sum()
    }

    /// The most slots that the endpoints of one workspace use.
    pub(super) fn largest_workspace(&self) -> usize {
        let mut by_workspace: HashMap<WorkspaceId, usize> = HashMap::new();
        for ((workspace, _), count) in &self.lock().by_endpoint {
            *by_workspace.entry(*workspace).or_default() += count;
        }
        by_workspace.into_values().max().unwrap_or(0)
    }

    /// How many deliveries to claim of each endpoint that has due ones, `limit` in all; `owned` is how many this process
    /// owns. Healthy endpoints come first, rotated by `round`. An endpoint may use at most as many slots as it leaves to
    /// the others, so that slow endpoints never use all, however many they are.
    pub(super) fn allocate(
        &self,
        mut due: Vec<DueEndpoint>,
        bounds: DeliverySettings,
        limit: usize,
        round: usize,
        owned: usize,
    ) -> Vec<ClaimRequest> {
        if !due.is_empty() {
            let first = round % due.len();
            due.rotate_left(first);
        }
        due.sort_by_key(|due| due.is_failing);
        let state = self.lock();
        let in_flight: usize = state.by_endpoint.values().sum();
        // Deliveries whose outcome is not yet written use no slot, but are bounded too.
        let unrecorded = (bounds.max_in_flight * 2).saturating_sub(owned);
        let mut capacity = bounds.max_in_flight.saturating_sub(in_flight);
        let mut free = capacity.min(unrecorded).min(limit);
        let mut free_for_failing = (bounds.max_in_flight / 2).max(1).saturating_sub(state.failing);
        let mut allocations = Vec::new();
        for DueEndpoint { workspace, endpoint, is_failing, .. } in due {
            let bound = bounds.max_in_flight_per_endpoint;
            let bound = if is_failing { bound.min(MAX_PER_FAILING_ENDPOINT) } else { bound };
            let used = state.by_endpoint.get(&(workspace, endpoint)).copied().unwrap_or(0);
            let share = capacity.saturating_sub(used).div_ceil(2);
            let mut count = bound.saturating_sub(used).min(share).min(free);
            if is_failing {
                count = count.min(free_for_failing);
                free_for_failing -= count;
            }
            if count > 0 {
                capacity -= count;
                free -= count;
                allocations.push(ClaimRequest { workspace, endpoint, count });
            }
        }
        allocations
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DeliverySlot {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        if let Some(count) = state.by_endpoint.get_mut(&self.endpoint) {
            *count -= 1;
            if *count == 0 {
                state.by_endpoint.remove(&self.endpoint);
            }
        }
        state.failing -= usize::from(self.is_failing);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::clock::Micros;

    const BOUNDS: DeliverySettings = DeliverySettings { max_in_flight: 20, max_in_flight_per_endpoint: 8 };

    fn due(number: u128, is_failing: bool) -> DueEndpoint {
        let workspace = WorkspaceId(Uuid::from_u128(1));
        DueEndpoint { workspace, endpoint: EndpointId(Uuid::from_u128(number)), since: Micros(0), is_failing }
    }

    fn counts(allocations: &[ClaimRequest]) -> Vec<(u128, usize)> {
        allocations.iter().map(|allocation| (allocation.endpoint.0.as_u128(), allocation.count)).collect()
    }

    fn take(slots: &DeliverySlots, due: DueEndpoint, count: usize) -> Vec<DeliverySlot> {
        (0..count).map(|_| slots.take((due.workspace, due.endpoint), due.is_failing)).collect()
    }

    #[test]
    fn each_endpoint_has_its_bound_and_all_have_theirs() {
        let slots = DeliverySlots::default();
        let all = vec![due(1, false), due(2, false), due(3, false)];

        assert_eq!(
            counts(&slots.allocate(all.clone(), BOUNDS, 100, 0, slots.in_use())),
            [(1, 8), (2, 6), (3, 3)]
        );
        assert_eq!(
            counts(&slots.allocate(all.clone(), BOUNDS, 100, 4, slots.in_use())),
            [(2, 8), (3, 6), (1, 3)]
        );
        assert_eq!(counts(&slots.allocate(all.clone(), BOUNDS, 9, 0, slots.in_use())), [(1, 8), (2, 1)]);
        let taken = take(&slots, due(1, false), 7);
        assert_eq!(
            counts(&slots.allocate(all.clone(), BOUNDS, 100, 0, slots.in_use())),
            [(1, 1), (2, 6), (3, 3)]
        );
        assert_eq!(slots.in_use(), 7);
        drop(taken);
        assert_eq!(slots.in_use(), 0);
        assert!(slots.allocate(Vec::new(), BOUNDS, 100, 3, slots.in_use()).is_empty());
    }

    #[test]
    fn slow_endpoints_leave_slots_free_however_many_they_are() {
        let slots = DeliverySlots::default();
        let bounds = DeliverySettings { max_in_flight: 512, max_in_flight_per_endpoint: 16 };
        let mut taken = Vec::new();
        for round in 0..10 {
            let slow: Vec<_> = (1..=32).map(|number| due(number, false)).collect();
            for allocation in slots.allocate(slow, bounds, 128, round, slots.in_use()) {
                let endpoint = due(allocation.endpoint.0.as_u128(), false);
                taken.extend(take(&slots, endpoint, allocation.count));
            }
        }

        assert_eq!(slots.in_use(), 504);
        assert_eq!(counts(&slots.allocate(vec![due(33, false)], bounds, 128, 0, slots.in_use())), [(33, 4)]);
        let one = DeliverySettings { max_in_flight: 1, max_in_flight_per_endpoint: 1 };
        assert_eq!(counts(&DeliverySlots::default().allocate(vec![due(1, false)], one, 128, 0, 0)), [(1, 1)]);
    }

    #[test]
    fn an_answered_delivery_frees_its_slot_before_it_is_recorded() {
        let slots = DeliverySlots::default();
        let mut taken = take(&slots, due(1, false), 8);
        assert!(slots.allocate(vec![due(1, false)], BOUNDS, 100, 0, 8).is_empty());

        taken.pop();

        assert_eq!(counts(&slots.allocate(vec![due(1, false)], BOUNDS, 100, 0, 8)), [(1, 1)]);
        taken.clear();
        assert_eq!(counts(&slots.allocate(vec![due(1, false)], BOUNDS, 100, 0, 39)), [(1, 1)]);
        assert!(
            slots.allocate(vec![due(1, false)], BOUNDS, 100, 0, 40).is_empty(),
            "40 outcomes are not yet written"
        );
    }

    #[test]
    fn failing_endpoints_come_last_and_leave_slots_free() {
        let slots = DeliverySlots::default();
        let mut all: Vec<_> = (1..=9).map(|number| due(number, true)).collect();

        let alone = slots.allocate(all.clone(), BOUNDS, 100, 0, slots.in_use());
        assert_eq!(counts(&alone), [(1, 2), (2, 2), (3, 2), (4, 2), (5, 2)], "half of all");

        all.push(due(10, false));
        assert_eq!(counts(&slots.allocate(all.clone(), BOUNDS, 100, 0, slots.in_use()))[0], (10, 8));
        let _taken: Vec<_> = (1..=5).map(|number| take(&slots, due(number, true), 2)).collect();
        assert_eq!(counts(&slots.allocate(all, BOUNDS, 100, 0, slots.in_use())), [(10, 5)]);
    }
}
