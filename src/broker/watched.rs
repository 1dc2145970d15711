//! The tubes that one connection watches, in beanstalkd's order.
//!
//! Few are looked through. Who watches more than [`NARROW_MAX`] is *wide*: then each tube has a number, which the
//! broker gives it, and a bit tells whether the tube of a number is watched.

use std::collections::BTreeMap;

use super::names::Name;

/// A connection that watches more tubes than this is wide: it does not look at each of them.
const NARROW_MAX: usize = 16;

/// A wide connection becomes a narrow one again with so few tubes.
const WIDE_MIN: usize = 8;

/// So many of the last tubes of a wide connection are looked through: who watches and ignores a tube in turn finds
/// it there.
const TAIL_MAX: usize = 16;

/// A set of tube names that keeps an order: a new name goes to the end, and the last one moves into the hole that
/// another leaves. Everything costs O(log n).
#[derive(Clone, Debug, Default)]
pub struct Watched {
    list: Vec<Name>,
    wide: Option<Box<Wide>>,
}

/// What is kept besides where very many are watched.
#[derive(Clone, Debug, Default)]
struct Wide {
    /// By position.
    numbers: Vec<u32>,
    /// The positions by number, but for the last few.
    places: BTreeMap<u32, u32>,
    /// One bit for each number.
    marks: Vec<u64>,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Watched) -> bool {
        self.list == other.list
    }
}

impl Eq for Watched {}

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

    /// Whether there are so many that their numbers are needed.
    pub fn is_wide(&self) -> bool {
        self.wide.is_some()
    }

    /// Whether there are as many as may be looked through: one more needs to be wide.
    pub fn is_full(&self) -> bool {
        self.list.len() >= NARROW_MAX
    }

    /// Whether there are so few that numbers are not needed any longer.
    pub fn may_be_narrow(&self) -> bool {
        self.wide.is_some() && self.list.len() <= WIDE_MIN
    }

    /// Whether the tube of this name is among them. It has this number, if it has one.
    pub fn contains(&self, name: &[u8], number: Option<u32>) -> bool {
        match &self.wide {
            Some(wide) => number.is_some_and(|number| wide.is_marked(number)),
            None => self.list.iter().any(|watched| **watched == *name),
        }
    }

    /// Adds a name that is not there.
    pub fn add(&mut self, name: &Name) {
        self.list.push(Name::clone(name));
    }

    /// Adds a name that is not there, to a wide set. The tube has this number.
    pub fn add_wide(&mut self, name: &Name, number: u32) {
        self.list.push(Name::clone(name));
        self.wide.iter_mut().for_each(|wide| wide.push(number));
    }

    /// Makes it wide: these are the numbers of the tubes, in their order.
    pub fn widen(&mut self, numbers: impl Iterator<Item = u32>) {
        let mut wide = Box::<Wide>::default();
        numbers.for_each(|number| wide.push(number));
        self.wide = Some(wide);
    }

    /// Ends that.
    pub fn narrow(&mut self) {
        self.wide = None;
    }

    /// Whether it is wide, and the tube of this number is among them.
    pub fn is_marked(&self, number: u32) -> bool {
        self.wide.as_ref().is_some_and(|wide| wide.is_marked(number))
    }

    /// The numbers.
    pub fn marks(&self) -> impl Iterator<Item = u32> {
        self.wide.iter().flat_map(|wide| wide.numbers.iter().copied())
    }

    /// Takes a name away; `false` if it is not there. The tube has this number, if it has one.
    pub fn remove(&mut self, name: &[u8], number: Option<u32>) -> bool {
        let place = match &mut self.wide {
            Some(wide) => number.and_then(|number| wide.remove(number)),
            None => self.list.iter().position(|watched| **watched == *name),
        };
        let Some(place) = place.filter(|place| *place < self.list.len()) else { return false };
        self.list.swap_remove(place);
        true
    }
}

impl Wide {
    fn is_marked(&self, number: u32) -> bool {
        self.marks.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    fn push(&mut self, number: u32) {
        let word = number as usize / 64;
        if word >= self.marks.len() {
            self.marks.resize(word + 1, 0);
        }
        if let Some(word) = self.marks.get_mut(word) {
            *word |= 1 << (number % 64);
        }
        self.numbers.push(number);
        let placed = self.places.len();
        if self.numbers.len() - placed > TAIL_MAX {
            let tail = self.numbers.iter().copied().zip(0..).skip(placed);
            self.places.extend(tail);
        }
    }

    /// Takes a number away, and tells where it was.
    fn remove(&mut self, number: u32) -> Option<usize> {
        if !self.is_marked(number) {
            return None;
        }
        if let Some(word) = self.marks.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
        let placed = self.places.len();
        let tail = self.numbers.get(placed..).unwrap_or_default();
        if let Some(at) = tail.iter().rposition(|other| *other == number) {
            self.numbers.swap_remove(placed + at);
            return Some(placed + at);
        }
        let place = self.places.remove(&number)?;
        self.numbers.swap_remove(place as usize);
        // The last one stands there now, if it was another.
        if let Some(moved) = self.numbers.get(place as usize) {
            self.places.insert(*moved, place);
        }
        Some(place as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u32) -> Name {
        Name::from(n.to_string().as_bytes())
    }

    #[test]
    fn the_last_moves_into_the_hole() {
        let mut watched = Watched::default();
        (0..4).for_each(|n| watched.add(&name(n)));
        assert!(watched.remove(b"1", None));
        assert!(!watched.remove(b"1", None));
        assert_eq!(watched.names(), [name(0), name(3), name(2)]);
        assert!(watched.remove(b"3", None));
        assert!(watched.remove(b"2", None));
        assert!(watched.contains(b"0", None) && !watched.contains(b"3", None));
        assert!(watched.remove(b"0", None));
        assert!(watched.is_empty());
    }

    /// Against a plain list, with few and with many, new ones that soon go and others that stay.
    #[test]
    fn very_many_are_found_by_their_numbers() {
        use rand::{Rng, SeedableRng};
        let mut rng = rand::rngs::SmallRng::seed_from_u64(8);
        let mut watched = Watched::default();
        let mut list: Vec<u32> = Vec::new();
        for step in 0..30_000 {
            let few = step / 5_000 % 2;
            let n = if rng.random_bool(0.3) {
                list.last().copied().unwrap_or(0)
            } else {
                rng.random_range(0..500)
            };
            let at = list.iter().position(|other| *other == n);
            assert_eq!(watched.contains(n.to_string().as_bytes(), Some(n)), at.is_some(), "step {step}");
            match at {
                Some(at) if rng.random_bool(if few == 1 { 0.9 } else { 0.3 }) => {
                    assert!(watched.remove(n.to_string().as_bytes(), Some(n)));
                    list.swap_remove(at);
                    if watched.may_be_narrow() {
                        watched.narrow();
                    }
                }
                None if few == 0 || rng.random_bool(0.05) => {
                    if watched.is_full() && !watched.is_wide() {
                        watched.widen(list.iter().copied());
                    }
                    match watched.is_wide() {
                        true => watched.add_wide(&name(n), n),
                        false => watched.add(&name(n)),
                    }
                    list.push(n);
                }
                _ => {}
            }
            assert_eq!(watched.len(), list.len());
            if watched.is_wide() {
                assert!(watched.marks().eq(list.iter().copied()), "step {step}");
            }
        }
        assert_eq!(watched.names(), list.iter().map(|n| name(*n)).collect::<Vec<Name>>());
        assert!(!watched.is_marked(70_000));
    }
}
