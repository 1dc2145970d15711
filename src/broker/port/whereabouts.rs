//! In which tube a job is, where nothing but its id is known.
//!
//! ```text
//! ids    0..255     256..511   512..767  ...      a chunk for each 256 ids in a row, while it notes any
//!       [ t t t ]  [ t   t ]  [   t   ]           t: the tube's number, in two bytes
//! ```
//!
//! Two bytes a job are too few to tell all tubes apart, so a note is a hint: it names one tube, or the few that
//! share a number, and whoever follows it asks the tube. A job that was put has its note at once, and loses it when
//! it is deleted. What came in any other way is noted later, in slices: tubes that were loaded, restored, copied or
//! renamed stand in a list until all of their jobs are noted, and are asked in any case. What went without a word
//! for each job (a cleared or deleted tube) leaves notes behind that are swept away once they are many.
//!
//! Where a job's id is in two tubes, the note stays with the tube that had it first. The other tube is remembered
//! as a *twin*, and asked when the note leads nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::Bound::{Excluded, Unbounded};
use std::rc::Rc;

use super::super::by_name::ByName;
use super::super::garbage::Garbage;
use super::super::names::Name;

/// A tube's number as a note holds it; 0 for no note.
type Hint = u16;

/// How many numbers a hint can tell apart.
const HINTS: u64 = u16::MAX as u64;

/// How many ids share a chunk.
const IDS: usize = 256;

/// A chunk with so many notes gives each id a place.
const DENSE_FROM: usize = 96;

/// A chunk with so few notes lists them.
const SPARSE_FROM: usize = 48;

/// The notes of 256 ids in a row.
enum Chunk {
    /// By position, in ascending order.
    Sparse(Vec<(u8, Hint)>),
    Dense {
        hints: Box<[Hint; IDS]>,
        noted: usize,
    },
}

impl Chunk {
    fn get(&self, at: u8) -> Hint {
        match self {
            Chunk::Sparse(list) => list
                .binary_search_by_key(&at, |note| note.0)
                .ok()
                .and_then(|i| list.get(i))
                .map_or(0, |n| n.1),
            Chunk::Dense { hints, .. } => hints[usize::from(at)],
        }
    }

    /// Replaces a note, and returns what it was.
    fn set(&mut self, at: u8, hint: Hint) -> Hint {
        match self {
            Chunk::Sparse(list) => {
                let before = match (list.binary_search_by_key(&at, |note| note.0), hint) {
                    (Ok(i), 0) => list.remove(i).1,
                    (Ok(i), _) => mem::replace(&mut list[i].1, hint),
                    (Err(_), 0) => 0,
                    (Err(i), _) => {
                        list.insert(i, (at, hint));
                        0
                    }
                };
                if list.len() >= DENSE_FROM {
                    let mut hints = Box::new([0; IDS]);
                    list.iter().for_each(|(at, hint)| hints[usize::from(*at)] = *hint);
                    *self = Chunk::Dense { noted: list.len(), hints };
                }
                before
            }
            Chunk::Dense { hints, noted } => {
                let before = mem::replace(&mut hints[usize::from(at)], hint);
                *noted = *noted + usize::from(hint != 0) - usize::from(before != 0);
                if *noted <= SPARSE_FROM {
                    *self = Chunk::Sparse(self.notes().collect());
                }
                before
            }
        }
    }

    fn notes(&self) -> impl Iterator<Item = (u8, Hint)> {
        let (list, hints) = match self {
            Chunk::Sparse(list) => (&list[..], &[][..]),
            Chunk::Dense { hints, .. } => (&[][..], &hints[..]),
        };
        let dense = (0..=u8::MAX).zip(hints.iter().copied()).filter(|(_, hint)| *hint != 0);
        list.iter().copied().chain(dense)
    }

    fn is_empty(&self) -> bool {
        matches!(self, Chunk::Sparse(list) if list.is_empty())
    }
}

fn hint_of(number: u64) -> Hint {
    (number % HINTS + 1) as Hint
}

/// An id, and the tubes that its note may mean.
pub type Note = (u64, Vec<Name>);

/// The notes.
#[derive(Default)]
pub struct Whereabouts {
    chunks: BTreeMap<u64, Chunk>,
    noted: u64,
    numbers: ByName<u64>,
    tubes: BTreeMap<u64, Name>,
    free: BTreeSet<u64>,
    /// The tube that was last put into, and its hint.
    last: Option<(Name, Hint)>,
    /// Tubes of which not all jobs are noted, with the id to go on from.
    unnoted: BTreeMap<Name, u64>,
    twins: BTreeSet<Name>,
}

impl Whereabouts {
    /// How many notes there are, those that lead nowhere included.
    pub fn noted(&self) -> u64 {
        self.noted
    }

    fn hint(&mut self, name: &[u8]) -> Hint {
        if let Some((last, hint)) = &self.last
            && **last == *name
        {
            return *hint;
        }
        let (name, number) = match self.numbers.get_key_value(name) {
            Some((name, number)) => (Rc::clone(name), *number),
            None => {
                let number = self.free.pop_first().unwrap_or(self.tubes.len() as u64);
                let name = Name::from(name);
                self.numbers.insert(&name, number);
                self.tubes.insert(number, Rc::clone(&name));
                (name, number)
            }
        };
        let hint = hint_of(number);
        self.last = Some((name, hint));
        hint
    }

    /// Whether the tube is known here.
    pub fn knows(&self, name: &[u8]) -> bool {
        self.last.as_ref().is_some_and(|(last, _)| **last == *name) || self.numbers.contains_key(name)
    }

    fn set(&mut self, id: u64, hint: Hint) {
        let (chunk, at) = (id / IDS as u64, (id % IDS as u64) as u8);
        if hint == 0 {
            let Some(notes) = self.chunks.get_mut(&chunk) else { return };
            self.noted -= u64::from(notes.set(at, 0) != 0);
            if notes.is_empty() {
                self.chunks.remove(&chunk);
            }
        } else {
            let notes = self.chunks.entry(chunk).or_insert_with(|| Chunk::Sparse(Vec::new()));
            self.noted += u64::from(notes.set(at, hint) == 0);
        }
    }

    fn get(&self, id: u64) -> Hint {
        self.chunks.get(&(id / IDS as u64)).map_or(0, |chunk| chunk.get((id % IDS as u64) as u8))
    }

    /// A job was put.
    pub fn put(&mut self, name: &[u8], id: u64) {
        let hint = self.hint(name);
        self.set(id, hint);
    }

    /// A job was deleted.
    pub fn deleted(&mut self, name: &[u8], id: u64) {
        let hint = self.hint(name);
        let (chunk, at) = (id / IDS as u64, (id % IDS as u64) as u8);
        let Some(notes) = self.chunks.get_mut(&chunk) else { return };
        if notes.get(at) == hint {
            notes.set(at, 0);
            self.noted -= 1;
            if notes.is_empty() {
                self.chunks.remove(&chunk);
            }
        }
    }

    /// Notes a job that has long been in the tube. `false` if the note is another tube's, which must be asked
    /// first; [`Whereabouts::put`] then overrules it.
    pub fn offer(&mut self, name: &[u8], id: u64) -> bool {
        let hint = self.hint(name);
        match self.get(id) {
            0 => self.set(id, hint),
            before => return before == hint,
        }
        true
    }

    /// The tubes that the note of an id may mean.
    pub fn hinted(&self, id: u64) -> impl Iterator<Item = &Name> {
        self.meant(self.get(id))
    }

    fn meant(&self, hint: Hint) -> impl Iterator<Item = &Name> {
        let first = u64::from(hint).wrapping_sub(1);
        let end = self.tubes.len() as u64 + self.free.len() as u64;
        (first..end).step_by(HINTS as usize).filter_map(|number| self.tubes.get(&number))
    }

    /// The tubes that are asked where the note of an id leads nowhere.
    pub fn others(&self, id: u64) -> impl Iterator<Item = &Name> {
        let unnoted = self.unnoted.iter().filter(move |(_, from)| **from <= id);
        unnoted.map(|(name, _)| name).chain(&self.twins)
    }

    /// The tube holds jobs that have no note yet.
    pub fn arrived(&mut self, name: &[u8]) {
        let name = Name::from(name);
        self.twins.remove(&name);
        self.unnoted.insert(name, 0);
    }

    /// The tube shares an id with another one that had it first.
    pub fn is_twin(&mut self, name: &Name) {
        self.twins.insert(Rc::clone(name));
    }

    /// The tube is gone.
    pub fn gone(&mut self, name: &[u8]) {
        self.last = None;
        self.unnoted.remove(name);
        self.twins.remove(name);
        if let Some((_, number)) = self.numbers.remove(name) {
            self.tubes.remove(&number);
            self.free.insert(number);
        }
    }

    /// The next tube that has jobs to be noted, and the id to go on from.
    pub fn next_unnoted(&self) -> Option<(Name, u64)> {
        self.unnoted.first_key_value().map(|(name, from)| (Rc::clone(name), *from))
    }

    /// The tube's jobs are noted up to this id; all of them if `None`.
    pub fn noted_up_to(&mut self, name: &Name, next: Option<u64>) {
        match (next, self.unnoted.get_mut(name)) {
            (Some(next), Some(from)) => *from = next,
            (None, Some(_)) => {
                self.unnoted.remove(name);
            }
            _ => {}
        }
    }

    /// The notes of the first chunk after `after` (from the beginning if `None`): its number, and each id with the
    /// tubes it may mean, those of one tube in a row.
    pub fn chunk_after(&self, after: Option<u64>) -> Option<(u64, Vec<Note>)> {
        let from = after.map_or(Unbounded, Excluded);
        let (number, chunk) = self.chunks.range((from, Unbounded)).next()?;
        let mut notes: Vec<(u8, Hint)> = chunk.notes().collect();
        notes.sort_unstable_by_key(|(at, hint)| (*hint, *at));
        let meant = |hint| self.meant(hint).cloned().collect();
        let notes = notes.into_iter().map(|(at, hint)| (number * IDS as u64 + u64::from(at), meant(hint)));
        Some((*number, notes.collect()))
    }

    /// A note that leads nowhere goes.
    pub fn forget(&mut self, id: u64) {
        self.set(id, 0);
    }

    /// Forgets everything.
    pub fn flush(&mut self, garbage: &mut Garbage) {
        let Whereabouts { chunks, numbers, tubes, free, unnoted, twins, .. } = mem::take(self);
        garbage.add(chunks);
        garbage.add(numbers.into_items());
        garbage.add(tubes);
        garbage.add(free);
        garbage.add(unnoted);
        garbage.add(twins);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hinted(places: &Whereabouts, id: u64) -> Vec<&[u8]> {
        places.hinted(id).map(|name| &**name).collect()
    }

    #[test]
    fn a_note_comes_with_a_put_and_goes_with_a_delete() {
        let mut places = Whereabouts::default();
        for id in 1..=1_000 {
            places.put(if id % 2 == 0 { b"even" } else { b"odd" }, id);
        }
        assert_eq!(hinted(&places, 1_000), [b"even"]);
        assert_eq!(hinted(&places, 255), [b"odd"]);
        assert!(hinted(&places, 1_001).is_empty());
        places.deleted(b"odd", 1_000);
        assert_eq!(hinted(&places, 1_000), [b"even"], "another tube's job of this id");
        for id in 1..=1_000 {
            places.deleted(if id % 2 == 0 { b"even" } else { b"odd" }, id);
        }
        assert_eq!((places.noted(), places.chunks.len()), (0, 0));
    }

    #[test]
    fn a_few_of_many_stay_noted() {
        let mut places = Whereabouts::default();
        (0..IDS as u64 * 4).for_each(|id| places.put(b"a", id));
        (0..IDS as u64 * 4).filter(|id| id % 100 != 7).for_each(|id| places.deleted(b"a", id));
        assert_eq!(places.noted(), 11);
        assert!((0..IDS as u64 * 4).all(|id| hinted(&places, id).is_empty() == (id % 100 != 7)));
        assert!(places.chunks.values().all(|chunk| matches!(chunk, Chunk::Sparse(_))));
    }

    #[test]
    fn more_tubes_than_hints_share_them() {
        let mut places = Whereabouts::default();
        for id in 0..HINTS + 2 {
            places.put(id.to_string().as_bytes(), id);
        }
        assert_eq!(hinted(&places, 1), [&b"1"[..], b"65536"]);
        places.gone(b"1");
        assert_eq!(hinted(&places, 1), [b"65536"]);
        places.put(b"new", 70_000);
        assert_eq!(hinted(&places, 70_000), [&b"new"[..], b"65536"]);
    }

    #[test]
    fn the_first_tube_keeps_an_id() {
        let mut places = Whereabouts::default();
        places.put(b"first", 5);
        assert!(places.offer(b"first", 5));
        assert!(!places.offer(b"second", 5));
        assert!(places.offer(b"second", 6));
        assert_eq!((hinted(&places, 5), hinted(&places, 6)), (vec![&b"first"[..]], vec![&b"second"[..]]));
    }
}
