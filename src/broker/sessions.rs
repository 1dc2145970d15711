//! Which reservations end with which connection. Nothing of this is kept beyond a restart or a promotion: a
//! bound reservation is then a plain lease.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use super::names::Name;

/// One bound reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// What the tube's database is called.
    pub uid: u64,
    /// The tube.
    pub name: Name,
    /// The job.
    pub id: u64,
    /// The lease's number.
    pub n: u64,
    /// When the reservation ends (Unix ms), as far as it is known.
    pub deadline_ms: u64,
}

impl Bound {
    fn is_in(&self, uid: u64, name: &[u8]) -> bool {
        self.uid == uid && *self.name == *name
    }
}

/// A bound reservation, and those of the same id in other tubes: copies bring an id twice, but seldom.
struct Held {
    bound: Bound,
    twins: Vec<Bound>,
}

impl Held {
    fn all(&self) -> impl Iterator<Item = &Bound> {
        std::iter::once(&self.bound).chain(&self.twins)
    }

    fn find(&mut self, uid: u64, name: &[u8]) -> Option<&mut Bound> {
        if self.bound.is_in(uid, name) {
            return Some(&mut self.bound);
        }
        self.twins.iter_mut().find(|twin| twin.is_in(uid, name))
    }
}

/// Who holds no more than this is asked for its first deadline without an order of them.
const FEW: usize = 64;

/// What one client holds. It stays, empty, until the connection closes: workers take one job after the other.
#[derive(Default)]
struct Client {
    /// By the job's id.
    jobs: BTreeMap<u64, Held>,
    /// Deadlines and ids, once they were asked for while there are many: every one that holds, and such as held.
    deadlines: Option<BinaryHeap<Reverse<(u64, u64)>>>,
}

impl Client {
    /// Adds a reservation. Returns whether it is one more, and not another one of the same job.
    fn insert(&mut self, bound: Bound) -> bool {
        self.expect(bound.deadline_ms, bound.id);
        match self.jobs.entry(bound.id) {
            Entry::Vacant(place) => {
                place.insert(Held { bound, twins: Vec::new() });
                true
            }
            Entry::Occupied(mut place) => match place.get_mut().find(bound.uid, &bound.name) {
                Some(held) => {
                    *held = bound;
                    false
                }
                None => {
                    place.get_mut().twins.push(bound);
                    true
                }
            },
        }
    }

    fn remove(&mut self, uid: u64, name: &[u8], id: u64) -> Option<Bound> {
        let Entry::Occupied(mut place) = self.jobs.entry(id) else { return None };
        let held = place.get_mut();
        if !held.bound.is_in(uid, name) {
            let at = held.twins.iter().position(|twin| twin.is_in(uid, name))?;
            return Some(held.twins.swap_remove(at));
        }
        match held.twins.pop() {
            Some(twin) => Some(std::mem::replace(&mut held.bound, twin)),
            None => Some(place.remove().bound),
        }
    }

    /// Notes a deadline where they are kept in order. Deadlines that hold no longer stay among them until they come
    /// first, or are too many.
    fn expect(&mut self, deadline_ms: u64, id: u64) {
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.push(Reverse((deadline_ms, id)));
            if deadlines.len() > 2 * (self.jobs.len() + FEW) {
                self.deadlines = None;
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Bound> {
        self.jobs.values().flat_map(Held::all)
    }

    /// The reservation that ends first. O(1) of few; O(log n) of many, all in all.
    fn soonest(&mut self) -> Option<&Bound> {
        if self.jobs.len() <= FEW {
            self.deadlines = None;
            return self.all().min_by_key(|bound| bound.deadline_ms);
        }
        let mut deadlines = self
            .deadlines
            .take()
            .unwrap_or_else(|| self.all().map(|bound| Reverse((bound.deadline_ms, bound.id))).collect());
        let found = loop {
            let Some(&Reverse((deadline_ms, id))) = deadlines.peek() else { break None };
            let found =
                self.jobs.get(&id).and_then(|held| held.all().find(|it| it.deadline_ms == deadline_ms));
            if found.is_some() {
                break found;
            }
            deadlines.pop();
        };
        self.deadlines = Some(deadlines);
        found
    }
}

/// The bound reservations.
#[derive(Default)]
pub struct Sessions {
    clients: BTreeMap<u64, Client>,
    /// How many are bound.
    bound: usize,
    /// How many reservations have gone with their tubes since the last walk over all that are bound began.
    doubts: u64,
    /// The client and job at which such a walk goes on.
    next_look: Option<(u64, u64)>,
}

impl Sessions {
    /// Whether no reservation is bound.
    pub fn is_empty(&self) -> bool {
        self.bound == 0
    }

    /// Whether a reservation is, or was, bound to this client.
    pub fn knows(&self, client: u64) -> bool {
        self.clients.contains_key(&client)
    }

    /// Binds a reservation to a client. O(log n) for n that it holds.
    pub fn bind(&mut self, client: u64, bound: Bound) {
        let is_more = self.clients.entry(client).or_default().insert(bound);
        self.bound += usize::from(is_more);
    }

    /// A reservation of this client ended.
    pub fn ended(&mut self, client: u64, uid: u64, name: &[u8], id: u64) {
        let Some(client) = self.clients.get_mut(&client) else { return };
        self.bound -= usize::from(client.remove(uid, name, id).is_some());
    }

    /// A reservation of this client has another deadline.
    pub fn touched(&mut self, client: u64, uid: u64, name: &[u8], id: u64, deadline_ms: u64) {
        let Some(client) = self.clients.get_mut(&client) else { return };
        if let Some(bound) = client.jobs.get_mut(&id).and_then(|held| held.find(uid, name)) {
            bound.deadline_ms = deadline_ms;
            client.expect(deadline_ms, id);
        }
    }

    /// The reservations of a job `id` that are bound to this client, those included that hold no longer.
    pub fn held(&self, client: u64, id: u64) -> impl Iterator<Item = &Bound> {
        self.clients.get(&client).and_then(|client| client.jobs.get(&id)).into_iter().flat_map(Held::all)
    }

    /// The reservation of this client that ends first.
    pub fn soonest(&mut self, client: u64) -> Option<&Bound> {
        self.clients.get_mut(&client)?.soonest()
    }

    /// The connection is closed: its reservations, which are bound no longer, by their ids.
    pub fn close(&mut self, client: u64) -> Vec<Bound> {
        let bound: Vec<Bound> = self.clients.remove(&client).unwrap_or_default().all().cloned().collect();
        self.bound -= bound.len();
        bound
    }

    /// A tube has another name. O(n) for n bound reservations.
    pub fn rename(&mut self, from: (u64, &Name), to: (u64, &Name)) {
        if self.is_empty() {
            return;
        }
        for client in self.clients.values_mut() {
            let moved: Vec<Bound> = client.all().filter(|it| it.is_in(from.0, from.1)).cloned().collect();
            for bound in moved {
                client.remove(from.0, from.1, bound.id);
                let is_more = client.insert(Bound { uid: to.0, name: Rc::clone(to.1), ..bound });
                self.bound -= usize::from(!is_more);
            }
        }
    }

    /// A tube is gone from its name with so many reservations, any of which may be bound: it may also have been renamed,
    /// which is heard of later. So all are
    /// [looked at](Sessions::look) once there is [reason](Sessions::is_doubtful) to.
    pub fn doubt(&mut self, reservations: u64) {
        self.doubts = self.doubts.saturating_add(reservations);
    }

    /// Whether half of those that are bound may hold no longer, or not all were looked at since this was so. To look at all
    /// of them then comes to two looks for each reservation that went with its tube.
    pub fn is_doubtful(&self) -> bool {
        self.next_look.is_some() || self.doubts > 0 && self.doubts.saturating_mul(2) >= self.bound as u64
    }

    /// Looks at those that are bound, a slice of `most` jobs, and keeps those that hold, as is asked with their client.
    pub fn look(&mut self, most: usize, mut holds: impl FnMut(u64, &Bound) -> bool) {
        let (first_client, first_job) = self.next_look.take().unwrap_or_else(|| {
            self.doubts = 0;
            (0, 0)
        });
        let mut left = most;
        for (number, client) in self.clients.range_mut(first_client..) {
            let first_job = if *number == first_client { first_job } else { 0 };
            let mut gone = Vec::new();
            for (id, held) in client.jobs.range(first_job..) {
                if left == 0 {
                    self.next_look = Some((*number, *id));
                    break;
                }
                left -= 1;
                gone.extend(held.all().filter(|bound| !holds(*number, bound)).cloned());
            }
            for bound in &gone {
                client.remove(bound.uid, &bound.name, bound.id);
            }
            self.bound -= gone.len();
            if self.next_look.is_some() {
                return;
            }
        }
    }

    /// A database was emptied. O(n) for n bound reservations.
    pub fn flush(&mut self, uid: u64) {
        self.forget(|bound| bound.uid == uid);
    }

    /// All reservations of a tube ended. O(n) for n bound reservations.
    pub fn ended_all(&mut self, uid: u64, name: &[u8]) {
        self.forget(|bound| bound.is_in(uid, name));
    }

    fn forget(&mut self, is_gone: impl Fn(&Bound) -> bool) {
        for client in self.clients.values_mut() {
            let gone: Vec<Bound> = client.all().filter(|bound| is_gone(bound)).cloned().collect();
            for bound in &gone {
                client.remove(bound.uid, &bound.name, bound.id);
            }
            self.bound -= gone.len();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.clients.clear();
        self.bound = 0;
        self.doubts = 0;
        self.next_look = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from(text.as_bytes())
    }

    fn bound(uid: u64, text: &str, id: u64, n: u64, deadline_ms: u64) -> Bound {
        Bound { uid, name: name(text), id, n, deadline_ms }
    }

    #[test]
    fn one_id_in_two_tubes_is_two_reservations() {
        let mut sessions = Sessions::default();
        sessions.bind(7, bound(1, "a", 5, 10, 100));
        sessions.bind(7, bound(1, "b", 5, 10, 100));
        sessions.touched(7, 1, b"a", 5, 300);
        assert_eq!(sessions.soonest(7), Some(&bound(1, "b", 5, 10, 100)));
        sessions.ended(7, 1, b"b", 5);
        assert_eq!(sessions.soonest(7), Some(&bound(1, "a", 5, 10, 300)));
        assert!(sessions.held(7, 5).eq([&bound(1, "a", 5, 10, 300)]));
        assert_eq!(sessions.held(7, 4).count(), 0);
        sessions.ended(7, 1, b"a", 5);
        assert!(sessions.is_empty() && sessions.soonest(7).is_none());
    }

    #[test]
    fn a_renamed_tube_takes_its_reservations_along_and_covers_others() {
        let mut sessions = Sessions::default();
        sessions.bind(7, bound(1, "a", 5, 10, 100));
        sessions.bind(7, bound(2, "b", 5, 11, 200));
        sessions.bind(8, bound(1, "c", 6, 12, 300));
        sessions.rename((1, &name("a")), (2, &name("b")));
        assert_eq!(sessions.soonest(7), Some(&bound(2, "b", 5, 10, 100)));
        sessions.flush(2);
        assert_eq!(sessions.close(7), []);
        assert_eq!(sessions.close(8), [bound(1, "c", 6, 12, 300)]);
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_tube_may_lose_all_its_reservations() {
        let mut sessions = Sessions::default();
        sessions.bind(7, bound(1, "a", 5, 10, 100));
        sessions.bind(7, bound(1, "b", 5, 11, 200));
        sessions.bind(8, bound(1, "a", 6, 12, 300));
        sessions.ended_all(1, b"a");
        assert_eq!(sessions.soonest(8), None);
        assert_eq!(sessions.close(7), [bound(1, "b", 5, 11, 200)]);
        assert!(sessions.is_empty());
    }

    #[test]
    fn all_are_looked_at_once_half_of_them_may_have_gone_with_their_tubes() {
        let mut sessions = Sessions::default();
        (0..100).for_each(|id| sessions.bind(7 + id % 2, bound(1, "a", id, 10, 100)));
        for _ in 0..2 {
            (0..49).for_each(|_| sessions.doubt(1));
            assert!(!sessions.is_doubtful());
            sessions.doubt(1);
            assert!(sessions.is_doubtful());
            let mut looks = 0;
            for slice in 0..7 {
                assert!(sessions.is_doubtful());
                sessions.look(16, |client, bound| {
                    looks += 1;
                    client == 7 + bound.id % 2
                });
                assert_eq!(looks, 100.min(16 * (slice + 1)));
            }
            assert!(!sessions.is_doubtful());
        }
        sessions.look(100, |_, bound| bound.id == 42);
        assert_eq!(sessions.soonest(7), Some(&bound(1, "a", 42, 10, 100)));
        assert_eq!(sessions.soonest(8), None);
        // As others end, fewer doubts are reason enough.
        (0..3).for_each(|id| sessions.bind(8, bound(1, "b", id, 10, 100)));
        sessions.doubt(1);
        assert!(!sessions.is_doubtful());
        (0..2).for_each(|id| sessions.ended(8, 1, b"b", id));
        assert!(sessions.is_doubtful());
        sessions.look(100, |_, _| false);
        assert!(sessions.is_empty());
    }

    /// Against a list of all that is held, with so many that deadlines are kept in order, and with few.
    #[test]
    fn the_first_deadline_of_many() {
        use rand::{Rng, SeedableRng};
        let mut rng = rand::rngs::SmallRng::seed_from_u64(5);
        let mut sessions = Sessions::default();
        let mut list: Vec<Bound> = Vec::new();
        let names = [name("a"), name("b"), name("c")];
        for step in 0..20_000 {
            let (id, place) = (rng.random_range(0..150), rng.random_range(0..3));
            let deadline_ms = step / 7 + rng.random_range(0..300);
            let at = list.iter().position(|held| held.id == id && held.name == names[place]);
            let new = Bound { uid: 1, name: Rc::clone(&names[place]), id, n: step, deadline_ms };
            match (at, rng.random_range(0..if step / 4_000 % 2 == 0 { 3 } else { 9 })) {
                (Some(at), 0) => {
                    sessions.touched(7, 1, &names[place], id, deadline_ms);
                    list[at].deadline_ms = deadline_ms;
                }
                (Some(at), 1) => {
                    sessions.bind(7, new.clone());
                    list[at] = new;
                }
                (Some(at), _) => {
                    sessions.ended(7, 1, &names[place], id);
                    list.swap_remove(at);
                }
                (None, 0 | 1) => {
                    sessions.bind(7, new.clone());
                    list.push(new);
                }
                (None, _) => sessions.ended(7, 1, &names[place], id),
            }
            if step % 3 == 0 {
                let first_ms = list.iter().map(|held| held.deadline_ms).min();
                let soonest = sessions.soonest(7);
                assert_eq!(soonest.map(|held| held.deadline_ms), first_ms, "step {step}");
                assert!(soonest.is_none_or(|held| list.contains(held)), "step {step}");
            }
            assert_eq!(sessions.bound, list.len(), "step {step}");
        }
        let mut closed = sessions.close(7);
        closed.sort_by(|a, b| (a.id, &a.name).cmp(&(b.id, &b.name)));
        list.sort_by(|a, b| (a.id, &a.name).cmp(&(b.id, &b.name)));
        assert_eq!(closed, list);
        assert!(sessions.is_empty());
    }
}
