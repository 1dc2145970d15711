//! The functions of the module API that phean calls, side by side in memory.
//!
//! `redis-module` keeps each of all 396 in a variable of its own, which code of another crate finds through a table of
//! addresses: two looks for each call, at places that lie scattered, so that a worker's wake-up read thirty cache lines
//! for them (docs/performance.md). Here they are on a few, in the order of the list.

use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::Relaxed;
use std::{mem, ptr};

use redis_module::raw;

macro_rules! functions {
    ($($name:ident,)*) => {
        /// A function of the module API.
        #[expect(non_camel_case_types, reason = "they are called as in redismodule.h")]
        #[derive(Clone, Copy)]
        pub(super) enum Function { $($name),* }

        const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// Reads all of them from where `redis-module` put them.
        fn addresses() -> [*const (); NAMES.len()] {
            // SAFETY: nobody writes there but the call that has set them.
            unsafe { [$(raw::$name.map_or(ptr::null(), |function| function as *const ())),*] }
        }
    };
}

functions! {
    // What commands call that put, reserve and delete, and what a hand-over calls.
    RedisModule_Alloc, RedisModule_Free, RedisModule_StringPtrLen, RedisModule_CreateString,
    RedisModule_FreeString, RedisModule_SignalModifiedKey, RedisModule_ReplyWithLongLong,
    RedisModule_ReplyWithArray, RedisModule_ReplyWithStringBuffer, RedisModule_GetSelectedDb,
    RedisModule_Milliseconds, RedisModule_OpenKey, RedisModule_CloseKey, RedisModule_ModuleTypeGetType,
    RedisModule_ModuleTypeGetValue, RedisModule_GetExpire, RedisModule_CreateTimer, RedisModule_UnblockClient,
    RedisModule_GetBlockedClientPrivateData, RedisModule_GetModuleUserFromUserName,
    RedisModule_ACLCheckCommandPermissions, RedisModule_FreeModuleUser, RedisModule_ReplicateVerbatim,
    RedisModule_BlockClient, RedisModule_GetClientId, RedisModule_GetContextFlags, RedisModule_Realloc,
    RedisModule_StopTimer, RedisModule_KeyType, RedisModule_NotifyKeyspaceEvent, RedisModule_Replicate,
    RedisModule_SelectDb,
    // What else is called.
    RedisModule_AvoidReplicaTraffic, RedisModule_Call, RedisModule_CallReplyArrayElement,
    RedisModule_CallReplyInteger, RedisModule_CallReplyStringPtr, RedisModule_CallReplyType,
    RedisModule_Calloc, RedisModule_CreateCommand, RedisModule_CreateDataType, RedisModule_DbSize,
    RedisModule_DeleteKey, RedisModule_DigestAddStringBuffer, RedisModule_DigestEndSequence,
    RedisModule_EmitAOF, RedisModule_EventLoopAdd, RedisModule_EventLoopAddOneShot, RedisModule_EventLoopDel,
    RedisModule_FreeCallReply, RedisModule_FreeServerInfo, RedisModule_FreeThreadSafeContext,
    RedisModule_GetApi, RedisModule_GetBlockedClientHandle, RedisModule_GetClientInfoById,
    RedisModule_GetClientUserNameById, RedisModule_GetCommand, RedisModule_GetDbIdFromIO,
    RedisModule_GetDbIdFromOptCtx, RedisModule_GetDetachedThreadSafeContext, RedisModule_GetKeyNameFromIO,
    RedisModule_GetKeyNameFromOptCtx, RedisModule_GetNotifyKeyspaceEvents, RedisModule_GetServerInfo,
    RedisModule_GetServerVersion, RedisModule_InfoAddFieldULongLong, RedisModule_InfoAddSection,
    RedisModule_IsIOError, RedisModule_IsKeysPositionRequest, RedisModule_KeyAtPosWithFlags,
    RedisModule_LoadConfigs, RedisModule_LoadStringBuffer, RedisModule_Log, RedisModule_LogIOError,
    RedisModule_ModuleTypeSetValue, RedisModule_RegisterBoolConfig, RedisModule_RegisterCommandFilter,
    RedisModule_RegisterInfoFunc, RedisModule_RegisterNumericConfig, RedisModule_RegisterStringConfig,
    RedisModule_ReplyWithDouble, RedisModule_ReplyWithError, RedisModule_ReplyWithMap,
    RedisModule_ReplyWithNullArray, RedisModule_ReplyWithSimpleString, RedisModule_SaveStringBuffer,
    RedisModule_ServerInfoGetFieldC,
    RedisModule_ServerInfoGetFieldUnsigned, RedisModule_SetCommandInfo, RedisModule_SetDisconnectCallback,
    RedisModule_SetModuleOptions, RedisModule_SubscribeToKeyspaceEvents, RedisModule_SubscribeToServerEvent,
    RedisModule_UnregisterCommandFilter,
}

/// Where they are, from the beginning of a cache line on; nulls until the module is loaded.
#[repr(align(64))]
struct Table([AtomicPtr<()>; NAMES.len()]);

static TABLE: Table = Table([const { AtomicPtr::new(ptr::null_mut()) }; NAMES.len()]);

/// Takes over what `redis-module` was told by the server, before anything else of phean runs, even an allocation. If the
/// server lacks a function, its name is the error.
pub(super) fn take_over() -> Result<(), &'static str> {
    let addresses = addresses();
    for (place, address) in TABLE.0.iter().zip(addresses) {
        place.store(address.cast_mut(), Relaxed);
    }
    NAMES.iter().zip(addresses).find(|(_, address)| address.is_null()).map_or(Ok(()), |(name, _)| Err(*name))
}

/// A function, if the module is loaded. `_kind` is the variable of that name in `redis-module`, whose type it has.
///
/// # Safety
/// The variable is that of the same name.
#[inline(always)]
pub(super) unsafe fn find<F: Copy>(function: Function, _kind: *const Option<F>) -> Option<F> {
    const { assert!(size_of::<Option<F>>() == size_of::<*mut ()>()) };
    // SAFETY: there stands the address of a function of this type, or a null, which is `None`.
    unsafe { mem::transmute_copy(&TABLE.0[function as usize].load(Relaxed)) }
}

/// A function of the module API, `None` if the module is not loaded.
macro_rules! function {
    ($name:ident) => {
        $crate::host::functions::find(
            $crate::host::functions::Function::$name,
            &raw const ::redis_module::raw::$name,
        )
    };
}
pub(super) use function;
