//! The most urgent ready job over very many tubes, for connections that watch them.
//!
//! Kept only of tubes that at least one *wide* connection watches: one that watches so many tubes that it cannot
//! look at each of them. A tube that is paused has no head here.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::queue::{Order, Tube};

use super::super::names::Name;
use super::super::watched::Watched;

/// How urgent a job is, and which it is: priority and id.
type Head = (u32, u64);

struct Entry {
    /// How many wide connections watch the tube.
    watching: u32,
    head: Option<Head>,
}

/// The first ready jobs of the tubes that wide connections watch.
#[derive(Default)]
pub struct Heads {
    tubes: BTreeMap<Name, Entry>,
    order: BTreeSet<(Head, Name)>,
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
        self.tubes.is_empty()
    }

    /// A wide connection begins to watch the tube, which is as told. O(log n).
    pub fn watch(&mut self, name: &Name, tube: Option<&Tube>) {
        let entry = self.tubes.entry(Rc::clone(name)).or_insert(Entry { watching: 0, head: None });
        entry.watching += 1;
        self.update(name, tube);
    }

    /// A wide connection watches the tube no longer. O(log n).
    pub fn ignore(&mut self, name: &[u8]) {
        let Some(entry) = self.tubes.get_mut(name) else { return };
        entry.watching = entry.watching.saturating_sub(1);
        if entry.watching == 0 {
            self.update(name, None);
            self.tubes.remove(name);
        }
    }

    /// The tube may have changed. O(log n) if its first ready job is another one.
    pub fn update(&mut self, name: &[u8], tube: Option<&Tube>) {
        let Some((name, _)) = self.tubes.get_key_value(name) else { return };
        let name = Rc::clone(name);
        let head = tube.and_then(head_of);
        let Some(entry) = self.tubes.get_mut(&name) else { return };
        if entry.head == head {
            return;
        }
        let before = std::mem::replace(&mut entry.head, head);
        if let Some(before) = before {
            self.order.remove(&(before, Rc::clone(&name)));
        }
        if let Some(head) = head {
            self.order.insert((head, name));
        }
    }

    /// No tube has a ready job.
    pub fn flush(&mut self) {
        self.order.clear();
        self.tubes.values_mut().for_each(|entry| entry.head = None);
    }

    /// The tube with the most urgent job among those watched. Costs a look at each tube that has a more urgent
    /// job and is not watched, but no more than a look at each that is watched.
    pub fn first(&self, watched: &Watched) -> Option<Name> {
        let limit = watched.len();
        for (_, name) in self.order.iter().take(limit) {
            if watched.contains(name) {
                return Some(Rc::clone(name));
            }
        }
        if self.order.len() <= limit {
            return None;
        }
        let heads = watched.names().iter().filter_map(|name| Some((self.tubes.get(name)?.head?, name)));
        heads.min().map(|(_, name)| Rc::clone(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Change;

    fn name(text: &str) -> Name {
        Name::from(text.as_bytes())
    }

    fn tube(id: u64, pri: u32) -> Tube {
        let mut tube = Tube::new(0);
        tube.apply(0, &Change::Put { id, pri, delay_ms: 0, ttr_ms: 1, body: b"" });
        tube
    }

    fn watched(names: &[&str]) -> Watched {
        let mut watched = Watched::default();
        names.iter().for_each(|text| {
            watched.add(&name(text));
        });
        watched
    }

    #[test]
    fn the_most_urgent_of_those_watched_comes_first() {
        let mut heads = Heads::default();
        heads.watch(&name("a"), Some(&tube(1, 5)));
        heads.watch(&name("b"), Some(&tube(2, 5)));
        heads.watch(&name("c"), Some(&tube(3, 4)));
        heads.watch(&name("d"), None);
        assert_eq!(heads.first(&watched(&["a", "b", "c", "d"])), Some(name("c")));
        assert_eq!(heads.first(&watched(&["b", "a"])), Some(name("a")));
        assert_eq!(heads.first(&watched(&["b"])), Some(name("b")), "found though others come first");
        assert_eq!(heads.first(&watched(&["d", "e"])), None);
        heads.update(b"d", Some(&tube(4, 0)));
        assert_eq!(heads.first(&watched(&["a", "d"])), Some(name("d")));
        let mut paused = tube(4, 0);
        paused.apply(0, &Change::Pause { for_ms: 1 });
        heads.update(b"d", Some(&paused));
        assert_eq!(heads.first(&watched(&["a", "d"])), Some(name("a")));
        heads.ignore(b"a");
        assert_eq!(heads.first(&watched(&["a", "d"])), None);
        heads.flush();
        assert_eq!(heads.first(&watched(&["b", "c"])), None);
        for text in ["b", "c", "d"] {
            heads.ignore(text.as_bytes());
        }
        assert!(heads.is_empty());
    }
}
