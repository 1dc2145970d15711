//! The port's settings: `phean.host`, `phean.port`, `phean.unixsocket`, `phean.database`, `phean.user` and
//! `phean.maxclients`.
//!
//! Redis first sets all values of a `CONFIG SET`, and then has them applied; if that fails, it sets the old ones
//! again. So setting only notes a value, and [`State::apply_port_settings`] acts upon what was noted.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_longlong, c_void};
use std::ptr;

use super::super::api::{Ctx, ERR, OK, OwnedString, RedisModuleCtx, RedisModuleString, api, bytes_of};
use super::super::guard::guard;
use super::super::state;

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) host: String,
    /// 0 for none.
    pub(super) port: u16,
    /// Empty for none.
    pub(super) unixsocket: String,
    pub(super) database: u32,
    pub(super) user: String,
    pub(super) maxclients: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            host: "127.0.0.1".into(),
            port: 0,
            unixsocket: String::new(),
            database: 0,
            user: "default".into(),
            maxclients: 10_000,
        }
    }
}

impl Settings {
    /// Whether anybody can connect at all.
    pub(super) fn is_on(&self) -> bool {
        self.port != 0 || !self.unixsocket.is_empty()
    }
}

/// A setting that is a text.
struct Text {
    name: &'static CStr,
    may_be_empty: bool,
    field: fn(&mut Settings) -> &mut String,
}

static TEXTS: [Text; 3] = [
    Text { name: c"host", may_be_empty: false, field: |settings| &mut settings.host },
    Text { name: c"unixsocket", may_be_empty: true, field: |settings| &mut settings.unixsocket },
    Text { name: c"user", may_be_empty: false, field: |settings| &mut settings.user },
];

/// A setting that is a number.
struct Number {
    name: &'static CStr,
    min: c_longlong,
    max: c_longlong,
    get: fn(&Settings) -> c_longlong,
    set: fn(&mut Settings, c_longlong),
}

static NUMBERS: [Number; 3] = [
    Number {
        name: c"port",
        min: 0,
        max: u16::MAX as c_longlong,
        get: |settings| settings.port.into(),
        set: |settings, value| settings.port = u16::try_from(value).unwrap_or(0),
    },
    Number {
        name: c"database",
        min: 0,
        max: i32::MAX as c_longlong,
        get: |settings| settings.database.into(),
        set: |settings, value| settings.database = u32::try_from(value).unwrap_or(0),
    },
    Number {
        name: c"maxclients",
        min: 1,
        max: u32::MAX as c_longlong,
        get: |settings| settings.maxclients.into(),
        set: |settings, value| settings.maxclients = u32::try_from(value).unwrap_or(u32::MAX),
    },
];

/// Registers the settings; `false` if Redis refused.
pub(in crate::host) fn register(ctx: Ctx) -> bool {
    let mut defaults = Settings::default();
    let numbers = NUMBERS.iter().enumerate().all(|(index, setting)| {
        // SAFETY: Redis copies the name; the callbacks take the index for what it is, a number.
        let registered = unsafe {
            api!(RedisModule_RegisterNumericConfig(
                ctx.as_ptr(),
                setting.name.as_ptr(),
                (setting.get)(&defaults),
                0,
                setting.min,
                setting.max,
                Some(get_number),
                Some(set_number),
                Some(apply),
                ptr::without_provenance_mut(index),
            ))
        };
        registered == OK
    });
    let texts = TEXTS.iter().enumerate().all(|(index, setting)| {
        let default = CString::new((setting.field)(&mut defaults).as_bytes()).unwrap_or_default();
        // SAFETY: Redis copies name and default; the callbacks take the index for what it is, a number.
        let registered = unsafe {
            api!(RedisModule_RegisterStringConfig(
                ctx.as_ptr(),
                setting.name.as_ptr(),
                default.as_ptr(),
                0,
                Some(get_text),
                Some(set_text),
                Some(apply),
                ptr::without_provenance_mut(index),
            ))
        };
        registered == OK
    });
    numbers && texts
}

unsafe extern "C" fn get_number(_: *const c_char, index: *mut c_void) -> c_longlong {
    guard(0, || {
        let setting = &NUMBERS[index.addr()];
        state::enter(|state| (setting.get)(&state.door.settings)).unwrap_or_default()
    })
}

unsafe extern "C" fn set_number(
    _: *const c_char,
    value: c_longlong,
    index: *mut c_void,
    _: *mut *mut RedisModuleString,
) -> c_int {
    guard(ERR, || {
        let setting = &NUMBERS[index.addr()];
        state::enter(|state| (setting.set)(&mut state.door.settings, value));
        OK
    })
}

thread_local! {
    /// What was last answered for each text: Redis reads the string after we have returned it.
    static ANSWERS: RefCell<[Option<OwnedString>; TEXTS.len()]> = const { RefCell::new([const { None }; TEXTS.len()]) };
}

unsafe extern "C" fn get_text(_: *const c_char, index: *mut c_void) -> *mut RedisModuleString {
    guard(ptr::null_mut(), || {
        let index = index.addr();
        let text = state::enter(|state| (TEXTS[index].field)(&mut state.door.settings).clone());
        let answer = OwnedString::new(text.unwrap_or_default().as_bytes());
        let pointer = answer.as_ptr();
        ANSWERS.with_borrow_mut(|answers| answers[index] = Some(answer));
        pointer
    })
}

unsafe extern "C" fn set_text(
    _: *const c_char,
    value: *mut RedisModuleString,
    index: *mut c_void,
    error: *mut *mut RedisModuleString,
) -> c_int {
    guard(ERR, || {
        let setting = &TEXTS[index.addr()];
        let value = value.cast_const();
        let text = match std::str::from_utf8(bytes_of(&value)) {
            Ok(text) if !text.contains('\0') && (setting.may_be_empty || !text.is_empty()) => text,
            Ok("") => return refuse(error, "argument must not be empty"),
            _ => return refuse(error, "argument must be UTF-8 text without NUL"),
        };
        state::enter(|state| text.clone_into((setting.field)(&mut state.door.settings)));
        OK
    })
}

unsafe extern "C" fn apply(
    ctx: *mut RedisModuleCtx,
    _: *mut c_void,
    error: *mut *mut RedisModuleString,
) -> c_int {
    // SAFETY: Redis passed the context to this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    guard(ERR, || match state::enter(|state| state.apply_port_settings(ctx)) {
        Some(Err(reason)) => refuse(error, &reason),
        _ => OK,
    })
}

fn refuse(error: *mut *mut RedisModuleString, reason: &str) -> c_int {
    // SAFETY: Redis passed a place for the reason, which it frees.
    unsafe { *error = OwnedString::new(reason.as_bytes()).into_ptr() };
    ERR
}
