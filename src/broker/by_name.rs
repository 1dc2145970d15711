//! A map from names that is quick where there are very many.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;

use super::names::Name;

/// A name's hash, and a number that tells names with the same hash apart: 0, 1, 2 and so on without a gap.
type Key = (u64, u32);

/// Values by name. A tree of the names' hashes: looking one up compares numbers, and one name at the end. It grows
/// by small pieces, as a hash table does not. Everything costs O(log n).
#[derive(Clone, Debug)]
pub struct ByName<V> {
    hashing: RandomState,
    tree: BTreeMap<Key, (Name, V)>,
    /// How many names share their hash with one that came before: hardly ever any.
    twins: usize,
}

impl<V> Default for ByName<V> {
    fn default() -> ByName<V> {
        ByName { hashing: RandomState::new(), tree: BTreeMap::new(), twins: 0 }
    }
}

impl<V> ByName<V> {
    fn hash(&self, name: &[u8]) -> u64 {
        let mut hasher = self.hashing.build_hasher();
        hasher.write(name);
        hasher.finish()
    }

    /// The value of a name.
    pub fn get(&self, name: &[u8]) -> Option<&V> {
        self.get_key_value(name).map(|(_, value)| value)
    }

    /// The name as it is kept, and its value.
    pub fn get_key_value(&self, name: &[u8]) -> Option<(&Name, &V)> {
        let hash = self.hash(name);
        let mut found = (0..).map_while(|number| self.tree.get(&(hash, number)));
        found.find(|(found, _)| **found == *name).map(|(name, value)| (name, value))
    }

    /// Where a name is, or would be put.
    fn key(&self, name: &[u8]) -> Key {
        let hash = self.hash(name);
        let is_other = |number: &u32| self.tree.get(&(hash, *number)).is_some_and(|(it, _)| **it != *name);
        (hash, (0..).find(|number| !is_other(number)).unwrap_or(u32::MAX))
    }

    /// The value of a name, to be changed.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        let key = if self.twins == 0 { (self.hash(name), 0) } else { self.key(name) };
        self.tree.get_mut(&key).filter(|(found, _)| **found == *name).map(|(_, value)| value)
    }

    /// Whether the name is there.
    pub fn contains_key(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Gives a name a value, which it may have had before.
    pub fn insert(&mut self, name: &Name, value: V) {
        let key = self.key(name);
        let is_new = self.tree.insert(key, (Rc::clone(name), value)).is_none();
        self.twins += usize::from(is_new && key.1 > 0);
    }

    /// The value of a name, which is made if it is not there, and the name as it is kept.
    pub fn get_or_insert_with(&mut self, name: &[u8], make: impl FnOnce() -> V) -> (&Name, &mut V) {
        let key = self.key(name);
        let twins = &mut self.twins;
        let (name, value) = self.tree.entry(key).or_insert_with(|| {
            *twins += usize::from(key.1 > 0);
            (Name::from(name), make())
        });
        (name, value)
    }

    /// All names and their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &V)> {
        self.tree.values().map(|(name, value)| (name, value))
    }

    /// The same, to be had.
    pub fn into_items(self) -> impl Iterator<Item = (Name, V)> {
        self.tree.into_values()
    }

    /// Takes a name away.
    pub fn remove(&mut self, name: &[u8]) -> Option<(Name, V)> {
        if self.twins > 0 {
            return self.remove_twin(name);
        }
        match self.tree.entry((self.hash(name), 0)) {
            Entry::Occupied(place) if *place.get().0 == *name => Some(place.remove()),
            _ => None,
        }
    }

    /// Takes a name away, and lets the last one of its hash go to where it was.
    fn remove_twin(&mut self, name: &[u8]) -> Option<(Name, V)> {
        let gap = self.key(name);
        let removed = self.tree.remove(&gap)?;
        let last = self.tree.range(gap..=(gap.0, u32::MAX)).map(|(key, _)| *key).next_back();
        if let Some(last) = last
            && let Some(moved) = self.tree.remove(&last)
        {
            self.tree.insert(gap, moved);
        }
        self.twins -= usize::from(last.unwrap_or(gap).1 > 0);
        Some(removed)
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
        assert_eq!(map.tree.len(), 500);
        assert_eq!(map.get_key_value(b"999"), Some((&name(999), &999)));
        assert!(map.contains_key(b"1"));
    }

    /// Names that share their hash, which cannot be found by trying, are put there by hand.
    #[test]
    fn names_of_one_hash_are_told_apart() {
        let mut map = ByName::default();
        let hash = map.hash(b"a");
        for (number, text) in (0..).zip(["x", "y", "a"]) {
            map.tree.insert((hash, number), (Name::from(text.as_bytes()), number));
        }
        map.twins = 2;
        assert_eq!(map.get(b"a"), Some(&2));
        assert_eq!(map.get_mut(b"a"), Some(&mut 2));
        *map.get_or_insert_with(b"a", || 0).1 = 7;
        map.tree.insert((hash, 3), (Name::from(&b"z"[..]), 9));
        map.twins += 1;
        assert_eq!(map.remove(b"a"), Some((Name::from(&b"a"[..]), 7)));
        let left: Vec<(u32, i32)> = map.tree.iter().map(|(key, (_, value))| (key.1, *value as i32)).collect();
        assert_eq!((left, map.twins), (vec![(0, 0), (1, 1), (2, 9)], 2), "the last one fills the gap");
        assert_eq!((map.get(b"a"), map.contains_key(b"a")), (None, false));
        assert_eq!(map.get_mut(b"a"), None);
        assert_eq!(map.remove(b"a"), None);
        map.insert(&Name::from(&b"a"[..]), 5);
        assert_eq!((map.get(b"a"), map.twins), (Some(&5), 3));
        assert_eq!(map.get_or_insert_with(b"b", || 4).1, &4);
    }
}
