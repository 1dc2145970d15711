//! Another module that listens to what happens to keys. It is compiled by the test itself, and so has neither crates nor
//! Redis' header: the server's functions are asked for by name.
//!
//! `NEIGHBOUR.COUNT` answers how often it was told of a change that a module made.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

type Command = extern "C" fn(*mut c_void, *mut *mut c_void, c_int) -> c_int;
type Listener = extern "C" fn(*mut c_void, c_int, *const c_char, *mut c_void) -> c_int;

const MODULE_CLASS: c_int = 1 << 13;

static TOLD: AtomicI64 = AtomicI64::new(0);
static REPLY: AtomicI64 = AtomicI64::new(0);

extern "C" fn listen(_: *mut c_void, _: c_int, _: *const c_char, _: *mut c_void) -> c_int {
    TOLD.fetch_add(1, Relaxed);
    0
}

extern "C" fn count(ctx: *mut c_void, _: *mut *mut c_void, _: c_int) -> c_int {
    // SAFETY: the address is that of RedisModule_ReplyWithLongLong.
    let reply: extern "C" fn(*mut c_void, i64) -> c_int = unsafe { transmute(REPLY.load(Relaxed)) };
    reply(ctx, TOLD.load(Relaxed))
}

/// # Safety
/// Only the server may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RedisModule_OnLoad(ctx: *mut c_void, _: *mut *mut c_void, _: c_int) -> c_int {
    // SAFETY: a context begins with the function that tells where the others are.
    let get: extern "C" fn(*const c_char, *mut i64) -> c_int = unsafe { *ctx.cast() };
    let find = |name: &CStr| {
        let mut found = 0;
        get(name.as_ptr(), &mut found);
        found
    };
    REPLY.store(find(c"RedisModule_ReplyWithLongLong"), Relaxed);
    // SAFETY: these are the addresses of these functions.
    unsafe {
        let attributes: extern "C" fn(*mut c_void, *const c_char, c_int, c_int) =
            transmute(find(c"RedisModule_SetModuleAttribs"));
        let create: extern "C" fn(
            *mut c_void,
            *const c_char,
            Command,
            *const c_char,
            c_int,
            c_int,
            c_int,
        ) -> c_int = transmute(find(c"RedisModule_CreateCommand"));
        let subscribe: extern "C" fn(*mut c_void, c_int, Listener) -> c_int =
            transmute(find(c"RedisModule_SubscribeToKeyspaceEvents"));
        attributes(ctx, c"neighbour".as_ptr(), 1, 1);
        create(ctx, c"neighbour.count".as_ptr(), count, c"readonly".as_ptr(), 0, 0, 0)
            | subscribe(ctx, MODULE_CLASS, listen)
    }
}
