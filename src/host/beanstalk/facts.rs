//! What the port's `stats` tells of the process and the machine.

use std::ffi::{CStr, c_char};
use std::hash::{BuildHasher, RandomState};

use crate::beanstalk::Facts;

/// What does not change while the server runs.
pub(super) struct Known {
    /// Tells this run of the server from others.
    id: u64,
    hostname: String,
    os: String,
    platform: String,
}

impl Known {
    /// Asks the system.
    pub(super) fn look() -> Known {
        // The standard library's hash keys are random.
        let id = RandomState::new().hash_one(std::process::id());
        // SAFETY: zeros are a name of empty texts.
        let mut name: libc::utsname = unsafe { std::mem::zeroed() };
        // SAFETY: the name is ours to be written to.
        unsafe { libc::uname(&mut name) };
        Known { id, hostname: text(&name.nodename), os: text(&name.version), platform: text(&name.machine) }
    }

    /// All facts, `uptime_s` seconds after the start.
    pub(super) fn now(&self, uptime_s: u64) -> Facts {
        // SAFETY: zeros are a usage of nothing.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the usage is ours to be written to.
        unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
        Facts {
            pid: u64::from(std::process::id()),
            user_us: microseconds(usage.ru_utime),
            system_us: microseconds(usage.ru_stime),
            uptime_s,
            id: self.id,
            hostname: self.hostname.clone(),
            os: self.os.clone(),
            platform: self.platform.clone(),
        }
    }
}

fn microseconds(time: libc::timeval) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
}

/// A text of the system, which is closed by a NUL.
fn text(chars: &[c_char]) -> String {
    // SAFETY: a slice of characters is one of bytes.
    let bytes = unsafe { std::slice::from_raw_parts(chars.as_ptr().cast::<u8>(), chars.len()) };
    CStr::from_bytes_until_nul(bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}
