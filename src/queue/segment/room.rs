//! How much a segment holds, by what Redis' allocator takes for it.
//!
//! jemalloc has four sizes to each doubling (8192, 10240, 12288, 14336, 16384, 20480, ...), so that a block just above
//! one of them takes up to a quarter more. Small bodies lie together in blocks that are full. A large one has a block
//! for itself where that is nearly full, too; or else it shares one with a few others.

/// A segment takes no further body once its bodies hold so many bytes, unless they are a few large ones.
pub(super) const BODIES_TARGET: usize = 12_288;

/// Bodies above this are large: three of them do not lie within [`BODIES_TARGET`].
pub(super) const LARGE: usize = BODIES_TARGET / 3;

/// A larger body always has its own segment, so that packing a segment anew never copies more at once.
const LARGE_MAX: usize = 1024 * 1024;

/// No segment that holds more than one body has more bytes in them.
pub(super) const BODIES_MAX: usize = 4 * LARGE_MAX;

/// So many large bodies of one size share a block at most.
pub(in super::super) const FEW: usize = 3;

/// What a segment of a few jobs takes besides their bodies, its places in the tube's trees included.
const OVERHEAD: usize = 430;

/// What the allocator takes for a large block of so many bytes.
pub(super) fn size_class(bytes: usize) -> usize {
    bytes.next_multiple_of(bytes.next_power_of_two() / 8)
}

/// How many bytes of small bodies a segment has room for that holds `bytes` of them: it grows in steps for which the
/// allocator has exact sizes.
pub(super) fn room_for_small(bytes: usize) -> usize {
    bytes.next_power_of_two().clamp(64, BODIES_TARGET)
}

/// How many bytes of bodies a segment is to have room for whose first body is large and has `body_len` bytes: for the
/// fewest such bodies, up to [`FEW`], of which the block and the segment around it take no more than a fifth besides.
pub(super) fn room_for_large(body_len: usize) -> usize {
    if body_len > LARGE_MAX {
        return body_len;
    }
    let is_tight = |bodies: &usize| (size_class(*bodies) + OVERHEAD) * 5 <= bodies * 6;
    let few = (1..FEW).map(|jobs| jobs * body_len).find(is_tight);
    size_class(few.unwrap_or(FEW * body_len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_class_is_the_next_of_four_to_a_doubling() {
        let classes = [
            4096, 5120, 6144, 7168, 8192, 10240, 12288, 14336, 16384, 20480, 24576, 28672, 32768, 40960,
            49152,
        ];
        for (smaller, class) in classes.iter().zip(&classes[1..]) {
            assert_eq!(size_class(smaller + 1), *class);
            assert_eq!(size_class(*class), *class);
        }
    }

    #[test]
    fn a_few_large_bodies_of_any_size_waste_little_more_than_a_fifth() {
        for body_len in (LARGE + 1..=LARGE_MAX).step_by(7) {
            let room = room_for_large(body_len);
            let jobs = room / body_len;
            assert!((1..=FEW).contains(&jobs), "{jobs} of {body_len}");
            assert!(room <= BODIES_MAX);
            let wasted = size_class(jobs * body_len) + OVERHEAD - jobs * body_len;
            assert!(wasted * 100 <= jobs * body_len * 21, "{wasted} wasted by {jobs} of {body_len}");
        }
        assert_eq!(room_for_large(LARGE_MAX + 1), LARGE_MAX + 1);
    }
}
