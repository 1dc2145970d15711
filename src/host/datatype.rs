//! The data type `pheantube`: how Redis saves, loads, rewrites, copies, measures and frees a tube.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use redis_module::raw;

use crate::broker::News;
use crate::codec::{self, Corrupt, Loader};
use crate::queue::Tube;

use super::api::{
    self, Ctx, RedisModuleDigest, RedisModuleIO, RedisModuleKeyOptCtx, RedisModuleString, RedisModuleType,
    api,
};
use super::guard::guard;
use super::{events, loading, state};

/// The name, nine characters as Redis wants it.
const NAME: &std::ffi::CStr = c"pheantube";

/// The version of the values in RDB files; what is in them has a version of its own.
const ENCODING_VERSION: c_int = 1;

/// The version of the table of callbacks that Redis 7.0 knows.
const METHODS_VERSION: u64 = 4;

/// Registers the type.
pub(super) fn create(ctx: Ctx) -> *mut RedisModuleType {
    let mut methods = raw::RedisModuleTypeMethods {
        version: METHODS_VERSION,
        rdb_load: Some(rdb_load),
        rdb_save: Some(rdb_save),
        aof_rewrite: Some(aof_rewrite),
        mem_usage: None,
        digest: Some(digest),
        free: Some(free),
        aux_load: None,
        aux_save: None,
        aux_save_triggers: 0,
        free_effort: None,
        unlink: None,
        copy: None,
        defrag: None,
        mem_usage2: Some(mem_usage),
        free_effort2: Some(free_effort),
        unlink2: Some(unlink),
        copy2: Some(copy),
        aux_save2: None,
    };
    // SAFETY: the table is copied by Redis; the context is that of the load callback.
    unsafe { api!(RedisModule_CreateDataType(ctx.as_ptr(), NAME.as_ptr(), ENCODING_VERSION, &mut methods)) }
}

/// Makes a tube into a value that Redis can own.
pub(super) fn into_value(tube: Tube) -> NonNull<Tube> {
    NonNull::from(Box::leak(Box::new(tube)))
}

/// Frees a value that Redis did not take.
pub(super) fn free_value(value: NonNull<Tube>) {
    // SAFETY: the value came from `into_value`, and nobody else has it.
    drop(unsafe { Box::from_raw(value.as_ptr()) });
}

/// The tube behind a value that Redis shows to a callback.
fn shown<'a>(value: *const c_void) -> &'a Tube {
    // SAFETY: Redis calls the callbacks of this type with values of this type, which came from `into_value`; they
    // live and do not change while the callback runs.
    unsafe { &*value.cast::<Tube>() }
}

thread_local! {
    /// Whether this process is writing a file.
    static WRITES_FILE: Cell<bool> = const { Cell::new(false) };
}

/// This process begins, or ends, to write a file (`SAVE`, `DEBUG RELOAD`). Nothing that is written meanwhile goes to
/// another server.
pub(super) fn writes_file(begins: bool) {
    WRITES_FILE.set(begins);
}

unsafe extern "C" fn rdb_save(io: *mut RedisModuleIO, value: *mut c_void) {
    guard((), || {
        let tube = shown(value);
        codec::save_snapshot(tube, |piece| api::save_piece(io, piece));
        // Also called in children that save, where there is nothing to be done later.
        if !WRITES_FILE.get() {
            state::enter_deaf(|state| state.broker.written_out(tube, || api::name_in_io(io)));
        }
    });
}

unsafe extern "C" fn rdb_load(io: *mut RedisModuleIO, version: c_int) -> *mut c_void {
    guard(ptr::null_mut(), || match load(io, version) {
        Ok(tube) => {
            state::saw_id(tube.header().last_id);
            loading::loaded(io);
            events::tube_was_loaded();
            into_value(tube).as_ptr().cast::<c_void>()
        }
        Err(corrupt) => {
            api::log_io_error(io, &format!("phean: a tube cannot be loaded: {corrupt}"));
            ptr::null_mut()
        }
    })
}

fn load(io: *mut RedisModuleIO, version: c_int) -> Result<Tube, Corrupt> {
    if version != ENCODING_VERSION {
        return Err(Corrupt::Version(u8::try_from(version).unwrap_or(u8::MAX)));
    }
    let mut loader = Loader::new(&api::load_piece(io).ok_or(Corrupt::Bytes)?)?;
    while loader.wants_more() {
        loader.piece(api::load_piece(io).ok_or(Corrupt::Bytes)?)?;
    }
    loader.finish()
}

unsafe extern "C" fn aof_rewrite(io: *mut RedisModuleIO, key: *mut RedisModuleString, value: *mut c_void) {
    guard((), || codec::rewrite_as_events(shown(value), |event| api::emit_apply(io, key, event)));
}

unsafe extern "C" fn digest(digest: *mut RedisModuleDigest, value: *mut c_void) {
    guard((), || {
        codec::show_contents(shown(value), |part| api::digest_piece(digest, part));
        api::digest_end(digest);
    });
}

/// May run in a background thread.
unsafe extern "C" fn free(value: *mut c_void) {
    guard((), || {
        if let Some(value) = NonNull::new(value.cast::<Tube>()) {
            free_value(value);
        }
    });
}

unsafe extern "C" fn mem_usage(_: *mut RedisModuleKeyOptCtx, value: *const c_void, _: usize) -> usize {
    guard(0, || shown(value).memory_bytes())
}

unsafe extern "C" fn free_effort(_: *mut RedisModuleKeyOptCtx, value: *const c_void) -> usize {
    // 0 would mean: always in the background.
    guard(1, || shown(value).pieces().max(1))
}

unsafe extern "C" fn unlink(ctx: *mut RedisModuleKeyOptCtx, value: *const c_void) {
    guard((), || {
        state::doubt();
        if let Some((db, name)) = api::name_of_value(ctx) {
            state::tell(News::Gone { db, name, counts: shown(value).counts() });
        }
    });
}

unsafe extern "C" fn copy(ctx: *mut RedisModuleKeyOptCtx, value: *const c_void) -> *mut c_void {
    guard(ptr::null_mut(), || {
        if let Some((db, _)) = api::name_of_value(ctx) {
            events::copying(db);
        }
        into_value(shown(value).clone()).as_ptr().cast::<c_void>()
    })
}
