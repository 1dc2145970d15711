//! Numbers as clients send them.

use crate::queue::{DURATION_MAX_MS, Handle, ID_MAX};

/// Reads a decimal integer: digits only, no sign, no leading zero.
pub fn integer(text: &[u8]) -> Option<u64> {
    leading_integer(text).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

/// As [`integer`], of what the text begins with; returns what follows it, too.
fn leading_integer(text: &[u8]) -> Option<(u64, &[u8])> {
    leading_digits(text).filter(|(_, rest)| text.first() != Some(&b'0') || text.len() == rest.len() + 1)
}

/// Reads the number that the digits at the beginning of the text make, and returns what follows them; `None` if there
/// is no digit, or if the number is above `u64::MAX`.
pub fn leading_digits(text: &[u8]) -> Option<(u64, &[u8])> {
    // Ids and leases have 13 to 16 digits. So many cannot overflow.
    let (first, digits) = up_to_eight(text, 0);
    if digits < 8 {
        return if digits == 0 { None } else { Some((first, &text[digits..])) };
    }
    let (second, more) = up_to_eight(text, 8);
    let (value, rest) = (first * POWERS_OF_TEN[more] + second, &text[8 + more..]);
    if more == 8 && rest.first().is_some_and(u8::is_ascii_digit) {
        return more_digits(value, rest);
    }
    Some((value, rest))
}

const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The number that the digits from `at` on make, eight at most, and how many they are. `at` is no further than the end.
///
/// All eight are read at once, then made pairs, fours and one number by a multiplication each (after D. Lemire, "Quickly
/// parsing eight digits", 2018). Where they are fewer, they are moved up as if zeros stood before them.
#[inline(always)]
fn up_to_eight(text: &[u8], at: usize) -> (u64, usize) {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let digits = eight_bytes(text, at) ^ (EACH * 0x30);
    // A byte above 9 carries into its highest bit, or has that already. It can carry into the byte after it, too, where
    // nothing is read any more.
    let others = (digits.wrapping_add(EACH * 0x76) | digits) & (EACH * 0x80);
    let count = others.trailing_zeros() as usize / 8;
    if count == 0 {
        return (0, 0);
    }
    let digits = digits << (64 - 8 * count);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff, count)
}

/// The bytes from `at` on, the first one lowest, and zeros where the text ends before.
#[inline(always)]
fn eight_bytes(text: &[u8], at: usize) -> u64 {
    if let Some(eight) = text[at..].first_chunk() {
        return u64::from_le_bytes(*eight);
    }
    let missing = 8 - (text.len() - at);
    match text.last_chunk() {
        // The last eight, without those before `at`.
        Some(eight) if missing < 8 => u64::from_le_bytes(*eight) >> (8 * missing),
        _ => text[at..].iter().rev().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte)),
    }
}

/// Goes on reading the digits of a number of which some were read.
#[cold]
fn more_digits(mut value: u64, mut text: &[u8]) -> Option<(u64, &[u8])> {
    while let Some((digit, rest)) = text.split_first().filter(|(byte, _)| byte.is_ascii_digit()) {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        text = rest;
    }
    Some((value, text))
}

/// Reads a job id, or a lease `ID-N`.
pub fn handle(text: &[u8]) -> Option<Handle> {
    let (id, rest) = leading_integer(text)?;
    let n = match rest {
        [] => None,
        [b'-', n @ ..] => Some(integer(n)?),
        _ => return None,
    };
    (1..=ID_MAX).contains(&id).then_some(Handle { id, n })
}

/// Reads a number of seconds, `digits[.digits][e[+-]digits]`, as milliseconds, rounded up. No more than
/// 4294967295 seconds.
///
/// The arithmetic is decimal, so that `0.57` is 570 ms and not, by way of a binary fraction, 571.
pub fn seconds(text: &[u8]) -> Option<u64> {
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(e) => (&text[..e], exponent(&text[e + 1..])?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(point) => (&mantissa[..point], &mantissa[point + 1..]),
        None => (mantissa, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = || whole.iter().chain(fraction);
    if !digits().all(u8::is_ascii_digit) {
        return None;
    }
    // So many of the digits stand before the point once the number is in milliseconds.
    let before_point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?.checked_add(3)?;
    let mut ms: u64 = 0;
    let mut rest = false;
    for (place, digit) in digits().enumerate() {
        if i64::try_from(place).ok()? < before_point {
            ms = ms.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            if ms > DURATION_MAX_MS {
                return None;
            }
        } else {
            rest |= *digit != b'0';
        }
    }
    let zeros = before_point - i64::try_from(whole.len() + fraction.len()).ok()?;
    if ms > 0 {
        for _ in 0..zeros.max(0) {
            ms = ms.checked_mul(10).filter(|ms| *ms <= DURATION_MAX_MS)?;
        }
    }
    // Rounding up must not carry a number over the limit.
    let ms = ms + u64::from(rest);
    (ms <= DURATION_MAX_MS).then_some(ms)
}

/// Reads an exponent. One that is absurdly large stands for any that is.
fn exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text.first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_i64, |value, digit| {
        value.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(1 << 40)
    });
    Some(sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_plain_digits() {
        for (text, value) in [("0", 0), ("7", 7), ("4294967295", 4_294_967_295)] {
            assert_eq!(integer(text.as_bytes()), Some(value));
        }
        assert_eq!(integer(b"18446744073709551615"), Some(u64::MAX));
        for text in [
            "",
            "-1",
            "+1",
            " 1",
            "1 ",
            "01",
            "1.0",
            "1e3",
            "0x1",
            "18446744073709551616",
            "9".repeat(99).as_str(),
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn digits_are_read_as_one_would_one_by_one() {
        let slowly = |text: &[u8]| -> Option<(u64, usize)> {
            let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
            Some((number, text.len() - digits))
        };
        let all = b"18446744073709551615000";
        for from in 0..all.len() {
            for to in from..=all.len() {
                for other in [b'/', b':', 0, 0xff, b'-', 0xb0, b'9'] {
                    for at in 0..=to - from {
                        let mut text = all[from..to].to_vec();
                        text.insert(at, other);
                        let read = leading_digits(&text).map(|(value, rest)| (value, rest.len()));
                        assert_eq!(read, slowly(&text), "{}", text.escape_ascii());
                    }
                }
            }
        }
    }

    #[test]
    fn handles_are_ids_and_leases() {
        assert_eq!(handle(b"5"), Some(Handle::id(5)));
        assert_eq!(handle(b"5-17"), Some(Handle::lease(5, 17)));
        assert_eq!(handle(b"9007199254740991"), Some(Handle::id(ID_MAX)));
        for text in ["", "0", "-", "5-", "-5", "5-x", "5-1-2", "9007199254740992", "abc", "5 "] {
            assert_eq!(handle(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn seconds_are_decimal_and_rounded_up_to_the_millisecond() {
        let cases = [
            ("0", 0),
            ("60", 60_000),
            ("0.25", 250),
            ("0.57", 570),
            ("1.001", 1_001),
            ("2.003", 2_003),
            ("4.0E-5", 1),
            ("1e3", 1_000_000),
            ("1E+2", 100_000),
            ("0.0000000000000000001", 1),
            ("0.0010000001", 2),
            (".5", 500),
            ("5.", 5_000),
            ("007", 7_000),
            ("4294967295", DURATION_MAX_MS),
            ("4294967295.000", DURATION_MAX_MS),
            ("42949672950e-1", DURATION_MAX_MS),
            ("0e999999999999999999999", 0),
            ("1e-999999999999999999999", 1),
        ];
        for (text, ms) in cases {
            assert_eq!(seconds(text.as_bytes()), Some(ms), "{text}");
        }
        let huge = "9".repeat(1_000_000);
        let bad = [
            "",
            ".",
            "-1",
            "+1",
            "nan",
            "inf",
            "0x10",
            "1e",
            "1e+",
            "e5",
            "1.2.3",
            " 1",
            "1 ",
            "1s",
            "4294967296",
            "4294967295.0001",
            "1e10",
            "1e999999999999999999999",
            huge.as_str(),
        ];
        for text in bad {
            assert_eq!(seconds(text.as_bytes()), None, "{text}");
        }
    }
}
