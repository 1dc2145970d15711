//! What the broker keeps for the beanstalk protocol's port, while there is one. Its tubes are those of one
//! database, and its commands ask for what `PHEAN.*` commands need not know: in which tube a job is, which tubes are
//! used and watched, and which of ten thousand watched tubes has the most urgent job.

mod heads;
mod life;
mod whereabouts;

use std::cell::Cell;
use std::rc::Rc;

use crate::queue::decide::Worker;
use crate::queue::{Change, Counts, ID_MAX, Reservation, Totals, Tube, is_over};

use heads::Heads;
pub use life::DEFAULT;
use life::Life;
use life::Tie;
use whereabouts::Whereabouts;

use super::garbage::Garbage;
use super::names::{AT_ONCE, Name, Names};
use super::sessions::Bound;
use super::watched::Watched;
use super::{Access, Broker, GiveBack, Key, Role, Step, Wait, World, WrongType};

/// So many jobs are noted in one slice of work.
const JOBS: usize = 4096;

/// So many jobs are noted when the port is opened, before anybody can ask for one.
const JOBS_AT_ONCE: usize = 1_000_000;

/// So many chunks of notes are swept in one slice of work.
const CHUNKS: usize = 4;

/// So many notes may lead nowhere before they are swept away, and a quarter of those that lead somewhere.
const STALE_MAX: u64 = 65_536;

/// What is kept for the port.
#[derive(Default)]
pub(super) struct PortIndex {
    db: u32,
    life: Life,
    heads: Heads,
    whereabouts: Whereabouts,
    /// The last chunk that a sweep has been through, while there is one.
    sweep: Option<Option<u64>>,
    /// How many notes the last sweep left.
    swept: u64,
    /// Whether the step that is being made may give its tube another head.
    is_headed_anew: bool,
    /// The tube that was last asked for by its name, and its number.
    last: Option<(Name, Option<u32>)>,
    /// How many tubes single commands looked at, since that was last asked.
    looks: Cell<usize>,
}

/// To look at the head of so many tubes costs as much as to look at one of them.
const HEADS: usize = 8;

impl PortIndex {
    /// So many tubes were looked at for a single command.
    fn count_looks(&self, count: usize) {
        self.looks.set(self.looks.get() + count);
    }

    /// A change of one of its tubes is being made.
    pub(super) fn change(&mut self, name: &[u8], change: &Change<'_>, had_jobs: bool) {
        if !self.heads.is_empty() && !self.is_headed_anew {
            let number = self.number(name);
            self.is_headed_anew = number.is_some_and(|number| self.heads.may_change(number, change));
        }
        match change {
            Change::Put { id, .. } => self.note(name, *id, had_jobs),
            // Another tube may have had this id first; then this one is asked until all of its jobs are noted.
            Change::Restore(job) if !self.whereabouts.offer(name, job.id) => self.whereabouts.arrived(name),
            Change::Delete { id } => self.whereabouts.deleted(name, *id),
            _ => {}
        }
    }

    fn note(&mut self, name: &[u8], id: u64, had_jobs: bool) {
        if had_jobs && !self.whereabouts.knows(name) {
            self.whereabouts.arrived(name);
        }
        self.whereabouts.put(name, id);
    }

    /// A tube of its is now as told.
    pub(super) fn changed(&mut self, name: &[u8], had_jobs: bool, tube: &Tube) {
        let has_jobs = tube.counts().all() > 0;
        if has_jobs != had_jobs {
            self.life.jobs(name, has_jobs);
        }
        if std::mem::take(&mut self.is_headed_anew) {
            self.update_head(name, Some(tube));
        }
    }

    /// By which number wide connections know the tube. Mostly the same tube is asked for again.
    fn number(&mut self, name: &[u8]) -> Option<u32> {
        if let Some((last, number)) = &self.last
            && **last == *name
        {
            return *number;
        }
        let number = self.life.number(name);
        self.last = Some((Name::from(name), number));
        number
    }

    /// The tube may have another head.
    fn update_head(&mut self, name: &[u8], tube: Option<&Tube>) {
        if !self.heads.is_empty()
            && let Some(number) = self.number(name)
        {
            self.heads.update(number, tube);
        }
    }

    /// A tube's key is gone.
    pub(super) fn gone(&mut self, name: &[u8]) {
        self.life.gone(name);
        self.update_head(name, None);
        self.whereabouts.gone(name);
    }

    /// A tube appeared by no command of ours.
    pub(super) fn here(&mut self, name: &[u8], tube: &Tube) {
        let has_jobs = tube.counts().all() > 0;
        self.life.jobs(name, has_jobs);
        self.update_head(name, Some(tube));
        if has_jobs {
            self.whereabouts.arrived(name);
        }
    }

    /// All tubes are gone.
    pub(super) fn flush(&mut self, garbage: &mut Garbage) {
        self.life.flush(garbage);
        self.heads.flush(garbage);
        self.whereabouts.flush(garbage);
        (self.sweep, self.swept) = (None, 0);
    }
}

impl Broker {
    /// What is kept for the port, if this database is the port's.
    pub(super) fn port_of(&mut self, db: u32) -> Option<&mut PortIndex> {
        self.port.as_deref_mut().filter(|port| port.db == db)
    }

    /// All tubes of a database are gone.
    pub(super) fn flush_port(&mut self, db: u32) {
        if let Some(port) = self.port.as_deref_mut().filter(|port| port.db == db) {
            port.flush(&mut self.garbage);
        }
    }

    /// From now on keeps what the port needs of a database. Costs a look at each of its tubes, and a note of each of
    /// a million jobs: some 100 ms for that many. Further ones are noted at leisure.
    pub fn open_port<W: World>(&mut self, world: &mut W, db: u32) {
        let mut port = Box::new(PortIndex { db, ..PortIndex::default() });
        port.look_at_all(&self.names, world);
        port.note_slice(world, usize::MAX, JOBS_AT_ONCE);
        self.port = Some(port);
    }

    /// The port is closed: nothing is kept for it any longer.
    pub fn close_port(&mut self) {
        if let Some(mut port) = self.port.take() {
            port.flush(&mut self.garbage);
        }
    }

    /// Looks at all tubes of the port's database, which are other ones than before.
    pub(super) fn look_at_all<W: World>(&mut self, world: &mut W) {
        if let Some(port) = &mut self.port {
            port.flush(&mut self.garbage);
            port.look_at_all(&self.names, world);
        }
    }

    /// Whether there is something to be done for the port at leisure.
    pub(super) fn has_port_work(&self) -> bool {
        let Some(port) = &self.port else { return false };
        port.sweep.is_some() || port.whereabouts.next_unnoted().is_some() || self.has_stale_notes(port)
    }

    fn has_stale_notes(&self, port: &PortIndex) -> bool {
        let living = self.names.jobs_in(port.db).all().max(port.swept);
        port.whereabouts.noted() > living + living / 4 + STALE_MAX
    }

    /// Does a slice of what is to be done for the port at leisure.
    pub(super) fn do_port_work<W: World>(&mut self, world: &mut W) {
        let Some(port) = &self.port else { return };
        if port.sweep.is_none() && self.has_stale_notes(port) {
            self.port.iter_mut().for_each(|port| port.sweep = Some(None));
        }
        let Some(port) = &mut self.port else { return };
        if port.whereabouts.next_unnoted().is_some() {
            port.note_slice(world, self.settings.slices.tubes, JOBS);
        } else if port.sweep.is_some() {
            port.sweep_slice(world);
        }
    }

    /// A data set was loaded. Hears of it, and notes all of its jobs for the port at once, which adds a little to the
    /// time that loading took: as long as many tubes are not noted, each of them is asked for a job of which only the id
    /// is known.
    pub fn loaded<W: World>(&mut self, world: &mut W) {
        self.catch_up(world);
        let Some(port) = &mut self.port else { return };
        port.note_slice(world, usize::MAX, usize::MAX);
    }

    /// The tube that holds the job `id` in the port's database, if any does. Where several do: the one that the
    /// broker has known to hold it for longest.
    ///
    /// Costs O(log n), and a look at each tube whose jobs are not noted yet or that shares ids with others.
    pub fn find_job<W: World>(&self, world: &mut W, id: u64) -> Option<Name> {
        let port = self.port.as_ref().filter(|_| (1..=ID_MAX).contains(&id))?;
        let places = &port.whereabouts;
        let mut names = places.hinted(id).chain(places.others(id)).inspect(|_| port.count_looks(1));
        names.find(|name| holds(world, port.db, name, id)).cloned()
    }

    /// About how many tubes single commands of the port looked at since this was last asked, in so far as some commands
    /// look at many: those that look for a job, or for the most urgent one.
    pub fn take_looks(&mut self) -> usize {
        self.port.as_ref().map_or(0, |port| port.looks.take())
    }

    /// How many jobs are noted with their tubes, those included that are gone and not swept away yet.
    pub fn notes(&self) -> u64 {
        self.port.as_ref().map_or(0, |port| port.whereabouts.noted())
    }

    /// A connection begins to use a tube. Returns its name, or `Err` if its key holds something else.
    pub fn use_tube<W: World>(&mut self, world: &mut W, name: &[u8], now_ms: u64) -> Result<Name, WrongType> {
        self.revive(world, name, now_ms);
        let Some(port) = &mut self.port else { return Ok(Name::from(name)) };
        let key = world.open(port.db, name, Access::Look)?;
        let (name, _) = port.life.tie(name, Tie::Using, totals(key.tube()));
        Ok(Name::clone(name))
    }

    /// A connection begins to watch a tube, which it does not yet. `Err` if its key holds something else.
    pub fn watch<W: World>(
        &mut self,
        world: &mut W,
        watched: &mut Watched,
        name: &[u8],
        now_ms: u64,
    ) -> Result<(), WrongType> {
        self.revive(world, name, now_ms);
        let Some(port) = &mut self.port else { return Ok(()) };
        if watched.is_full() && !watched.is_wide() {
            port.widen(world, watched);
        }
        let key = world.open(port.db, name, Access::Look)?;
        let (name, number) = port.life.tie(name, Tie::Watching, totals(key.tube()));
        if watched.is_wide() {
            let known = port.heads.watch(*number, name, key.tube());
            watched.add_wide(name, known);
            *number = Some(known);
            port.last = Some((Name::clone(name), Some(known)));
        } else {
            watched.add(name);
        }
        Ok(())
    }

    /// A connection watches a tube no longer. `false` if it did not.
    pub fn ignore(&mut self, watched: &mut Watched, name: &[u8]) -> bool {
        let Some(port) = &mut self.port else { return false };
        let number = if watched.is_wide() { port.number(name) } else { None };
        if !watched.remove(name, number) {
            return false;
        }
        let has_number = !number.is_some_and(|number| port.heads.ignore(number));
        if !has_number {
            port.last.iter_mut().for_each(|(_, number)| *number = None);
        }
        self.untie(name, Tie::Watching, has_number);
        if let Some(port) = &mut self.port
            && watched.may_be_narrow()
        {
            port.narrow(watched);
        }
        true
    }

    /// Whether a connection watches a tube.
    pub fn is_watched(&mut self, watched: &Watched, name: &[u8]) -> bool {
        let port = self.port.as_mut().filter(|_| watched.is_wide());
        watched.contains(name, port.and_then(|port| port.number(name)))
    }

    /// In beanstalkd a tube that comes to life is not paused. If nothing may be written now, a later tick sees to it.
    fn revive<W: World>(&mut self, world: &mut W, name: &[u8], now_ms: u64) {
        if !self.has_ended_pauses() || self.role != Role::Primary || !world.may_write() {
            return;
        }
        let ended = self.port.as_mut().and_then(|port| port.life.take_ended_pause(Some(name)));
        if let Some((name, until_ms)) = ended {
            self.end_pause(world, &name, until_ms, now_ms);
        }
    }

    /// `pause-tube` has paused a tube for so long.
    pub fn port_paused(&mut self, name: &[u8], for_ms: u64, now_ms: u64) {
        let until_ms = if for_ms > 0 { now_ms.saturating_add(for_ms) } else { 0 };
        self.port.iter_mut().for_each(|port| port.life.paused(name, until_ms));
    }

    /// Whether a tube is paused that was there no longer.
    pub(super) fn has_ended_pauses(&self) -> bool {
        self.port.as_ref().is_some_and(|port| port.life.has_ended_pauses())
    }

    /// Ends the pauses of tubes that were there no longer, a slice of them.
    pub(super) fn end_pauses<W: World>(&mut self, world: &mut W, now_ms: u64) {
        for _ in 0..self.settings.slices.tubes {
            let ended = self.port.as_mut().and_then(|port| port.life.take_ended_pause(None));
            let Some((name, until_ms)) = ended else { break };
            self.end_pause(world, &name, until_ms, now_ms);
        }
    }

    /// Ends a tube's pause, if it is still this one: in beanstalkd a pause ends with the tube.
    fn end_pause<W: World>(&mut self, world: &mut W, name: &[u8], until_ms: u64, now_ms: u64) {
        let Some(db) = self.port.as_ref().map(|port| port.db) else { return };
        // A key that holds something else by now has no pause to end.
        let _ = Step::run(self, world, db, name, now_ms, |step| {
            if step.tube().is_some_and(|tube| tube.header().paused_until_ms == until_ms) {
                step.make(&Change::Pause { for_ms: 0 });
            }
        });
    }

    /// A new connection uses and watches `default`, whatever its key holds.
    pub fn tie_default(&mut self) {
        let Some(port) = &mut self.port else { return };
        for tie in [Tie::Using, Tie::Watching] {
            port.life.tie(DEFAULT, tie, Totals::default());
        }
    }

    /// A connection uses a tube no longer.
    pub fn unuse_tube(&mut self, name: &[u8]) {
        self.untie(name, Tie::Using, true);
    }

    fn untie(&mut self, name: &[u8], tie: Tie, has_number: bool) {
        let Some(port) = &mut self.port else { return };
        if port.life.untie(name, tie, has_number) {
            // It may have been idle for long.
            self.names.attend(port.db, name, AT_ONCE);
        }
    }

    /// How many of the port's connections use a tube, and how many watch it.
    pub fn ties(&self, db: u32, name: &[u8]) -> (u32, u32) {
        self.port.as_ref().filter(|port| port.db == db).map_or((0, 0), |port| port.life.ties(name))
    }

    /// Whether one of the port's connections uses or watches a tube.
    pub(super) fn is_attended(&self, db: u32, name: &[u8]) -> bool {
        self.port.as_ref().is_some_and(|port| port.db == db && port.life.is_attended(name))
    }

    /// The tubes that are there in beanstalkd's eyes, in beanstalkd's order.
    pub fn port_tubes(&self) -> &[Name] {
        self.port.as_ref().map_or(&[], |port| port.life.list())
    }

    /// Whether a tube is there in beanstalkd's eyes.
    pub fn is_port_tube(&self, name: &[u8]) -> bool {
        self.port.as_ref().is_some_and(|port| port.life.has(name))
    }

    /// What a tube has counted since it last came to life, by what its key has counted in all.
    pub fn since_birth(&self, name: &[u8], totals: Totals) -> Totals {
        self.port.as_ref().map_or(totals, |port| port.life.since_birth(name, totals))
    }

    /// The jobs in a database.
    pub fn jobs_in(&self, db: u32) -> Counts {
        self.names.jobs_in(db)
    }

    /// By which number those who watch very many tubes know this one.
    pub(super) fn wide_number(&self, db: u32, name: &[u8]) -> Option<u32> {
        self.port.as_ref().filter(|port| port.db == db)?.life.number(name)
    }

    /// The first in a tube's line.
    pub(super) fn first_in_line(&mut self, db: u32, name: &[u8]) -> Option<(u64, Rc<Wait>)> {
        let port = if self.line.has_wide() { self.port_of(db) } else { None };
        let number = port.and_then(|port| port.number(name));
        self.line.first(db, name, number)
    }

    /// The tube with the most urgent ready job among very many that are all [watched](Broker::watch), and that may be
    /// used, as is asked by number and name.
    pub fn most_urgent(
        &self,
        watched: &Watched,
        mut may_use: impl FnMut(u32, &Name) -> bool,
    ) -> Option<Name> {
        let port = self.port.as_ref()?;
        let mut heads = 0;
        let name = port.heads.first(watched, &mut heads, |number, name| {
            port.count_looks(1);
            may_use(number, name)
        });
        port.count_looks(heads / HEADS);
        name
    }

    /// No reserve finds a job in this tube, whatever was thought.
    pub fn not_urgent(&mut self, name: &[u8]) {
        self.port.iter_mut().for_each(|port| port.update_head(name, None));
    }

    /// The reservation of the job `id` of this database that is bound to this client. Costs a look at its tube.
    pub fn held<W: World>(&self, world: &mut W, client: u64, db: u32, id: u64) -> Option<Bound> {
        let mut all = self.sessions.held(client, id).filter(|held| self.names.db_of(held.uid) == Some(db));
        all.find(|held| reservation(world, db, client, held).is_some()).cloned()
    }

    /// The reservation bound to this client that ends first, if it is one that still holds.
    pub fn soonest_held<W: World>(&mut self, world: &mut W, client: u64, now_ms: u64) -> Option<Bound> {
        while let Some(held) = self.sessions.soonest(client).cloned() {
            let db = self.names.db_of(held.uid);
            let reservation = db.and_then(|db| reservation(world, db, client, &held));
            match reservation.map(|reservation| reservation.deadline_ms) {
                Some(deadline_ms) if !is_over(deadline_ms, now_ms) => {
                    return Some(Bound { deadline_ms, ..held });
                }
                _ => self.sessions.ended(client, held.uid, &held.name, held.id),
            }
        }
        None
    }

    /// Takes a waiter out of the line before its wait is over. What is set aside for it goes back.
    pub fn leave(&mut self, waiter: u64) {
        self.left(waiter);
    }

    /// Puts a client in line again, at the place that its number gives it.
    pub fn wait_again(&mut self, waiter: u64, wait: Wait) {
        self.line.join_again(waiter, wait);
    }

    /// A connection of the port is closed: it waits no longer, and what it holds goes back at the next tick, or
    /// when [`Broker::give_all_back`] is called.
    pub fn client_closed(&mut self, client: u64, waiter: Option<u64>) {
        waiter.into_iter().for_each(|waiter| self.left(waiter));
        let worker = Worker::of(client).kept();
        for Bound { uid, name, id, n, .. } in self.sessions.close(client) {
            self.give_backs.lost.push_back(GiveBack { uid, name, id, n, worker });
        }
    }

    /// Whether jobs are to be given back that nobody holds any longer.
    pub fn has_give_backs(&self) -> bool {
        !self.give_backs.is_empty()
    }

    /// Gives back a slice of the jobs that nobody holds any longer.
    pub fn give_all_back<W: World>(&mut self, world: &mut W, now_ms: u64) {
        if self.role == Role::Primary {
            self.give_back_slice(world, now_ms);
        }
    }

    /// Makes happen what is due by now, a slice of it: before a job is chosen from tubes that are not looked at.
    pub fn end_due<W: World>(&mut self, world: &mut W, now_ms: u64) {
        if self.role != Role::Primary {
            return;
        }
        let mut changes = 0;
        for _ in 0..self.settings.slices.tubes {
            if changes >= 2 * self.settings.slices.jobs {
                break;
            }
            let Some(more) = self.attend_next(world, now_ms) else { break };
            changes += more;
            self.port.iter().for_each(|port| port.count_looks(1 + more));
        }
    }

    /// Serves a waiter that watches very many tubes, if one of them has a job.
    pub(super) fn serve_wide<W: World>(&mut self, world: &mut W, wait: &Rc<Wait>, now_ms: u64) {
        let Some(watched) = &wait.wide else { return };
        let is_usable = |number, _: &Name| !wait.is_barred(number);
        let mut last = None;
        for _ in 0..self.settings.slices.tubes {
            let name = self.most_urgent(watched, is_usable);
            // A look may show that there is no job any longer. Where one stays, nobody waits for it now.
            let Some(name) = name.filter(|name| last.as_ref() != Some(name)) else { return };
            self.look_after(world, wait.db, &name, now_ms);
            last = Some(name);
        }
        if self.most_urgent(watched, is_usable) != last {
            // A later tick goes on.
            self.unserved.push_back(Rc::clone(wait));
        }
    }

    /// Databases changed places: the port's database may hold other tubes now.
    pub(super) fn port_swapped<W: World>(&mut self, world: &mut W, a: u32, b: u32) {
        if self.port.as_ref().is_some_and(|port| port.db == a || port.db == b) {
            self.look_at_all(world);
        }
    }
}

/// What a tube's key has counted.
fn totals(tube: Option<&Tube>) -> Totals {
    tube.map_or_else(Totals::default, |tube| tube.header().totals)
}

/// The reservation that is bound to this client, as it stands in the tube.
pub(super) fn reservation<W: World>(
    world: &mut W,
    db: u32,
    client: u64,
    held: &Bound,
) -> Option<Reservation> {
    let key = world.open(db, &held.name, Access::Look).ok()?;
    key.tube()?.reservation(held.id).filter(|it| it.is(held.n, Worker::of(client).kept()))
}

fn holds<W: World>(world: &mut W, db: u32, name: &Name, id: u64) -> bool {
    let key = world.open(db, name, Access::Look);
    key.is_ok_and(|key| key.tube().is_some_and(|tube| tube.job(id).is_some()))
}

impl PortIndex {
    /// A connection watches so many tubes that they get numbers.
    fn widen<W: World>(&mut self, world: &mut W, watched: &mut Watched) {
        let mut numbers = Vec::with_capacity(watched.len());
        for name in watched.names() {
            let key = world.open(self.db, name, Access::Look).ok();
            if let Some(number) = self.life.number_mut(name) {
                let known = self.heads.watch(*number, name, key.as_ref().and_then(Key::tube));
                *number = Some(known);
                numbers.push(known);
            }
        }
        self.last = None;
        watched.widen(numbers.into_iter());
    }

    /// A connection watches so few tubes that they need no numbers on its behalf.
    fn narrow(&mut self, watched: &mut Watched) {
        watched.narrow();
        for name in watched.names() {
            if let Some(number) = self.life.number_mut(name)
                && number.is_some_and(|known| self.heads.ignore(known))
            {
                *number = None;
            }
        }
        self.last = None;
    }

    fn look_at_all<W: World>(&mut self, names: &Names, world: &mut W) {
        for name in names.from(self.db, b"") {
            if let Ok(key) = world.open(self.db, name, Access::Look)
                && let Some(tube) = key.tube()
            {
                self.here(name, tube);
            }
        }
    }

    /// Notes a slice of what is not noted yet: about so many jobs, of at most so many tubes.
    fn note_slice<W: World>(&mut self, world: &mut W, tubes: usize, mut jobs: usize) {
        for _ in 0..tubes {
            let Some((name, from)) = self.whereabouts.next_unnoted() else { return };
            let seen = self.note_tube(world, &name, from, jobs);
            jobs = jobs.saturating_sub(seen);
            if jobs == 0 {
                return;
            }
        }
    }

    /// Notes a slice of a tube's jobs. Returns how many it has looked at.
    fn note_tube<W: World>(&mut self, world: &mut W, name: &Name, from: u64, jobs: usize) -> usize {
        let Ok(key) = world.open(self.db, name, Access::Look) else {
            self.whereabouts.gone(name);
            return 0;
        };
        let mut seen = 0;
        let mut doubtful = Vec::new();
        let next = key.tube().and_then(|tube| {
            tube.scan(from, None, jobs, |job| {
                seen += 1;
                if !self.whereabouts.offer(name, job.id) {
                    doubtful.push(job.id);
                }
            })
        });
        drop(key);
        let mut is_twin = false;
        for id in doubtful {
            let meant: Vec<Name> = self.whereabouts.hinted(id).cloned().collect();
            if meant.iter().any(|other| other != name && holds(world, self.db, other, id)) {
                is_twin = true;
            } else {
                self.whereabouts.put(name, id);
            }
        }
        self.whereabouts.noted_up_to(name, next);
        if is_twin {
            self.whereabouts.is_twin(name);
        }
        seen
    }

    /// Sweeps away a slice of the notes that lead nowhere.
    fn sweep_slice<W: World>(&mut self, world: &mut W) {
        let Some(mut after) = self.sweep.take() else { return };
        for _ in 0..CHUNKS {
            let Some((chunk, notes)) = self.whereabouts.chunk_after(after) else {
                self.swept = self.whereabouts.noted();
                return;
            };
            after = Some(chunk);
            for (id, names) in notes {
                if !names.iter().any(|name| holds(world, self.db, name, id)) {
                    self.whereabouts.forget(id);
                }
            }
        }
        self.sweep = Some(after);
    }
}
