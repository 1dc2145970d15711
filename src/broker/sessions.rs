//! Which reservations end with which connection. Nothing of this is kept beyond a restart or a promotion: a
//! bound reservation is then a plain lease.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::names::Name;

/// A job: the database's [uid](super::names::Names::uid), the tube's name, and the job's id.
type Place = (u64, Name, u64);

/// The bound reservations.
#[derive(Default)]
pub struct Sessions {
    clients: BTreeMap<u64, BTreeMap<Place, u64>>,
    jobs: BTreeMap<Place, u64>,
}

impl Sessions {
    /// Whether no reservation is bound.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Binds reservation `n` of a job to a client.
    pub fn bind(&mut self, client: u64, uid: u64, name: &Name, id: u64, n: u64) {
        let place = (uid, Rc::clone(name), id);
        self.unbind(&place);
        self.jobs.insert(place.clone(), client);
        self.clients.entry(client).or_default().insert(place, n);
    }

    /// The job's reservation ended.
    pub fn ended(&mut self, uid: u64, name: &Name, id: u64) {
        self.unbind(&(uid, Rc::clone(name), id));
    }

    fn unbind(&mut self, place: &Place) -> Option<(u64, u64)> {
        let client = self.jobs.remove(place)?;
        let places = self.clients.get_mut(&client)?;
        let n = places.remove(place)?;
        if places.is_empty() {
            self.clients.remove(&client);
        }
        Some((client, n))
    }

    /// The connection is closed: its reservations, which are bound no longer.
    pub fn close(&mut self, client: u64) -> Vec<(u64, Name, u64, u64)> {
        let places = self.clients.remove(&client).unwrap_or_default();
        places
            .into_iter()
            .map(|(place, n)| {
                self.jobs.remove(&place);
                let (uid, name, id) = place;
                (uid, name, id, n)
            })
            .collect()
    }

    /// A tube has another name.
    pub fn rename(&mut self, from: (u64, &Name), to: (u64, &Name)) {
        let low = (from.0, Rc::clone(from.1), 0);
        let high = (from.0, Rc::clone(from.1), u64::MAX);
        let places: Vec<Place> = self.jobs.range(low..=high).map(|(place, _)| place.clone()).collect();
        for place in places {
            if let Some((client, n)) = self.unbind(&place) {
                self.bind(client, to.0, to.1, place.2, n);
            }
        }
    }

    /// A database was emptied.
    pub fn flush(&mut self, uid: u64) {
        let places: Vec<Place> =
            self.jobs.keys().filter(|(place_uid, ..)| *place_uid == uid).cloned().collect();
        places.iter().for_each(|place| {
            self.unbind(place);
        });
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.clients.clear();
        self.jobs.clear();
    }
}
