//! What Redis tells modules: keys that appear and vanish, databases, clients, roles, loading, forks, and the
//! turns of its event loop. Most of it is only noted here, and acted upon when the server is about to sleep or
//! the next command runs.
//!
//! To hear of a turn of the event loop costs as much as a fifth of a command, of ours and of others', so we are deaf to
//! them while there is nothing to do for us then, and not likely to be soon: nobody has begun to wait lately, and the
//! beanstalk port is closed or its sessions [run alone](super::beanstalk). Whoever leaves something to be done puts an
//! end to it: [`hear_turns`], [`State::ignore_turns`].

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_void};

use redis_module::raw;

use crate::broker::{self, News, Role};

use super::api::{
    Ctx, OK, RedisModuleCtx, RedisModuleEvent, RedisModuleString, api, bytes_of, flag, notify,
    turn_event_loop,
};
use super::clock::now_us;
use super::guard::guard;
use super::state::{self, MainThread, State, tell};
use super::world::RedisWorld;
use super::{datatype, loading};

const ROLE_CHANGED: u64 = 0;
const PERSISTENCE: u64 = 1;
const FLUSHDB: u64 = 2;
const LOADING: u64 = 3;
const CLIENT_CHANGE: u64 = 4;
const SHUTDOWN: u64 = 5;
const REPLICA_CHANGE: u64 = 6;
const CRON_LOOP: u64 = 8;
const MODULE_CHANGE: u64 = 9;
const SWAPDB: u64 = 11;
const FORK_CHILD: u64 = 13;
const ASYNC_LOAD: u64 = 14;
const EVENTLOOP: u64 = 15;
const CONFIG: u64 = 16;

const EVENTS: [u64; 14] = [
    ROLE_CHANGED,
    PERSISTENCE,
    FLUSHDB,
    LOADING,
    CLIENT_CHANGE,
    SHUTDOWN,
    REPLICA_CHANGE,
    CRON_LOOP,
    MODULE_CHANGE,
    SWAPDB,
    FORK_CHILD,
    ASYNC_LOAD,
    EVENTLOOP,
    CONFIG,
];

/// Loading has ended, and not failed.
const LOADED: u64 = 3;

const RDB_BEGINS_IN_CHILD: u64 = 0;
const AOF_BEGINS_IN_CHILD: u64 = 1;
const RDB_BEGINS: u64 = 2;
const AOF_BEGINS: u64 = 5;
const SAVED: u64 = 3;
const NOT_SAVED: u64 = 4;

/// The version of all the events that we subscribe to.
const EVENT_VERSION: u64 = 1;

/// Subscribes to everything; `false`, and to nothing, if Redis refused.
pub(super) fn subscribe(ctx: Ctx) -> bool {
    let classes = notify::GENERIC | notify::LOADED;
    let done = EVENTS.iter().all(|id| hear(ctx, *id, true))
        // SAFETY: the callback has the signature of a notification's.
        && (unsafe { api!(RedisModule_SubscribeToKeyspaceEvents(ctx.as_ptr(), classes, Some(on_key))) }) == OK;
    if !done {
        for id in EVENTS {
            hear(ctx, id, false);
        }
    }
    done
}

/// Subscribes to an event, or ends that; `false` if Redis refused.
fn hear(ctx: Ctx, id: u64, wanted: bool) -> bool {
    let event = RedisModuleEvent { id, dataver: EVENT_VERSION };
    let callback: raw::RedisModuleEventCallback = if wanted { Some(on_event) } else { None };
    // SAFETY: the callback has the signature of an event's; without one, the subscription ends.
    (unsafe { api!(RedisModule_SubscribeToServerEvent(ctx.as_ptr(), event, callback)) }) == OK
}

/// A context for what is done in callbacks that have none.
static OWN: MainThread<Cell<Option<Ctx>>> = MainThread(Cell::new(None));
/// Whether Redis does not tell of the turns of its event loop.
static IS_DEAF: MainThread<Cell<bool>> = MainThread(Cell::new(false));

/// A context for what is done in callbacks that have none, once it [was made](make_own_context).
pub(super) fn own_context() -> Option<Ctx> {
    OWN.0.get()
}

/// Makes that context, if there is none.
pub(super) fn make_own_context(ctx: Ctx) {
    if OWN.0.get().is_none() {
        OWN.0.set(Some(ctx.own()));
    }
}

/// Whether Redis does not tell when its event loop goes to sleep, and wakes.
#[inline]
pub(super) fn is_deaf() -> bool {
    IS_DEAF.0.get()
}

/// Has Redis tell when its event loop goes to sleep, and wakes. Returns whether it did not until now.
#[inline]
pub(super) fn hear_turns() -> bool {
    IS_DEAF.0.get() && stop_being_deaf()
}

/// The same where something is to be done before the event loop sleeps. If Redis did not tell until now, it may have
/// told others already that it is about to: so the event loop turns once more.
#[inline]
pub(super) fn hear_next_turn() {
    if hear_turns() {
        turn_event_loop();
    }
}

#[cold]
fn stop_being_deaf() -> bool {
    IS_DEAF.0.set(OWN.0.get().is_none_or(|ctx| !hear(ctx, EVENTLOOP, true)));
    true
}

/// Has Redis not tell of that: nothing is to be done before it sleeps. Only a timer and the event loop's callback of a
/// file descriptor may say so, as Redis must not be going through its list of listeners. Called by
/// [`State::ignore_turns`] alone.
pub(super) fn ignore_turns() {
    if !IS_DEAF.0.get()
        && let Some(ctx) = OWN.0.get()
    {
        IS_DEAF.0.set(hear(ctx, EVENTLOOP, false));
    }
}

/// Called by a timer.
pub(super) unsafe extern "C" fn on_quiet(_: *mut RedisModuleCtx, _: *mut c_void) {
    guard((), || {
        state::enter_deaf(State::ignore_turns_if_quiet);
    });
}

unsafe extern "C" fn on_event(
    ctx: *mut RedisModuleCtx,
    event: RedisModuleEvent,
    sub: u64,
    data: *mut c_void,
) {
    // SAFETY: Redis passed the context to this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    guard((), || match (event.id, sub) {
        (EVENTLOOP, 0) => about_to_sleep(ctx),
        (EVENTLOOP, _) => {
            state::enter(|state| state.timer.about_to_sleep = false);
        }
        (CRON_LOOP, _) => {
            state::enter(|state| {
                state.means.listeners.look(ctx);
                state.catch_up_with_clock(ctx);
                state.look_at_telling(ctx);
                state.means.door.look(ctx);
                state.look_at_slots(ctx);
                state.means.door.doubt();
                state.look_whether_calm(ctx);
                state.look_whether_quiet(ctx);
                state.waited_lately = false;
                let (broker, means) = state.parts();
                broker.tidy(&mut RedisWorld::outside(ctx, means));
                state.means.found.forget();
            });
        }
        (FORK_CHILD, _) => {
            state::enter(|state| state.means.listeners.came());
        }
        (REPLICA_CHANGE, _) => {
            state::enter(|state| {
                if sub == 0 {
                    state.means.listeners.came();
                }
                state.means.door.doubt();
            });
        }
        (MODULE_CHANGE, _) => {
            state::enter(|state| state.means.listeners.modules_changed());
        }
        (CONFIG, _) => {
            state::enter(|state| {
                state.means.listeners.came();
                state.means.door.doubt();
            });
            if decides_on_eviction(data) {
                look_at_eviction(ctx);
            }
        }
        (ROLE_CHANGED | LOADING, _) => {
            let is_loading = event.id == LOADING && sub <= 2;
            let role = if is_loading { Role::Follower } else { state::role(ctx) };
            state::enter(|state| {
                if event.id == ROLE_CHANGED && role == Role::Follower {
                    state.means.door.close_all_soon("this server has become a replica");
                }
                state.means.door.doubt();
                if (event.id, sub) == (LOADING, LOADED) {
                    let (broker, means) = state.parts();
                    broker.loaded(&mut RedisWorld::outside(ctx, means));
                }
                state.become_role(ctx, role);
            });
            if role == Role::Primary {
                look_at_eviction(ctx);
            }
        }
        // Both are told of in the child that writes the file.
        (PERSISTENCE, RDB_BEGINS_IN_CHILD | AOF_BEGINS_IN_CHILD) => {
            state::enter(|state| state.means.door.leave_to_parent());
        }
        // This process writes the file itself. That it is written is told in children, too, where it does no harm.
        (PERSISTENCE, RDB_BEGINS | AOF_BEGINS) => datatype::writes_file(true),
        (PERSISTENCE, SAVED | NOT_SAVED) => datatype::writes_file(false),
        (SHUTDOWN, _) => {
            state::enter(|state| state.means.door.shut_down(&mut state.broker));
        }
        (FLUSHDB, 0) => state::doubt(),
        (FLUSHDB, _) => flushed(data),
        (SWAPDB, _) => swapped(data),
        (CLIENT_CHANGE, 1) => closed(data),
        (ASYNC_LOAD, 0) => loading::begin(),
        (ASYNC_LOAD, 1) => loading::abort(),
        (ASYNC_LOAD, 2) => loading::complete(ctx),
        _ => {}
    });
}

/// The server has done what there was to do: now everything that was noted is acted upon, and those who wait are
/// told.
fn about_to_sleep(ctx: Ctx) {
    state::enter(|state| {
        state.timer.about_to_sleep = true;
        state.means.door.count_due();
        let flags = if state.means.door.has_work() { Some(ctx.flags()) } else { None };
        if let Some(flags) = flags {
            state.run_sessions(ctx, flags);
        }
        state.tell_before_sleep(ctx);
        if state.means.door.has_work() {
            state.means.door.settle(flags.unwrap_or_else(|| ctx.flags()));
        }
        state.settle(ctx);
        state.look_whether_quiet(ctx);
    });
}

impl State {
    fn become_role(&mut self, ctx: Ctx, role: Role) {
        self.broker.set_role(role, now_us());
        // A replica has had a backlog since its synchronisation, and goes on with it when it is promoted.
        self.means.listeners.came();
        if role == Role::Primary {
            self.arm(ctx);
        }
    }
}

/// Looks by which policy keys are evicted. A tube is a key, and may be evicted like any other where it is for all keys.
pub(super) fn look_at_eviction(ctx: Ctx) {
    let policy = ctx.setting(c"maxmemory-policy");
    if ctx.has(flag::MAXMEMORY)
        && ctx.has(flag::EVICT)
        && policy.as_ref().is_none_or(|policy| policy.starts_with("allkeys"))
    {
        ctx.log(
            c"warning",
            "maxmemory-policy may evict tubes with all their jobs; set it to noeviction, or to a volatile policy",
        );
    }
    state::enter(|state| state.means.found.count(policy.is_some_and(|policy| policy.ends_with("lfu"))));
}

/// Whether one of the settings that were changed says whether tubes are evicted.
fn decides_on_eviction(data: *mut c_void) -> bool {
    // SAFETY: that is what Redis passes with this event.
    let Some(change) = (unsafe { data.cast::<raw::RedisModuleConfigChange>().as_ref() }) else {
        return false;
    };
    (0..change.num_changes as usize).any(|n| {
        // SAFETY: there are so many names, which end with a null.
        let name = unsafe { CStr::from_ptr(*change.config_names.add(n)) };
        [c"maxmemory", c"maxmemory-policy"].contains(&name)
    })
}

fn flushed(data: *mut c_void) {
    // SAFETY: that is what Redis passes with this event.
    let Some(info) = (unsafe { data.cast::<raw::RedisModuleFlushInfo>().as_ref() }) else { return };
    tell(News::Flushed(u32::try_from(info.dbnum).ok()));
}

fn swapped(data: *mut c_void) {
    // SAFETY: that is what Redis passes with this event.
    let Some(info) = (unsafe { data.cast::<raw::RedisModuleSwapDbInfo>().as_ref() }) else { return };
    if let (Ok(a), Ok(b)) = (u32::try_from(info.dbnum_first), u32::try_from(info.dbnum_second)) {
        tell(News::Swapped(a, b));
        on_their_way(|db, name| Some((broker::swapped(db, a, b), name.into())));
    }
}

fn closed(data: *mut c_void) {
    // SAFETY: that is what Redis passes with this event.
    let Some(info) = (unsafe { data.cast::<raw::RedisModuleClientInfo>().as_ref() }) else { return };
    // Most connections never bind a reservation.
    if state::enter_deaf(|state| state.broker.has_bound(info.id)).unwrap_or(true) {
        tell(News::Closed { client: info.id });
    }
}

/// A tube goes by another name, or is in another database.
fn renamed(from: (u32, Box<[u8]>), to: (u32, Box<[u8]>)) {
    on_their_way(|db, name| (db == from.0 && *name == *from.1).then(|| to.clone()));
    tell(News::Renamed { from, to });
}

/// What was handed to a client, and may not have reached it, goes along.
fn on_their_way(place_of: impl Fn(u32, &[u8]) -> Option<(u32, Box<[u8]>)>) {
    state::enter_deaf(|state| state.means.waits.moved(place_of));
}

thread_local! {
    /// The key that is being renamed or moved: Redis tells the old name first, then the new one.
    static LEAVING: RefCell<Option<(u32, Box<[u8]>)>> = const { RefCell::new(None) };
    /// Whether a tube was loaded since a loaded key was last told of.
    static TUBE_WAS_LOADED: Cell<bool> = const { Cell::new(false) };
    /// The database of the tube that is being copied.
    static COPIED: Cell<Option<u32>> = const { Cell::new(None) };
}

/// A tube is being loaded. Its key is the next one that Redis tells of, as it does of every key that it loads.
pub(super) fn tube_was_loaded() {
    TUBE_WAS_LOADED.set(true);
}

/// A tube of this database is being copied.
pub(super) fn copying(db: u32) {
    COPIED.set(Some(db));
}

/// A key has been moved or copied.
///
/// Valkey has two bugs here where a module listens. Some versions leave the client in the key's new database
/// (valkey-io/valkey#4024), so that it is put back where it was. In transactions of others, the database that is told
/// is the client's, not the key's: then the key may be anywhere.
fn arrived(
    ctx: Ctx,
    home: Option<u32>,
    moved: Option<Box<[u8]>>,
    to: (u32, Box<[u8]>),
    is_tube: impl FnOnce() -> bool,
) {
    if home == Some(to.0) && ctx.has(flag::MULTI | flag::LUA) {
        let dbs = (0..).take_while(|db| ctx.select_db(*db));
        dbs.for_each(|db| tell(News::Here { db, name: to.1.clone() }));
    } else {
        if let (Some(db), Some(name)) = (home, moved)
            && is_tube()
        {
            renamed((db, name), to.clone());
        }
        tell(News::Here { db: to.0, name: to.1 });
    }
    if let Some(db) = home {
        ctx.select_db(db);
    }
}

/// Whether the key that Redis tells of can be seen and holds a tube.
fn is_tube(ctx: Ctx, key: *mut RedisModuleString) -> bool {
    ctx.open_to_look(key).is_some_and(|key| key.value(state::data_type()).is_some())
}

unsafe extern "C" fn on_key(
    ctx: *mut RedisModuleCtx,
    _: c_int,
    event: *const c_char,
    key: *mut RedisModuleString,
) -> c_int {
    // SAFETY: Redis passed the context to this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    // SAFETY: Redis passed the event's name.
    let event = unsafe { CStr::from_ptr(event) };
    guard(OK, || {
        let key = key.cast_const();
        let place = || (ctx.selected_db(), Box::from(bytes_of(&key)));
        let here = |(db, name)| tell(News::Here { db, name });
        // Keys of every type go by other names. Only a tube has reservations, and to look for its own among very many
        // takes long.
        let is_tube = || is_tube(ctx, key.cast_mut());
        match event.to_bytes() {
            b"rename_from" | b"move_from" => LEAVING.set(Some(place())),
            b"rename_to" => {
                if let Some(from) = LEAVING.take()
                    && is_tube()
                {
                    renamed(from, place());
                }
                here(place());
            }
            b"move_to" => {
                let (home, moved) = LEAVING.take().unzip();
                arrived(ctx, home, moved, place(), is_tube);
            }
            b"copy_to" => arrived(ctx, COPIED.take(), None, place(), is_tube),
            b"restore" => here(place()),
            // A replica can see a key again that it held for expired.
            b"persist" | b"expire" if !ctx.has(flag::MASTER) && is_tube() => here(place()),
            b"expire" => state::doubt(),
            // What is loaded beside the data set that serves is gathered elsewhere.
            b"loaded" if TUBE_WAS_LOADED.take() && !ctx.has(flag::ASYNC_LOADING) => here(place()),
            _ => {}
        }
        OK
    })
}
