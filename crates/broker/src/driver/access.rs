//! Keeping to rules that came into force while a client was connected.

use std::time::Instant;

use dunlin_access::Silent;
use dunlin_codec::{ReasonCode, Version};
use dunlin_session::SubscribeItem;
use dunlin_topics::SubscriptionFilter;

use crate::access::{Attempt, Grant, grant};
use crate::end::EndReason;
use crate::fanout::Staging;
use crate::metrics::add;

use super::Driver;

impl Driver {
    /// Takes the client's rights anew if other rules are in force, and looks over what it subscribed to. Before anything is
    /// taken from the client, and before anything is taken for it.
    #[inline]
    pub(super) fn keep_to_the_rules(&mut self, staging: &mut Staging, now: Instant) {
        // Who saw the rules by itself before it was asked is asked all the same, and somebody waits for its answer.
        let asked = || self.mailbox.as_ref().is_some_and(|mailbox| mailbox.is_asked());
        if self.rules_seen != self.core.access.generation() || asked() {
            self.take_rights_anew(staging, now);
        }
    }

    fn take_rights_anew(&mut self, staging: &mut Staging, now: Instant) {
        let Some(mailbox) = self.mailbox.clone() else { return };
        let core = self.core.clone();
        self.rules_seen = core.access.generation();
        // Dropped when all is done, for the one who waits.
        let _due = mailbox.take_due();
        let has_rights = core.renew_rights(&mailbox);
        self.take_quota_anew(now);
        self.rights = mailbox.rights();
        let Some(session) = self.machine.session_mut() else { return };
        let before: Vec<SubscriptionFilter> =
            session.subscriptions().map(|(filter, _)| filter.clone()).collect();
        let entries = core.look_over(&mailbox, session);
        staging.writes.extend(entries);
        let lost: Vec<SubscriptionFilter> = before
            .into_iter()
            .filter(|filter| session.subscription(filter.as_bytes()).is_none())
            .collect();
        self.recheck = mailbox.recheck().boxed();
        for filter in &lost {
            self.drop_replays(filter);
        }
        if let Some(busy) = &mut self.busy {
            busy.routes.clear();
            busy.replays.iter_mut().for_each(crate::retained::Replay::look_at_each);
            busy.groups.retain(|group| group.member(&mailbox).is_some());
        }
        // Messages of the same read find the new routes.
        self.batch = self.batch.wrapping_add(1);
        if !has_rights {
            self.evict(EndReason::NotAuthorized, staging, now);
        }
    }

    /// Refuses the filters that the client may not subscribe to, and lowers the QoS of those that it may only have lower.
    /// `false` if its connection is to be closed instead.
    pub(super) fn judge_filters(&mut self, items: &mut [SubscribeItem]) -> bool {
        let Some(rights) = self.rights.clone() else { return true };
        let Some(mailbox) = self.mailbox.clone() else { return true };
        let mut any_refused = false;
        for item in items {
            let Ok(filter) = &item.filter else { continue };
            match grant(Some(&rights), filter, item.options.qos) {
                Grant::Granted { qos, .. } => item.options.qos = qos,
                Grant::Refused(refusal) => {
                    add(&mailbox.namespace.counters.subscribe_refused, 1);
                    self.core.refused(&mailbox, Attempt::Subscribe, filter.as_str(), refusal);
                    item.filter = Err(ReasonCode::NotAuthorized);
                    any_refused = true;
                }
            }
        }
        let disconnects = rights.rules().options().refused_subscribe_3_1 == Silent::Disconnect;
        !(any_refused && disconnects && self.machine.version() == Some(Version::V3_1))
    }
}
