//! Pairs of numbers in order, and things by number.
//!
//! Who waits stands in several orders at once: by number in each line, by time, by the client's handle. All of them
//! are sets of one type. A waiter that is told is on the way of a job to its worker, where nothing is in the
//! processor's caches; the code that is called there again and again should be the same.

use std::collections::BTreeSet;
use std::hint::cold_path;

/// Pairs in order: by the first number, and among those by the second. Everything costs O(log n).
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// All of them, in order, while they are few: a tree of a single node would be made and freed again and again.
    few: Vec<(u64, u64)>,
    /// All of them from when they were more until there are none.
    many: BTreeSet<(u64, u64)>,
}

/// So many pairs are few.
const FEW: usize = 16;

impl Pairs {
    /// Adds a pair.
    #[inline(never)]
    pub fn insert(&mut self, first: u64, second: u64) {
        let pair = (first, second);
        if self.many.is_empty() {
            // Most come after all others.
            let at = self.few.iter().rposition(|other| *other <= pair).map_or(0, |last| last + 1);
            if at > 0 && self.few[at - 1] == pair {
                return;
            }
            if self.few.len() < FEW {
                self.few.insert(at, pair);
                return;
            }
        }
        self.insert_among_many(pair);
    }

    #[cold]
    fn insert_among_many(&mut self, pair: (u64, u64)) {
        self.many.extend(self.few.drain(..));
        self.many.insert(pair);
    }

    /// Takes a pair away; `false` if it was not there.
    #[inline(never)]
    pub fn remove(&mut self, first: u64, second: u64) -> bool {
        let pair = (first, second);
        if !self.many.is_empty() {
            cold_path();
            return self.many.remove(&pair);
        }
        let Some(at) = self.few.iter().position(|other| *other == pair) else { return false };
        self.few.remove(at);
        true
    }

    /// The pairs whose first number is this one, or comes after it.
    pub fn from(&self, first: u64) -> impl Iterator<Item = (u64, u64)> {
        let few = self.few.iter().skip_while(move |pair| pair.0 < first);
        few.chain(self.many.range((first, 0)..)).copied()
    }

    /// The second number of the first pair that begins with this number.
    #[inline(never)]
    pub fn get(&self, first: u64) -> Option<u64> {
        self.from(first).next().filter(|pair| pair.0 == first).map(|pair| pair.1)
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.few.iter().chain(&self.many).copied()
    }

    /// The first of all pairs.
    #[inline(always)]
    pub fn first(&self) -> Option<(u64, u64)> {
        self.few.first().or_else(|| self.many.first()).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.few.len() + self.many.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Things that have numbers. Each costs O(log n) to add, find or take away.
#[derive(Clone, Debug)]
pub struct Numbered<T> {
    /// Their numbers and places.
    places: Pairs,
    /// The things, in pieces of [`PIECE`]: more of them never means to move those that are there.
    pieces: Vec<Vec<Option<T>>>,
    /// Places where nothing is.
    free: Vec<u64>,
}

/// How many things stand together.
const PIECE: usize = 128;

impl<T> Default for Numbered<T> {
    fn default() -> Numbered<T> {
        Numbered { places: Pairs::default(), pieces: Vec::new(), free: Vec::new() }
    }
}

impl<T> Numbered<T> {
    fn split(place: u64) -> (usize, usize) {
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        (place / PIECE, place % PIECE)
    }

    /// The thing at this place.
    pub fn at(&self, place: u64) -> Option<&T> {
        let (piece, index) = Self::split(place);
        self.pieces.get(piece)?.get(index)?.as_ref()
    }

    /// The thing at this place.
    pub fn at_mut(&mut self, place: u64) -> Option<&mut T> {
        self.slot(place)?.as_mut()
    }

    fn slot(&mut self, place: u64) -> Option<&mut Option<T>> {
        let (piece, index) = Self::split(place);
        self.pieces.get_mut(piece)?.get_mut(index)
    }

    /// Where the thing of this number stands while it is here.
    pub fn place(&self, number: u64) -> Option<u64> {
        self.places.get(number)
    }

    /// Adds a thing, and tells its place. Its number must be new.
    pub fn insert(&mut self, number: u64, thing: T) -> u64 {
        debug_assert!(self.places.get(number).is_none(), "{number} is taken");
        let place = self.free.pop().unwrap_or_else(|| self.new_place());
        if let Some(slot) = self.slot(place) {
            *slot = Some(thing);
            self.places.insert(number, place);
        }
        place
    }

    #[cold]
    fn new_place(&mut self) -> u64 {
        if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        let before = (self.pieces.len() - 1) * PIECE;
        self.pieces.last_mut().map_or(0, |piece| {
            piece.push(None);
            (before + piece.len() - 1) as u64
        })
    }

    /// The thing of this number.
    pub fn get(&self, number: u64) -> Option<&T> {
        self.at(self.place(number)?)
    }

    /// Takes a thing away.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        self.remove_at(number, self.place(number)?)
    }

    /// Takes the thing of this number and place away.
    pub fn remove_at(&mut self, number: u64, place: u64) -> Option<T> {
        if !self.places.remove(number, place) {
            return None;
        }
        let thing = self.slot(place)?.take();
        self.free.push(place);
        if self.places.is_empty() && self.pieces.len() > 1 {
            self.pieces.clear();
            self.free.clear();
        }
        thing
    }

    /// Those of this number or a later one.
    pub fn from(&self, number: u64) -> impl Iterator<Item = (u64, &T)> {
        self.places.from(number).filter_map(|(number, place)| Some((number, self.at(place)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn pairs_are_in_order_be_they_few_or_many() {
        let (mut pairs, mut plain) = (Pairs::default(), BTreeSet::new());
        let mut seed = 3_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..300 {
            // Up to so many pairs, then down to none.
            let most = random(3 * FEW as u64) as usize;
            while plain.len() < most {
                let pair = (random(20), random(4));
                pairs.insert(pair.0, pair.1);
                plain.insert(pair);
                assert!(pairs.iter().eq(plain.iter().copied()));
            }
            loop {
                let first = random(21);
                let rest = || plain.range((first, 0)..).copied();
                assert!(pairs.from(first).eq(rest()));
                assert_eq!(pairs.get(first), rest().next().filter(|pair| pair.0 == first).map(|pair| pair.1));
                assert_eq!((pairs.first(), pairs.len()), (plain.first().copied(), plain.len()));
                assert_eq!(pairs.is_empty(), plain.is_empty());
                if plain.is_empty() {
                    break;
                }
                let pair = (random(20), random(4));
                assert_eq!(pairs.remove(pair.0, pair.1), plain.remove(&pair));
            }
        }
    }

    #[test]
    fn things_are_found_by_number_and_in_order() {
        let (mut things, mut plain) = (Numbered::default(), BTreeMap::new());
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (seed >> 33) % 500;
            if things.get(number).is_none() {
                things.insert(number, seed);
                assert_eq!(plain.insert(number, seed), None);
            } else {
                assert_eq!(things.remove(number), plain.remove(&number));
                assert_eq!(things.remove(number), None);
            }
            let next = things.from(number).next().map(|(number, thing)| (number, *thing));
            assert_eq!(next, plain.range(number..).next().map(|(number, thing)| (*number, *thing)));
        }
        assert!(things.from(0).map(|(number, thing)| (number, *thing)).eq(plain));
    }

    #[test]
    fn places_are_used_again_and_given_back() {
        let mut things = Numbered::default();
        for round in 0..3 {
            for number in 0..1_000 {
                things.insert(round * 1_000 + number, ());
            }
            assert!(things.pieces.len() <= 1_000_usize.div_ceil(PIECE));
            (0..1_000).for_each(|number| assert!(things.remove(round * 1_000 + number).is_some()));
            assert!(things.pieces.is_empty());
        }
    }
}
