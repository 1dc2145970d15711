//! How long the blocks are that a tube's jobs lie in.
//!
//! jemalloc, which Redis comes with, has four sizes to each doubling (4096, 5120, 6144, 7168, 8192, ...), and cuts blocks
//! of up to 14 KiB out of runs of pages. A run for blocks of 2^k or 3 * 2^k bytes has three pages at most; for 5 * 2^k and
//! 7 * 2^k it has five and seven, which is above 16 KiB. When such a run, or a block that is as large itself, is free, it is
//! joined at once with all that is free around it, and what has become large by that is not cut up again for small blocks
//! (`lg_extent_max_active_fit`). From 8 MiB on it even goes back to the system in the very call (`oversize_threshold`),
//! which takes a millisecond for each few megabytes, and the kernel as long again to hand them out anew. A tube that fills
//! and empties by some megabytes would have that each time.
//!
//! So what lies in a tube by the thousand has *even* blocks, of 2^k or 3 * 2^k bytes: then the memory of jobs that went is
//! what the next ones take. Only bodies of some kilobytes have others, as even ones would waste too much.

/// What the allocator takes for so many bytes.
pub(super) const fn size_class(bytes: usize) -> usize {
    let step = if bytes <= 128 { 16 } else { bytes.next_power_of_two() / 8 };
    bytes.next_multiple_of(step)
}

/// The smallest even block of at least so many bytes.
pub(super) const fn even(bytes: usize) -> usize {
    let power = bytes.next_power_of_two();
    let three_quarters = power / 4 * 3;
    if bytes <= three_quarters { three_quarters } else { power }
}

/// Whether the allocator takes an even block for a value of this type.
pub(super) const fn is_even<T>() -> bool {
    size_class(size_of::<T>()) == even(size_of::<T>())
}

/// How many elements an even block holds that is long enough for so many.
pub(super) fn room_for<T>(count: usize) -> usize {
    even(count.max(4) * size_of::<T>()) / size_of::<T>()
}

/// Gives back what room there is beyond an even block for the elements there are.
pub(super) fn shrink<T>(elements: &mut Vec<T>) {
    elements.shrink_to(room_for::<T>(elements.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_class_is_the_next_of_four_to_a_doubling() {
        let classes = [
            0, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024,
            1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192, 10240, 12288, 14336,
            16384, 20480, 24576, 28672, 32768, 40960, 49152,
        ];
        for (smaller, class) in classes.iter().zip(&classes[1..]) {
            assert_eq!(size_class(smaller + 1), *class);
            assert_eq!(size_class(*class), *class);
        }
    }

    #[test]
    fn every_other_size_class_is_even() {
        let evens = [48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 8192, 12288, 16384];
        for (smaller, next) in evens.iter().zip(&evens[1..]) {
            if smaller * 2 > *next {
                assert_eq!(even(smaller + 1), *next);
            }
            assert_eq!((even(*next), size_class(*next)), (*next, *next));
        }
    }

    #[test]
    fn vectors_have_even_blocks() {
        assert_eq!([0, 4, 5, 97, 122, 128].map(room_for::<u32>), [4, 4, 6, 128, 128, 128]);
        let mut elements: Vec<u64> = Vec::with_capacity(200);
        elements.extend(0..90);
        shrink(&mut elements);
        assert_eq!((elements.len(), elements.capacity()), (90, 96));
        shrink(&mut elements);
        assert_eq!(elements.capacity(), 96);
    }
}
