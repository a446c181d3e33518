//! Reading a stream whose packets do not end where a read does.

use std::io::{ErrorKind, Read};

/// What one read brought.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'b> {
    /// What was carried over, with what was read behind it.
    pub bytes: &'b [u8],
    /// Whether there may be more to read at once.
    pub more: bool,
    /// Whether nothing more will ever come.
    pub closed: bool,
}

/// Reads once behind what is carried over, which is empty then, into a buffer that has room for both.
pub fn read_behind<'b>(
    stream: &mut impl Read,
    carry: &mut Vec<u8>,
    buffer: &'b mut [u8],
) -> Taken<'b> {
    let carried = carry.len();
    if let Some(head) = buffer.get_mut(..carried) {
        head.copy_from_slice(carry);
    }
    carry.clear();
    let room = buffer.get_mut(carried..).unwrap_or_default();
    let whole = room.len();
    let (count, more, closed) = match stream.read(room) {
        Ok(0) => (0, false, true),
        // A stream that had less than was asked for is empty.
        Ok(count) => (count, count == whole, false),
        Err(error) if error.kind() == ErrorKind::Interrupted => (0, true, false),
        Err(error) => (0, false, error.kind() != ErrorKind::WouldBlock),
    };
    Taken { bytes: buffer.get(..carried + count).unwrap_or_default(), more, closed }
}
