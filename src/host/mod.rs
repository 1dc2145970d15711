//! FLOOR 4. Redis itself, and the only floor with unsafe code.
//!
//! | file | subject |
//! |---|---|
//! | `api` | every function of Redis that is called, with its safety said once |
//! | `functions` | where they are |
//! | `alloc` | memory from Redis |
//! | `guard` | panics stay on our side |
//! | `clock` | the time |
//! | `state` | what lives as long as the module |
//! | `world` | Redis as the broker's world |
//! | `found` | where tubes were found lately |
//! | `command`, `register`, `reply` | commands: running, registering, replying |
//! | `datatype`, `loading`, `trash` | the type `pheantube`: saving, loading, copying, freeing |
//! | `beanstalk` | the beanstalk protocol's sockets on the event loop |
//! | `waits` | clients that are kept waiting |
//! | `slots` | those of them whose tube has gone to another node of the cluster |
//! | `tell` | when those who wait are told |
//! | `timer`, `fine` | the one timer, and a finer one for its last millisecond |
//! | `events` | what Redis tells modules |
//! | `listeners` | whether anybody needs the events that are replicated |
//! | `config`, `info` | settings, and `INFO phean` |

mod alloc;
mod api;
mod beanstalk;
mod clock;
mod command;
mod config;
mod datatype;
mod events;
mod fine;
mod found;
mod functions;
mod guard;
mod info;
mod listeners;
mod loading;
mod register;
mod reply;
mod slots;
mod state;
mod tell;
mod timer;
mod trash;
mod waits;
mod world;

use std::ffi::{CStr, c_int};
use std::path::Path;

use redis_module::raw;

use api::{Ctx, ERR, OK, RedisModuleCtx, RedisModuleString, api, flag};

#[global_allocator]
static ALLOCATOR: alloc::RedisAllocator = alloc::RedisAllocator;

/// The version that `MODULE LIST` shows: major × 10000 + minor × 100 + patch.
const VERSION: c_int = 100;

/// The version of the module API.
const API_VERSION: c_int = 1;

const OPTIONS: c_int = 1 << 0 // I/O errors while loading are handled
    | 1 << 1 // changed keys are signalled by us
    | 1 << 2; // asynchronous loading is handled
// Not 1 << 5, atomic slot migration (Valkey 9): there a tube is on two nodes for a while, and the timer of the one that
// does not serve it yet would end reservations and delays. Without it the server refuses such a migration.

/// Called by Redis when the module is loaded.
///
/// # Safety
/// Only Redis may call it, on its main thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RedisModule_OnLoad(
    ctx: *mut RedisModuleCtx,
    _argv: *mut *mut RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: Redis passed the context; this sets the functions that everything else uses.
    if unsafe { raw::Export_RedisModule_Init(ctx, c"phean".as_ptr(), VERSION, API_VERSION) } != OK {
        return ERR;
    }
    // Redis' allocator is ours from here on, so this comes before anything is allocated.
    let functions = functions::take_over();
    // SAFETY: Redis passed the context to this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    let load = || match functions {
        Ok(()) => load(ctx, argc),
        Err(lacking) => Err(format!("the server lacks {lacking}")),
    };
    guard::guard(ERR, || match load() {
        Ok(()) => OK,
        Err(reason) => {
            state::end();
            ctx.log(c"warning", &format!("phean cannot be loaded: {reason}"));
            ERR
        }
    })
}

fn load(ctx: Ctx, argc: c_int) -> Result<(), String> {
    if argc > 0 {
        return Err(
            "it takes no arguments; its settings are phean.* in redis.conf, or CONFIG of MODULE LOADEX"
                .into(),
        );
    }
    quiet_panics();
    // SAFETY: the context is that of the load callback.
    unsafe { api!(RedisModule_SetModuleOptions(ctx.as_ptr(), OPTIONS)) };
    let data_type = datatype::create(ctx);
    if data_type.is_null() {
        return Err("the server refused the data type pheantube".into());
    }
    state::start(data_type, ctx.has(flag::CLUSTER));
    register::register(ctx).map_err(|name| format!("the server refused the command {name}"))?;
    if !config::register(ctx) {
        return Err("the server refused its settings".into());
    }
    // SAFETY: the callback has the signature of an INFO callback.
    let info = unsafe { api!(RedisModule_RegisterInfoFunc(ctx.as_ptr(), Some(info::on_info))) };
    let opened = state::enter(|state| state.apply_port_settings(ctx));
    opened.unwrap_or(Ok(())).map_err(|reason| format!("the beanstalk port cannot be opened: {reason}"))?;
    // The last that may fail: Redis forgets a module that cannot be loaded, but would go on to call what it subscribed.
    if info != OK || !events::subscribe(ctx) {
        return Err("the server lacks events that it needs".into());
    }
    events::make_own_context(ctx);
    state::enter(|state| {
        state.broker.set_role(state::role(ctx), 0);
        if may_have_had_tubes(ctx) {
            state.broker.jump_ids(clock::now_us());
        }
        state.timer.prepare();
        state.open_port(ctx);
    });
    events::look_at_eviction(ctx);
    Ok(())
}

/// Whether there may have been tubes here before, of which nothing tells: what Redis loads from now on, it tells of.
fn may_have_had_tubes(ctx: Ctx) -> bool {
    let has_append_only_file =
        ctx.has(flag::AOF) && has_file(ctx, c"appenddirname", c"appendfilename", ".manifest");
    has_append_only_file
        || runs_already(ctx) && (!ctx.used_dbs().is_empty() || has_file(ctx, c"dir", c"dbfilename", ""))
}

/// Whether the module is loaded by a client's command, and not as the server starts.
fn runs_already(ctx: Ctx) -> bool {
    ctx.server_info(c"clients", c"connected_clients").is_none_or(|clients| clients > 0)
}

/// Whether there is a file of the server's, by the settings of its folder and its name. Redis does not tell of loading an
/// append-only file that is empty, as it is once it was rewritten while there was no key. The working directory is the
/// server's `dir` already.
fn has_file(ctx: Ctx, dir: &CStr, file: &CStr, suffix: &str) -> bool {
    match [dir, file].map(|name| ctx.setting(name)) {
        [Some(dir), Some(file)] => Path::new(&dir).join(file + suffix).exists(),
        // The command that tells them has been renamed.
        _ => true,
    }
}

/// Panics are logged where they are caught; the default message would go to the server's standard error.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        api::log(std::ptr::null_mut(), c"warning", &format!("phean: panicked: {panic}"));
    }));
}
