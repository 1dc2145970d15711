//! What is left of a time for which a module timer is too coarse: less than a millisecond.
//!
//! Redis counts the time until a module's timer in whole milliseconds, and sleeps for whole ones. A timer of the system's
//! that is a file descriptor wakes the event loop to the microsecond. Its callback may run in the middle of a script, or
//! while data are loaded; so it only has a module timer fire at once, which waits until those have ended.

use std::ffi::{c_long, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use super::api::{self, OnFd, Ready};

/// A timer of the system's.
pub(super) struct FineTimer(OwnedFd);

impl FineTimer {
    /// Makes one that has the event loop call `on_fire` from when it fires until it is [read](FineTimer::read); `None` if
    /// the system or the event loop has no room for it.
    pub(super) fn new(on_fire: OnFd) -> Option<FineTimer> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: it takes two numbers.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if fd < 0 {
            return None;
        }
        // SAFETY: it was just opened, and nobody else closes it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        api::watch_fd(fd.as_raw_fd(), Ready::Input, on_fire).then_some(FineTimer(fd))
    }

    /// Has it fire once, in so many microseconds, less than a second; `false` if it does not.
    pub(super) fn set(&self, after_us: u64) -> bool {
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let Ok(tv_nsec) = c_long::try_from(after_us.saturating_mul(1_000)) else { return false };
        let times = libc::itimerspec { it_interval: never, it_value: libc::timespec { tv_nsec, ..never } };
        // SAFETY: the times are read before it returns; those of before are not asked for.
        (unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const times, ptr::null_mut()) }) == 0
    }

    /// It has fired; the event loop is not to be told of that again.
    pub(super) fn read(&self) {
        let mut count = 0_u64;
        let place = (&raw mut count).cast::<c_void>();
        // SAFETY: there is room for the eight bytes that it gives. If it has not fired, it gives none.
        unsafe { libc::read(self.0.as_raw_fd(), place, size_of::<u64>()) };
    }
}
