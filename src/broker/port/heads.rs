//! The most urgent ready job over very many tubes, for connections that watch them.
//!
//! Kept only of tubes that at least one *wide* connection watches: one that watches so many tubes that it cannot
//! look at each of them. Such a tube has a number, by which a connection knows whether it watches it. A tube that is
//! paused has no head here.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::mem;
use std::rc::Rc;

use crate::queue::{Change, Order, Tube};

use super::super::garbage::Garbage;
use super::super::names::Name;
use super::super::watched::Watched;

/// How urgent a job is, and which it is: priority and id.
type Head = (u32, u64);

struct Entry {
    name: Name,
    /// How many wide connections watch the tube; 0 where the number is free.
    watching: u32,
    head: Option<Head>,
}

/// The first ready jobs of the tubes that wide connections watch.
#[derive(Default)]
pub struct Heads {
    /// By number.
    tubes: Vec<Entry>,
    free: Vec<u32>,
    order: BTreeSet<(Head, u32)>,
}

/// The first job that a reserve would take from a tube.
fn head_of(tube: &Tube) -> Option<Head> {
    if tube.header().paused_until_ms != 0 {
        return None;
    }
    tube.first(Order::Ready).map(|job| (job.pri, job.id))
}

impl Heads {
    /// Whether there is no wide connection.
    pub fn is_empty(&self) -> bool {
        self.tubes.len() == self.free.len()
    }

    /// A wide connection begins to watch the tube, which is as told, and has this number if another one watches it.
    /// Returns the tube's number. O(log n) if it has a ready job.
    pub fn watch(&mut self, number: Option<u32>, name: &Name, tube: Option<&Tube>) -> u32 {
        let number = number.unwrap_or_else(|| {
            let entry = Entry { name: Rc::clone(name), watching: 0, head: None };
            let number = self.free.pop().unwrap_or(self.tubes.len() as u32);
            match self.tubes.get_mut(number as usize) {
                Some(free) => *free = entry,
                None => self.tubes.push(entry),
            }
            number
        });
        if let Some(entry) = self.tubes.get_mut(number as usize) {
            entry.watching += 1;
        }
        self.update(number, tube);
        number
    }

    /// A wide connection watches the tube of this number no longer. Tells whether none does, and it has lost its number.
    pub fn ignore(&mut self, number: u32) -> bool {
        let Some(entry) = self.tubes.get_mut(number as usize) else { return false };
        entry.watching = entry.watching.saturating_sub(1);
        if entry.watching > 0 {
            return false;
        }
        self.update(number, None);
        self.free.push(number);
        true
    }

    /// Whether a change that is made in a tube may give it another head. Most do not, and need no look at the tube.
    pub fn may_change(&self, number: u32, change: &Change<'_>) -> bool {
        let Some(entry) = self.tubes.get(number as usize) else { return false };
        let Some((pri, id)) = entry.head else { return true };
        match *change {
            Change::Put { pri: put_pri, id: put_id, .. } => (put_pri, put_id) < (pri, id),
            Change::Reserve { id: taken, .. } | Change::Delete { id: taken } => taken == id,
            Change::Touch { .. } => false,
            _ => true,
        }
    }

    /// The tube may have changed. O(log n) if its first ready job is another one.
    pub fn update(&mut self, number: u32, tube: Option<&Tube>) {
        let Some(entry) = self.tubes.get_mut(number as usize) else { return };
        let head = tube.and_then(head_of);
        if entry.head == head {
            return;
        }
        let before = mem::replace(&mut entry.head, head);
        if let Some(before) = before {
            self.order.remove(&(before, number));
        }
        if let Some(head) = head {
            self.order.insert((head, number));
        }
    }

    /// No tube has a ready job.
    pub fn flush(&mut self, garbage: &mut Garbage) {
        garbage.add(mem::take(&mut self.order));
        self.tubes.iter_mut().for_each(|entry| entry.head = None);
    }

    /// The tube with the most urgent job among those watched that may be used. Costs a look at each tube that has a more
    /// urgent job and is not watched, but no more than three looks at each that is watched; and a question for each that
    /// has a more urgent job and may not be used, with O(log n) for each of n if many tubes stand before it. Adds to `looks`
    /// how many there were.
    pub fn first(
        &self,
        watched: &Watched,
        looks: &mut usize,
        mut may_use: impl FnMut(u32, &Name) -> bool,
    ) -> Option<Name> {
        let mut usable = |number: u32| {
            let name = &self.tubes.get(number as usize)?.name;
            may_use(number, name).then(|| Rc::clone(name))
        };
        let limit = watched.len();
        let mut seen = None;
        for head in self.order.iter().take(limit) {
            *looks += 1;
            let found = if watched.is_marked(head.1) { usable(head.1) } else { None };
            if found.is_some() {
                return found;
            }
            seen = Some(*head);
        }
        if self.order.len() <= limit {
            return None;
        }
        let heads = || {
            let heads = watched.marks().filter_map(|n| Some((self.tubes.get(n as usize)?.head?, n)));
            heads.filter(|head| Some(*head) > seen)
        };
        *looks += 2 * limit;
        // Mostly the first may be used, and the others need no order.
        let found = usable(heads().min()?.1);
        if found.is_some() {
            return found;
        }
        let mut left: BinaryHeap<Reverse<(Head, u32)>> = heads().map(Reverse).collect();
        left.pop();
        std::iter::from_fn(|| left.pop()).find_map(|Reverse((_, number))| usable(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from(text.as_bytes())
    }

    fn tube(id: u64, pri: u32) -> Tube {
        let mut tube = Tube::new(0);
        tube.apply(0, &Change::Put { id, pri, delay_ms: 0, ttr_ms: 1, body: b"" });
        tube
    }

    fn watched(numbers: &[u32]) -> Watched {
        let mut watched = Watched::default();
        numbers.iter().for_each(|number| watched.add(&name(&number.to_string())));
        watched.widen(numbers.iter().copied());
        watched
    }

    #[test]
    fn the_most_urgent_of_those_watched_comes_first() {
        let mut heads = Heads::default();
        let a = heads.watch(None, &name("a"), Some(&tube(1, 5)));
        let b = heads.watch(None, &name("b"), Some(&tube(2, 5)));
        let c = heads.watch(None, &name("c"), Some(&tube(3, 4)));
        let d = heads.watch(None, &name("d"), None);
        assert_eq!(heads.watch(Some(a), &name("a"), Some(&tube(1, 5))), a, "by another connection");
        let first = |heads: &Heads, numbers: &[u32]| heads.first(&watched(numbers), &mut 0, |_, _| true);
        assert_eq!(first(&heads, &[a, b, c, d]), Some(name("c")));
        assert_eq!(first(&heads, &[b, a]), Some(name("a")));
        assert_eq!(first(&heads, &[b]), Some(name("b")), "found though others come first");
        assert_eq!(first(&heads, &[d, 7]), None);
        let but = |barred: u32, numbers: &[u32]| {
            heads.first(&watched(numbers), &mut 0, |number, _| number != barred)
        };
        assert_eq!(but(c, &[a, b, c, d]), Some(name("a")));
        assert_eq!(but(a, &[b, a]), Some(name("b")), "found though others come first");
        assert_eq!(but(b, &[b]), None);
        heads.update(d, Some(&tube(4, 0)));
        assert_eq!(first(&heads, &[a, d]), Some(name("d")));
        let mut paused = tube(4, 0);
        paused.apply(0, &Change::Pause { for_ms: 1 });
        heads.update(d, Some(&paused));
        assert_eq!(first(&heads, &[a, d]), Some(name("a")));
        assert!(!heads.ignore(a));
        assert_eq!(first(&heads, &[a, d]), Some(name("a")), "the other one still watches it");
        assert!(heads.ignore(a));
        assert_eq!(first(&heads, &[a, d]), None);
        let z = heads.watch(None, &name("z"), Some(&tube(9, 9)));
        assert_eq!(z, a, "a free number is used again");
        assert_eq!(first(&heads, &[z]), Some(name("z")));
        heads.flush(&mut Garbage::default());
        assert_eq!(first(&heads, &[b, c, z]), None);
        for number in [b, c, d, z] {
            assert!(heads.ignore(number));
        }
        assert!(heads.is_empty());
    }

    /// Against a plain search, with few that are watched behind many that are not, and with many that may not be used.
    #[test]
    fn each_that_may_not_be_used_is_asked_about_once() {
        use rand::{Rng, SeedableRng};
        let mut rng = rand::rngs::SmallRng::seed_from_u64(3);
        let mut asked_of_many = 0;
        for round in 0..300 {
            let mut heads = Heads::default();
            let tubes = rng.random_range(1..120);
            let pris: Vec<Option<u32>> =
                (0..tubes).map(|_| rng.random_bool(0.8).then(|| rng.random_range(0..20))).collect();
            for (number, pri) in (0_u32..).zip(&pris) {
                let tube = pri.map(|pri| tube(u64::from(number) + 1, pri));
                heads.watch(None, &name(&number.to_string()), tube.as_ref());
            }
            let share = [0.1, 0.5, 1.0][round % 3];
            let numbers: Vec<u32> = (0..tubes).filter(|_| rng.random_bool(share)).collect();
            let barred: Vec<u32> = (0..tubes).filter(|_| rng.random_bool(0.7)).collect();
            let mut asked = Vec::new();
            let found = heads.first(&watched(&numbers), &mut 0, |number, _| {
                asked.push(number);
                !barred.contains(&number)
            });
            let mut order: Vec<(u32, u32)> =
                numbers.iter().filter_map(|number| Some((pris[*number as usize]?, *number))).collect();
            order.sort_unstable();
            let at = order.iter().position(|(_, number)| !barred.contains(number));
            let expected: Vec<u32> =
                order.iter().take(at.map_or(order.len(), |at| at + 1)).map(|(_, number)| *number).collect();
            assert_eq!(asked, expected, "round {round}");
            assert_eq!(found, at.map(|at| name(&order[at].1.to_string())), "round {round}");
            asked_of_many += usize::from(asked.len() > 2 && heads.order.len() > numbers.len());
        }
        assert!(asked_of_many > 20, "{asked_of_many}");
    }
}
