//! What happens by itself when its time has come: waits end, delayed jobs become ready, reservations and pauses
//! end, idle tubes go, and jobs that nobody holds go back. All in bounded slices; an early, late or repeated tick
//! does no harm.

use crate::queue::decide::{self, Retry};
use crate::queue::{Change, Handle, Tube, is_over, over_ms};

use super::names::AT_ONCE;
use super::{Access, Broker, End, GiveBack, Key, Name, Role, Step, World};

/// How a tick ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticked {
    /// Everything that was due is done, or the next tick is due at once.
    Done,
    /// Changes are not allowed at the moment. Nothing tells when they are again: ask.
    Refused,
}

impl Broker {
    /// Does what is due, a slice of it. [`Broker::next_tick_ms`] tells when to call again.
    pub fn tick<W: World>(&mut self, world: &mut W, now_ms: u64) -> Ticked {
        self.catch_up(world);
        while let Some(number) = self.line.next_over(now_ms) {
            self.line.leave(number);
            world.end_wait(number, End::TimedOut);
        }
        self.do_port_work(world);
        if self.role != Role::Primary || self.next_tick_ms().is_none_or(|at_ms| at_ms > now_ms) {
            return Ticked::Done;
        }
        if !world.may_write() {
            return Ticked::Refused;
        }
        self.end_pauses(world, now_ms);
        let mut changes = self.give_back_slice(world, now_ms);
        for _ in 0..self.settings.slices.tubes {
            let Some(wait) = self.unserved.pop_front() else { break };
            self.serve_again(world, &wait, now_ms);
        }
        self.go_on_sweeping();
        if self.line.waiting() > 0 {
            changes += self.attend_news(world, now_ms);
        }
        for _ in 0..self.settings.slices.tubes {
            if changes >= 2 * self.settings.slices.jobs {
                break;
            }
            let Some(more) = self.attend_next(world, now_ms) else { break };
            changes += more;
        }
        Ticked::Done
    }

    /// Gives back jobs that nobody holds, a slice of them. Returns how many changes that made.
    pub(super) fn give_back_slice<W: World>(&mut self, world: &mut W, now_ms: u64) -> usize {
        let mut changes = 0;
        while changes < 2 * self.settings.slices.jobs
            && let Some(back) = self.give_backs.untold.first().cloned()
        {
            // It stays there meanwhile: if its time is over as well, nobody has heard of that either.
            changes += self.give_back(world, &back, now_ms, |tube, _| {
                decide::undeliver(tube, Handle::id(back.id), now_ms)
            });
            // Unless its tube was renamed just now: then it is looked at once more.
            self.give_backs.untold.remove(&back);
        }
        while changes < 2 * self.settings.slices.jobs
            && let Some(back) = self.give_backs.lost.pop_front()
        {
            changes += self.give_back(world, &back, now_ms, |tube, retry| {
                decide::lose(tube, Handle::lease(back.id, back.n), now_ms, retry)
            });
        }
        changes
    }

    /// Does what is due in the tube that has waited for it longest. Returns how many changes that made, or `None`
    /// if nothing is due.
    pub(super) fn attend_next<W: World>(&mut self, world: &mut W, now_ms: u64) -> Option<usize> {
        let (db, name) = self.names.take_due(now_ms)?;
        Some(self.attend(world, db, &name, now_ms))
    }

    /// Does what is due in the tubes that appeared, or were swapped here: who waits on several gets the most urgent job of
    /// them all. Returns how many changes that made.
    fn attend_news<W: World>(&mut self, world: &mut W, now_ms: u64) -> usize {
        let most = self.settings.slices.tubes;
        let news = std::iter::from_fn(|| self.names.take_due(over_ms(AT_ONCE))).take(most);
        let mut changes = 0;
        for (db, name) in by_urgency(world, now_ms, news.collect()) {
            if changes < 2 * self.settings.slices.jobs {
                changes += self.attend(world, db, &name, now_ms);
            } else {
                self.names.attend(db, &name, AT_ONCE);
            }
        }
        changes
    }

    fn attend<W: World>(&mut self, world: &mut W, db: u32, name: &Name, now_ms: u64) -> usize {
        // A key that is not there, or holds something else, is none of ours: nothing to do, nothing to keep.
        match world.open(db, name, Access::Look) {
            Ok(key) if key.tube().is_some() => drop(key),
            _ => {
                self.catch_up(world);
                self.names.remove(db, name);
                return 0;
            }
        }
        Step::tick(self, world, db, name, now_ms).unwrap_or(0)
    }

    /// Ends what is over in a tube, and serves those who wait there. One that holds something else is none of ours.
    pub(crate) fn look_after<W: World>(&mut self, world: &mut W, db: u32, name: &[u8], now_ms: u64) {
        let _ = Step::run(self, world, db, name, now_ms, |_| ());
    }

    /// Whether something in a tube, as it is now, is over, or somebody waits there.
    pub(crate) fn needs_look(&self, db: u32, name: &[u8], tube: Option<&Tube>, now_ms: u64) -> bool {
        let Some(tube) = tube else { return false };
        let deadline_ms = tube.next_deadline_ms(self.settings.linger_ms);
        deadline_ms.is_some_and(|at_ms| is_over(at_ms, now_ms)) || self.waiting_on(db, name) > 0
    }

    /// As [`Broker::look_after`] for several tubes, where `left` bounds how much of what is over is ended in all of them.
    pub(crate) fn look_after_all<W: World>(
        &mut self,
        world: &mut W,
        db: u32,
        names: &[&[u8]],
        now_ms: u64,
        left: &mut usize,
    ) {
        for name in names {
            let _ = Step::run_within(left, self, world, db, name, now_ms, |_| ());
        }
    }

    /// Gives a reservation back, as `decide` says, if it is still there. Returns how many changes that made, and one more.
    fn give_back<W: World>(
        &mut self,
        world: &mut W,
        back: &GiveBack,
        now_ms: u64,
        decide: impl FnOnce(&Tube, Retry) -> Option<Change<'static>>,
    ) -> usize {
        let Some(db) = self.names.db_of(back.uid) else { return 1 };
        let retry = self.settings.retry;
        let changes = Step::run(self, world, db, &back.name, now_ms, |step| {
            let tube = step.tube().filter(|tube| back.is_in(tube));
            if let Some(change) = tube.and_then(|tube| decide(tube, retry)) {
                step.make(&change);
            }
            step.changes()
        });
        changes.unwrap_or(0) + 1
    }

    fn go_on_sweeping(&mut self) {
        let Some(mut after) = self.sweep.take() else { return };
        for _ in 0..self.settings.slices.tubes {
            after = self.names.after(after.as_ref());
            let Some((db, name)) = &after else { return };
            self.names.attend(*db, name, AT_ONCE);
        }
        self.sweep = Some(after);
    }
}

/// Tubes by the jobs that would be taken next from them, the most urgent first. Costs a look at each.
pub(super) fn by_urgency<W: World>(
    world: &mut W,
    now_ms: u64,
    mut tubes: Vec<(u32, Name)>,
) -> Vec<(u32, Name)> {
    if tubes.len() > 1 {
        tubes.sort_by_cached_key(|(db, name)| {
            let key = world.open(*db, name, Access::Look).ok();
            let head = key.as_ref().and_then(Key::tube).and_then(|tube| decide::head(tube, now_ms));
            (head.is_none(), head)
        });
    }
    tubes
}
