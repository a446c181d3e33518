//! The smallest allocator that serves: a fixed arena from which memory is only ever taken.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

const ARENA_BYTES: usize = 256 * 1024;

/// Aligned for everything that asks for 16 bytes or less.
#[repr(align(16))]
struct Arena(UnsafeCell<[u8; ARENA_BYTES]>);

// SAFETY: the arena's bytes are reached only through `alloc`, which gives no byte twice.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; ARENA_BYTES]));
static USED: AtomicUsize = AtomicUsize::new(0);

struct Bump;

#[global_allocator]
static ALLOCATOR: Bump = Bump;

// SAFETY: every block lies inside the arena, is aligned as asked (16 at most, else refused), and is given only once.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let take = |used: usize| {
            let start = used.checked_next_multiple_of(layout.align())?;
            start
                .checked_add(layout.size())
                .filter(|end| *end <= ARENA_BYTES && layout.align() <= 16)
        };
        match USED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(used) => {
                let start = used.next_multiple_of(layout.align());
                // SAFETY: `take` found start + size within the arena.
                unsafe { ARENA.0.get().cast::<u8>().add(start) }
            }
            Err(_) => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _block: *mut u8, _layout: Layout) {}
}
