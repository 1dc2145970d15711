//! Everything that lives as long as the module: the broker, and what ties it to Redis. Redis calls us on its main
//! thread only, but may call us while we are calling it (opening a key whose time is over tells us that it is
//! gone, for example). So there are two cells: the state, entered once at a time, and the news, which a callback
//! can always leave there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hint::cold_path;
use std::ptr;

use super::api::{self, Ctx, RedisModuleType, flag};
use super::beanstalk::Door;
use super::clock::now_ms;
use super::events;
use super::found::Found;
use super::listeners::Listeners;
use super::slots::Slots;
use super::tell::Telling;
use super::timer::Timer;
use super::waits::Waits;
use super::world::Means;
use crate::broker::{Broker, News, Role, Settings};

/// A cell that only the main thread touches.
pub(super) struct MainThread<T>(pub(super) T);

// SAFETY: Redis calls commands, timers, events and the data type's callbacks on its main thread. The one callback
// that may run elsewhere, the data type's free, touches none of these cells.
unsafe impl<T> Sync for MainThread<T> {}

/// What the module keeps.
pub(super) struct State {
    pub(super) broker: Broker,
    pub(super) means: Means,
    pub(super) timer: Timer,
    pub(super) slots: Slots,
    /// When the module was loaded (Unix ms).
    pub(super) started_ms: u64,
    pub(super) telling: Telling,
    /// Whether somebody has begun to wait since Redis' cron last ran who is told before the event loop sleeps.
    pub(super) waited_lately: bool,
    /// Whether a timer is to ask whether [all is quiet](State::ignore_turns_if_quiet).
    is_to_be_quiet: bool,
}

static STATE: MainThread<RefCell<Option<State>>> = MainThread(RefCell::new(None));
static NEWS: MainThread<RefCell<VecDeque<News>>> = MainThread(RefCell::new(VecDeque::new()));
static HAS_NEWS: MainThread<Cell<bool>> = MainThread(Cell::new(false));
static TOLD: MainThread<Cell<u64>> = MainThread(Cell::new(0));
static HIGHEST_ID: MainThread<Cell<u64>> = MainThread(Cell::new(0));
static DATA_TYPE: MainThread<Cell<*mut RedisModuleType>> = MainThread(Cell::new(ptr::null_mut()));

/// What this server is, by what Redis says.
pub(super) fn role(ctx: Ctx) -> Role {
    let flags = ctx.flags();
    if flags & flag::MASTER != 0 && flags & flag::LOADING == 0 { Role::Primary } else { Role::Follower }
}

impl State {
    /// Whether something is to be done before the event loop sleeps.
    pub(super) fn has_work(&self) -> bool {
        has_news() || self.broker.is_sooner() || self.has_to_tell() || self.means.door.has_work()
    }

    /// Whether nothing is to be done before the event loop sleeps, and nothing is likely to be soon. Who has waited for
    /// long may do so for longer; who has just begun to wait is often one that finishes a job and waits, again and again.
    fn is_quiet(&self) -> bool {
        !self.has_work() && !self.waited_lately && !self.means.door.is_listening()
    }

    /// Has Redis not tell of the turns of its event loop while there is nothing to do for us. Called by a timer.
    pub(super) fn ignore_turns_if_quiet(&mut self) {
        self.is_to_be_quiet = false;
        if self.is_quiet() {
            self.ignore_turns();
        }
    }

    /// Has Redis not tell of the turns of its event loop: nothing is to be done before it sleeps, which it may be about
    /// to do at any time from now on. Only a timer and the event loop's callback of a file descriptor may say so.
    pub(super) fn ignore_turns(&mut self) {
        events::ignore_turns();
        self.timer.about_to_sleep = true;
    }

    /// Has a timer do that, if there is nothing to do and Redis tells nevertheless.
    pub(super) fn look_whether_quiet(&mut self, ctx: Ctx) {
        if !events::is_deaf() && !self.is_to_be_quiet && self.is_quiet() {
            self.is_to_be_quiet = true;
            ctx.create_timer(0, Some(events::on_quiet));
        }
    }

    /// The broker, and what its world is made of.
    #[inline(always)]
    pub(super) fn parts(&mut self) -> (&mut Broker, &mut Means) {
        (&mut self.broker, &mut self.means)
    }
}

/// Sets everything up when the module is loaded.
pub(super) fn start(data_type: *mut RedisModuleType, in_cluster: bool) {
    DATA_TYPE.0.set(data_type);
    STATE.0.replace(Some(State {
        broker: Broker::new(Settings::default()),
        means: Means {
            waits: Waits::default(),
            door: Door::default(),
            listeners: Listeners::default(),
            found: Found::new(in_cluster),
        },
        timer: Timer::default(),
        slots: Slots::default(),
        started_ms: now_ms(),
        telling: Telling::on(api::server_version()),
        waited_lately: false,
        is_to_be_quiet: false,
    }));
}

/// Gives back what there is, as the module is not loaded after all.
pub(super) fn end() {
    if let Some(mut state) = STATE.0.take() {
        state.means.door.shut_down(&mut state.broker);
    }
}

/// Enters the state, unless we are in it already or it is not there yet. If something is left to be done before the
/// event loop sleeps, Redis will tell.
#[inline(always)]
pub(super) fn enter<T>(work: impl FnOnce(&mut State) -> T) -> Option<T> {
    enter_deaf(|state| {
        let done = work(state);
        if events::is_deaf() && state.has_work() {
            cold_path();
            events::hear_next_turn();
        }
        done
    })
}

/// Enters the state, unless we are in it already or it is not there yet. Whoever leaves something to be done before
/// the event loop sleeps must [hear of that](events::hear_turns).
pub(super) fn enter_deaf<T>(work: impl FnOnce(&mut State) -> T) -> Option<T> {
    match STATE.0.try_borrow_mut() {
        Ok(mut state) => state.as_mut().map(work),
        Err(_) => {
            cold_path();
            None
        }
    }
}

/// The data type.
pub(super) fn data_type() -> *mut RedisModuleType {
    DATA_TYPE.0.get()
}

/// Something may have happened to a tube's key.
pub(super) fn doubt() {
    TOLD.0.set(TOLD.0.get() + 1);
}

/// Leaves news for the broker.
pub(super) fn tell(news: News) {
    // Somebody may wait for what it is about.
    events::hear_next_turn();
    doubt();
    NEWS.0.borrow_mut().push_back(news);
    HAS_NEWS.0.set(true);
}

/// A number that grows with each news and [doubt]. While it stays the same, no tube's key has gone, or got a time to
/// live.
pub(super) fn told() -> u64 {
    TOLD.0.get()
}

/// The memory of so much news is kept.
const NEWS_KEPT: usize = 1_024;

/// The oldest news; ids that were seen come last.
pub(super) fn next_news() -> Option<News> {
    let news = NEWS.0.borrow_mut().pop_front();
    if news.is_none() {
        NEWS.0.borrow_mut().shrink_to(NEWS_KEPT);
        HAS_NEWS.0.set(false);
        let id = HIGHEST_ID.0.take();
        return (id > 0).then_some(News::Seen { id });
    }
    news
}

/// Whether there is news.
#[inline]
pub(super) fn has_news() -> bool {
    HAS_NEWS.0.get()
}

/// Remembers an id that a loaded tube has held, even if that tube is gone again before the broker looks.
pub(super) fn saw_id(id: u64) {
    HIGHEST_ID.0.set(HIGHEST_ID.0.get().max(id));
    HAS_NEWS.0.set(true);
}
