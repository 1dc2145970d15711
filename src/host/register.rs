//! Telling Redis about the commands: everything comes from the one table of `commands`.

use std::ffi::{CString, c_char, c_int};
use std::ptr;

use redis_module::raw;

use crate::commands::table::{Arg, Kind, Use};
use crate::commands::{COMMANDS, Command, Keys};

use super::api::{Ctx, OK, api};
use super::command::TRAMPOLINES;

/// The version that brought all commands.
const SINCE: &std::ffi::CStr = c"0.1.0";

const KEY_RO: u64 = 1 << 0;
const KEY_RW: u64 = 1 << 1;
const KEY_ACCESS: u64 = 1 << 4;
const KEY_UPDATE: u64 = 1 << 5;
const KEY_INSERT: u64 = 1 << 6;
const KEY_DELETE: u64 = 1 << 7;

const ARG_OPTIONAL: c_int = 1 << 0;
const ARG_MULTIPLE: c_int = 1 << 1;

/// What a command does with its keys, as Redis says it.
pub(super) fn key_flags(key_use: Use) -> u64 {
    match key_use {
        Use::Read => KEY_RO | KEY_ACCESS,
        Use::Insert => KEY_RW | KEY_INSERT,
        Use::Take => KEY_RW | KEY_ACCESS | KEY_UPDATE,
        Use::Update => KEY_RW | KEY_UPDATE,
        Use::Remove => KEY_RW | KEY_DELETE,
    }
}

/// Registers all commands; the error names the one that Redis refused.
pub(super) fn register(ctx: Ctx) -> Result<(), &'static str> {
    COMMANDS
        .iter()
        .zip(TRAMPOLINES)
        .try_for_each(|(command, function)| create(ctx, command, function).ok_or(command.name))
}

fn create(ctx: Ctx, command: &Command, function: raw::RedisModuleCmdFunc) -> Option<()> {
    let name = CString::new(command.name).ok()?;
    let flags = CString::new(command.flags).ok()?;
    let key = c_int::from(command.keys == Keys::First);
    // SAFETY: the strings live until Redis has copied them; the function has the signature of a command.
    let created = unsafe {
        api!(RedisModule_CreateCommand(ctx.as_ptr(), name.as_ptr(), function, flags.as_ptr(), key, key, key))
    };
    if created != OK {
        return None;
    }
    // SAFETY: as above.
    let handle = unsafe { api!(RedisModule_GetCommand(ctx.as_ptr(), name.as_ptr())) };
    if handle.is_null() || !describe(handle, command) {
        return None;
    }
    categorize(handle, command);
    Some(())
}

/// Servers newer than Redis 7.0 let modules put their commands into access control categories.
fn categorize(handle: *mut raw::RedisModuleCommand, command: &Command) {
    // SAFETY: the pointer is only read; it is null on older servers.
    let Some(set) = (unsafe { raw::RedisModule_SetCommandACLCategories }) else { return };
    let Ok(categories) = CString::new(command.categories) else { return };
    // SAFETY: the command was just created, and the module is still being loaded.
    unsafe { set(handle, categories.as_ptr()) };
}

/// Strings that live until Redis has copied them.
#[derive(Default)]
struct Strings(Vec<CString>);

impl Strings {
    fn add(&mut self, text: &str) -> *const c_char {
        let text = CString::new(text).unwrap_or_default();
        let pointer = text.as_ptr();
        self.0.push(text);
        pointer
    }
}

fn describe(handle: *mut raw::RedisModuleCommand, command: &Command) -> bool {
    let version = raw::RedisModuleCommandInfoVersion {
        version: 1,
        sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
        sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
        sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
    };
    let mut strings = Strings::default();
    let mut subargs = Vec::new();
    let mut args = describe_args(command.args, &mut strings, &mut subargs);
    let mut keys = describe_keys(command);
    let info = raw::RedisModuleCommandInfo {
        version: &version,
        summary: strings.add(command.summary),
        complexity: strings.add(command.complexity),
        since: SINCE.as_ptr(),
        history: ptr::null_mut(),
        tips: ptr::null(),
        arity: command.arity,
        key_specs: keys.as_mut_ptr(),
        args: args.as_mut_ptr(),
    };
    // SAFETY: everything that the description points to lives until Redis has copied it.
    (unsafe { api!(RedisModule_SetCommandInfo(handle, &info)) }) == OK
}

/// The key specifications, closed by an empty one.
fn describe_keys(command: &Command) -> Vec<raw::RedisModuleCommandKeySpec> {
    // SAFETY: a specification of zeros is the one that ends a list.
    let end: raw::RedisModuleCommandKeySpec = unsafe { std::mem::zeroed() };
    let mut spec = end;
    spec.flags = key_flags(command.key_use);
    spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
    spec.bs.index = raw::RedisModuleCommandKeySpec__bindgen_ty_1__bindgen_ty_1 { pos: 1 };
    match command.keys {
        Keys::None => return vec![end],
        Keys::First => {
            spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
            spec.fk.range = raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_1 {
                lastkey: 0,
                keystep: 1,
                limit: 0,
            };
        }
        Keys::Counted => {
            spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_KEYNUM;
            spec.fk.keynum = raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_2 {
                keynumidx: 0,
                firstkey: 1,
                keystep: 1,
            };
        }
    }
    vec![spec, end]
}

/// The arguments, closed by an empty one. Lists within them are kept in `subargs`.
fn describe_args(
    args: &[Arg],
    strings: &mut Strings,
    subargs: &mut Vec<Vec<raw::RedisModuleCommandArg>>,
) -> Vec<raw::RedisModuleCommandArg> {
    let mut described = Vec::with_capacity(args.len() + 1);
    for arg in args {
        // SAFETY: an argument of zeros is an empty one.
        let mut entry: raw::RedisModuleCommandArg = unsafe { std::mem::zeroed() };
        entry.name = strings.add(arg.name);
        entry.token = arg.token.map_or(ptr::null(), |token| strings.add(token));
        entry.key_spec_index = if arg.kind == Kind::Key { 0 } else { -1 };
        entry.flags =
            if arg.optional { ARG_OPTIONAL } else { 0 } | if arg.multiple { ARG_MULTIPLE } else { 0 };
        entry.type_ = match arg.kind {
            Kind::Text => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING,
            Kind::Integer => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER,
            Kind::Double => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_DOUBLE,
            Kind::Key => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY,
            Kind::Pattern => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PATTERN,
            Kind::Word => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN,
            Kind::OneOf(choices) => {
                let mut choices = describe_args(choices, strings, subargs);
                entry.subargs = choices.as_mut_ptr();
                subargs.push(choices);
                raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF
            }
        };
        described.push(entry);
    }
    // SAFETY: as above; it ends the list.
    described.push(unsafe { std::mem::zeroed() });
    described
}
