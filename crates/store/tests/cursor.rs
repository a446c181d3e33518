//! The cursor against a set of numbers.

use std::collections::BTreeSet;

use dunlin_store::Cursor;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn is_a_set_of_places(steps in vec((1..60_u64, 0..12_u64, any::<bool>()), 0..80)) {
        let (mut cursor, mut acknowledged, mut released) = (Cursor::default(), BTreeSet::new(), BTreeSet::new());
        for (first, count, release) in steps {
            if release {
                cursor.release(first);
                released.insert(first);
            } else {
                cursor.acknowledge(first, (first + count).saturating_sub(1));
                acknowledged.extend(first..first + count);
            }
            released.retain(|seq| !acknowledged.contains(seq));
            for seq in 1..75 {
                prop_assert_eq!(cursor.is_acknowledged(seq), acknowledged.contains(&seq));
                prop_assert_eq!(cursor.is_released(seq), released.contains(&seq));
            }
            prop_assert!(cursor.released().eq(released.iter().copied()));
            assert_normal(&cursor);
            let highest = acknowledged.last().max(released.last()).copied().unwrap_or(0);
            prop_assert_eq!(cursor.next_seq(), highest + 1);
        }
    }
}

/// Ranges are apart from each other and from the mark, so that a cursor has one form only.
fn assert_normal(cursor: &Cursor) {
    let mut free_from = cursor.acknowledged_through() + 1;
    for (first, last) in cursor.ranges() {
        assert!(first > free_from && last >= first, "{cursor:?}");
        free_from = last + 1;
    }
}

#[test]
fn takes_the_ends_of_the_range() {
    let mut cursor = Cursor::default();
    cursor.acknowledge(0, 0);
    assert_eq!(cursor, Cursor::default(), "places begin at 1");
    cursor.acknowledge(u64::MAX, u64::MAX);
    cursor.acknowledge(2, u64::MAX - 1);
    assert_eq!(cursor.ranges().collect::<Vec<_>>(), [(2, u64::MAX)]);
    cursor.acknowledge(1, 1);
    assert_eq!(cursor.acknowledged_through(), u64::MAX);
    assert_eq!(cursor.ranges().count(), 0);
}
