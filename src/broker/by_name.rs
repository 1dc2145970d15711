//! A map from names that is quick where there are very many.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use super::names::Name;

/// A name's hash, and a number that tells names with the same hash apart.
type Key = (u64, u32);

/// Values by name. A tree of the names' hashes: looking one up compares numbers, and one name at the end. It grows
/// by small pieces, as a hash table does not. Everything costs O(log n).
#[derive(Clone, Debug)]
pub struct ByName<V> {
    hashing: RandomState,
    tree: BTreeMap<Key, (Name, V)>,
}

impl<V> Default for ByName<V> {
    fn default() -> ByName<V> {
        ByName { hashing: RandomState::new(), tree: BTreeMap::new() }
    }
}

impl<V> ByName<V> {
    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    fn find(&self, name: &[u8]) -> Option<(Key, &(Name, V))> {
        let hash = self.hashing.hash_one(name);
        self.tree
            .range((hash, 0)..=(hash, u32::MAX))
            .find(|(_, (found, _))| **found == *name)
            .map(|(key, found)| (*key, found))
    }

    /// The value of a name.
    pub fn get(&self, name: &[u8]) -> Option<&V> {
        self.find(name).map(|(_, (_, value))| value)
    }

    /// The name as it is kept, and its value.
    pub fn get_key_value(&self, name: &[u8]) -> Option<(&Name, &V)> {
        self.find(name).map(|(_, (name, value))| (name, value))
    }

    /// The value of a name, to be changed.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        let hash = self.hashing.hash_one(name);
        let mut found = self.tree.range_mut((hash, 0)..=(hash, u32::MAX));
        found.find(|(_, (found, _))| **found == *name).map(|(_, (_, value))| value)
    }

    /// Whether the name is there.
    pub fn contains_key(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }

    /// Gives a name a value, which it may have had before.
    pub fn insert(&mut self, name: &Name, value: V) {
        if let Some(old) = self.get_mut(name) {
            *old = value;
            return;
        }
        let hash = self.hashing.hash_one(&**name);
        let last = self.tree.range((hash, 0)..=(hash, u32::MAX)).next_back();
        let number = last.map_or(0, |((_, number), _)| number + 1);
        self.tree.insert((hash, number), (Rc::clone(name), value));
    }

    /// Takes a name away.
    pub fn remove(&mut self, name: &[u8]) -> Option<(Name, V)> {
        let (key, _) = self.find(name)?;
        self.tree.remove(&key)
    }

    /// All values, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.tree.values_mut().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u32) -> Name {
        Name::from(n.to_string().as_bytes())
    }

    #[test]
    fn names_come_and_go() {
        let mut map = ByName::default();
        (0..1_000).for_each(|n| map.insert(&name(n), n));
        map.insert(&name(7), 70);
        (0..1_000).step_by(2).for_each(|n| {
            assert_eq!(map.remove(&name(n)), Some((name(n), n)));
        });
        assert_eq!((map.get(b"7"), map.get(b"8")), (Some(&70), None));
        assert_eq!(map.remove(b"8"), None);
        assert_eq!(map.values_mut().count(), 500);
        assert_eq!(map.get_key_value(b"999"), Some((&name(999), &999)));
        assert!(map.contains_key(b"1") && !map.is_empty());
    }

    #[test]
    fn names_of_one_hash_are_told_apart() {
        let mut map = ByName::default();
        let hash = map.hashing.hash_one(&b"a"[..]);
        map.tree.insert((hash, 0), (Name::from(&b"b"[..]), 1));
        map.insert(&Name::from(&b"a"[..]), 2);
        assert_eq!(map.get(b"a"), Some(&2));
        assert_eq!(map.remove(b"a"), Some((Name::from(&b"a"[..]), 2)));
        assert_eq!((map.tree.len(), map.get(b"a")), (1, None));
    }
}
