//! Memory comes from Redis, so that `used_memory` and `maxmemory` know of it. Outside Redis (tests, benchmarks,
//! fuzzing) the functions are not there, and the system's allocator serves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;

use redis_module::raw;

/// Redis' allocator.
pub struct RedisAllocator;

/// What Redis guarantees of every address.
const ALIGNED_TO: usize = 16;

/// Redis' allocator aligns a block to the largest power of two that divides its size, up to a page; so a size
/// that is a multiple of the alignment is aligned.
fn size_of(layout: &Layout) -> usize {
    if layout.align() <= ALIGNED_TO && layout.size() >= layout.align() {
        layout.size()
    } else {
        layout.pad_to_align().size().max(layout.align())
    }
}

// SAFETY: Redis' allocation functions behave like malloc and its kin, which never unwind; alignments are taken
// care of above. They are set once, when the module is loaded, before anything was allocated; and where they are
// not set, they are never set, so that every block goes back to where it came from.
unsafe impl GlobalAlloc for RedisAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the pointer is only read; see above.
        match unsafe { raw::RedisModule_Alloc } {
            // SAFETY: any size may be asked for.
            Some(alloc) => unsafe { alloc(size_of(&layout)) }.cast::<u8>(),
            // SAFETY: the caller's promise is passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the pointer is only read; see above.
        match unsafe { raw::RedisModule_Free } {
            // SAFETY: the block came from Redis' allocator.
            Some(free) => unsafe { free(block.cast::<c_void>()) },
            // SAFETY: the block came from the system's allocator; the caller's promise is passed on.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the pointer is only read; see above.
        match unsafe { raw::RedisModule_Calloc } {
            // SAFETY: any size may be asked for.
            Some(calloc) => unsafe { calloc(1, size_of(&layout)) }.cast::<u8>(),
            // SAFETY: the caller's promise is passed on.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the pointer is only read; see above.
        match unsafe { raw::RedisModule_Realloc } {
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
