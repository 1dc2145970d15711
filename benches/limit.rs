//! A module that keeps nothing of a job but its body: it makes the calls of Redis' API that phean cannot do without, for
//! the same commands and with replies as large, copies each body to where it stays, and has next to no code besides. What
//! it costs is the limit: no queue that makes these calls can be faster. `make limit` measures it in phean's place.
//!
//! It counts jobs and knows who waits, so that workers can be kept waiting as phean keeps them. Ids and leases are made
//! up, and jobs go in the order in which they came, whatever is deleted. Keys are not opened, and rights are not looked at
//! again before a worker that waited is told.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_longlong, c_void};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

use redis_module::alloc::RedisAlloc;
use redis_module::raw::{self, RedisModuleBlockedClient, RedisModuleCtx, RedisModuleString};

/// Calls a function of Redis' API, all of which are there in every version that the module loads in.
macro_rules! api {
    ($function:ident($($argument:expr),* $(,)?)) => {
        // SAFETY: only callbacks of Redis come here, with the pointers that Redis passed to them.
        unsafe { raw::$function.expect("the API is there")($($argument),*) }
    };
}

#[global_allocator]
static ALLOCATOR: RedisAlloc = RedisAlloc;

const OK: c_int = 0;
const EVENTLOOP: u64 = 15;
const ABOUT_TO_SLEEP: u64 = 0;
/// Every body has as many bytes.
const BODY: usize = 100;
/// So many bodies lie in one block.
const PER_BLOCK: usize = 12_288 / BODY;
const LEASE: &[u8] = b"12345678-1790000000000";
/// What the event of a put has besides the body.
const EVENT: usize = 20;

static NEXT_ID: AtomicI64 = AtomicI64::new(1);
/// Whether an append-only file is written, and so probably a replica listening.
static IS_HEARD: AtomicBool = AtomicBool::new(false);
static TUBES: Mutex<Vec<Tube>> = Mutex::new(Vec::new());
/// Whether Redis looks after a client that was let go, and goes through those before it is about to sleep.
static LETS_GO_AT_ONCE: AtomicBool = AtomicBool::new(false);
/// Those who are to be let go when Redis is about to sleep. Before that, `CLIENT UNBLOCK` of Redis 7.0 could take their
/// reply away.
static WOKEN: Mutex<Vec<Blocked>> = Mutex::new(Vec::new());

#[derive(Default)]
struct Tube {
    name: Vec<u8>,
    ready: usize,
    waiting: VecDeque<Blocked>,
    bodies: Bodies,
}

/// Bodies, from the first block that holds one. The counts begin there.
#[derive(Default)]
struct Bodies {
    blocks: VecDeque<Vec<u8>>,
    put: usize,
    taken: usize,
    gone: usize,
}

impl Bodies {
    fn put(&mut self, body: &[u8]) {
        if self.put == self.blocks.len() * PER_BLOCK {
            self.blocks.push_back(Vec::with_capacity(PER_BLOCK * BODY));
        }
        let block = self.blocks.back_mut().expect("one was added");
        block.extend_from_slice(&body[..body.len().min(BODY)]);
        block.resize((self.put % PER_BLOCK + 1) * BODY, b' ');
        self.put += 1;
    }

    fn take(&mut self) -> &[u8] {
        let at = self.taken;
        self.taken = (self.taken + 1).min(self.put.saturating_sub(1));
        self.blocks.get(at / PER_BLOCK).map_or(&[], |block| &block[at % PER_BLOCK * BODY..][..BODY])
    }

    /// So many jobs are deleted.
    fn delete(&mut self, count: usize) {
        self.gone += count;
        while self.gone >= PER_BLOCK && self.taken >= PER_BLOCK {
            self.blocks.pop_front();
            for count in [&mut self.put, &mut self.taken, &mut self.gone] {
                *count -= PER_BLOCK;
            }
        }
    }
}

struct Blocked(*mut RedisModuleBlockedClient);

// SAFETY: Redis runs commands on one thread.
unsafe impl Send for Blocked {}

fn with_tube<T>(name: &[u8], work: impl FnOnce(&mut Tube) -> T) -> T {
    let mut tubes = TUBES.lock().expect("nothing here panics");
    match tubes.iter_mut().find(|tube| tube.name == name) {
        Some(tube) => work(tube),
        None => {
            tubes.push(Tube { name: name.to_vec(), ..Tube::default() });
            work(tubes.last_mut().expect("one was added"))
        }
    }
}

type Argv = *mut *mut RedisModuleString;

/// The arguments of a command, without its name, as phean reads them.
fn arguments<'a>(argv: Argv, argc: c_int) -> impl Iterator<Item = &'a [u8]> {
    (1..argc as usize).map(move |n| {
        let mut len = 0;
        // SAFETY: Redis passed so many arguments, which live as long as the callback.
        let bytes = api!(RedisModule_StringPtrLen(*argv.add(n), &mut len));
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) }
    })
}

/// Makes a change known.
fn commit(ctx: *mut RedisModuleCtx, argv: Argv, event: &[u8]) {
    // SAFETY: every command here names its tube first.
    let key = unsafe { *argv.add(1) };
    if IS_HEARD.load(Relaxed) {
        let (bytes, len) = (event.as_ptr().cast::<c_char>(), event.len());
        api!(RedisModule_Replicate(ctx, c"PHEAN.APPLY".as_ptr(), c"sb".as_ptr(), key, bytes, len));
    } else {
        api!(RedisModule_ReplicateVerbatim(ctx));
    }
    api!(RedisModule_SignalModifiedKey(ctx, key));
}

fn array(ctx: *mut RedisModuleCtx, len: usize) {
    api!(RedisModule_ReplyWithArray(ctx, len as _));
}

fn bytes(ctx: *mut RedisModuleCtx, bytes: &[u8]) {
    api!(RedisModule_ReplyWithStringBuffer(ctx, bytes.as_ptr().cast(), bytes.len()));
}

fn integer(ctx: *mut RedisModuleCtx, value: c_longlong) {
    api!(RedisModule_ReplyWithLongLong(ctx, value));
}

fn job(ctx: *mut RedisModuleCtx, tube: &mut Tube) {
    array(ctx, 5);
    bytes(ctx, &tube.name);
    bytes(ctx, LEASE);
    bytes(ctx, tube.bodies.take());
    integer(ctx, 1);
    bytes(ctx, b"60");
}

fn add(tube: &[u8], bodies: &[&[u8]]) {
    let woken = with_tube(tube, |tube| {
        bodies.iter().for_each(|body| tube.bodies.put(body));
        tube.ready += bodies.len();
        let woken = (bodies.len() == 1).then(|| tube.waiting.pop_front()).flatten();
        tube.ready -= usize::from(woken.is_some());
        woken
    });
    WOKEN.lock().expect("nothing here panics").extend(woken);
    if LETS_GO_AT_ONCE.load(Relaxed) {
        let_go();
    }
}

extern "C" fn put(ctx: *mut RedisModuleCtx, argv: Argv, argc: c_int) -> c_int {
    let mut words = arguments(argv, argc);
    let (tube, body) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    api!(RedisModule_GetSelectedDb(ctx));
    let mut event = [0; EVENT + BODY];
    let len = body.len().min(BODY);
    event[EVENT..][..len].copy_from_slice(&body[..len]);
    commit(ctx, argv, &event);
    integer(ctx, NEXT_ID.fetch_add(1, Relaxed));
    add(tube, &[body]);
    OK
}

extern "C" fn mput(ctx: *mut RedisModuleCtx, argv: Argv, argc: c_int) -> c_int {
    let tube = arguments(argv, argc).next().unwrap_or_default();
    let bodies: Vec<&[u8]> = arguments(argv, argc).skip(2).collect();
    api!(RedisModule_GetSelectedDb(ctx));
    commit(ctx, argv, &[0; EVENT]);
    array(ctx, bodies.len());
    bodies.iter().for_each(|_| integer(ctx, NEXT_ID.fetch_add(1, Relaxed)));
    add(tube, &bodies);
    OK
}

extern "C" fn reserve(ctx: *mut RedisModuleCtx, argv: Argv, argc: c_int) -> c_int {
    let mut words = arguments(argv, argc);
    let tube = words.next().unwrap_or_default();
    let (option, value) = (words.next(), words.next());
    let count =
        if option == Some(b"COUNT") { std::str::from_utf8(value.unwrap_or_default()) } else { Ok("1") };
    let count = count.ok().and_then(|count| count.parse().ok()).unwrap_or(1_usize);
    api!(RedisModule_GetSelectedDb(ctx));
    api!(RedisModule_GetClientId(ctx));
    let taken = with_tube(tube, |tube| {
        let taken = tube.ready.min(count);
        tube.ready -= taken;
        if taken == 0 && option == Some(b"TIMEOUT") {
            let client = api!(RedisModule_BlockClient(ctx, Some(told), Some(timed_out), None, 1_000_000));
            tube.waiting.push_back(Blocked(client));
            return None;
        }
        Some(taken)
    });
    let Some(taken) = taken else { return OK };
    if taken > 0 {
        commit(ctx, argv, &[0; EVENT]);
    }
    api!(RedisModule_GetContextFlags(ctx));
    if option == Some(b"COUNT") {
        array(ctx, taken);
        with_tube(tube, |tube| (0..taken).for_each(|_| job(ctx, tube)));
    } else if taken == 1 {
        with_tube(tube, |tube| job(ctx, tube));
    } else {
        api!(RedisModule_ReplyWithNullArray(ctx));
    }
    OK
}

/// What a worker that waited is told. Its command's arguments are still there.
extern "C" fn told(ctx: *mut RedisModuleCtx, argv: Argv, argc: c_int) -> c_int {
    with_tube(arguments(argv, argc).next().unwrap_or_default(), |tube| job(ctx, tube));
    OK
}

extern "C" fn timed_out(ctx: *mut RedisModuleCtx, _: Argv, _: c_int) -> c_int {
    api!(RedisModule_ReplyWithNullArray(ctx));
    OK
}

extern "C" fn delete(ctx: *mut RedisModuleCtx, argv: Argv, argc: c_int) -> c_int {
    let mut words = arguments(argv, argc);
    let tube = words.next().unwrap_or_default();
    let ids = words.filter(|id| !id.is_empty()).count();
    api!(RedisModule_GetSelectedDb(ctx));
    commit(ctx, argv, &[0; EVENT]);
    with_tube(tube, |tube| tube.bodies.delete(ids));
    integer(ctx, ids as c_longlong);
    OK
}

/// How many wait, which is all that the benchmark asks for.
extern "C" fn stats(ctx: *mut RedisModuleCtx, argv: Argv, argc: c_int) -> c_int {
    let waiting = with_tube(arguments(argv, argc).next().unwrap_or_default(), |tube| tube.waiting.len());
    array(ctx, 2);
    bytes(ctx, b"current-waiting");
    integer(ctx, waiting as c_longlong);
    OK
}

/// What replicas and the append-only file are told.
extern "C" fn apply(ctx: *mut RedisModuleCtx, _: Argv, _: c_int) -> c_int {
    api!(RedisModule_ReplyWithSimpleString(ctx, c"OK".as_ptr()));
    OK
}

/// After FLUSHALL there are no jobs.
extern "C" fn flushed(_: *mut RedisModuleCtx, _: raw::RedisModuleEvent, _: u64, _: *mut c_void) {
    TUBES
        .lock()
        .expect("nothing here panics")
        .iter_mut()
        .for_each(|tube| (tube.ready, tube.bodies) = (0, Bodies::default()));
}

extern "C" fn turned(_: *mut RedisModuleCtx, _: raw::RedisModuleEvent, sub: u64, _: *mut c_void) {
    if sub == ABOUT_TO_SLEEP {
        let_go();
    }
}

fn let_go() {
    for Blocked(client) in WOKEN.lock().expect("nothing here panics").drain(..) {
        api!(RedisModule_UnblockClient(client, ptr::null_mut()));
    }
}

type Function = extern "C" fn(*mut RedisModuleCtx, Argv, c_int) -> c_int;

const COMMANDS: [(&CStr, Function, &CStr); 6] = [
    (c"PHEAN.PUT", put, c"write deny-oom fast"),
    (c"PHEAN.MPUT", mput, c"write deny-oom"),
    (c"PHEAN.RESERVE", reserve, c"write"),
    (c"PHEAN.DELETE", delete, c"write fast"),
    (c"PHEAN.STATS", stats, c"readonly fast"),
    (c"PHEAN.APPLY", apply, c"write deny-oom"),
];

/// # Safety
/// Only the server may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RedisModule_OnLoad(ctx: *mut RedisModuleCtx, _: Argv, _: c_int) -> c_int {
    // SAFETY: Redis passed the context to be initialized with.
    unsafe { raw::Export_RedisModule_Init(ctx, c"limit".as_ptr(), 1, 1) };
    IS_HEARD.store(
        api!(RedisModule_GetContextFlags(ctx)) & raw::REDISMODULE_CTX_FLAGS_AOF as c_int != 0,
        Relaxed,
    );
    let event = |id| raw::RedisModuleEvent { id, dataver: 1 };
    api!(RedisModule_SubscribeToServerEvent(ctx, event(raw::REDISMODULE_EVENT_FLUSHDB), Some(flushed)));
    LETS_GO_AT_ONCE.store(api!(RedisModule_GetServerVersion()) >= 0x7_04_00, Relaxed);
    if !LETS_GO_AT_ONCE.load(Relaxed) {
        api!(RedisModule_SubscribeToServerEvent(ctx, event(EVENTLOOP), Some(turned)));
    }
    COMMANDS.iter().fold(OK, |code, (name, function, flags)| {
        code | api!(RedisModule_CreateCommand(ctx, name.as_ptr(), Some(*function), flags.as_ptr(), 1, 1, 1))
    })
}
