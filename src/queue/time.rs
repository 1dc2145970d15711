//! Times and durations, and integers of odd sizes. Times are whole milliseconds, and count from the Unix epoch, so that
//! they mean the same after a restart and on another machine.

/// The latest time that the queue accepts, in Unix milliseconds (about the year 6400). A time plus the longest
/// duration still fits in 48 bits.
pub const TIME_MAX_MS: u64 = 1 << 47;

/// The longest duration, in milliseconds: beanstalkd's 4294967295 seconds.
pub const DURATION_MAX_MS: u64 = 4_294_967_295_000;

/// Whether a time is over. What was to last until then began within a millisecond, not at its beginning, so that it is
/// not over before the same millisecond is: nothing ends early, by less than a millisecond even.
#[inline]
pub const fn is_over(at_ms: u64, now_ms: u64) -> bool {
    at_ms < now_ms
}

/// When a time is [over](is_over).
#[inline]
pub const fn over_ms(at_ms: u64) -> u64 {
    at_ms.saturating_add(1)
}

/// An integer below 2^48 in six bytes, with no alignment: times, durations and lease numbers are stored so.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct U48([u8; 6]);

/// The largest number that fits in a [`U48`].
pub(super) const U48_MAX: u64 = (1 << 48) - 1;

impl U48 {
    /// Stores `value`, which must be below 2^48; a larger one becomes the largest that fits.
    pub(super) fn new(value: u64) -> U48 {
        debug_assert!(value <= U48_MAX);
        let b = value.min(U48_MAX).to_le_bytes();
        U48([b[0], b[1], b[2], b[3], b[4], b[5]])
    }

    pub(super) fn get(self) -> u64 {
        let b = self.0;
        u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], 0, 0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_bytes_keep_every_value_below_2_to_the_48() {
        for value in [0, 1, 255, 256, 1 << 32, TIME_MAX_MS + DURATION_MAX_MS, U48_MAX] {
            assert_eq!(U48::new(value).get(), value);
        }
        assert_eq!(size_of::<U48>(), 6);
        assert_eq!(align_of::<U48>(), 1);
    }
}
