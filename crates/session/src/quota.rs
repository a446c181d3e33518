//! How many PUBLISHes with QoS above 0 may be on their way to the client.

/// The send quota of one Network Connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct SendQuota {
    maximum: u16,
    /// May pass the maximum: a resumed session's PUBRELs go out without asking, but count.
    used: u32,
}

impl SendQuota {
    /// A quota of which nothing is used.
    // [MQTT-4.9.0-1]
    pub(crate) const fn new(maximum: u16) -> Self {
        Self { maximum, used: 0 }
    }

    /// How many more may be sent.
    #[inline]
    pub(crate) fn available(self) -> u16 {
        u32::from(self.maximum).saturating_sub(self.used).try_into().unwrap_or(self.maximum)
    }

    /// One more is on its way.
    #[inline]
    pub(crate) fn take(&mut self) {
        self.used += 1;
    }

    /// So many more are on their way.
    #[inline]
    pub(crate) fn take_many(&mut self, count: usize) {
        self.used += u32::try_from(count).unwrap_or(u32::MAX);
    }

    /// So many are acknowledged for good.
    #[inline]
    pub(crate) fn give_back_many(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        debug_assert!(self.used >= count, "given back what was never taken");
        self.used = self.used.saturating_sub(count);
    }

    /// One is acknowledged for good.
    #[inline]
    pub(crate) fn give_back(&mut self) {
        debug_assert!(self.used > 0, "given back what was never taken");
        self.used = self.used.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_never_passes_its_maximum() {
        let mut quota = SendQuota::new(2);
        assert_eq!(quota.available(), 2);
        quota.take();
        quota.take();
        quota.take();
        assert_eq!(quota.available(), 0);
        quota.give_back();
        assert_eq!(quota.available(), 0);
        quota.give_back();
        assert_eq!(quota.available(), 1);
    }
}
