//! Packet Identifiers: which one a message gets, and small tables by identifier.

use std::collections::VecDeque;

use dunlin_codec::PacketId;

/// How many Packet Identifiers there are.
pub(crate) const PACKET_IDS: u64 = 65_535;

/// Elements that an emptied queue may keep room for. A larger one gives its memory back.
const IDLE_ROOM: usize = 64;

/// The Packet Identifier of the message at this place.
///
/// It needs no record of its own: after a restart the same message has the same identifier.
// [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1] [MQTT-2.3.1-4 @3.1.1]
#[inline]
pub(crate) fn packet_id_of(seq: u64) -> PacketId {
    u16::try_from(seq % PACKET_IDS + 1)
        .ok()
        .and_then(PacketId::new)
        .expect("1 to 65,535 is in range")
}

/// The first place from `first` on whose message has this Packet Identifier.
#[inline]
pub(crate) fn seq_from(first: u64, id: PacketId) -> u64 {
    let steps = u64::from(id.get()) - 1 + PACKET_IDS - first % PACKET_IDS;
    first + steps % PACKET_IDS
}

/// Gives back the memory of a queue that was long and is empty, so that an idle session is small again.
#[inline]
pub(crate) fn release_idle_room<T>(queue: &mut VecDeque<T>) {
    if queue.is_empty() && queue.capacity() > IDLE_ROOM {
        *queue = VecDeque::new();
    }
}

/// A table by Packet Identifier.
///
/// Kept in the order of the identifiers. Most clients count theirs up and get them answered in the same order, so that
/// nearly all work is at the two ends; any other order costs a binary search and a short move.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "nearly all sessions have none, and are 24 bytes smaller for it"
)]
pub(crate) struct PacketIdMap<V>(Option<Box<VecDeque<(PacketId, V)>>>);

impl<V> Default for PacketIdMap<V> {
    fn default() -> Self {
        Self(None)
    }
}

impl<V> PacketIdMap<V> {
    /// Where the identifier is, or where it belongs.
    #[inline]
    fn position(entries: &VecDeque<(PacketId, V)>, id: PacketId) -> Result<usize, usize> {
        let (Some((first, _)), Some((last, _))) = (entries.front(), entries.back()) else {
            return Err(0);
        };
        if id == *first {
            Ok(0)
        } else if id > *last {
            Err(entries.len())
        } else {
            entries.binary_search_by_key(&id, |(id, _)| *id)
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|entries| entries.is_empty())
    }

    #[inline]
    pub(crate) fn contains(&self, id: PacketId) -> bool {
        self.0.as_ref().is_some_and(|entries| Self::position(entries, id).is_ok())
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: PacketId) -> Option<&mut V> {
        let entries = self.0.as_mut()?;
        let index = Self::position(entries, id).ok()?;
        entries.get_mut(index).map(|(_, value)| value)
    }

    /// Sets the value of the identifier.
    #[inline]
    pub(crate) fn insert(&mut self, id: PacketId, value: V) {
        let entries = self.0.get_or_insert_default();
        match Self::position(entries, id) {
            Err(index) if index == entries.len() => entries.push_back((id, value)),
            Err(index) => entries.insert(index, (id, value)),
            Ok(index) => {
                if let Some(entry) = entries.get_mut(index) {
                    entry.1 = value;
                }
            }
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, id: PacketId) -> Option<V> {
        let entries = self.0.as_mut()?;
        let index = Self::position(entries, id).ok()?;
        let removed = if index == 0 { entries.pop_front() } else { entries.remove(index) };
        release_idle_room(entries);
        removed.map(|(_, value)| value)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |entries| entries.len())
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().flat_map(|entries| entries.iter_mut()).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn id(id: u16) -> PacketId {
        PacketId::new(id).unwrap()
    }

    #[test]
    fn identifiers_follow_from_places() {
        assert_eq!(packet_id_of(0).get(), 1);
        assert_eq!(packet_id_of(1).get(), 2);
        assert_eq!(packet_id_of(65_534).get(), 65_535);
        assert_eq!(packet_id_of(65_535).get(), 1);
        assert_eq!(packet_id_of(u64::MAX).get(), 1);
    }

    #[test]
    fn places_are_found_by_identifier() {
        for first in [0, 1, 65_533, 65_534, 65_535, 1_000_000, 131_069] {
            for seq in [first, first + 1, first + 2, first + 30_000, first + 65_534] {
                assert_eq!(seq_from(first, packet_id_of(seq)), seq, "from {first}");
            }
        }
    }

    #[test]
    fn the_map_agrees_with_an_ordered_map() {
        let mut map = PacketIdMap::default();
        let mut model = BTreeMap::new();
        let mut state = 1_u32;
        for step in 0..20_000_u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = u16::try_from(state >> 24).unwrap() + 1;
            if state & 0x80_0000 == 0 {
                map.insert(id(key), step);
                model.insert(key, step);
            } else {
                assert_eq!(map.remove(id(key)), model.remove(&key));
            }
            let other = u16::try_from(state >> 8 & 0xff).unwrap() + 1;
            assert_eq!(map.get_mut(id(other)).copied(), model.get(&other).copied());
            assert_eq!(map.contains(id(other)), model.contains_key(&other));
            assert_eq!(map.len(), model.len());
        }
    }

    #[test]
    fn an_emptied_map_gives_its_memory_back() {
        let mut map = PacketIdMap::default();
        for number in 1..=1_000 {
            map.insert(id(number), ());
        }
        for number in 1..=1_000 {
            map.remove(id(number));
        }
        assert_eq!(map.0.map(|entries| entries.capacity()), Some(0));
    }
}
