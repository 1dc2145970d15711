//! The settings in redis.conf, and by `CONFIG GET` and `CONFIG SET`.
//!
//! A setting's default is what the state begins with.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_longlong, c_uint, c_void};
use std::ptr;

use crate::commands::{parse_seconds, seconds_text};
use crate::queue::DURATION_MAX_MS;

use super::api::{
    CONFIG_MEMORY, Ctx, ERR, OK, OwnedString, RedisModuleCtx, RedisModuleString, api, bytes_of,
};
use super::beanstalk;
use super::guard::guard;
use super::state::{self, State};

/// A setting that is a text. One that is refused leaves everything as it was.
pub(super) struct Text {
    pub(super) name: &'static CStr,
    pub(super) get: fn(&State) -> String,
    pub(super) set: fn(&mut State, &[u8]) -> Result<(), String>,
    pub(super) apply: Apply,
}

/// A setting that is a number.
pub(super) struct Number {
    pub(super) name: &'static CStr,
    pub(super) flags: c_uint,
    pub(super) min: c_longlong,
    pub(super) max: c_longlong,
    pub(super) get: fn(&State) -> c_longlong,
    pub(super) set: fn(&mut State, c_longlong),
    pub(super) apply: Apply,
}

/// What Redis calls once all values of a `CONFIG SET` are set, if anything.
pub(super) type Apply =
    Option<unsafe extern "C" fn(*mut RedisModuleCtx, *mut c_void, *mut *mut RedisModuleString) -> c_int>;

static TEXTS: [Text; 3] = [
    Text {
        name: c"ttr",
        get: |state| seconds_text(state.broker.settings.ttr_ms),
        set: |state, text| seconds(text, 1).map(|ms| state.broker.settings.ttr_ms = ms),
        apply: None,
    },
    Text {
        name: c"tube-linger",
        get: |state| seconds_text(state.broker.settings.linger_ms),
        set: |state, text| {
            let ms = seconds(text, 0)?;
            let shorter = ms < state.broker.settings.linger_ms;
            state.broker.settings.linger_ms = ms;
            if shorter {
                state.broker.sweep();
            }
            Ok(())
        },
        apply: None,
    },
    Text {
        name: c"retry-interval",
        get: |state| seconds_text(state.broker.settings.retry.interval_ms),
        set: |state, text| seconds(text, 0).map(|ms| state.broker.settings.retry.interval_ms = ms),
        apply: None,
    },
];

/// The largest body that can be allowed: 1 GiB.
const JOB_SIZE_MAX: c_longlong = 1 << 30;

static NUMBERS: [Number; 2] = [
    Number {
        name: c"max-job-size",
        flags: CONFIG_MEMORY,
        min: 0,
        max: JOB_SIZE_MAX,
        get: |state| c_longlong::try_from(state.broker.settings.max_job_size).unwrap_or(JOB_SIZE_MAX),
        set: |state, value| state.broker.settings.max_job_size = value.unsigned_abs(),
        apply: None,
    },
    Number {
        name: c"retry-count",
        flags: 0,
        min: -1,
        max: u32::MAX as c_longlong,
        get: |state| state.broker.settings.retry.count.map_or(-1, c_longlong::from),
        set: |state, value| state.broker.settings.retry.count = u32::try_from(value).ok(),
        apply: None,
    },
];

/// Reads a number of seconds, at least `min_ms`, as milliseconds.
fn seconds(text: &[u8], min_ms: u64) -> Result<u64, String> {
    parse_seconds(text).filter(|ms| *ms >= min_ms).ok_or_else(|| {
        let (min, max) = (seconds_text(min_ms), seconds_text(DURATION_MAX_MS));
        format!("argument must be a number of seconds from {min} to {max}")
    })
}

/// Registers the settings, and takes over what redis.conf or `MODULE LOADEX` says; `false` if Redis refused.
pub(super) fn register(ctx: Ctx) -> bool {
    let texts = TEXTS.iter().chain(&beanstalk::TEXTS).all(|setting| register_text(ctx, setting));
    let numbers = NUMBERS.iter().chain(&beanstalk::NUMBERS).all(|setting| register_number(ctx, setting));
    // SAFETY: Redis copies the name.
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
    if !texts || !numbers || drain != OK {
        return false;
    }
    // SAFETY: all settings are registered.
    (unsafe { api!(RedisModule_LoadConfigs(ctx.as_ptr())) }) == OK
}

fn register_text(ctx: Ctx, setting: &'static Text) -> bool {
    let default = state::enter(|state| (setting.get)(state)).unwrap_or_default();
    let default = CString::new(default).unwrap_or_default();
    // SAFETY: Redis copies name and default, and hands the setting to the callbacks, which take it for one.
    let registered = unsafe {
        api!(RedisModule_RegisterStringConfig(
            ctx.as_ptr(),
            setting.name.as_ptr(),
            default.as_ptr(),
            0,
            Some(get_text),
            Some(set_text),
            setting.apply,
            ptr::from_ref(setting).cast_mut().cast(),
        ))
    };
    registered == OK
}

fn register_number(ctx: Ctx, setting: &'static Number) -> bool {
    let default = state::enter(|state| (setting.get)(state)).unwrap_or_default();
    // SAFETY: Redis copies the name, and hands the setting to the callbacks, which take it for one.
    let registered = unsafe {
        api!(RedisModule_RegisterNumericConfig(
            ctx.as_ptr(),
            setting.name.as_ptr(),
            default,
            setting.flags,
            setting.min,
            setting.max,
            Some(get_number),
            Some(set_number),
            setting.apply,
            ptr::from_ref(setting).cast_mut().cast(),
        ))
    };
    registered == OK
}

thread_local! {
    /// What was last answered for each text: Redis reads the string after we have returned it.
    static ANSWERS: RefCell<BTreeMap<&'static CStr, OwnedString>> = const { RefCell::new(BTreeMap::new()) };
}

unsafe extern "C" fn get_text(_: *const c_char, setting: *mut c_void) -> *mut RedisModuleString {
    // SAFETY: this is the setting that was registered with this callback, and it is never changed.
    let setting: &'static Text = unsafe { &*setting.cast() };
    guard(ptr::null_mut(), || {
        let text = state::enter(|state| (setting.get)(state)).unwrap_or_default();
        let answer = OwnedString::new(text.as_bytes());
        let pointer = answer.as_ptr();
        ANSWERS.with_borrow_mut(|answers| answers.insert(setting.name, answer));
        pointer
    })
}

unsafe extern "C" fn set_text(
    _: *const c_char,
    value: *mut RedisModuleString,
    setting: *mut c_void,
    error: *mut *mut RedisModuleString,
) -> c_int {
    // SAFETY: as in `get_text`.
    let setting: &'static Text = unsafe { &*setting.cast() };
    guard(ERR, || {
        let value = value.cast_const();
        match state::enter(|state| (setting.set)(state, bytes_of(&value))) {
            Some(Err(reason)) => refuse(error, &reason),
            _ => OK,
        }
    })
}

unsafe extern "C" fn get_number(_: *const c_char, setting: *mut c_void) -> c_longlong {
    // SAFETY: this is the setting that was registered with this callback, and it is never changed.
    let setting: &'static Number = unsafe { &*setting.cast() };
    guard(0, || state::enter(|state| (setting.get)(state)).unwrap_or_default())
}

unsafe extern "C" fn set_number(
    _: *const c_char,
    value: c_longlong,
    setting: *mut c_void,
    _: *mut *mut RedisModuleString,
) -> c_int {
    // SAFETY: as in `get_number`.
    let setting: &'static Number = unsafe { &*setting.cast() };
    guard(ERR, || {
        state::enter(|state| (setting.set)(state, value));
        OK
    })
}

/// Tells Redis why a value is refused.
pub(super) fn refuse(error: *mut *mut RedisModuleString, reason: &str) -> c_int {
    // SAFETY: Redis passed a place for the reason, which it frees.
    unsafe { *error = OwnedString::new(reason.as_bytes()).into_ptr() };
    ERR
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
