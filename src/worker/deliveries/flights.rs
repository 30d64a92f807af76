//! The deliveries that this process has under way, and how many more may be: in all,
//! to one endpoint, and to those that are failing, which must not take the places of
//! the others while they are waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::DeliverySettings;
use crate::domain::delivery::DeliveryKey;
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::store::delivery_claims::{Due, Wanted};

/// How many deliveries to a failing endpoint are under way at once: enough to see that it is back.
const OF_FAILING: usize = 2;

/// What is under way here. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Flights(Arc<Mutex<Aloft>>);

#[derive(Debug, Default)]
struct Aloft {
    /// All that this process owns: claimed, and its end not yet written.
    owned: HashMap<DeliveryKey, Owned>,
    /// Those that have no answer yet.
    by_endpoint: HashMap<(WorkspaceId, EndpointId), usize>,
    /// Of all, those to endpoints that were failing when they were claimed.
    failing: usize,
}

/// The claim of a delivery.
#[derive(Debug)]
struct Owned {
    fence: i64,
    overtaken: CancellationToken,
}

/// One delivery that this process owns, until this is dropped, however its task ends.
#[derive(Debug)]
pub(super) struct Flight {
    flights: Flights,
    key: DeliveryKey,
    fence: i64,
    overtaken: CancellationToken,
    is_failing: bool,
    has_landed: bool,
}

impl Flights {
    /// Enters a delivery that this process has claimed.
    pub(super) fn enter(&self, key: DeliveryKey, fence: i64, is_failing: bool) -> Flight {
        let overtaken = CancellationToken::new();
        let mut aloft = self.lock();
        aloft.owned.insert(key, Owned { fence, overtaken: overtaken.clone() });
        *aloft.by_endpoint.entry((key.workspace, key.endpoint)).or_default() += 1;
        aloft.failing += usize::from(is_failing);
        Flight { flights: self.clone(), key, fence, overtaken, is_failing, has_landed: false }
    }

    /// Whether this process knows that it owns it.
    pub(super) fn has(&self, key: DeliveryKey) -> bool {
        self.lock().owned.contains_key(&key)
    }

    /// All that this process owns, as far as it knows, with the fences.
    pub(super) fn all(&self) -> Vec<(DeliveryKey, i64)> {
        self.lock().owned.iter().map(|(key, owned)| (*key, owned.fence)).collect()
    }

    /// Someone else has taken it since it was claimed with this fence.
    pub(super) fn overtake(&self, key: DeliveryKey, fence: i64) {
        if let Some(owned) = self.lock().owned.get(&key).filter(|owned| owned.fence == fence) {
            owned.overtaken.cancel();
        }
    }

    /// How many have no answer yet.
    pub(super) fn count(&self) -> usize {
        self.lock().by_endpoint.values().sum()
    }

    /// How many deliveries to claim of each endpoint that has some due, `most` in all: healthy ones
    /// first, `round` saying whose turn it is to be the first of them. An endpoint may hold as many as it
    /// leaves to the others: those that are slow, however many, never hold all.
    pub(super) fn allot(
        &self,
        mut due: Vec<Due>,
        bounds: DeliverySettings,
        most: usize,
        round: usize,
    ) -> Vec<Wanted> {
        if !due.is_empty() {
            let first = round % due.len();
            due.rotate_left(first);
        }
        due.sort_by_key(|due| due.is_failing);
        let aloft = self.lock();
        let in_all: usize = aloft.by_endpoint.values().sum();
        // What was answered and is yet to be written takes no place, but is not without bound either.
        let unwritten = (bounds.max_in_flight * 2).saturating_sub(aloft.owned.len());
        let mut room = bounds.max_in_flight.saturating_sub(in_all);
        let mut free = room.min(unwritten).min(most);
        let mut free_of_failing = (bounds.max_in_flight / 2).max(1).saturating_sub(aloft.failing);
        let mut wanted = Vec::new();
        for Due { workspace, endpoint, is_failing, .. } in due {
            let bound = bounds.max_in_flight_per_endpoint;
            let bound = if is_failing { bound.min(OF_FAILING) } else { bound };
            let held = aloft.by_endpoint.get(&(workspace, endpoint)).copied().unwrap_or(0);
            let share = room.saturating_sub(held).div_ceil(2);
            let mut count = bound.saturating_sub(held).min(share).min(free);
            if is_failing {
                count = count.min(free_of_failing);
                free_of_failing -= count;
            }
            if count > 0 {
                room -= count;
                free -= count;
                wanted.push(Wanted { workspace, endpoint, count });
            }
        }
        wanted
    }

    fn lock(&self) -> MutexGuard<'_, Aloft> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Cancelled where someone else has taken the delivery.
    pub(super) fn overtaken(&self) -> CancellationToken {
        self.overtaken.clone()
    }

    /// It is answered, or will not be: its place is free.
    pub(super) fn land(&mut self) {
        if std::mem::replace(&mut self.has_landed, true) {
            return;
        }
        let mut aloft = self.flights.lock();
        let place = (self.key.workspace, self.key.endpoint);
        if let Some(count) = aloft.by_endpoint.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                aloft.by_endpoint.remove(&place);
            }
        }
        aloft.failing -= usize::from(self.is_failing);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.land();
        let mut aloft = self.flights.lock();
        // One that was overtaken may end after it was claimed here again.
        if aloft.owned.get(&self.key).is_some_and(|owned| owned.fence == self.fence) {
            aloft.owned.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::clock::Micros;

    const BOUNDS: DeliverySettings = DeliverySettings { max_in_flight: 20, max_in_flight_per_endpoint: 8 };

    fn due(number: u128, is_failing: bool) -> Due {
        let workspace = WorkspaceId(Uuid::from_u128(1));
        Due { workspace, endpoint: EndpointId(Uuid::from_u128(number)), since: Micros(0), is_failing }
    }

    fn counts(wanted: &[Wanted]) -> Vec<(u128, usize)> {
        wanted.iter().map(|wanted| (wanted.endpoint.0.as_u128(), wanted.count)).collect()
    }

    fn enter(flights: &Flights, due: Due, cursors: std::ops::Range<i64>) -> Vec<Flight> {
        let key = |cursor| DeliveryKey { workspace: due.workspace, endpoint: due.endpoint, cursor };
        cursors.map(|cursor| flights.enter(key(cursor), 1, due.is_failing)).collect()
    }

    #[test]
    fn each_endpoint_has_its_bound_and_all_have_theirs() {
        let flights = Flights::default();
        let all = vec![due(1, false), due(2, false), due(3, false)];

        assert_eq!(counts(&flights.allot(all.clone(), BOUNDS, 100, 0)), [(1, 8), (2, 6), (3, 3)]);
        assert_eq!(counts(&flights.allot(all.clone(), BOUNDS, 100, 4)), [(2, 8), (3, 6), (1, 3)]);
        assert_eq!(counts(&flights.allot(all.clone(), BOUNDS, 9, 0)), [(1, 8), (2, 1)]);
        let held = enter(&flights, due(1, false), 0..7);
        assert_eq!(counts(&flights.allot(all.clone(), BOUNDS, 100, 0)), [(1, 1), (2, 6), (3, 3)]);
        assert_eq!(flights.count(), 7);
        drop(held);
        assert_eq!(flights.count(), 0);
        assert!(flights.allot(Vec::new(), BOUNDS, 100, 3).is_empty());
    }

    #[test]
    fn endpoints_that_are_slow_leave_places_however_many_they_are() {
        let flights = Flights::default();
        let bounds = DeliverySettings { max_in_flight: 512, max_in_flight_per_endpoint: 16 };
        let mut held = Vec::new();
        for round in 0..10 {
            let slow: Vec<_> = (1..=32).map(|number| due(number, false)).collect();
            for wanted in flights.allot(slow, bounds, 128, round) {
                let first = i64::try_from(round * 100).unwrap();
                let count = i64::try_from(wanted.count).unwrap();
                let of = due(wanted.endpoint.0.as_u128(), false);
                held.extend(enter(&flights, of, first..first + count));
            }
        }

        assert_eq!(flights.count(), 504);
        assert_eq!(counts(&flights.allot(vec![due(33, false)], bounds, 128, 0)), [(33, 4)]);
        let one = DeliverySettings { max_in_flight: 1, max_in_flight_per_endpoint: 1 };
        assert_eq!(counts(&Flights::default().allot(vec![due(1, false)], one, 128, 0)), [(1, 1)]);
    }

    #[test]
    fn what_is_answered_frees_its_place_before_it_is_written_down() {
        let flights = Flights::default();
        let mut held = enter(&flights, due(1, false), 0..8);
        assert!(flights.allot(vec![due(1, false)], BOUNDS, 100, 0).is_empty());

        held[0].land();
        held[0].land();

        assert_eq!(counts(&flights.allot(vec![due(1, false)], BOUNDS, 100, 0)), [(1, 1)]);
        assert!(flights.has(held[0].key));
        let mut unwritten = enter(&flights, due(2, false), 0..39);
        unwritten.iter_mut().chain(&mut held).for_each(Flight::land);
        assert!(flights.allot(vec![due(1, false)], BOUNDS, 100, 0).is_empty(), "47 are yet to be written");
    }

    #[test]
    fn failing_endpoints_come_last_and_leave_places() {
        let flights = Flights::default();
        let mut all: Vec<_> = (1..=9).map(|number| due(number, true)).collect();

        let alone = flights.allot(all.clone(), BOUNDS, 100, 0);
        assert_eq!(counts(&alone), [(1, 2), (2, 2), (3, 2), (4, 2), (5, 2)], "half of all");

        all.push(due(10, false));
        assert_eq!(counts(&flights.allot(all.clone(), BOUNDS, 100, 0))[0], (10, 8));
        let _held: Vec<_> = (1..=5).map(|number| enter(&flights, due(number, true), 0..2)).collect();
        assert_eq!(counts(&flights.allot(all, BOUNDS, 100, 0)), [(10, 5)]);
    }

    #[test]
    fn a_delivery_that_was_claimed_again_stays_in_the_books_when_its_first_task_ends() {
        let flights = Flights::default();
        let key = DeliveryKey {
            workspace: WorkspaceId(Uuid::from_u128(1)),
            endpoint: EndpointId(Uuid::from_u128(2)),
            cursor: 3,
        };
        let overtaken = flights.enter(key, 1, false);
        let again = flights.enter(key, 3, false);

        flights.overtake(key, 1);
        drop(overtaken);
        assert!(!again.overtaken().is_cancelled());

        assert!(flights.has(key));
        assert_eq!((flights.count(), flights.all()), (1, vec![(key, 3)]));
        flights.overtake(key, 3);
        assert!(again.overtaken().is_cancelled());
        drop(again);
        assert!(!flights.has(key));
    }
}
