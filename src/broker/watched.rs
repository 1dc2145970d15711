//! The tubes that one connection watches, in beanstalkd's order.

use super::by_name::ByName;
use super::names::Name;

/// A set of tube names that keeps an order: a new name goes to the end, and the last one moves into the hole that
/// another leaves. Everything costs O(log n).
#[derive(Clone, Debug, Default)]
pub struct Watched {
    list: Vec<Name>,
    places: ByName<usize>,
    /// One bit for each number that tubes have where very many are watched.
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
        self.places.insert(name, self.list.len());
        self.list.push(Name::clone(name));
        true
    }

    /// Marks the number of a tube that is among them.
    pub fn mark(&mut self, number: u32) {
        let word = number as usize / 64;
        if word >= self.marks.len() {
            self.marks.resize(word + 1, 0);
        }
        if let Some(word) = self.marks.get_mut(word) {
            *word |= 1 << (number % 64);
        }
    }

    /// Takes the mark of a number away.
    pub fn unmark(&mut self, number: u32) {
        if let Some(word) = self.marks.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    /// Whether the tube of this number is among them.
    pub fn is_marked(&self, number: u32) -> bool {
        self.marks.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    /// The marked numbers.
    pub fn marks(&self) -> impl Iterator<Item = u32> {
        let words = (0..).step_by(64).zip(&self.marks);
        words.flat_map(|(first, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(first + bit)
            })
        })
    }

    /// Takes a name away; `false` if it is not there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some((_, place)) = self.places.remove(name) else { return false };
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

    #[test]
    fn numbers_are_marked() {
        let mut watched = Watched::default();
        for number in [0, 63, 64, 1_000] {
            watched.mark(number);
        }
        watched.unmark(63);
        watched.unmark(5_000);
        assert_eq!(watched.marks().collect::<Vec<u32>>(), [0, 64, 1_000]);
        assert!(watched.is_marked(64) && !watched.is_marked(63) && !watched.is_marked(70_000));
    }
}
