//! A whole stream of frames, read by a cursor that has all of it.

/// What the stream says.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) plain: Vec<u8>,
    /// Each ping: where it ends in the stream, and what it holds.
    pings: Vec<(usize, Vec<u8>)>,
    /// Where it was seen that nothing more comes, and the code of the answer.
    pub(super) end: Option<(usize, Option<u16>)>,
}

impl Told {
    /// What is answered if the stream arrives in pieces with these ends and each is answered at once: the last ping of each.
    pub(super) fn answers(&self, ends: &[usize]) -> Vec<u8> {
        let mut answers = Vec::new();
        let mut from = 0;
        for end in ends {
            let ping = self.pings.iter().rfind(|(at, _)| (from + 1..=*end).contains(at));
            if let Some((_, payload)) = ping {
                answers.extend([0x8A, payload.len() as u8]);
                answers.extend(payload);
            }
            match self.end {
                Some((at, code)) if (from + 1..=*end).contains(&at) => {
                    let code = code.map(u16::to_be_bytes);
                    let code = code.as_ref().map_or(&[][..], |code| code);
                    answers.extend([0x88, code.len() as u8]);
                    answers.extend(code);
                }
                _ => {}
            }
            from = *end;
        }
        answers
    }
}

pub(super) fn read(stream: &[u8]) -> Told {
    let mut told = Told::default();
    let mut at = 0;
    let mut fragmented = false;
    loop {
        let Some(&[first, second]) = stream.get(at..at + 2) else { return told };
        let opcode = first & 15;
        let last = first >= 128;
        let failed = |at, code| Some((at, Some(code)));
        let illegal = first & 0x70 != 0
            || [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].contains(&opcode)
            || second < 128
            || opcode >= 8 && (!last || second > 128 + 125);
        if opcode == 1 && first & 0x70 == 0 {
            told.end = failed(at + 2, 1003);
            return told;
        }
        if illegal {
            told.end = failed(at + 2, 1002);
            return told;
        }
        at += 2;
        let more = match second - 128 {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mut len = u64::from(second - 128);
        if more > 0 {
            let Some(bytes) = stream.get(at..at + more) else { return told };
            len = bytes.iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
            at += more;
        }
        if len >> 63 == 1 || len > 268_435_460 {
            told.end = failed(at, if len >> 63 == 1 { 1002 } else { 1009 });
            return told;
        }
        let Some(mask) = stream.get(at..at + 4) else { return told };
        at += 4;
        if opcode == 0 && !fragmented || opcode == 2 && fragmented {
            told.end = failed(at, 1002);
            return told;
        }
        let there = &stream[at..];
        let there = &there[..there.len().min(len as usize)];
        let payload: Vec<u8> =
            there.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]).collect();
        if opcode < 8 {
            told.plain.extend(&payload);
            fragmented = !last;
        }
        if (payload.len() as u64) < len {
            return told;
        }
        at += payload.len();
        match opcode {
            9 => told.pings.push((at, payload)),
            8 => {
                let code = match payload[..] {
                    [] => None,
                    [_] => Some(1002),
                    [high, low, ..] => Some(u16::from_be_bytes([high, low])),
                };
                let legal = match code {
                    None => true,
                    Some(1000..=1003 | 1007..=1014 | 3000..=4999) => true,
                    Some(_) => false,
                };
                let code = if payload.len() == 1 || !legal {
                    Some(1002)
                } else if payload.len() > 2 && String::from_utf8(payload[2..].to_vec()).is_err() {
                    Some(1007)
                } else {
                    code
                };
                told.end = Some((at, code));
                return told;
            }
            _ => {}
        }
    }
}
