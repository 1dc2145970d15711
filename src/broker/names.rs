//! Where the tubes are: their names by database, when each next needs attention, and how many jobs there are.
//!
//! This is an index, never the truth. It goes by (database, name), follows the keyspace by what the broker hears
//! of it, and is checked against the key whenever it is used. What must hold is that every tube is in it, with a
//! deadline that is no later than the tube's own; a deadline that is too early costs one look.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::rc::Rc;

use super::garbage::Garbage;
use crate::queue::{Counts, is_over};

/// A tube's name.
pub type Name = Rc<[u8]>;

/// The deadline of what the next tick is to look at, wherever the clock is by then.
pub const AT_ONCE: u64 = 0;

/// Never.
const NEVER: u64 = u64::MAX;

/// Each tube's indexed deadline (Unix ms).
type Tubes = BTreeMap<Name, u64>;

/// The tubes that have a deadline, the soonest first.
type Deadlines = BTreeSet<(u64, Name)>;

struct Db {
    /// What the database is called while databases change places.
    uid: u64,
    tubes: Tubes,
    deadlines: Deadlines,
}

/// The index.
#[derive(Default)]
pub struct Names {
    dbs: BTreeMap<u32, Db>,
    /// The jobs in each database, by its number: every change of a tube counts, so this must be found at once.
    jobs: Vec<Counts>,
    uids: u64,
    /// Whether a tube needs attention sooner than before.
    sooner: bool,
}

impl Names {
    fn db(&mut self, db: u32) -> &mut Db {
        let uids = &mut self.uids;
        self.dbs.entry(db).or_insert_with(|| {
            *uids += 1;
            Db { uid: *uids, tubes: Tubes::new(), deadlines: Deadlines::new() }
        })
    }

    /// What the database is called, wherever it is swapped to.
    pub fn uid(&mut self, db: u32) -> u64 {
        self.db(db).uid
    }

    /// Which database is called so now.
    pub fn db_of(&self, uid: u64) -> Option<u32> {
        self.dbs.iter().find(|(_, db)| db.uid == uid).map(|(db, _)| *db)
    }

    /// Whether a tube is there.
    pub fn has(&self, db: u32, name: &[u8]) -> bool {
        self.dbs.get(&db).is_some_and(|db| db.tubes.contains_key(name))
    }

    /// Adds a tube; `false` if it was there already.
    pub fn add(&mut self, db: u32, name: &[u8]) -> bool {
        let tubes = &mut self.db(db).tubes;
        if tubes.contains_key(name) {
            return false;
        }
        tubes.insert(Name::from(name), NEVER);
        true
    }

    /// Takes a tube away; `false` if it was not there.
    pub fn remove(&mut self, db: u32, name: &[u8]) -> bool {
        let Some(db) = self.dbs.get_mut(&db) else { return false };
        let Some((name, deadline_ms)) = db.tubes.remove_entry(name) else { return false };
        db.deadlines.remove(&(deadline_ms, name));
        true
    }

    /// Forgets all tubes of a database.
    pub fn flush(&mut self, db: u32, garbage: &mut Garbage) {
        if let Some(db) = self.dbs.get_mut(&db) {
            garbage.add(mem::take(&mut db.tubes));
            garbage.add(mem::take(&mut db.deadlines));
        }
        *self.jobs_of(db) = Counts::default();
    }

    /// The jobs in a database, to be kept true: whatever happens to a tube there counts.
    #[inline]
    pub fn jobs_of(&mut self, db: u32) -> &mut Counts {
        let db = db as usize;
        if db < self.jobs.len() { &mut self.jobs[db] } else { self.make_room_for(db) }
    }

    #[cold]
    fn make_room_for(&mut self, db: usize) -> &mut Counts {
        self.jobs.resize(db + 1, Counts::default());
        &mut self.jobs[db]
    }

    /// The databases that have, or had, tubes.
    pub fn dbs(&self) -> Vec<u32> {
        self.dbs.keys().copied().collect()
    }

    /// Lets two databases change places.
    pub fn swap(&mut self, a: u32, b: u32) {
        let (at_a, at_b) = (self.dbs.remove(&a), self.dbs.remove(&b));
        self.dbs.extend(at_a.map(|db| (b, db)));
        self.dbs.extend(at_b.map(|db| (a, db)));
        let jobs_of_a = *self.jobs_of(a);
        *self.jobs_of(a) = mem::replace(self.jobs_of(b), jobs_of_a);
    }

    /// Makes sure that the tube, if it is known, gets attention at `at_ms` or before.
    pub fn attend(&mut self, db: u32, name: &[u8], at_ms: u64) {
        let Some(db) = self.dbs.get_mut(&db) else { return };
        let Some((name, deadline_ms)) = db.tubes.get_key_value(name) else { return };
        if at_ms < *deadline_ms {
            let name = Rc::clone(name);
            db.deadlines.remove(&(*deadline_ms, Rc::clone(&name)));
            db.deadlines.insert((at_ms, Rc::clone(&name)));
            db.tubes.insert(name, at_ms);
            self.sooner = true;
        }
    }

    /// Whether a tube may need attention sooner than when this was last asked.
    pub fn take_sooner(&mut self) -> bool {
        mem::take(&mut self.sooner)
    }

    /// The same, which can be asked again.
    pub fn is_sooner(&self) -> bool {
        self.sooner
    }

    /// When the next tube needs attention (Unix ms).
    pub fn next_ms(&self) -> Option<u64> {
        self.dbs.values().filter_map(|db| db.deadlines.first().map(|(at_ms, _)| *at_ms)).min()
    }

    /// Takes the tube that needs attention by `now_ms` and has needed it for longest. It needs none until it is asked for
    /// again. Costs a look at each database.
    pub fn take_due(&mut self, now_ms: u64) -> Option<(u32, Name)> {
        let first_ms =
            |db: &Db| db.deadlines.first().map(|(at_ms, _)| *at_ms).filter(|at_ms| is_over(*at_ms, now_ms));
        let due = self.dbs.iter_mut().filter_map(|(index, db)| Some((first_ms(db)?, index, db)));
        let (_, index, db) = due.min_by_key(|(at_ms, ..)| *at_ms)?;
        let (_, name) = db.deadlines.pop_first()?;
        if let Some(deadline_ms) = db.tubes.get_mut(&name) {
            *deadline_ms = NEVER;
        }
        Some((*index, name))
    }

    /// The jobs in all databases.
    pub fn jobs(&self) -> Counts {
        let mut jobs = Counts::default();
        self.jobs.iter().for_each(|of_db| jobs.plus(of_db));
        jobs
    }

    /// The jobs in a database.
    pub fn jobs_in(&self, db: u32) -> Counts {
        self.jobs.get(db as usize).copied().unwrap_or_default()
    }

    /// How many tubes there are in all databases.
    pub fn tubes(&self) -> usize {
        self.dbs.values().map(|db| db.tubes.len()).sum()
    }

    /// The tubes of a database from `from` on, in byte order.
    pub fn from(&self, db: u32, from: &[u8]) -> impl Iterator<Item = &Name> {
        use std::ops::Bound::{Included, Unbounded};
        let tubes = self.dbs.get(&db).map(|db| db.tubes.range::<[u8], _>((Included(from), Unbounded)));
        tubes.into_iter().flatten().map(|(name, _)| name)
    }

    /// The first tube after `after`, in the order of databases and names; from the beginning if `None`.
    pub fn after(&self, after: Option<&(u32, Name)>) -> Option<(u32, Name)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let first = after.map_or(0, |(db, _)| *db);
        self.dbs.range(first..).find_map(|(index, db)| {
            let beyond = match after {
                Some((db, name)) if db == index => Excluded(&**name),
                _ => Unbounded,
            };
            db.tubes.range::<[u8], _>((beyond, Unbounded)).next().map(|(name, _)| (*index, Rc::clone(name)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tube_that_is_due_for_longest_comes_first_in_whatever_database() {
        let mut names = Names::default();
        for (db, name, at_ms) in [(0, "a", 30), (0, "b", 10), (3, "a", 20), (5, "c", 40), (5, "d", 5)] {
            assert!(names.add(db, name.as_bytes()));
            names.attend(db, name.as_bytes(), at_ms);
        }
        let mut taken = Vec::new();
        while let Some((db, name)) = names.take_due(35) {
            taken.push((db, name[0]));
        }
        assert_eq!(taken, [(5, b'd'), (0, b'b'), (3, b'a'), (0, b'a')]);
        assert_eq!(names.next_ms(), Some(40));
    }
}
