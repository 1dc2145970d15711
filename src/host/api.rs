//! A thin edge around the module API: every function of Redis that phean calls, with its safety said once.
//!
//! Three things hold for all of them. The function pointers are set when the module is loaded, before any of our
//! code runs, and never change. Everything here is called on the main thread, from within a callback of Redis,
//! with pointers that Redis passed to that callback or returned from another call. Those that may be missing
//! from an older server are asked for with [`Option`].

use std::ffi::{CStr, c_char, c_int, c_long, c_longlong, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use redis_module::raw;

pub(super) use raw::{
    RedisModuleBlockedClient as BlockedClient, RedisModuleCmdFunc as CmdFunc, RedisModuleCommandFilterCtx,
    RedisModuleCtx, RedisModuleDigest, RedisModuleEvent, RedisModuleIO, RedisModuleInfoCtx, RedisModuleKey,
    RedisModuleKeyOptCtx, RedisModuleString, RedisModuleType,
};

use crate::commands::{COMMANDS, Command};

/// Calls a function of the module API.
macro_rules! api {
    ($name:ident($($argument:expr),* $(,)?)) => {
        match $crate::host::functions::function!($name) {
            Some(function) => function($($argument),*),
            // The module is loaded only where the server has all of them, and nothing but our allocator runs before.
            None => ::std::hint::unreachable_unchecked(),
        }
    };
}
pub(super) use api;

pub(super) const OK: c_int = 0;
pub(super) const ERR: c_int = 1;

/// Flags of a context, as `RM_GetContextFlags` gives them.
pub(super) mod flag {
    use std::ffi::c_int;
    pub const LUA: c_int = 1 << 0;
    pub const MULTI: c_int = 1 << 1;
    pub const MASTER: c_int = 1 << 2;
    pub const AOF: c_int = 1 << 6;
    pub const CLUSTER: c_int = 1 << 5;
    pub const MAXMEMORY: c_int = 1 << 8;
    pub const EVICT: c_int = 1 << 9;
    pub const OOM: c_int = 1 << 10;
    pub const REPLICATED: c_int = 1 << 12;
    pub const LOADING: c_int = 1 << 13;
    /// A replica that has lost its primary.
    pub const STALE: c_int = 1 << 14;
    pub const DENY_BLOCKING: c_int = 1 << 21;
    pub const RESP3: c_int = 1 << 22;
    pub const ASYNC_LOADING: c_int = 1 << 23;
}

/// Classes of keyspace notifications.
pub(super) mod notify {
    use std::ffi::c_int;
    pub const GENERIC: c_int = 1 << 2;
    pub const LOADED: c_int = 1 << 12;
    pub const MODULE: c_int = 1 << 13;
}

const READ: c_int = 1 << 0;
const WRITE: c_int = 1 << 1;
const NOTOUCH: c_int = 1 << 16;
const KEYTYPE_EMPTY: c_int = 0;
/// No command of ours takes more arguments than these at least.
const WORDS_MAX: usize = 4;
const _: () = {
    let mut n = 0;
    while n < COMMANDS.len() {
        assert!(COMMANDS[n].least_words() <= WORDS_MAX);
        n += 1;
    }
};

/// A string of Redis that we own.
pub(super) struct OwnedString(NonNull<RedisModuleString>);

impl OwnedString {
    pub(super) fn new(bytes: &[u8]) -> OwnedString {
        // SAFETY: the pointer and length are those of a slice; no context is needed to create a string.
        let string = unsafe {
            api!(RedisModule_CreateString(ptr::null_mut(), bytes.as_ptr().cast::<c_char>(), bytes.len()))
        };
        OwnedString(NonNull::new(string).expect("Redis never fails to create a string"))
    }

    /// Takes over a string that Redis handed to us; `None` for a null.
    fn take(string: *mut RedisModuleString) -> Option<OwnedString> {
        NonNull::new(string).map(OwnedString)
    }

    pub(super) fn as_ptr(&self) -> *mut RedisModuleString {
        self.0.as_ptr()
    }

    /// Whether these are its bytes.
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        let string = self.as_ptr().cast_const();
        bytes_of(&string) == bytes
    }

    /// Gives the string away to Redis.
    pub(super) fn into_ptr(self) -> *mut RedisModuleString {
        let string = self.0.as_ptr();
        std::mem::forget(self);
        string
    }
}

impl Drop for OwnedString {
    fn drop(&mut self) {
        // SAFETY: the string is ours, and nobody frees it a second time.
        unsafe { api!(RedisModule_FreeString(ptr::null_mut(), self.0.as_ptr())) }
    }
}

/// The bytes of a string of Redis, for as long as the pointer to it is borrowed.
pub(super) fn bytes_of(string: &*const RedisModuleString) -> &[u8] {
    let mut len = 0;
    // SAFETY: the string is alive: Redis passed it to the running callback, or we own it. For a null, Redis answers with
    // a text of its own.
    let bytes = unsafe { api!(RedisModule_StringPtrLen(*string, &mut len)) };
    // SAFETY: Redis says that so many bytes stand there, and strings do not change while they are borrowed.
    unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) }
}

/// The context of a callback.
#[derive(Clone, Copy)]
pub(super) struct Ctx(*mut RedisModuleCtx);

impl Ctx {
    /// # Safety
    /// The context is one that Redis passed to the callback that is running, and is not used after it.
    pub(super) unsafe fn new(ctx: *mut RedisModuleCtx) -> Ctx {
        Ctx(ctx)
    }

    pub(super) fn as_ptr(self) -> *mut RedisModuleCtx {
        self.0
    }

    /// A context of our own, which lasts as long as the server. It replicates nothing.
    pub(super) fn own(self) -> Ctx {
        // SAFETY: see the head of this file; the context is never freed.
        Ctx(unsafe { api!(RedisModule_GetDetachedThreadSafeContext(self.0)) })
    }

    pub(super) fn flags(self) -> c_int {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_GetContextFlags(self.0)) }
    }

    pub(super) fn has(self, flag: c_int) -> bool {
        self.flags() & flag != 0
    }

    pub(super) fn client_id(self) -> u64 {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_GetClientId(self.0)) }
    }

    pub(super) fn selected_db(self) -> u32 {
        // SAFETY: see the head of this file.
        let db = unsafe { api!(RedisModule_GetSelectedDb(self.0)) };
        u32::try_from(db).unwrap_or(0)
    }

    /// Selects a database; `false` if there is none of that number.
    pub(super) fn select_db(self, db: u32) -> bool {
        let Ok(db) = c_int::try_from(db) else { return false };
        // SAFETY: see the head of this file.
        (unsafe { api!(RedisModule_SelectDb(self.0, db)) }) == OK
    }

    /// How many keys the selected database holds.
    fn db_size(self) -> u64 {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_DbSize(self.0)) }
    }

    /// The databases that hold any key. Costs a look at each.
    pub(super) fn used_dbs(self) -> Vec<u32> {
        let selected = self.selected_db();
        let used = (0..).take_while(|db| self.select_db(*db)).filter(|_| self.db_size() > 0).collect();
        self.select_db(selected);
        used
    }

    /// Writes a line to the server's log. The message is never taken for a format.
    pub(super) fn log(self, level: &CStr, message: &str) {
        log(self.0, level, message);
    }

    pub(super) fn reply_integer(self, value: u64) {
        let value = c_longlong::try_from(value).unwrap_or(c_longlong::MAX);
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_ReplyWithLongLong(self.0, value)) };
    }

    pub(super) fn reply_bytes(self, bytes: &[u8]) {
        let text = bytes.as_ptr().cast::<c_char>();
        // SAFETY: the pointer and length are those of a slice; Redis copies the bytes.
        unsafe { api!(RedisModule_ReplyWithStringBuffer(self.0, text, bytes.len())) };
    }

    pub(super) fn reply_status(self, status: &CStr) {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_ReplyWithSimpleString(self.0, status.as_ptr())) };
    }

    pub(super) fn reply_error(self, text: &CStr) {
        // SAFETY: see the head of this file; Redis does not take the text for a format.
        unsafe { api!(RedisModule_ReplyWithError(self.0, text.as_ptr())) };
    }

    pub(super) fn reply_null_array(self) {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_ReplyWithNullArray(self.0)) };
    }

    pub(super) fn reply_array(self, len: usize) {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_ReplyWithArray(self.0, len as c_long)) };
    }

    pub(super) fn reply_map(self, pairs: usize) {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_ReplyWithMap(self.0, pairs as c_long)) };
    }

    pub(super) fn reply_double(self, value: f64) {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_ReplyWithDouble(self.0, value)) };
    }

    /// Replicates `PHEAN.APPLY key event`.
    pub(super) fn replicate_apply(self, key: *mut RedisModuleString, event: &[u8]) {
        let bytes = event.as_ptr().cast::<c_char>();
        // SAFETY: the format says what follows: a string of Redis, then a buffer and its length as a size_t.
        unsafe {
            api!(RedisModule_Replicate(
                self.0,
                c"PHEAN.APPLY".as_ptr(),
                c"sb".as_ptr(),
                key,
                bytes,
                event.len()
            ))
        };
    }

    pub(super) fn replicate_verbatim(self) {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_ReplicateVerbatim(self.0)) };
    }

    pub(super) fn signal_modified(self, key: *mut RedisModuleString) {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_SignalModifiedKey(self.0, key)) };
    }

    pub(super) fn notify(self, class: c_int, event: &CStr, key: *mut RedisModuleString) {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_NotifyKeyspaceEvent(self.0, class, event.as_ptr(), key)) };
    }

    pub(super) fn create_timer(self, period_ms: u64, callback: raw::RedisModuleTimerProc) -> u64 {
        let period = c_longlong::try_from(period_ms).unwrap_or(c_longlong::MAX);
        // SAFETY: see the head of this file; the callback takes no data.
        unsafe { api!(RedisModule_CreateTimer(self.0, period, callback, ptr::null_mut())) }
    }

    /// Stops a timer that has not fired.
    pub(super) fn stop_timer(self, timer: u64) {
        // SAFETY: see the head of this file; the timer's data, which we do not ask for, is null.
        unsafe { api!(RedisModule_StopTimer(self.0, timer, ptr::null_mut())) };
    }

    /// The name of the user that a connected client acts as; `None` where there is no such client or user.
    pub(super) fn user_of(self, client: u64) -> Option<OwnedString> {
        // SAFETY: see the head of this file; the context has no automatic memory, so the string is ours.
        OwnedString::take(unsafe { api!(RedisModule_GetClientUserNameById(self.0, client)) })
    }

    /// Keeps the client that runs the present command waiting.
    pub(super) fn block_client(
        self,
        reply: CmdFunc,
        timeout: CmdFunc,
        free: unsafe extern "C" fn(*mut RedisModuleCtx, *mut c_void),
        disconnect: raw::RedisModuleDisconnectFunc,
    ) -> *mut BlockedClient {
        // SAFETY: see the head of this file. The time-out is ours, not Redis' (0).
        let blocked = unsafe { api!(RedisModule_BlockClient(self.0, reply, timeout, Some(free), 0)) };
        // SAFETY: the blocked client was just returned.
        unsafe { api!(RedisModule_SetDisconnectCallback(blocked, disconnect)) };
        blocked
    }

    /// The blocked client that a reply or time-out callback is about.
    pub(super) fn blocked_client(self) -> *mut BlockedClient {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_GetBlockedClientHandle(self.0)) }
    }

    /// What was handed to [`unblock`] for the client whose reply callback is running.
    pub(super) fn private_data(self) -> *mut c_void {
        // SAFETY: see the head of this file.
        unsafe { api!(RedisModule_GetBlockedClientPrivateData(self.0)) }
    }

    /// Opens a key to look at it; `None` if it does not exist.
    pub(super) fn open_to_look(self, name: *mut RedisModuleString) -> Option<RawKey> {
        // SAFETY: see the head of this file.
        RawKey::new(unsafe { api!(RedisModule_OpenKey(self.0, name, READ | NOTOUCH)) })
    }

    /// Opens a key to change it.
    pub(super) fn open_to_change(self, name: *mut RedisModuleString) -> Option<RawKey> {
        // SAFETY: see the head of this file.
        RawKey::new(unsafe { api!(RedisModule_OpenKey(self.0, name, READ | WRITE)) })
    }

    /// A number out of a section of `INFO`; `None` if it is not there.
    pub(super) fn server_info(self, section: &CStr, field: &CStr) -> Option<u64> {
        let [value] = self.server_infos(section, [field]);
        value
    }

    /// Several numbers out of a section of `INFO`.
    pub(super) fn server_infos<const N: usize>(self, section: &CStr, fields: [&CStr; N]) -> [Option<u64>; N] {
        self.in_server_info(section, |info| {
            fields.map(|field| {
                let mut failed = 0;
                // SAFETY: the information is there.
                let value = unsafe {
                    api!(RedisModule_ServerInfoGetFieldUnsigned(info, field.as_ptr(), &mut failed))
                };
                (failed == OK).then_some(value)
            })
        })
    }

    /// Several texts out of a section of `INFO`.
    pub(super) fn server_info_texts<const N: usize>(
        self,
        section: &CStr,
        fields: [&CStr; N],
    ) -> [Option<String>; N] {
        self.in_server_info(section, |info| {
            fields.map(|field| {
                // SAFETY: the information is there.
                let text = unsafe { api!(RedisModule_ServerInfoGetFieldC(info, field.as_ptr())) };
                // SAFETY: a text of Redis ends with a null, and is there as long as the information.
                (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
            })
        })
    }

    /// Looks into a section of `INFO`.
    fn in_server_info<T>(
        self,
        section: &CStr,
        look: impl FnOnce(*mut raw::RedisModuleServerInfoData) -> T,
    ) -> T {
        // SAFETY: see the head of this file.
        let info = unsafe { api!(RedisModule_GetServerInfo(self.0, section.as_ptr())) };
        let seen = look(info);
        // SAFETY: the information is freed once, here.
        unsafe { api!(RedisModule_FreeServerInfo(self.0, info)) };
        seen
    }

    /// What `command question` answers.
    pub(super) fn ask(self, command: &CStr, question: &CStr) -> Option<Answer> {
        // SAFETY: see the head of this file; the format says what follows: a C string.
        let answer =
            unsafe { api!(RedisModule_Call(self.0, command.as_ptr(), c"Ec".as_ptr(), question.as_ptr())) };
        NonNull::new(answer).map(Answer)
    }

    /// The value of a setting of Redis; `None` if it cannot be asked for.
    pub(super) fn setting(self, name: &CStr) -> Option<String> {
        let (command, question) = (c"CONFIG".as_ptr(), c"GET".as_ptr());
        // SAFETY: see the head of this file; the format says what follows: two C strings.
        let answer =
            unsafe { api!(RedisModule_Call(self.0, command, c"Ecc".as_ptr(), question, name.as_ptr())) };
        NonNull::new(answer).map(Answer)?.whole().part(1).map(|value| value.text())
    }

    /// A key's slot in a cluster.
    pub(super) fn key_slot(self, key: &OwnedString) -> Option<u64> {
        let (command, question) = (c"CLUSTER".as_ptr(), c"KEYSLOT".as_ptr());
        // SAFETY: see the head of this file; the format says what follows: a C string, then a string of Redis.
        let answer =
            unsafe { api!(RedisModule_Call(self.0, command, c"Ecs".as_ptr(), question, key.as_ptr())) };
        NonNull::new(answer).map(Answer)?.whole().integer()
    }

    /// Whether a client is connected by TLS.
    pub(super) fn has_tls(self, client: u64) -> bool {
        const SSL: u64 = 1 << 0;
        // SAFETY: all zeros are a valid value; Redis wants to be told the version it is asked for.
        let mut info: raw::RedisModuleClientInfo = unsafe { std::mem::zeroed() };
        info.version = 1;
        // SAFETY: Redis fills in what this version has.
        let found = unsafe { api!(RedisModule_GetClientInfoById((&raw mut info).cast(), client)) };
        found == OK && info.flags & SSL != 0
    }
}

/// Writes a line to the server's log, with no context where there is none.
pub(super) fn log(ctx: *mut RedisModuleCtx, level: &CStr, message: &str) {
    let message = message.replace('\0', "\\0");
    let Ok(message) = std::ffi::CString::new(message) else { return };
    // SAFETY: the format takes one C string, so nothing in the message is taken for a format.
    unsafe { api!(RedisModule_Log(ctx, level.as_ptr(), c"%s".as_ptr(), message.as_ptr())) };
}

/// Lets a blocked client go, with data for its reply callback. Exactly once for each blocked client.
pub(super) fn unblock(blocked: *mut BlockedClient, data: *mut c_void) {
    // SAFETY: see the head of this file; the caller forgets the blocked client.
    unsafe { api!(RedisModule_UnblockClient(blocked, data)) };
}

/// Whether writing outside a command must wait, because clients are paused or a failover is under way.
pub(super) fn avoid_replica_traffic() -> bool {
    // SAFETY: see the head of this file.
    (unsafe { api!(RedisModule_AvoidReplicaTraffic()) }) != 0
}

/// Whether clients may hear what happens to keys (`notify-keyspace-events`).
#[inline]
pub(super) fn clients_hear_of_keys() -> bool {
    // SAFETY: see the head of this file.
    (unsafe { api!(RedisModule_GetNotifyKeyspaceEvents()) }) != 0
}

/// The wall clock (Unix ms).
pub(super) fn milliseconds() -> u64 {
    // SAFETY: see the head of this file.
    u64::try_from(unsafe { api!(RedisModule_Milliseconds()) }).unwrap_or(0)
}

/// The server's version: major, minor and patch, a byte each.
pub(super) fn server_version() -> c_int {
    // SAFETY: see the head of this file.
    unsafe { api!(RedisModule_GetServerVersion()) }
}

/// Has the event loop turn once more before it sleeps.
pub(super) fn turn_event_loop() {
    unsafe extern "C" fn nothing(_: *mut c_void) {}
    // SAFETY: see the head of this file; the callback takes no data.
    unsafe { api!(RedisModule_EventLoopAddOneShot(Some(nothing), ptr::null_mut())) };
}

/// A callback of the event loop for a file descriptor.
pub(super) type OnFd = unsafe extern "C" fn(c_int, *mut c_void, c_int);

/// What the event loop is to tell about a file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// There is something to read, or to accept.
    Input = 1,
    /// There is room for output.
    Room = 2,
}

/// Has the event loop call back whenever the file descriptor is ready; `false` if it takes no more.
pub(super) fn watch_fd(fd: c_int, ready: Ready, callback: OnFd) -> bool {
    // SAFETY: see the head of this file; the callback takes no data.
    (unsafe { api!(RedisModule_EventLoopAdd(fd, ready as c_int, Some(callback), ptr::null_mut())) }) == OK
}

/// Ends [`watch_fd`], while the file descriptor is still open.
pub(super) fn forget_fd(fd: c_int, ready: Ready) {
    // SAFETY: see the head of this file.
    unsafe { api!(RedisModule_EventLoopDel(fd, ready as c_int)) };
}

/// Has the event loop call back in its next turn.
pub(super) fn next_turn(callback: unsafe extern "C" fn(*mut c_void)) {
    // SAFETY: see the head of this file; the callback takes no data.
    unsafe { api!(RedisModule_EventLoopAddOneShot(Some(callback), ptr::null_mut())) };
}

/// What Redis answered to a command that it was asked to run.
pub(super) struct Answer(NonNull<raw::RedisModuleCallReply>);

impl Answer {
    fn kind(&self) -> c_int {
        // SAFETY: the reply is alive.
        unsafe { api!(RedisModule_CallReplyType(self.0.as_ptr())) }
    }

    /// The text of an error; `None` if it is something else.
    pub(super) fn error(&self) -> Option<String> {
        (self.kind() == REPLY_ERROR).then(|| text_of(self.0.as_ptr()))
    }

    /// The whole of it.
    pub(super) fn whole(&self) -> Part<'_> {
        Part { reply: self.0, answer: PhantomData }
    }
}

/// A part of an answer, or all of it.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    reply: NonNull<raw::RedisModuleCallReply>,
    answer: PhantomData<&'a Answer>,
}

impl<'a> Part<'a> {
    /// An element of an array.
    pub(super) fn part(self, index: usize) -> Option<Part<'a>> {
        // SAFETY: the reply is alive, and so are its elements. Redis answers null for what is no array.
        let reply = unsafe { api!(RedisModule_CallReplyArrayElement(self.reply.as_ptr(), index)) };
        NonNull::new(reply).map(|reply| Part { reply, answer: PhantomData })
    }

    /// The elements of an array; none for what is no array.
    pub(super) fn parts(self) -> impl Iterator<Item = Part<'a>> {
        (0..).map_while(move |index| self.part(index))
    }

    /// What follows this name in an array of names and values in turn.
    pub(super) fn field(self, name: &str) -> Option<Part<'a>> {
        let names = (0..).step_by(2).map_while(|index| Some((index, self.part(index)?)));
        let (index, _) = names.into_iter().find(|(_, part)| part.text() == name)?;
        self.part(index + 1)
    }

    /// The text of a string or an error; empty for anything else.
    pub(super) fn text(self) -> String {
        text_of(self.reply.as_ptr())
    }

    /// An integer that is not negative; `None` for anything else.
    pub(super) fn integer(self) -> Option<u64> {
        // SAFETY: the reply is alive. Redis answers its smallest number for what is no integer.
        u64::try_from(unsafe { api!(RedisModule_CallReplyInteger(self.reply.as_ptr())) }).ok()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: the reply is freed once, here.
        unsafe { api!(RedisModule_FreeCallReply(self.0.as_ptr())) };
    }
}

const REPLY_ERROR: c_int = 1;

/// The text of a reply that is a string or an error.
fn text_of(reply: *mut raw::RedisModuleCallReply) -> String {
    if reply.is_null() {
        return String::new();
    }
    let mut len = 0;
    // SAFETY: the reply is alive.
    let text = unsafe { api!(RedisModule_CallReplyStringPtr(reply, &mut len)) };
    if text.is_null() {
        return String::new();
    }
    // SAFETY: Redis says that so many bytes stand there; they live as long as the reply.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks whether `PHEAN.APPLY key event` could run now, by all that Redis asks before it runs a command of a script:
/// enough replicas, no trouble with its disk, no replica, the key's slot served here. The command itself must know
/// that it is only asked.
pub(super) fn try_apply(ctx: Ctx, key: &OwnedString) -> Option<Answer> {
    call_apply(ctx, c"ESMsc", key)
}

/// Asks the same, but for nothing else than whether the key's slot is served here.
pub(super) fn try_slot(ctx: Ctx, key: &OwnedString) -> Option<Answer> {
    call_apply(ctx, c"Esc", key)
}

fn call_apply(ctx: Ctx, format: &CStr, key: &OwnedString) -> Option<Answer> {
    // SAFETY: see the head of this file; the format says what follows: a string of Redis, then a C string.
    let answer = unsafe {
        api!(RedisModule_Call(ctx.0, c"PHEAN.APPLY".as_ptr(), format.as_ptr(), key.as_ptr(), c"".as_ptr()))
    };
    NonNull::new(answer).map(Answer)
}

/// `ACL GETUSER name`.
pub(super) fn get_user(ctx: Ctx, name: &OwnedString) -> Option<Answer> {
    // SAFETY: as above: a C string, then a string of Redis.
    let answer = unsafe {
        api!(RedisModule_Call(ctx.0, c"ACL".as_ptr(), c"Ecs".as_ptr(), c"GETUSER".as_ptr(), name.as_ptr()))
    };
    NonNull::new(answer).map(Answer)
}

/// Whether Redis has a database of this number.
pub(super) fn has_database(ctx: Ctx, db: u32) -> bool {
    // SAFETY: see the head of this file. A context of our own, because that of a configuration callback has no
    // client, and so no database.
    let own = unsafe { api!(RedisModule_GetDetachedThreadSafeContext(ctx.0)) };
    let found = Ctx(own).select_db(db);
    // SAFETY: the context is freed once, here.
    unsafe { api!(RedisModule_FreeThreadSafeContext(own)) };
    found
}

/// A function that Redis calls before each command.
pub(super) struct Filter(NonNull<raw::RedisModuleCommandFilter>);

/// A filter is not called for the commands that its own module runs.
const NOT_FOR_SELF: c_int = 1;

impl Filter {
    /// Has Redis call this function before each command but those that we run; `None` if it refuses.
    pub(super) fn add(ctx: Ctx, filter: raw::RedisModuleCommandFilterFunc) -> Option<Filter> {
        // SAFETY: see the head of this file; the function has the signature of a filter.
        NonNull::new(unsafe { api!(RedisModule_RegisterCommandFilter(ctx.0, filter, NOT_FOR_SELF)) })
            .map(Filter)
    }

    /// Ends this.
    pub(super) fn remove(self, ctx: Ctx) {
        // SAFETY: see the head of this file; the filter was added once, and is removed once.
        unsafe { api!(RedisModule_UnregisterCommandFilter(ctx.0, self.0.as_ptr())) };
    }
}

/// Whether a user may run a command, its keys included.
pub(super) fn user_may_run(user: &OwnedString, db: u32, command: &[&[u8]]) -> bool {
    // SAFETY: see the head of this file.
    let user = unsafe { api!(RedisModule_GetModuleUserFromUserName(user.as_ptr())) };
    if user.is_null() {
        return false;
    }
    let strings: Vec<OwnedString> = command.iter().map(|word| OwnedString::new(word)).collect();
    let mut argv: Vec<*mut RedisModuleString> = strings.iter().map(OwnedString::as_ptr).collect();
    may_run(user, db, &mut argv)
}

/// A command of ours that rights are asked of, with one tube, its first argument.
pub(super) struct OnTube {
    name: OwnedString,
    words: usize,
}

impl OnTube {
    /// Of any other command no user has the right.
    pub(super) fn new(name: &str) -> OnTube {
        let words = Command::named(name).map_or(0, Command::least_words);
        OnTube { name: OwnedString::new(name.as_bytes()), words }
    }
}

/// Whether a user may run a command on one key. The same as [`user_may_run`], with less work.
pub(super) fn user_may_use(user: &OwnedString, db: u32, command: &OnTube, key: &[u8]) -> bool {
    let key = OwnedString::new(key);
    // Servers with the security updates of 2026 grant nothing to a command with fewer arguments than it takes. What
    // the others are does not matter.
    let mut argv = [key.as_ptr(); WORDS_MAX];
    argv[0] = command.name.as_ptr();
    let Some(argv) = argv.get_mut(..command.words).filter(|argv| !argv.is_empty()) else { return false };
    // SAFETY: see the head of this file.
    let user = unsafe { api!(RedisModule_GetModuleUserFromUserName(user.as_ptr())) };
    !user.is_null() && may_run(user, db, argv)
}

/// `ACLCheckPermissions` of Valkey 9.1, where rights may be bound to databases: there the older function asks for the
/// right to all of them.
type CheckInDb = unsafe extern "C" fn(
    *mut raw::RedisModuleUser,
    *mut *mut RedisModuleString,
    c_int,
    c_int,
    *mut c_int,
) -> c_int;

/// That function, where there is one.
fn check_in_db() -> Option<CheckInDb> {
    static CHECK: OnceLock<Option<CheckInDb>> = OnceLock::new();
    *CHECK.get_or_init(|| {
        let mut check: Option<CheckInDb> = None;
        // SAFETY: Redis writes the function's address, or nothing.
        unsafe {
            api!(RedisModule_GetApi(c"RedisModule_ACLCheckPermissions".as_ptr(), (&raw mut check).cast()))
        };
        check
    })
}

/// Asks for a user, and frees its handle.
fn may_run(user: *mut raw::RedisModuleUser, db: u32, argv: &mut [*mut RedisModuleString]) -> bool {
    let argc = c_int::try_from(argv.len()).unwrap_or(0);
    let answer = match (check_in_db(), c_int::try_from(db)) {
        // SAFETY: user and strings are alive until the end of this function; a reason is not asked for.
        (Some(check), Ok(db)) => unsafe { check(user, argv.as_mut_ptr(), argc, db, ptr::null_mut()) },
        // SAFETY: as above.
        _ => unsafe { api!(RedisModule_ACLCheckCommandPermissions(user, argv.as_mut_ptr(), argc)) },
    };
    // SAFETY: this frees the handle, not the user.
    unsafe { api!(RedisModule_FreeModuleUser(user)) };
    answer == OK
}

/// An open key.
pub(super) struct RawKey(NonNull<RedisModuleKey>);

impl RawKey {
    fn new(key: *mut RedisModuleKey) -> Option<RawKey> {
        NonNull::new(key).map(RawKey)
    }

    pub(super) fn is_empty(&self) -> bool {
        // SAFETY: the key is open.
        (unsafe { api!(RedisModule_KeyType(self.0.as_ptr())) }) == KEYTYPE_EMPTY
    }

    /// Whether the key has a time to live.
    pub(super) fn expires(&self) -> bool {
        const NO_EXPIRE: i64 = -1;
        // SAFETY: the key is open.
        (unsafe { api!(RedisModule_GetExpire(self.0.as_ptr())) }) != NO_EXPIRE
    }

    /// The value, if it is of this type.
    pub(super) fn value(&self, kind: *mut RedisModuleType) -> Option<NonNull<c_void>> {
        // SAFETY: the key is open. Redis answers null for a key that holds no module's value.
        let is_ours = unsafe { api!(RedisModule_ModuleTypeGetType(self.0.as_ptr())) } == kind;
        // SAFETY: as above.
        is_ours
            .then(|| unsafe { api!(RedisModule_ModuleTypeGetValue(self.0.as_ptr())) })
            .and_then(NonNull::new)
    }

    /// Gives the key a value, which Redis then owns.
    pub(super) fn set_value(&self, kind: *mut RedisModuleType, value: *mut c_void) -> bool {
        // SAFETY: the key is open to be changed, and the value is of that type.
        (unsafe { api!(RedisModule_ModuleTypeSetValue(self.0.as_ptr(), kind, value)) }) == OK
    }

    pub(super) fn delete(&self) {
        // SAFETY: the key is open to be changed; Redis frees its value.
        unsafe { api!(RedisModule_DeleteKey(self.0.as_ptr())) };
    }
}

impl Drop for RawKey {
    fn drop(&mut self) {
        // SAFETY: the key is open, and closed only here.
        unsafe { api!(RedisModule_CloseKey(self.0.as_ptr())) }
    }
}

/// What Redis says about the value that a callback of the data type gets.
pub(super) fn name_of_value(ctx: *mut RedisModuleKeyOptCtx) -> Option<(u32, Box<[u8]>)> {
    // SAFETY: Redis passed the context to the running callback.
    let name = unsafe { api!(RedisModule_GetKeyNameFromOptCtx(ctx)) };
    // SAFETY: as above.
    let db = unsafe { api!(RedisModule_GetDbIdFromOptCtx(ctx)) };
    if name.is_null() {
        return None;
    }
    Some((u32::try_from(db).ok()?, bytes_of(&name).into()))
}

/// The name under which a value is being loaded, or written out.
pub(super) fn name_in_io(io: *mut RedisModuleIO) -> Option<(u32, Box<[u8]>)> {
    // SAFETY: Redis passed the stream to the running callback.
    let name = unsafe { api!(RedisModule_GetKeyNameFromIO(io)) };
    // SAFETY: as above.
    let db = unsafe { api!(RedisModule_GetDbIdFromIO(io)) };
    if name.is_null() {
        return None;
    }
    Some((u32::try_from(db).ok()?, bytes_of(&name).into()))
}

/// Writes a piece of a value into the RDB file.
pub(super) fn save_piece(io: *mut RedisModuleIO, piece: &[u8]) {
    // SAFETY: Redis passed the stream to the running callback; pointer and length are those of a slice.
    unsafe { api!(RedisModule_SaveStringBuffer(io, piece.as_ptr().cast::<c_char>(), piece.len())) }
}

/// Reads a piece of a value from the RDB file; `None` if the file is cut off. The memory that Redis read it into
/// becomes the vector's.
pub(super) fn load_piece(io: *mut RedisModuleIO) -> Option<Vec<u8>> {
    let mut len = 0;
    // SAFETY: Redis passed the stream to the running callback.
    let piece = unsafe { api!(RedisModule_LoadStringBuffer(io, &mut len)) };
    // SAFETY: as above.
    let failed = unsafe { api!(RedisModule_IsIOError(io)) } != 0;
    if piece.is_null() {
        return None;
    }
    if failed || len == 0 {
        // SAFETY: the piece is ours, and freed once.
        unsafe { api!(RedisModule_Free(piece.cast::<c_void>())) };
        return (!failed).then(Vec::new);
    }
    // SAFETY: Redis says that so many bytes stand there, and they are ours. They are to be freed by
    // `RedisModule_Free`, which is what our allocator does; bytes need no alignment.
    Some(unsafe { Vec::from_raw_parts(piece.cast::<u8>(), len, len) })
}

/// Writes `PHEAN.APPLY key event` into the append-only file that is being rewritten.
pub(super) fn emit_apply(io: *mut RedisModuleIO, key: *mut RedisModuleString, event: &[u8]) {
    let bytes = event.as_ptr().cast::<c_char>();
    // SAFETY: the format says what follows: a string of Redis, then a buffer and its length as a size_t.
    unsafe { api!(RedisModule_EmitAOF(io, c"PHEAN.APPLY".as_ptr(), c"sb".as_ptr(), key, bytes, event.len())) }
}

/// Adds a piece of a value to its digest.
pub(super) fn digest_piece(digest: *mut RedisModuleDigest, piece: &[u8]) {
    // SAFETY: Redis passed the digest to the running callback; pointer and length are those of a slice.
    unsafe { api!(RedisModule_DigestAddStringBuffer(digest, piece.as_ptr().cast::<c_char>(), piece.len())) }
}

/// Ends a sequence of pieces whose order matters.
pub(super) fn digest_end(digest: *mut RedisModuleDigest) {
    // SAFETY: Redis passed the digest to the running callback.
    unsafe { api!(RedisModule_DigestEndSequence(digest)) }
}

/// Logs why a value cannot be loaded.
pub(super) fn log_io_error(io: *mut RedisModuleIO, message: &str) {
    let Ok(message) = std::ffi::CString::new(message.replace('\0', "\\0")) else { return };
    // SAFETY: the format takes one C string, so nothing in the message is taken for a format.
    unsafe { api!(RedisModule_LogIOError(io, c"warning".as_ptr(), c"%s".as_ptr(), message.as_ptr())) }
}

/// A section of `INFO phean`.
pub(super) fn info_section(ctx: *mut RedisModuleInfoCtx, name: &CStr) -> bool {
    // SAFETY: Redis passed the context to the running callback.
    (unsafe { api!(RedisModule_InfoAddSection(ctx, name.as_ptr())) }) == OK
}

/// A field of the section.
pub(super) fn info_field(ctx: *mut RedisModuleInfoCtx, name: &CStr, value: u64) {
    // SAFETY: Redis passed the context to the running callback.
    unsafe { api!(RedisModule_InfoAddFieldULongLong(ctx, name.as_ptr(), value)) };
}

/// Whether Redis only asks where the command's keys are.
pub(super) fn is_asked_for_keys(ctx: Ctx) -> bool {
    // SAFETY: see the head of this file.
    (unsafe { api!(RedisModule_IsKeysPositionRequest(ctx.0)) }) != 0
}

/// Says that a key stands at this position.
pub(super) fn key_at(ctx: Ctx, position: usize, flags: c_int) {
    let Ok(position) = c_int::try_from(position) else { return };
    // SAFETY: see the head of this file.
    unsafe { api!(RedisModule_KeyAtPosWithFlags(ctx.0, position, flags)) }
}

/// Flags of a configuration parameter.
pub(super) const CONFIG_MEMORY: c_uint = 1 << 7;
