//! The deliveries that this process has under way, and how many more may be: in all,
//! to one endpoint, and to those that are failing, which must not take the places of
//! the others while they are waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::DeliverySettings;
use crate::domain::delivery::DeliveryKey;
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::store::deliveries::claims::{ClaimRequest, DueEndpoint};

/// How many deliveries to a failing endpoint are under way at once: enough to see that it is back.
const MAX_PER_FAILING_ENDPOINT: usize = 2;

/// What is under way here. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlightSet(Arc<Mutex<InFlightState>>);

#[derive(Debug, Default)]
struct InFlightState {
    /// All that this process owns: claimed, and its end not yet written.
    owned: HashMap<DeliveryKey, OwnedDelivery>,
    /// Those that have no answer yet.
    by_endpoint: HashMap<(WorkspaceId, EndpointId), usize>,
    /// Of all, those to endpoints that were failing when they were claimed.
    failing: usize,
}

/// The claim of a delivery.
#[derive(Debug)]
struct OwnedDelivery {
    fence: i64,
    fenced_off: CancellationToken,
}

/// One delivery that this process owns, until this is dropped, however its task ends.
#[derive(Debug)]
pub(super) struct InFlightGuard {
    in_flight: InFlightSet,
    key: DeliveryKey,
    fence: i64,
    fenced_off: CancellationToken,
    is_failing: bool,
    is_released: bool,
}

impl InFlightSet {
    /// Enters a delivery that this process has claimed.
    pub(super) fn insert(&self, key: DeliveryKey, fence: i64, is_failing: bool) -> InFlightGuard {
        let fenced_off = CancellationToken::new();
        let mut state = self.lock();
        state.owned.insert(key, OwnedDelivery { fence, fenced_off: fenced_off.clone() });
        *state.by_endpoint.entry((key.workspace, key.endpoint)).or_default() += 1;
        state.failing += usize::from(is_failing);
        InFlightGuard { in_flight: self.clone(), key, fence, fenced_off, is_failing, is_released: false }
    }

    /// Whether this process knows that it owns it.
    pub(super) fn contains(&self, key: DeliveryKey) -> bool {
        self.lock().owned.contains_key(&key)
    }

    /// All that this process owns, as far as it knows, with the fences.
    pub(super) fn owned(&self) -> Vec<(DeliveryKey, i64)> {
        self.lock().owned.iter().map(|(key, owned)| (*key, owned.fence)).collect()
    }

    /// Someone else has taken it since it was claimed with this fence.
    pub(super) fn fence_off(&self, key: DeliveryKey, fence: i64) {
        if let Some(owned) = self.lock().owned.get(&key).filter(|owned| owned.fence == fence) {
            owned.fenced_off.cancel();
        }
    }

    /// How many have no answer yet.
    pub(super) fn count(&self) -> usize {
        self.lock().by_endpoint.values().sum()
    }

    /// How many deliveries to claim of each endpoint that has some due, `limit` in all: healthy ones
    /// first, `round` saying whose turn it is to be the first of them. An endpoint may hold as many as it
    /// leaves to the others: those that are slow, however many, never hold all.
    pub(super) fn allocate(
        &self,
        mut due: Vec<DueEndpoint>,
        bounds: DeliverySettings,
        limit: usize,
        round: usize,
    ) -> Vec<ClaimRequest> {
        if !due.is_empty() {
            let first = round % due.len();
            due.rotate_left(first);
        }
        due.sort_by_key(|due| due.is_failing);
        let state = self.lock();
        let in_flight: usize = state.by_endpoint.values().sum();
        // What was answered and is yet to be written takes no place, but is not without bound either.
        let unrecorded = (bounds.max_in_flight * 2).saturating_sub(state.owned.len());
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

    fn lock(&self) -> MutexGuard<'_, InFlightState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlightGuard {
    /// Cancelled where someone else has taken the delivery.
    pub(super) fn fenced_off(&self) -> CancellationToken {
        self.fenced_off.clone()
    }

    /// It is answered, or will not be: its place is free.
    pub(super) fn release(&mut self) {
        if std::mem::replace(&mut self.is_released, true) {
            return;
        }
        let mut state = self.in_flight.lock();
        let endpoint = (self.key.workspace, self.key.endpoint);
        if let Some(count) = state.by_endpoint.get_mut(&endpoint) {
            *count -= 1;
            if *count == 0 {
                state.by_endpoint.remove(&endpoint);
            }
        }
        state.failing -= usize::from(self.is_failing);
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.release();
        let mut state = self.in_flight.lock();
        // One that was overtaken may end after it was claimed here again.
        if state.owned.get(&self.key).is_some_and(|owned| owned.fence == self.fence) {
            state.owned.remove(&self.key);
        }
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

    fn insert(
        in_flight: &InFlightSet,
        due: DueEndpoint,
        cursors: std::ops::Range<i64>,
    ) -> Vec<InFlightGuard> {
        let key = |cursor| DeliveryKey { workspace: due.workspace, endpoint: due.endpoint, cursor };
        cursors.map(|cursor| in_flight.insert(key(cursor), 1, due.is_failing)).collect()
    }

    #[test]
    fn each_endpoint_has_its_bound_and_all_have_theirs() {
        let in_flight = InFlightSet::default();
        let all = vec![due(1, false), due(2, false), due(3, false)];

        assert_eq!(counts(&in_flight.allocate(all.clone(), BOUNDS, 100, 0)), [(1, 8), (2, 6), (3, 3)]);
        assert_eq!(counts(&in_flight.allocate(all.clone(), BOUNDS, 100, 4)), [(2, 8), (3, 6), (1, 3)]);
        assert_eq!(counts(&in_flight.allocate(all.clone(), BOUNDS, 9, 0)), [(1, 8), (2, 1)]);
        let guards = insert(&in_flight, due(1, false), 0..7);
        assert_eq!(counts(&in_flight.allocate(all.clone(), BOUNDS, 100, 0)), [(1, 1), (2, 6), (3, 3)]);
        assert_eq!(in_flight.count(), 7);
        drop(guards);
        assert_eq!(in_flight.count(), 0);
        assert!(in_flight.allocate(Vec::new(), BOUNDS, 100, 3).is_empty());
    }

    #[test]
    fn slow_endpoints_leave_slots_free_however_many_they_are() {
        let in_flight = InFlightSet::default();
        let bounds = DeliverySettings { max_in_flight: 512, max_in_flight_per_endpoint: 16 };
        let mut guards = Vec::new();
        for round in 0..10 {
            let slow: Vec<_> = (1..=32).map(|number| due(number, false)).collect();
            for allocation in in_flight.allocate(slow, bounds, 128, round) {
                let first = i64::try_from(round * 100).unwrap();
                let count = i64::try_from(allocation.count).unwrap();
                let of = due(allocation.endpoint.0.as_u128(), false);
                guards.extend(insert(&in_flight, of, first..first + count));
            }
        }

        assert_eq!(in_flight.count(), 504);
        assert_eq!(counts(&in_flight.allocate(vec![due(33, false)], bounds, 128, 0)), [(33, 4)]);
        let one = DeliverySettings { max_in_flight: 1, max_in_flight_per_endpoint: 1 };
        assert_eq!(counts(&InFlightSet::default().allocate(vec![due(1, false)], one, 128, 0)), [(1, 1)]);
    }

    #[test]
    fn an_answered_delivery_frees_its_slot_before_it_is_recorded() {
        let in_flight = InFlightSet::default();
        let mut guards = insert(&in_flight, due(1, false), 0..8);
        assert!(in_flight.allocate(vec![due(1, false)], BOUNDS, 100, 0).is_empty());

        guards[0].release();
        guards[0].release();

        assert_eq!(counts(&in_flight.allocate(vec![due(1, false)], BOUNDS, 100, 0)), [(1, 1)]);
        assert!(in_flight.contains(guards[0].key));
        let mut unrecorded = insert(&in_flight, due(2, false), 0..39);
        unrecorded.iter_mut().chain(&mut guards).for_each(InFlightGuard::release);
        assert!(
            in_flight.allocate(vec![due(1, false)], BOUNDS, 100, 0).is_empty(),
            "47 are yet to be written"
        );
    }

    #[test]
    fn failing_endpoints_come_last_and_leave_slots_free() {
        let in_flight = InFlightSet::default();
        let mut all: Vec<_> = (1..=9).map(|number| due(number, true)).collect();

        let alone = in_flight.allocate(all.clone(), BOUNDS, 100, 0);
        assert_eq!(counts(&alone), [(1, 2), (2, 2), (3, 2), (4, 2), (5, 2)], "half of all");

        all.push(due(10, false));
        assert_eq!(counts(&in_flight.allocate(all.clone(), BOUNDS, 100, 0))[0], (10, 8));
        let _guards: Vec<_> = (1..=5).map(|number| insert(&in_flight, due(number, true), 0..2)).collect();
        assert_eq!(counts(&in_flight.allocate(all, BOUNDS, 100, 0)), [(10, 5)]);
    }

    #[test]
    fn a_delivery_that_was_claimed_again_stays_in_flight_when_its_first_task_ends() {
        let in_flight = InFlightSet::default();
        let key = DeliveryKey {
            workspace: WorkspaceId(Uuid::from_u128(1)),
            endpoint: EndpointId(Uuid::from_u128(2)),
            cursor: 3,
        };
        let first = in_flight.insert(key, 1, false);
        let again = in_flight.insert(key, 3, false);

        in_flight.fence_off(key, 1);
        drop(first);
        assert!(!again.fenced_off().is_cancelled());

        assert!(in_flight.contains(key));
        assert_eq!((in_flight.count(), in_flight.owned()), (1, vec![(key, 3)]));
        in_flight.fence_off(key, 3);
        assert!(again.fenced_off().is_cancelled());
        drop(again);
        assert!(!in_flight.contains(key));
    }
}
