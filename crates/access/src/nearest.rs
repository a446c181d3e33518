//! The known word that somebody most likely meant.

/// The candidate nearest to `word`, if it is near enough to be a slip: at most one in three letters.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, candidate) = candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .min_by_key(|&(distance, _)| distance)?;
    // One slip in three letters is a guess worth making; more would suggest nonsense.
    (distance <= word.len().max(3) / 3).then_some(candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`. Words here are short ASCII names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // Three rows of the table of distances between prefixes: the last but one, the last, and the one being filled.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut left_letter = None;
    for (row, letter) in a.chars().enumerate() {
        let mut current = vec![row + 1];
        let mut other_left = None;
        for (column, &other) in b.iter().enumerate() {
            let at =
                |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&above, column) + usize::from(letter != other);
            let inserted = at(&current, column) + 1;
            let deleted = at(&above, column + 1) + 1;
            let mut best = replaced.min(inserted).min(deleted);
            if left_letter == Some(other) && other_left == Some(letter) && column > 0 {
                best = best.min(at(&before, column - 1) + 1);
            }
            current.push(best);
            other_left = Some(other);
        }
        before = std::mem::replace(&mut above, current);
        left_letter = Some(letter);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("listen", "listen", 0),
            ("recieve_maximum", "receive_maximum", 1),
            ("overflw", "overflow", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let words = ["queue_bytes_max", "queue_messages_max", "sessions_max"];
        assert_eq!(nearest("queue_byte_max", words.into_iter()), Some("queue_bytes_max"));
        assert_eq!(nearest("sesions_max", words.into_iter()), Some("sessions_max"));
        assert_eq!(nearest("colour", words.into_iter()), None);
    }
}
