//! The settings in redis.conf, and by `CONFIG GET` and `CONFIG SET`.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_longlong, c_void};
use std::ptr;

use crate::broker::Settings;
use crate::commands::{parse_seconds, seconds_text};

use super::api::{CONFIG_MEMORY, Ctx, ERR, OK, OwnedString, RedisModuleString, api, bytes_of};
use super::beanstalk;
use super::guard::guard;
use super::state::{self, State};

/// A setting that is a number of seconds.
struct Seconds {
    name: &'static CStr,
    min_ms: u64,
    default_ms: fn(&Settings) -> u64,
    set: fn(&mut State, u64),
}

static SECONDS: [Seconds; 3] = [
    Seconds {
        name: c"ttr",
        min_ms: 1,
        default_ms: |settings| settings.ttr_ms,
        set: |state, ms| state.broker.settings.ttr_ms = ms,
    },
    Seconds {
        name: c"tube-linger",
        min_ms: 0,
        default_ms: |settings| settings.linger_ms,
        set: |state, ms| {
            let shorter = ms < state.broker.settings.linger_ms;
            state.broker.settings.linger_ms = ms;
            if shorter {
                state.broker.sweep();
            }
        },
    },
    Seconds {
        name: c"retry-interval",
        min_ms: 0,
        default_ms: |settings| settings.retry.interval_ms,
        set: |state, ms| state.broker.settings.retry.interval_ms = ms,
    },
];

/// The largest body that can be allowed: 1 GiB.
const JOB_SIZE_MAX: c_longlong = 1 << 30;

/// Registers the settings, and takes over what redis.conf or `MODULE LOADEX` says; `false` if Redis refused.
pub(super) fn register(ctx: Ctx) -> bool {
    let defaults = Settings::default();
    let seconds = SECONDS.iter().enumerate().all(|(index, setting)| {
        let default = CString::new(seconds_text((setting.default_ms)(&defaults))).unwrap_or_default();
        // SAFETY: Redis copies name and default; the callbacks take the index for what it is, a number.
        let registered = unsafe {
            api!(RedisModule_RegisterStringConfig(
                ctx.as_ptr(),
                setting.name.as_ptr(),
                default.as_ptr(),
                0,
                Some(get_seconds),
                Some(set_seconds),
                None,
                ptr::without_provenance_mut(index),
            ))
        };
        registered == OK
    });
    let size = c_longlong::try_from(defaults.max_job_size).unwrap_or(JOB_SIZE_MAX);
    // SAFETY: Redis copies the name.
    let size = unsafe {
        api!(RedisModule_RegisterNumericConfig(
            ctx.as_ptr(),
            c"max-job-size".as_ptr(),
            size,
            CONFIG_MEMORY,
            0,
            JOB_SIZE_MAX,
            Some(get_job_size),
            Some(set_job_size),
            None,
            ptr::null_mut(),
        ))
    };
    // SAFETY: as above.
    let retries = unsafe {
        api!(RedisModule_RegisterNumericConfig(
            ctx.as_ptr(),
            c"retry-count".as_ptr(),
            -1,
            0,
            -1,
            c_longlong::from(u32::MAX),
            Some(get_retry_count),
            Some(set_retry_count),
            None,
            ptr::null_mut(),
        ))
    };
    // SAFETY: as above.
    let drain = unsafe {
        api!(RedisModule_RegisterBoolConfig(
            ctx.as_ptr(),
            c"drain".as_ptr(),
            0,
            0,
            Some(get_drain),
            Some(set_drain),
            None,
            ptr::null_mut(),
        ))
    };
    let port = beanstalk::register(ctx);
    if !port || !seconds || size != OK || retries != OK || drain != OK {
        return false;
    }
    // SAFETY: all settings are registered.
    (unsafe { api!(RedisModule_LoadConfigs(ctx.as_ptr())) }) == OK
}

thread_local! {
    /// What was last answered for each setting: Redis reads the string after we have returned it.
    static ANSWERS: RefCell<[Option<OwnedString>; SECONDS.len()]> = const { RefCell::new([const { None }; SECONDS.len()]) };
}

unsafe extern "C" fn get_seconds(_: *const c_char, index: *mut c_void) -> *mut RedisModuleString {
    guard(ptr::null_mut(), || {
        let index = index.addr();
        let ms =
            state::enter(|state| (SECONDS[index].default_ms)(&state.broker.settings)).unwrap_or_default();
        let answer = OwnedString::new(seconds_text(ms).as_bytes());
        let pointer = answer.as_ptr();
        ANSWERS.with_borrow_mut(|answers| answers[index] = Some(answer));
        pointer
    })
}

unsafe extern "C" fn set_seconds(
    _: *const c_char,
    value: *mut RedisModuleString,
    index: *mut c_void,
    error: *mut *mut RedisModuleString,
) -> c_int {
    guard(ERR, || {
        let setting = &SECONDS[index.addr()];
        let value = value.cast_const();
        match parse_seconds(bytes_of(&value)).filter(|ms| *ms >= setting.min_ms) {
            Some(ms) => {
                state::enter(|state| (setting.set)(state, ms));
                OK
            }
            None => {
                let max = seconds_text(crate::queue::DURATION_MAX_MS);
                let text = format!(
                    "argument must be a number of seconds from {} to {max}",
                    seconds_text(setting.min_ms)
                );
                // SAFETY: Redis passed a place for the reason, which it frees.
                unsafe { *error = OwnedString::new(text.as_bytes()).into_ptr() };
                ERR
            }
        }
    })
}

unsafe extern "C" fn get_job_size(_: *const c_char, _: *mut c_void) -> c_longlong {
    guard(0, || {
        let size = state::enter(|state| state.broker.settings.max_job_size).unwrap_or_default();
        c_longlong::try_from(size).unwrap_or(JOB_SIZE_MAX)
    })
}

unsafe extern "C" fn set_job_size(
    _: *const c_char,
    value: c_longlong,
    _: *mut c_void,
    _: *mut *mut RedisModuleString,
) -> c_int {
    guard(ERR, || {
        state::enter(|state| state.broker.settings.max_job_size = value.unsigned_abs());
        OK
    })
}

unsafe extern "C" fn get_retry_count(_: *const c_char, _: *mut c_void) -> c_longlong {
    guard(-1, || {
        let count = state::enter(|state| state.broker.settings.retry.count).flatten();
        count.map_or(-1, c_longlong::from)
    })
}

unsafe extern "C" fn set_retry_count(
    _: *const c_char,
    value: c_longlong,
    _: *mut c_void,
    _: *mut *mut RedisModuleString,
) -> c_int {
    guard(ERR, || {
        state::enter(|state| state.broker.settings.retry.count = u32::try_from(value).ok());
        OK
    })
}

unsafe extern "C" fn get_drain(_: *const c_char, _: *mut c_void) -> c_int {
    guard(0, || state::enter(|state| c_int::from(state.broker.settings.drain)).unwrap_or_default())
}

unsafe extern "C" fn set_drain(
    _: *const c_char,
    value: c_int,
    _: *mut c_void,
    _: *mut *mut RedisModuleString,
) -> c_int {
    guard(ERR, || {
        state::enter(|state| state.broker.settings.drain = value != 0);
        OK
    })
}
