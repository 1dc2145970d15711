//! Where tubes were found lately, so that not every command has its key looked up, opened and closed, which takes longer
//! than what most commands then do.
//!
//! A key that goes is told of at once, whoever takes it away, so that what was found holds until Redis
//! [tells](state::told) anything. A tube that has a time to live is not noted, as only a look at its key ends that.
//! In a cluster, where keys go with their slots, that is done only while
//! nothing but the port's sessions runs. And all is [forgotten](Found::forget) some ten times a
//! second, so that Redis sees that a tube is being used. Where it counts how often (`maxmemory-policy *-lfu`), nothing is
//! noted.

use std::ptr::NonNull;

use crate::queue::Tube;

use super::state;

/// So many tubes are noted.
const PLACES: usize = 8;

/// Longer names are not noted. A place is a line of the processor's cache.
const NAME_MAX: usize = 40;

/// What nothing that is told is numbered.
const NOTHING: u64 = u64::MAX;

/// Where tubes were found lately.
pub(super) struct Found {
    places: [Place; PLACES],
    /// Whether anything is to be noted.
    is_on: bool,
    /// Whether Redis counts how often keys are looked up.
    is_counted: bool,
    in_cluster: bool,
}

#[repr(align(64))]
struct Place {
    /// What had been told when it was found; [`NOTHING`] if it was not.
    told: u64,
    tube: NonNull<Tube>,
    db: u32,
    length: u32,
    name: [u8; NAME_MAX],
}

const _: () = assert!(size_of::<Place>() == 64);

/// A place in which no tube is noted.
const NOWHERE: Place =
    Place { told: NOTHING, tube: NonNull::dangling(), db: 0, length: 0, name: [0; NAME_MAX] };

/// Where a tube of that name stands.
#[inline]
fn index(name: &[u8]) -> usize {
    (name.len() + usize::from(name.last().copied().unwrap_or(0))) % PLACES
}

impl Found {
    /// Nothing was found yet.
    pub(super) fn new(in_cluster: bool) -> Found {
        Found { places: [NOWHERE; PLACES], is_on: !in_cluster, is_counted: false, in_cluster }
    }

    /// Whether this server is in a cluster.
    pub(super) fn in_cluster(&self) -> bool {
        self.in_cluster
    }

    /// The tube, if it was found lately and is still there.
    #[inline(always)]
    pub(super) fn find(&self, db: u32, name: &[u8]) -> Option<NonNull<Tube>> {
        let place = &self.places[index(name)];
        let is_it = place.told == state::told()
            && place.db == db
            && place.length as usize == name.len()
            && place.name.get(..name.len()) == Some(name);
        is_it.then_some(place.tube)
    }

    /// Notes where a tube is that does not go by itself.
    pub(super) fn note(&mut self, db: u32, name: &[u8], tube: NonNull<Tube>) {
        if !self.is_on || self.is_counted {
            return;
        }
        let place = &mut self.places[index(name)];
        if let Some(room) = place.name.get_mut(..name.len()) {
            room.copy_from_slice(name);
            (place.told, place.tube, place.db, place.length) = (state::told(), tube, db, name.len() as u32);
        }
    }

    /// Has every tube looked up again.
    pub(super) fn forget(&mut self) {
        self.places.iter_mut().for_each(|place| place.told = NOTHING);
    }

    /// Whether Redis counts how often keys are looked up, from now on.
    pub(super) fn count(&mut self, is_counted: bool) {
        self.forget();
        self.is_counted = is_counted;
    }

    /// From now on nothing but the port's sessions runs, or no longer only they.
    pub(super) fn alone(&mut self, is_alone: bool) {
        if self.in_cluster {
            self.forget();
            self.is_on = is_alone;
        }
    }
}
