//! PUBACKs or PUBRECs that wait for their turn.

use std::collections::VecDeque;

use dunlin_codec::{PacketId, ReasonCode};

use crate::packet_ids::release_idle_room;
use crate::token::Token;

/// Acknowledgements of one kind, in the order of their PUBLISHes. One goes out when it is known and all before it went.
///
/// Bound: the Receive Maximum in 5.0; in 3.x the caller stops reading.
#[derive(Debug, Default)]
pub(crate) struct AckQueue(VecDeque<Due>);

#[derive(Debug)]
struct Due {
    /// Whose answer it waits for; `None` if nothing was routed.
    token: Option<Token>,
    packet_id: PacketId,
    outcome: Option<ReasonCode>,
}

impl AckQueue {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(crate) fn push(&mut self, packet_id: PacketId, token: Token) {
        self.0.push_back(Due { token: Some(token), packet_id, outcome: None });
    }

    pub(crate) fn push_ready(&mut self, packet_id: PacketId, reason: ReasonCode) {
        self.0.push_back(Due { token: None, packet_id, outcome: Some(reason) });
    }

    /// Takes back the success that stands in the queue for this identifier.
    pub(crate) fn forget(&mut self, packet_id: PacketId) {
        let success = Some(ReasonCode::Success);
        self.0.retain(|due| due.packet_id != packet_id || due.outcome != success);
    }

    /// The answer for this token has come. Answers come in the order of the questions, but for few.
    #[inline]
    pub(crate) fn settle(&mut self, token: Token, reason: ReasonCode) -> bool {
        self.settle_where(|due| due.token == Some(token), reason)
    }

    /// The answer for this identifier has come, by whichever token.
    pub(crate) fn settle_id(&mut self, packet_id: PacketId, reason: ReasonCode) {
        self.settle_where(|due| due.packet_id == packet_id && due.outcome.is_none(), reason);
    }

    #[inline]
    fn settle_where(&mut self, asked: impl Fn(&Due) -> bool, reason: ReasonCode) -> bool {
        // Both ends first: messages that need no disk are answered at once, so at the back.
        let index = match (self.0.front(), self.0.back()) {
            (Some(first), _) if asked(first) => Some(0),
            (_, Some(last)) if asked(last) => Some(self.0.len() - 1),
            _ => self.0.iter().position(asked),
        };
        let due = index.and_then(|index| self.0.get_mut(index));
        let found = due.is_some();
        if let Some(due) = due {
            due.outcome = Some(reason);
        }
        found
    }

    /// The next acknowledgement that may go out, and whether its message was routed.
    #[inline]
    pub(crate) fn pop_ready(&mut self) -> Option<(PacketId, ReasonCode, bool)> {
        let reason = self.0.front()?.outcome?;
        let due = self.0.pop_front()?;
        release_idle_room(&mut self.0);
        Some((due.packet_id, reason, due.token.is_some()))
    }
}
