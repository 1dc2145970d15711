//! Glob patterns as `KEYS` and `SCAN` know them: `*`, `?`, `[abc]`, `[a-z]`, `[^x]`, and `\` before a character
//! that stands for itself. Patterns and names are bytes.

/// Whether a name matches a pattern. Costs O(pattern × name) at most: after a `*` only the last one is ever
/// tried again.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, n));
            p += 1;
            continue;
        }
        let step = match (pattern.get(p), name.get(n)) {
            (None, None) => return true,
            (Some(_), Some(byte)) => one(&pattern[p..], *byte),
            _ => None,
        };
        match (step, &mut star) {
            (Some(used), _) => {
                p += used;
                n += 1;
            }
            // The last star takes one more byte.
            (None, Some((after, from))) if *from < name.len() => {
                *from += 1;
                (p, n) = (*after, *from);
            }
            _ => return false,
        }
    }
}

/// Matches one byte against the start of a pattern; says how much of the pattern that took.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern[0] {
        b'?' => Some(1),
        b'[' => class(pattern, byte),
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        literal => (literal == byte).then_some(1),
    }
}

/// Matches one byte against `[...]`. As in Redis, a class that is never closed ends with the pattern.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let is_negated = pattern.get(1) == Some(&b'^');
    let mut at = if is_negated { 2 } else { 1 };
    let mut found = false;
    loop {
        match pattern.get(at) {
            None => break,
            Some(b']') => {
                at += 1;
                break;
            }
            Some(b'\\') if at + 1 < pattern.len() => {
                found |= pattern[at + 1] == byte;
                at += 2;
            }
            Some(&low) => match (pattern.get(at + 1), pattern.get(at + 2)) {
                (Some(b'-'), Some(&high)) => {
                    found |= (low.min(high)..=low.max(high)).contains(&byte);
                    at += 3;
                }
                _ => {
                    found |= low == byte;
                    at += 1;
                }
            },
        }
    }
    (found != is_negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_redis() {
        let yes = [
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abbbc"),
            ("a?c", "abc"),
            ("[abc]x", "bx"),
            ("[a-c]x", "bx"),
            ("[^a]x", "bx"),
            ("\\*", "*"),
            ("a**b", "ab"),
            ("*a*b*", "xxaxxbxx"),
            ("[\\]]", "]"),
            ("", ""),
            ("[c-a]", "b"),
            ("mail:*", "mail:eu"),
            ("[a", "a"),
        ];
        for (pattern, name) in yes {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        let no = [
            ("", "a"),
            ("a", ""),
            ("a*c", "abbb"),
            ("a?c", "ac"),
            ("[abc]x", "dx"),
            ("[^b]x", "bx"),
            ("\\*", "a"),
            ("*a", "ab"),
            ("mail:*", "sms:eu"),
            ("[]", "]"),
        ];
        for (pattern, name) in no {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }

    /// Nested stars are exponential in a matcher that recurses.
    #[test]
    fn many_stars_cost_little() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(20_000).as_bytes()));
    }
}
