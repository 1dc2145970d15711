//! How much a segment holds, by what Redis' allocator takes for it.
//!
//! The allocator has four sizes to each doubling, so that a block just above one of them takes up to a quarter more. Small
//! bodies lie together in [even](blocks) blocks that are full. A large one has a block for itself where that is nearly
//! full, too; or else it shares one with a few others.

use super::super::blocks::{self, size_class};

/// A segment takes no further body once its bodies hold so many bytes, unless they are a few large ones.
pub(super) const BODIES_TARGET: usize = 12_288;

/// A segment of so many jobs takes no further one that does not fit in its block, however short that is: there is an even
/// one for as many bodies of any length, or for up to half as many again.
pub(super) const ENOUGH: usize = 85;

/// Bodies above this are large: three of them do not lie within [`BODIES_TARGET`].
pub(super) const LARGE: usize = BODIES_TARGET / 3;

/// A larger body always has its own segment, so that packing a segment anew never copies more at once.
const LARGE_MAX: usize = 1024 * 1024;

/// No segment that holds more than one body has more bytes in them.
pub(super) const BODIES_MAX: usize = 4 * LARGE_MAX;

/// So many large bodies of one size share a block at most.
pub(in super::super) const FEW: usize = 3;

/// What a segment of a few jobs takes besides their bodies, its places on the tube's shelves included.
const OVERHEAD: usize = 440;

/// How many bytes of small bodies a segment has room for that holds `bytes` of them, or is to hold.
pub(super) fn room_for_small(bytes: usize) -> usize {
    let room = if bytes <= 1024 { bytes.next_power_of_two() } else { blocks::even(bytes) };
    room.clamp(64, BODIES_TARGET)
}

/// How many bytes of bodies a segment keeps room for that holds `bytes` of them, and will hold no more.
pub(super) fn room_to_keep(bytes: usize) -> usize {
    let even = blocks::even(bytes.max(1));
    if even <= BODIES_TARGET && even - bytes <= bytes / 8 { even } else { bytes }
}

/// Whether a block of so many bytes for bodies, and a segment of a few jobs around it, take more than a fifth besides.
fn wastes(bytes: usize) -> bool {
    (size_class(bytes) + OVERHEAD) * 5 > bytes * 6
}

/// How many bytes of bodies a segment is to have room for whose first body is large and has `body_len` bytes: for the
/// fewest such bodies, up to [`FEW`], of which the block and the segment around it take no more than a fifth besides.
pub(super) fn room_for_large(body_len: usize) -> usize {
    if body_len > LARGE_MAX {
        return body_len;
    }
    let few = (1..FEW).map(|jobs| jobs * body_len).find(|bytes| !wastes(*bytes));
    size_class(few.unwrap_or(FEW * body_len))
}

/// Whether a segment whose bodies hold `bytes`, and have no room for one more of `body_len`, would be better off with
/// it, as bodies of different lengths may be. The waste is more than a fifth only just above a power of two, so that one
/// or two more mostly end it.
pub(super) fn is_better_with(bytes: usize, body_len: usize) -> bool {
    (LARGE + 1..=LARGE_MAX).contains(&bytes) && body_len <= LARGE_MAX && wastes(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::SLOTS_MAX;
    use super::*;

    #[test]
    fn there_is_an_even_block_for_enough_bodies_of_any_small_length() {
        for body_len in 1..=BODIES_TARGET / ENOUGH {
            let mut room = room_for_small(body_len);
            while room / body_len < ENOUGH {
                room = room_for_small(room + 1);
                assert_eq!(room, blocks::even(room));
            }
            let bodies = (room / body_len).min(SLOTS_MAX) * body_len;
            assert!(bodies * 3 >= room * 2, "{bodies} of {room} for bodies of {body_len}");
        }
    }

    #[test]
    fn what_is_full_but_for_little_keeps_an_even_block() {
        let kept = [0, 1, 5_000, 5_500, 6_144, 10_200, 11_000, 12_288, 12_289, 20_000].map(room_to_keep);
        assert_eq!(kept, [0, 1, 5_000, 6_144, 6_144, 10_200, 12_288, 12_288, 12_289, 20_000]);
    }

    #[test]
    fn a_few_large_bodies_of_any_size_waste_little_more_than_a_fifth() {
        for body_len in (LARGE + 1..=LARGE_MAX).step_by(7) {
            let room = room_for_large(body_len);
            let jobs = room / body_len;
            assert!((1..=FEW).contains(&jobs), "{jobs} of {body_len}");
            assert!(room <= BODIES_MAX);
            let wasted = size_class(jobs * body_len) + OVERHEAD - jobs * body_len;
            assert!(wasted * 100 <= jobs * body_len * 22, "{wasted} wasted by {jobs} of {body_len}");
        }
        assert_eq!(room_for_large(LARGE_MAX + 1), LARGE_MAX + 1);
    }
}
