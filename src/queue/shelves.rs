//! A sorted list in pieces: items by their keys, on shelves of up to [`FULL`] that stand in a row.
//!
//! A shelf is found by a binary search among the first keys, which stand side by side. On the shelf one look to each cache
//! line finds the item's: these do not wait for one another, as those of a binary search do, where no cache knows the shelf.
//! Shelves that are filled in order are full, so that an item takes little besides itself, where the nodes of a
//! B-tree would be half empty; and a shelf of items of 16 bytes is an [even block](super::blocks), as the inner nodes of a
//! `BTreeMap` are not. With n items, everything costs O(log n) looks, changes a move of half a shelf besides, and every
//! thirtieth or so a move of the row, which has a byte for each item of the list: 80 KB for ten million jobs.

use std::cell::Cell;

/// What stands on shelves.
pub(super) trait Item {
    /// By what it is found. No two items have the same.
    type Key: Copy + Ord;

    /// Its key.
    fn key(&self) -> Self::Key;
}

/// So many items stand on a shelf at most.
const FULL: usize = 64;

/// A shelf with fewer items is joined with one beside it, if both have no more than [`JOINED_MAX`] together.
const FEW: usize = 16;

const JOINED_MAX: usize = 48;

/// To find an item the first of every so many is looked at, and then those behind it: of each cache line one, if items
/// have 16 bytes.
const PIECE: usize = 4;

/// Items in the order of their keys.
#[derive(Clone)]
pub(super) struct Shelves<T: Item> {
    row: Vec<Shelf<T>>,
}

/// Some items that follow each other; never none.
#[derive(Clone)]
struct Shelf<T: Item> {
    /// No item here has a smaller key, and all on the shelves before have.
    least: T::Key,
    items: Vec<T>,
}

/// A place on a shelf: the number of the shelf, and that on it.
type Place = (usize, usize);

/// Where something was found last. What is looked for again, or stands right behind it, is found at once.
#[derive(Clone, Default)]
pub(super) struct Finger(Cell<(u32, u32)>);

impl<T: Item> Default for Shelves<T> {
    fn default() -> Shelves<T> {
        Shelves { row: Vec::new() }
    }
}

impl<T: Item> Shelves<T> {
    /// How many items there are. Costs a look at each shelf.
    pub(super) fn len(&self) -> usize {
        self.row.iter().map(|shelf| shelf.items.len()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    /// The number of the shelf on which a key stands, or would stand. There is one unless there is none at all.
    #[inline]
    fn shelf_of(&self, key: T::Key) -> usize {
        self.row.partition_point(|shelf| shelf.least <= key).saturating_sub(1)
    }

    /// As [`Shelves::find`], of what was mostly found before.
    #[inline]
    fn find_again(&self, key: T::Key, finger: &Finger) -> Result<Place, Place> {
        if let Some((place, found)) = self.touched(key, finger) {
            return if found == key { Ok(place) } else { Err((place.0, place.1 + 1)) };
        }
        let found = self.find(key);
        let (Ok((at, place)) | Err((at, place))) = found;
        finger.0.set((at as u32, place.saturating_sub(usize::from(found.is_err())) as u32));
        found
    }

    /// The place at the finger and its key, if the item there is the last whose key is no more than this, and not the last
    /// on its shelf.
    #[inline]
    fn touched(&self, key: T::Key, finger: &Finger) -> Option<(Place, T::Key)> {
        let (at, place) = finger.0.get();
        let items = &self.row.get(at as usize)?.items;
        let (item, next) = (items.get(place as usize)?.key(), items.get(place as usize + 1)?.key());
        (item <= key && key < next).then_some(((at as usize, place as usize), item))
    }

    /// Where the item of a key stands, or where it would.
    #[inline(never)]
    fn find(&self, key: T::Key) -> Result<Place, Place> {
        let at = self.shelf_of(key);
        let Some(shelf) = self.row.get(at) else { return Err((at, 0)) };
        let is_up_to = |item: &&T| item.key() <= key;
        let pieces = shelf.items.iter().step_by(PIECE).filter(is_up_to).count();
        let start = pieces.saturating_sub(1) * PIECE;
        let place = start + shelf.items[start..].iter().take(PIECE).filter(is_up_to).count();
        match place.checked_sub(1) {
            Some(before) if shelf.items[before].key() == key => Ok((at, before)),
            _ => Err((at, place)),
        }
    }

    fn at(&self, (shelf, place): Place) -> Option<&T> {
        self.row.get(shelf)?.items.get(place)
    }

    fn at_mut(&mut self, (shelf, place): Place) -> Option<&mut T> {
        self.row.get_mut(shelf)?.items.get_mut(place)
    }

    /// The place before this one.
    fn before(&self, (shelf, place): Place) -> Option<Place> {
        match place.checked_sub(1) {
            Some(place) => Some((shelf, place)),
            None => shelf.checked_sub(1).map(|shelf| (shelf, self.row[shelf].items.len() - 1)),
        }
    }

    /// The item of this key.
    pub(super) fn get(&self, key: T::Key, finger: &Finger) -> Option<&T> {
        self.find_again(key, finger).ok().and_then(|place| self.at(place))
    }

    /// The item of this key, to change what is not its key.
    pub(super) fn get_mut(&mut self, key: T::Key, finger: &Finger) -> Option<&mut T> {
        self.find_again(key, finger).ok().and_then(|place| self.at_mut(place))
    }

    fn place_up_to(&self, key: T::Key, finger: &Finger) -> Option<Place> {
        self.find_again(key, finger).map_or_else(|next| self.before(next), Some)
    }

    /// The last item whose key is no more than this.
    pub(super) fn last_up_to(&self, key: T::Key, finger: &Finger) -> Option<&T> {
        self.place_up_to(key, finger).and_then(|place| self.at(place))
    }

    /// As [`Shelves::last_up_to`], to change what is not its key.
    pub(super) fn last_up_to_mut(&mut self, key: T::Key, finger: &Finger) -> Option<&mut T> {
        self.place_up_to(key, finger).and_then(|place| self.at_mut(place))
    }

    /// The last item whose key is less than this.
    pub(super) fn last_below(&self, key: T::Key) -> Option<&T> {
        let (Ok(place) | Err(place)) = self.find(key);
        self.before(place).and_then(|place| self.at(place))
    }

    /// The first item.
    pub(super) fn first(&self) -> Option<&T> {
        self.at((0, 0))
    }

    /// All items.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.row.iter().flat_map(|shelf| &shelf.items)
    }

    /// All items, to be had.
    pub(super) fn into_items(self) -> impl Iterator<Item = T> {
        self.row.into_iter().flat_map(|shelf| shelf.items)
    }

    /// The items whose keys are no less than this.
    pub(super) fn from(&self, key: T::Key) -> impl Iterator<Item = &T> {
        let (Ok((shelf, place)) | Err((shelf, place))) = self.find(key);
        self.row.get(shelf..).unwrap_or_default().iter().flat_map(|shelf| &shelf.items).skip(place)
    }

    /// Adds an item. None has its key.
    pub(super) fn insert(&mut self, item: T) {
        let key = item.key();
        let (Ok((mut at, mut place)) | Err((mut at, mut place))) = self.find(key);
        let is_beyond = at + 1 >= self.row.len();
        let Some(shelf) = self.row.get_mut(at) else {
            return self.row.push(Shelf { least: key, items: vec![item] });
        };
        if shelf.items.len() == FULL && place == FULL && is_beyond {
            let mut items = Vec::with_capacity(FULL);
            items.push(item);
            return self.row.push(Shelf { least: key, items });
        }
        if shelf.items.len() == FULL {
            let mut items = Vec::with_capacity(FULL);
            items.extend(shelf.items.drain(FULL / 2..));
            let least = items[0].key();
            self.row.insert(at + 1, Shelf { least, items });
            if place > FULL / 2 {
                (at, place) = (at + 1, place - FULL / 2);
            }
        }
        let shelf = &mut self.row[at];
        shelf.least = shelf.least.min(key);
        shelf.items.insert(place, item);
    }

    /// Takes the item of this key away.
    pub(super) fn remove(&mut self, key: T::Key) -> Option<T> {
        self.find(key).ok().and_then(|place| self.take(place))
    }

    /// Takes the first item away.
    pub(super) fn pop_first(&mut self) -> Option<T> {
        self.take((0, 0))
    }

    /// Takes the last item away.
    pub(super) fn pop_last(&mut self) -> Option<T> {
        let last = self.before((self.row.len(), 0))?;
        self.take(last)
    }

    fn take(&mut self, (at, place): Place) -> Option<T> {
        let shelf = self.row.get_mut(at).filter(|shelf| place < shelf.items.len())?;
        let item = shelf.items.remove(place);
        let left = shelf.items.len();
        if left == 0 {
            self.row.remove(at);
        } else if left < FEW {
            self.join(at, left);
        }
        Some(item)
    }

    /// Joins a shelf of so few items with one beside it, if that has room.
    fn join(&mut self, at: usize, items: usize) {
        let has_room = |at: usize| self.row.get(at).is_some_and(|it| it.items.len() + items <= JOINED_MAX);
        let before = at.checked_sub(1).filter(|before| has_room(*before));
        let Some(first) = before.or_else(|| has_room(at + 1).then_some(at)) else { return };
        let mut second = self.row.remove(first + 1);
        self.row[first].items.append(&mut second.items);
    }

    /// What must hold of the structure; `Err` says what does not.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_sorted = self.iter().map(T::key).is_sorted_by(|key, next| key < next);
        let are_parted = self
            .row
            .iter()
            .zip(self.row.iter().skip(1))
            .all(|(shelf, next)| shelf.items.last().is_some_and(|last| last.key() < next.least));
        let are_filled = self.row.iter().all(|shelf| {
            shelf.items.first().is_some_and(|first| shelf.least <= first.key()) && shelf.items.len() <= FULL
        });
        let is_true = is_sorted && are_parted && are_filled;
        if is_true { Ok(()) } else { Err("an item stands on the wrong shelf".to_string()) }
    }
}

/// Of items in any order.
impl<T: Item> FromIterator<T> for Shelves<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Shelves<T> {
        let mut items: Vec<T> = items.into_iter().collect();
        items.sort_by_key(T::key);
        let mut shelves = Shelves::default();
        items.into_iter().for_each(|item| shelves.insert(item));
        shelves
    }
}

impl<T: Item + PartialEq> PartialEq for Shelves<T> {
    fn eq(&self, other: &Shelves<T>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Item + Eq> Eq for Shelves<T> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Thing(u32, u32);

    impl Item for Thing {
        type Key = u32;

        fn key(&self) -> u32 {
            self.0
        }
    }

    fn things(tree: &BTreeMap<u32, u32>) -> impl Iterator<Item = Thing> {
        tree.iter().map(|(key, value)| Thing(*key, *value))
    }

    /// Against a tree: while they become many, and few again, in order and in none.
    #[test]
    fn items_are_found_as_in_a_tree() {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(7);
        let (mut shelves, mut tree, finger) = (Shelves::default(), BTreeMap::new(), Finger::default());
        for step in 0..16_000_u32 {
            let grows = step / 4_000 % 2 == 0;
            let key = rng.random_range(0..4_000);
            match rng.random_range(0..10) {
                0 => assert_eq!(shelves.pop_first(), tree.pop_first().map(|(k, v)| Thing(k, v))),
                1 => assert_eq!(shelves.pop_last(), tree.pop_last().map(|(k, v)| Thing(k, v))),
                2 if grows => {
                    let last = tree.last_key_value().map_or(0, |(key, _)| key + 1);
                    (last..last + 9).for_each(|key| shelves.insert(Thing(key, step)));
                    tree.extend((last..last + 9).map(|key| (key, step)));
                }
                3..8 if grows && !tree.contains_key(&key) => {
                    shelves.insert(Thing(key, step));
                    tree.insert(key, step);
                }
                _ => assert_eq!(shelves.remove(key), tree.remove(&key).map(|value| Thing(key, value))),
            }
            let thing = |found: Option<(&u32, &u32)>| found.map(|(key, value)| Thing(*key, *value));
            assert_eq!(shelves.get(key, &finger).cloned(), thing(tree.get_key_value(&key)));
            assert_eq!(shelves.last_up_to(key, &finger).cloned(), thing(tree.range(..=key).next_back()));
            assert_eq!(shelves.last_below(key).cloned(), thing(tree.range(..key).next_back()));
            assert_eq!(shelves.from(key).next().cloned(), thing(tree.range(key..).next()));
            assert_eq!(shelves.first().cloned(), thing(tree.first_key_value()));
            assert_eq!((shelves.len(), shelves.is_empty()), (tree.len(), tree.is_empty()));
            if let Some(Thing(_, value)) = shelves.last_up_to_mut(key, &finger) {
                *value += 1;
                tree.range_mut(..=key).next_back().into_iter().for_each(|(_, value)| *value += 1);
            }
            if let Some(Thing(_, value)) = shelves.get_mut(key, &finger) {
                *value += 1;
                tree.entry(key).and_modify(|value| *value += 1);
            }
            if step % 500 == 0 {
                shelves.check().unwrap();
                assert!(shelves.iter().cloned().eq(things(&tree)));
                assert!(shelves.from(key).cloned().eq(things(&tree).filter(|thing| thing.0 >= key)));
                assert!(shelves == things(&tree).collect());
            }
        }
        assert!(shelves.into_items().eq(things(&tree)));
    }

    #[test]
    fn shelves_that_are_filled_in_order_are_full_and_few_stand_on_few() {
        let mut shelves: Shelves<Thing> = (0..640).map(|key| Thing(key, 0)).collect();
        assert_eq!(shelves.row.len(), 10);
        (0..640).filter(|key| key % 8 != 0).for_each(|key| assert!(shelves.remove(key).is_some()));
        assert!(shelves.row.len() <= 4, "{} shelves for {} items", shelves.row.len(), shelves.len());
        shelves.check().unwrap();
    }
}
