//! The port's settings: `phean.host`, `phean.port`, `phean.unixsocket`, `phean.database`, `phean.user` and
//! `phean.maxclients`.
//!
//! Redis first sets all values of a `CONFIG SET`, and then has them applied; if that fails, it sets the old ones
//! again. So setting only notes a value, and `State::apply_port_settings` acts upon what was noted.

use std::ffi::{c_int, c_longlong, c_void};

use super::super::api::{Ctx, ERR, OK, RedisModuleCtx, RedisModuleString};
use super::super::config::{Number, Text, refuse};
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

pub(in crate::host) static TEXTS: [Text; 3] = [
    Text {
        name: c"host",
        get: |state| state.means.door.settings.host.clone(),
        set: |state, value| not_empty(value).map(|text| state.means.door.settings.host = text),
        apply: Some(apply),
    },
    Text {
        name: c"unixsocket",
        get: |state| state.means.door.settings.unixsocket.clone(),
        set: |state, value| plain(value).map(|text| state.means.door.settings.unixsocket = text),
        apply: Some(apply),
    },
    Text {
        name: c"user",
        get: |state| state.means.door.settings.user.clone(),
        set: |state, value| not_empty(value).map(|text| state.means.door.settings.user = text),
        apply: Some(apply),
    },
];

pub(in crate::host) static NUMBERS: [Number; 3] = [
    Number {
        name: c"port",
        flags: 0,
        min: 0,
        max: u16::MAX as c_longlong,
        get: |state| state.means.door.settings.port.into(),
        set: |state, value| state.means.door.settings.port = u16::try_from(value).unwrap_or(0),
        apply: Some(apply),
    },
    Number {
        name: c"database",
        flags: 0,
        min: 0,
        max: i32::MAX as c_longlong,
        get: |state| state.means.door.settings.database.into(),
        set: |state, value| state.means.door.settings.database = u32::try_from(value).unwrap_or(0),
        apply: Some(apply),
    },
    Number {
        name: c"maxclients",
        flags: 0,
        min: 1,
        max: u32::MAX as c_longlong,
        get: |state| state.means.door.settings.maxclients.into(),
        set: |state, value| state.means.door.settings.maxclients = u32::try_from(value).unwrap_or(u32::MAX),
        apply: Some(apply),
    },
];

/// A text that names something outside Redis.
fn plain(value: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'));
    text.map(str::to_owned).ok_or_else(|| "argument must be UTF-8 text without NUL".to_owned())
}

fn not_empty(value: &[u8]) -> Result<String, String> {
    plain(value).and_then(|text| {
        if text.is_empty() { Err("argument must not be empty".to_owned()) } else { Ok(text) }
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
