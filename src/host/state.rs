//! Everything that lives as long as the module: the broker, and what ties it to Redis. Redis calls us on its main
//! thread only, but may call us while we are calling it (opening a key whose time is over tells us that it is
//! gone, for example). So there are two cells: the state, entered once at a time, and the news, which a callback
//! can always leave there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hint::cold_path;
use std::ptr;

use super::api::{Ctx, RedisModuleType, flag};
use super::beanstalk::Door;
use super::clock::now_ms;
use super::events;
use super::found::Found;
use super::listeners::Listeners;
use super::slots::Slots;
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
    }));
}

/// Gives back what there is, as the module is not loaded after all.
pub(super) fn end() {
    if let Some(mut state) = STATE.0.take() {
        state.means.door.shut_down(&mut state.broker);
    }
}

/// Enters the state, unless we are in it already or it is not there yet. Redis will tell before its event loop sleeps.
pub(super) fn enter<T>(work: impl FnOnce(&mut State) -> T) -> Option<T> {
    let was_deaf = events::hear_turns();
    enter_deaf(|state| {
        if was_deaf {
            cold_path();
            // Redis may have told others already that it is about to sleep.
            state.timer.about_to_sleep = true;
        }
        work(state)
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
    events::hear_turns();
    doubt();
    NEWS.0.borrow_mut().push_back(news);
    HAS_NEWS.0.set(true);
}

/// A number that grows with each news and [doubt]. While it stays the same, no tube's key has gone, or got a time to
/// live.
pub(super) fn told() -> u64 {
    TOLD.0.get()
}

/// The oldest news; ids that were seen come last.
pub(super) fn next_news() -> Option<News> {
    let news = NEWS.0.borrow_mut().pop_front();
    if news.is_none() {
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
