//! A look at SQLite's log before it is opened: how much of its end belongs to no whole commit.
//!
//! SQLite cuts that off by itself and says nothing. The layout is that of the chapter "WAL file format" of SQLite's own
//! documentation.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The two magic numbers; the lowest bit says in which order the bytes of words are summed.
const MAGIC: u32 = 0x377F_0682;
const PAGE_BYTES_MAX: usize = 65_536;

/// What the log ends with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tail {
    /// Frames of whole commits.
    pub(super) frames: u64,
    /// Bytes behind them that were written for a commit of the same log.
    pub(super) torn_bytes: u64,
}

/// Reads a log, which may be missing.
pub(super) fn inspect(path: &Path) -> io::Result<Tail> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tail::default()),
        file => file?,
    };
    read(BufReader::with_capacity(1 << 16, file))
}

fn read(mut log: impl Read) -> io::Result<Tail> {
    let mut header = [0; HEADER_BYTES];
    let read = fill(&mut log, &mut header)?;
    if read < HEADER_BYTES {
        return Ok(Tail { frames: 0, torn_bytes: read as u64 });
    }
    let magic = word(&header, 0);
    let page_bytes = usize::try_from(word(&header, 8)).unwrap_or(0);
    if magic & !1 != MAGIC || page_bytes == 0 || page_bytes > PAGE_BYTES_MAX {
        return Ok(Tail::default());
    }
    let big_endian = magic & 1 == 1;
    let mut sum = Sum { big_endian, first: 0, second: 0 };
    let (head, own) = header.split_at(24);
    sum.add(head);
    if !sum.is(own) {
        return Ok(Tail::default());
    }
    let salts = [word(&header, 16), word(&header, 20)];
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    let mut tail = Tail::default();
    let (mut whole, mut since_commit, mut sound) = (0, 0, true);
    loop {
        let read = fill(&mut log, &mut frame)?;
        if read < frame.len() {
            // Rounds of the log end with whole frames.
            since_commit += read as u64;
            break;
        }
        // What an earlier round of the log has left.
        if [word(&frame, 8), word(&frame, 12)] != salts {
            break;
        }
        let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
        let (covered, own) = (head.get(..8), head.get(16..24));
        sum.add(covered.unwrap_or_default());
        sum.add(page);
        sound &= sum.is(own.unwrap_or_default());
        since_commit += frame.len() as u64;
        whole += 1;
        let commits = word(&frame, 4) != 0;
        if sound && commits {
            tail.frames = whole;
            since_commit = 0;
        }
    }
    tail.torn_bytes = since_commit;
    Ok(tail)
}

/// Fills the buffer, or reads what is left of the file; how many bytes that was.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match log.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    word.map_or(0, |word| u32::from_be_bytes(*word))
}

/// The running checksum of the log.
struct Sum {
    big_endian: bool,
    first: u32,
    second: u32,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let read = |word: [u8; 4]| {
            if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
        };
        let (mut first, mut second) = (self.first, self.second);
        for pair in bytes.as_chunks::<8>().0 {
            let [a, b, c, d, e, f, g, h] = *pair;
            first = first.wrapping_add(read([a, b, c, d])).wrapping_add(second);
            second = second.wrapping_add(read([e, f, g, h])).wrapping_add(first);
        }
        (self.first, self.second) = (first, second);
    }

    fn is(&self, own: &[u8]) -> bool {
        [word(own, 0), word(own, 4)] == [self.first, self.second]
    }
}
