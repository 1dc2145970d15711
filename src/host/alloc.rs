//! Memory comes from Redis, so that `used_memory` and `maxmemory` know of it. Outside Redis (tests, benchmarks,
//! fuzzing) the functions are not there, and the system's allocator serves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;

use super::functions::function;

/// Redis' allocator.
pub struct RedisAllocator;

/// What Redis guarantees of every address.
const ALIGNED_TO: usize = 16;

/// How much to ask for. A block that is smaller than its alignment may be aligned to less.
fn size_of(layout: &Layout) -> usize {
    layout.size().max(layout.align())
}

/// Whether a block must be aligned to more than Redis guarantees. Few are.
fn is_wide(layout: &Layout) -> bool {
    layout.align() > ALIGNED_TO
}

/// Finds room for a block within a larger one, and notes in front of it where that begins.
///
/// # Safety
///
/// `whole` is null, or an address of `layout.size() + layout.align()` bytes that Redis allocated.
unsafe fn within(whole: *mut u8, layout: &Layout) -> *mut u8 {
    if whole.is_null() {
        return whole;
    }
    let offset = layout.align() - whole.addr() % layout.align();
    // SAFETY: Redis aligns to less than the layout does, so there are 16 bytes or more in front of the block, and enough
    // behind it: the offset is the alignment at most.
    unsafe {
        let block = whole.add(offset);
        block.cast::<*mut u8>().sub(1).write(whole);
        block
    }
}

// SAFETY: Redis' allocation functions behave like malloc and its kin, which never unwind; alignments are taken
// care of above. They are set once, when the module is loaded, before anything was allocated; and where they are
// not set, they are never set, so that every block goes back to where it came from.
unsafe impl GlobalAlloc for RedisAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the name is the function's; see above.
        match unsafe { function!(RedisModule_Alloc) } {
            // SAFETY: any size may be asked for, and the block has the room that `within` needs.
            Some(alloc) if is_wide(&layout) => unsafe {
                within(alloc(layout.size() + layout.align()).cast::<u8>(), &layout)
            },
            // SAFETY: any size may be asked for.
            Some(alloc) => unsafe { alloc(size_of(&layout)) }.cast::<u8>(),
            // SAFETY: the caller's promise is passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the name is the function's; see above.
        match unsafe { function!(RedisModule_Free) } {
            // SAFETY: `within` noted in front of the block where Redis' block begins.
            Some(free) if is_wide(&layout) => unsafe {
                free(block.cast::<*mut u8>().sub(1).read().cast::<c_void>());
            },
            // SAFETY: the block came from Redis' allocator.
            Some(free) => unsafe { free(block.cast::<c_void>()) },
            // SAFETY: the block came from the system's allocator; the caller's promise is passed on.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the name is the function's; see above.
        match unsafe { function!(RedisModule_Calloc) } {
            // SAFETY: as in `alloc`.
            Some(calloc) if is_wide(&layout) => unsafe {
                within(calloc(1, layout.size() + layout.align()).cast::<u8>(), &layout)
            },
            // SAFETY: any size may be asked for.
            Some(calloc) => unsafe { calloc(1, size_of(&layout)) }.cast::<u8>(),
            // SAFETY: the caller's promise is passed on.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the name is the function's; see above.
        match unsafe { function!(RedisModule_Realloc) } {
            Some(_) if is_wide(&layout) => {
                // SAFETY: the caller promises that the new size is valid with this alignment, and that the block is of this
                // layout; both blocks have so many bytes.
                unsafe {
                    let new = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
                    if !new.is_null() {
                        block.copy_to_nonoverlapping(new, new_size.min(layout.size()));
                        self.dealloc(block, layout);
                    }
                    new
                }
            }
            Some(realloc) => {
                // SAFETY: the caller promises that the new size is valid with this alignment.
                let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
                // SAFETY: the block came from Redis' allocator.
                unsafe { realloc(block.cast::<c_void>(), size_of(&new)) }.cast::<u8>()
            }
            // SAFETY: the block came from the system's allocator; the caller's promise is passed on.
            None => unsafe { System.realloc(block, layout, new_size) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_block_is_aligned_wherever_the_whole_begins() {
        #[repr(align(256))]
        struct Room([u8; 1024]);
        let mut room = Room([0; 1024]);
        for (size, align) in [(1, 32), (200, 64), (128, 128), (300, 256)] {
            let layout = Layout::from_size_align(size, align).unwrap();
            for at in (0..256).step_by(ALIGNED_TO) {
                let whole = room.0[at..at + size + align].as_mut_ptr();
                // SAFETY: there are so many bytes, aligned to 16.
                let block = unsafe { within(whole, &layout) };
                assert!(block.addr().is_multiple_of(align) && block >= whole.wrapping_add(ALIGNED_TO));
                assert!(block.wrapping_add(size) <= whole.wrapping_add(size + align));
                // SAFETY: that is where it was noted.
                assert_eq!(unsafe { block.cast::<*mut u8>().sub(1).read() }, whole);
            }
        }
        // SAFETY: a null is allowed.
        assert!(unsafe { within(std::ptr::null_mut(), &Layout::new::<Room>()) }.is_null());
    }
}
