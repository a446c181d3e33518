//! Buffers that a worker thread lends out and takes back.
//!
//! An idle connection owns no buffer: what it needs to read, to stage and to write is borrowed for the time it needs it.
//! Each thread keeps at most [`KEPT_MAX`] buffers of [`BUFFER_BYTES`], so the whole costs at most 2 MiB a worker.

use std::cell::RefCell;

/// The size of one lent buffer. A batch that was read in one piece fits in one.
pub(crate) const BUFFER_BYTES: usize = 128 * 1024;
/// Buffers that one thread keeps for the next borrower.
const KEPT_MAX: usize = 16;
/// What asks for less gets an allocation of its own size: an idle client that receives one small message should not
/// hold a large buffer until it is written.
const SMALL_BYTES: usize = 32 * 1024;

thread_local! {
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for `hint` bytes or more.
pub(crate) fn take(hint: usize) -> Vec<u8> {
    if hint <= SMALL_BYTES {
        return Vec::with_capacity(hint.max(256));
    }
    if hint > BUFFER_BYTES {
        return Vec::with_capacity(hint);
    }
    KEPT.with(|kept| kept.borrow_mut().pop()).unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
}

/// Makes a thread's own buffer one of [`BUFFER_BYTES`]. It is asked for as zeros, so that what is never read into need not be in
/// memory.
pub(crate) fn whole(buffer: &mut Vec<u8>) {
    if buffer.len() != BUFFER_BYTES {
        *buffer = vec![0; BUFFER_BYTES];
    }
}

/// Gives a buffer back for the next borrower on this thread.
pub(crate) fn give(mut buffer: Vec<u8>) {
    if buffer.capacity() != BUFFER_BYTES {
        return;
    }
    buffer.clear();
    KEPT.with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_lent_again_and_a_small_one_is_not_kept() {
        let mut large = take(SMALL_BYTES + 1);
        large.extend_from_slice(b"x");
        let address = large.as_ptr();
        give(large);
        let again = take(BUFFER_BYTES);
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        assert_eq!(take(10).capacity(), 256);
        give(Vec::with_capacity(100));
        let small = take(10);
        assert_ne!(small.as_ptr(), address);
    }
}
