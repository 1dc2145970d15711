//! A panic never crosses into C: it would abort the server, and with it everybody's data.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use super::api;

/// Runs a callback. If it panics, the panic is logged, and `otherwise` is the answer.
pub(super) fn guard<T>(otherwise: T, callback: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(callback)) {
        Ok(answer) => answer,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("of unknown cause");
            api::log(ptr::null_mut(), c"warning", &format!("phean: a callback panicked at: {text}"));
            otherwise
        }
    }
}
