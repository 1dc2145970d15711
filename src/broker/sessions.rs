//! Which reservations end with which connection. Nothing of this is kept beyond a restart or a promotion: a
//! bound reservation is then a plain lease.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::names::Name;

/// A job: its id, the database's [uid](super::names::Names::uid), and the tube's name.
type Place = (u64, u64, Name);

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

/// What one client holds. It stays, empty, until the connection closes: workers take one job after the other.
#[derive(Default)]
struct Client {
    jobs: BTreeMap<Place, (u64, u64)>,
    deadlines: BTreeSet<(u64, Place)>,
}

impl Client {
    /// The place, by its parts.
    fn find(&self, first: &Name, uid: u64, name: &[u8], id: u64) -> Option<Place> {
        let places = self.jobs.range((id, uid, Rc::clone(first))..).map(|(place, _)| place);
        let mut places = places.take_while(|place| (place.0, place.1) == (id, uid));
        places.find(|place| *place.2 == *name).cloned()
    }

    fn remove(&mut self, place: &Place) -> Option<(u64, u64)> {
        let (n, deadline_ms) = self.jobs.remove(place)?;
        self.deadlines.remove(&(deadline_ms, place.clone()));
        Some((n, deadline_ms))
    }
}

/// The bound reservations.
pub struct Sessions {
    clients: BTreeMap<u64, Client>,
    /// How many are bound.
    bound: usize,
    /// The name before all names.
    first: Name,
}

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions { clients: BTreeMap::new(), bound: 0, first: Name::from(&[][..]) }
    }
}

impl Sessions {
    /// Whether no reservation is bound.
    pub fn is_empty(&self) -> bool {
        self.bound == 0
    }

    /// Binds a reservation to a client.
    pub fn bind(&mut self, client: u64, bound: Bound) {
        let client = self.clients.entry(client).or_default();
        let place = (bound.id, bound.uid, bound.name);
        if client.remove(&place).is_some() {
            self.bound -= 1;
        }
        client.deadlines.insert((bound.deadline_ms, place.clone()));
        client.jobs.insert(place, (bound.n, bound.deadline_ms));
        self.bound += 1;
    }

    /// A reservation of this client ended.
    pub fn ended(&mut self, client: u64, uid: u64, name: &[u8], id: u64) {
        let Some(client) = self.clients.get_mut(&client) else { return };
        if let Some(place) = client.find(&self.first, uid, name, id)
            && client.remove(&place).is_some()
        {
            self.bound -= 1;
        }
    }

    /// A reservation of this client has another deadline.
    pub fn touched(&mut self, client: u64, uid: u64, name: &[u8], id: u64, deadline_ms: u64) {
        let Some(client) = self.clients.get_mut(&client) else { return };
        if let Some(place) = client.find(&self.first, uid, name, id)
            && let Some(held) = client.jobs.get_mut(&place)
        {
            let before_ms = std::mem::replace(&mut held.1, deadline_ms);
            client.deadlines.remove(&(before_ms, place.clone()));
            client.deadlines.insert((deadline_ms, place));
        }
    }

    /// A reservation of the job `id` that is bound to this client.
    pub fn held(&self, client: u64, id: u64) -> Option<Bound> {
        let client = self.clients.get(&client)?;
        let (place, held) = client.jobs.range((id, 0, Rc::clone(&self.first))..).next()?;
        (place.0 == id).then(|| bound(place, *held))
    }

    /// The reservation of this client that ends first.
    pub fn soonest(&self, client: u64) -> Option<Bound> {
        let client = self.clients.get(&client)?;
        let (_, place) = client.deadlines.first()?;
        client.jobs.get(place).map(|held| bound(place, *held))
    }

    /// The connection is closed: its reservations, which are bound no longer.
    pub fn close(&mut self, client: u64) -> Vec<Bound> {
        let jobs = self.clients.remove(&client).unwrap_or_default().jobs;
        self.bound -= jobs.len();
        jobs.iter().map(|(place, held)| bound(place, *held)).collect()
    }

    /// A tube has another name. O(n) for n bound reservations.
    pub fn rename(&mut self, from: (u64, &Name), to: (u64, &Name)) {
        if self.is_empty() {
            return;
        }
        for client in self.clients.values_mut() {
            let places: Vec<Place> =
                client.jobs.keys().filter(|place| (place.1, &place.2) == from).cloned().collect();
            for place in places {
                let Some((n, deadline_ms)) = client.remove(&place) else { continue };
                let there = (place.0, to.0, Rc::clone(to.1));
                if let Some((_, before_ms)) = client.jobs.insert(there.clone(), (n, deadline_ms)) {
                    client.deadlines.remove(&(before_ms, there.clone()));
                    self.bound -= 1;
                }
                client.deadlines.insert((deadline_ms, there));
            }
        }
    }

    /// A database was emptied. O(n) for n bound reservations.
    pub fn flush(&mut self, uid: u64) {
        for client in self.clients.values_mut() {
            let places: Vec<Place> = client.jobs.keys().filter(|place| place.1 == uid).cloned().collect();
            for place in &places {
                client.remove(place);
            }
            self.bound -= places.len();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.clients.clear();
        self.bound = 0;
    }
}

fn bound(place: &Place, (n, deadline_ms): (u64, u64)) -> Bound {
    Bound { uid: place.1, name: Rc::clone(&place.2), id: place.0, n, deadline_ms }
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
        assert_eq!(sessions.soonest(7), Some(bound(1, "b", 5, 10, 100)));
        sessions.ended(7, 1, b"b", 5);
        assert_eq!(sessions.soonest(7), Some(bound(1, "a", 5, 10, 300)));
        assert_eq!(sessions.held(7, 5), Some(bound(1, "a", 5, 10, 300)));
        assert_eq!(sessions.held(7, 4), None);
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
        assert_eq!(sessions.soonest(7), Some(bound(2, "b", 5, 10, 100)));
        sessions.flush(2);
        assert_eq!(sessions.close(7), []);
        assert_eq!(sessions.close(8), [bound(1, "c", 6, 12, 300)]);
        assert!(sessions.is_empty());
    }
}
