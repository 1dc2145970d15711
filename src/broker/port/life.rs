//! Which tubes there are in beanstalkd's eyes: those that a connection uses or watches, those that have a job, and
//! `default`. An empty tube that merely lingers in the keyspace is none.

use std::collections::BTreeMap;
use std::mem;

use crate::queue::Totals;

use super::super::by_name::ByName;
use super::super::garbage::Garbage;
use super::super::names::Name;

/// The tube that is always there.
pub const DEFAULT: &[u8] = b"default";

/// A tube that is there.
#[derive(Default)]
struct Living {
    /// Its position in the list.
    at: usize,
    using: u32,
    watching: u32,
    has_jobs: bool,
    /// When the pause ends that `pause-tube` set (Unix ms); 0 for none.
    paused_until_ms: u64,
    /// By which number wide connections know the tube, if one watches it.
    number: Option<u32>,
    /// What its key had counted when the tube came to life.
    base: Option<Box<Totals>>,
}

impl Living {
    fn is_attended(&self) -> bool {
        self.using > 0 || self.watching > 0
    }

    fn tie(&mut self, tie: Tie) {
        match tie {
            Tie::Using => self.using += 1,
            Tie::Watching => self.watching += 1,
        }
    }
}

/// What keeps a tube alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// A connection puts its jobs there.
    Using,
    /// A connection takes jobs from there.
    Watching,
}

/// The tubes that are there. Everything costs O(log n).
pub struct Life {
    /// In beanstalkd's order: a new one goes to the end, and the last moves into the hole that another leaves.
    list: Vec<Name>,
    tubes: ByName<Living>,
    /// The pauses of tubes that are there no longer, which are over with them.
    ended_pauses: BTreeMap<Name, u64>,
}

impl Default for Life {
    fn default() -> Life {
        let mut life = Life { list: Vec::new(), tubes: ByName::default(), ended_pauses: BTreeMap::new() };
        life.make(DEFAULT, Living::default());
        life
    }
}

impl Life {
    /// The tubes, in beanstalkd's order.
    pub fn list(&self) -> &[Name] {
        &self.list
    }

    /// Whether the tube is there.
    pub fn has(&self, name: &[u8]) -> bool {
        self.tubes.contains_key(name)
    }

    /// How many connections use the tube, and how many watch it.
    pub fn ties(&self, name: &[u8]) -> (u32, u32) {
        self.tubes.get(name).map_or((0, 0), |tube| (tube.using, tube.watching))
    }

    /// Whether a connection uses or watches the tube.
    pub fn is_attended(&self, name: &[u8]) -> bool {
        self.tubes.get(name).is_some_and(Living::is_attended)
    }

    /// What the tube has counted since it came to life, by what its key has counted.
    pub fn since_birth(&self, name: &[u8], mut totals: Totals) -> Totals {
        if let Some(base) = self.tubes.get(name).and_then(|tube| tube.base.as_ref()) {
            totals.puts = totals.puts.saturating_sub(base.puts);
            totals.deletes = totals.deletes.saturating_sub(base.deletes);
            totals.pauses = totals.pauses.saturating_sub(base.pauses);
        }
        totals
    }

    fn make(&mut self, name: &[u8], living: Living) {
        let name = Name::from(name);
        self.tubes.insert(&name, Living { at: self.list.len(), ..living });
        self.list.push(name);
    }

    /// A connection begins to use or watch the tube, whose key has counted `totals`. Returns the name as it is kept,
    /// and the place of its number.
    pub fn tie(&mut self, name: &[u8], tie: Tie, totals: Totals) -> (&Name, &mut Option<u32>) {
        let at = self.list.len();
        let (name, tube) = self.tubes.get_or_insert_with(name, || {
            let base = (totals != Totals::default()).then(|| Box::new(totals));
            Living { at, base, ..Living::default() }
        });
        // Nobody else's place is beyond the end.
        if tube.at == at {
            self.list.push(Name::clone(name));
        }
        tube.tie(tie);
        (name, &mut tube.number)
    }

    /// By which number wide connections know the tube.
    pub fn number(&self, name: &[u8]) -> Option<u32> {
        self.tubes.get(name)?.number
    }

    /// The same, to be changed.
    pub fn number_mut(&mut self, name: &[u8]) -> Option<&mut Option<u32>> {
        self.tubes.get_mut(name).map(|tube| &mut tube.number)
    }

    /// `pause-tube` has paused the tube until this time (Unix ms); 0 if it has ended a pause.
    pub fn paused(&mut self, name: &[u8], until_ms: u64) {
        if let Some(tube) = self.tubes.get_mut(name) {
            tube.paused_until_ms = until_ms;
        }
    }

    /// A pause that is over because its tube was no longer there: this tube's, or any if `None`.
    pub fn take_ended_pause(&mut self, name: Option<&[u8]>) -> Option<(Name, u64)> {
        match name {
            Some(name) => self.ended_pauses.remove_entry(name),
            None => self.ended_pauses.pop_first(),
        }
    }

    /// Whether there is such a pause.
    pub fn has_ended_pauses(&self) -> bool {
        !self.ended_pauses.is_empty()
    }

    /// A connection uses or watches the tube no longer, which has lost its number, perhaps. Tells whether nobody does
    /// now, and there is no job.
    pub fn untie(&mut self, name: &[u8], tie: Tie, has_number: bool) -> bool {
        let Some(tube) = self.tubes.get_mut(name) else { return false };
        if !has_number {
            tube.number = None;
        }
        match tie {
            Tie::Using => tube.using = tube.using.saturating_sub(1),
            Tie::Watching => tube.watching = tube.watching.saturating_sub(1),
        }
        let may_go = !tube.is_attended() && !tube.has_jobs;
        if may_go {
            self.end_if_over(name);
        }
        may_go
    }

    /// The tube has got its first job, or lost its last one.
    pub fn jobs(&mut self, name: &[u8], has_jobs: bool) {
        match self.tubes.get_mut(name) {
            Some(tube) => {
                tube.has_jobs = has_jobs;
                if !has_jobs && !tube.is_attended() {
                    self.end_if_over(name);
                }
            }
            None if has_jobs => self.make(name, Living { has_jobs, ..Living::default() }),
            None => {}
        }
    }

    /// The tube's key is gone, and its counters with it.
    pub fn gone(&mut self, name: &[u8]) {
        if let Some(tube) = self.tubes.get_mut(name) {
            tube.base = None;
            tube.has_jobs = false;
            tube.paused_until_ms = 0;
            self.end_if_over(name);
        }
    }

    /// All keys are gone. Costs a look at each tube, and no more than that at those that nobody uses or watches.
    pub fn flush(&mut self, garbage: &mut Garbage) {
        garbage.add(mem::take(&mut self.ended_pauses));
        let mut before = mem::take(&mut self.tubes);
        let is_kept = |name: &Name, tube: &Living| tube.is_attended() || **name == *DEFAULT;
        let kept = before.iter().filter(|(name, tube)| is_kept(name, tube));
        let mut kept: Vec<(usize, Name)> = kept.map(|(name, tube)| (tube.at, Name::clone(name))).collect();
        kept.sort_unstable();
        let list = kept.into_iter().map(|(_, name)| name).collect();
        garbage.add(mem::replace(&mut self.list, list));
        for (at, name) in self.list.iter().enumerate() {
            if let Some((name, tube)) = before.remove(name) {
                let tube = Living { at, has_jobs: false, base: None, paused_until_ms: 0, ..tube };
                self.tubes.insert(&name, tube);
            }
        }
        garbage.add(before.into_items());
    }

    fn end_if_over(&mut self, name: &[u8]) {
        let is_kept = |tube: &Living| tube.is_attended() || tube.has_jobs || name == DEFAULT;
        let Some(tube) = self.tubes.get(name).filter(|tube| !is_kept(tube)) else { return };
        let at = tube.at;
        if let Some((name, tube)) = self.tubes.remove(name)
            && tube.paused_until_ms > 0
        {
            self.ended_pauses.insert(name, tube.paused_until_ms);
        }
        if at < self.list.len() {
            self.list.swap_remove(at);
        }
        if let Some(moved) = self.list.get(at)
            && let Some(moved) = self.tubes.get_mut(moved)
        {
            moved.at = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(life: &Life) -> Vec<String> {
        life.list().iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn a_tube_lives_while_it_is_used_or_watched_or_has_a_job() {
        let mut life = Life::default();
        life.tie(b"a", Tie::Using, Totals::default());
        life.tie(b"b", Tie::Watching, Totals::default());
        life.jobs(b"c", true);
        life.jobs(b"a", true);
        assert_eq!(names(&life), ["default", "a", "b", "c"]);
        assert!(!life.untie(b"a", Tie::Using, true), "it has a job");
        assert_eq!(names(&life), ["default", "a", "b", "c"]);
        life.jobs(b"a", false);
        assert_eq!(names(&life), ["default", "c", "b"]);
        life.flush(&mut Garbage::default());
        assert_eq!(names(&life), ["default", "b"]);
        life.gone(b"b");
        assert!(life.untie(b"b", Tie::Watching, true));
        assert_eq!(names(&life), ["default"]);
    }

    #[test]
    fn a_flush_leaves_what_is_used_or_watched() {
        let mut life = Life::default();
        let totals = Totals { puts: 3, ..Totals::default() };
        for n in 0..100 {
            let name = format!("t{n}");
            life.jobs(name.as_bytes(), true);
            if n % 10 == 0 {
                *life.tie(name.as_bytes(), Tie::Watching, totals).1 = Some(n);
                life.paused(name.as_bytes(), 5);
            }
        }
        life.tie(b"used", Tie::Using, totals);
        life.untie(b"t90", Tie::Watching, false);
        life.paused(b"t91", 5);
        life.jobs(b"t91", false);
        assert!(life.has_ended_pauses());
        life.flush(&mut Garbage::default());
        let kept: Vec<String> = (0..9).map(|n| format!("t{}", n * 10)).collect();
        assert_eq!(
            names(&life),
            [&["default".to_string()][..], &kept[..], &["used".to_string()][..]].concat()
        );
        assert!(!life.has_ended_pauses() && !life.has(b"t91"));
        for n in (0..90).step_by(10) {
            let name = format!("t{n}");
            assert_eq!((life.number(name.as_bytes()), life.ties(name.as_bytes())), (Some(n), (0, 1)));
            assert_eq!(life.since_birth(name.as_bytes(), totals).puts, 3, "it counts anew");
        }
        // Each knows its place, and none has a job or a pause.
        assert!(life.untie(b"t20", Tie::Watching, false));
        assert!(life.untie(b"used", Tie::Using, true));
        assert_eq!(names(&life)[..4], ["default", "t0", "t10", "t80"]);
        assert!(!life.has_ended_pauses() && names(&life).len() == 9);
    }

    #[test]
    fn a_tube_that_comes_to_life_again_counts_anew() {
        let mut life = Life::default();
        let totals = |puts| Totals { puts, ..Totals::default() };
        life.tie(b"a", Tie::Using, totals(3));
        life.tie(b"a", Tie::Watching, totals(4));
        assert_eq!(life.since_birth(b"a", totals(5)).puts, 2);
        life.gone(b"a");
        assert_eq!(life.since_birth(b"a", totals(1)).puts, 1);
    }
}
