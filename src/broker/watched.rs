//! The tubes that one connection watches, in beanstalkd's order.

use std::collections::BTreeMap;

use super::names::Name;

/// A set of tube names that keeps an order: a new name goes to the end, and the last one moves into the hole that
/// another leaves. Everything costs O(log n).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    list: Vec<Name>,
    places: BTreeMap<Name, usize>,
}

impl Watched {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The names in their order.
    pub fn names(&self) -> &[Name] {
        &self.list
    }

    /// Whether the name is among them.
    pub fn contains(&self, name: &[u8]) -> bool {
        match &self.list[..] {
            [only] => **only == *name,
            _ => self.places.contains_key(name),
        }
    }

    /// Adds a name; `false` if it is there already.
    pub fn add(&mut self, name: &Name) -> bool {
        if self.places.contains_key(name) {
            return false;
        }
        self.places.insert(Name::clone(name), self.list.len());
        self.list.push(Name::clone(name));
        true
    }

    /// Takes a name away; `false` if it is not there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(place) = self.places.remove(name) else { return false };
        if place < self.list.len() {
            self.list.swap_remove(place);
        }
        if let Some(moved) = self.list.get(place)
            && let Some(moved_place) = self.places.get_mut(moved)
        {
            *moved_place = place;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_moves_into_the_hole() {
        let mut watched = Watched::default();
        for name in ["a", "b", "c", "d"] {
            assert!(watched.add(&Name::from(name.as_bytes())));
            assert!(!watched.add(&Name::from(name.as_bytes())));
        }
        assert!(watched.remove(b"b"));
        assert!(!watched.remove(b"b"));
        let names: Vec<&[u8]> = watched.names().iter().map(|name| &**name).collect();
        assert_eq!(names, [b"a", b"d", b"c"]);
        assert!(watched.remove(b"d"));
        assert!(watched.remove(b"c"));
        assert!(watched.contains(b"a") && !watched.contains(b"d"));
        assert!(watched.remove(b"a"));
        assert!(watched.is_empty());
    }
}
