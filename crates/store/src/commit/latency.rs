//! How long commits take: a histogram whose steps grow with the time.

use std::time::Duration;

/// Steps in each doubling.
const STEPS: u64 = 8;
/// Doublings of a microsecond, up to about an hour.
const DOUBLINGS: usize = 32;
/// Steps in all.
const PLACES: usize = DOUBLINGS * 8;
const MICROS_MAX: u64 = (1 << DOUBLINGS) - 1;

/// Counts by duration, exact to an eighth.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    counts: Box<[u64]>,
    total: u64,
    max: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        let counts = vec![0; PLACES].into_boxed_slice();
        Self { counts, total: 0, max: Duration::ZERO }
    }
}

impl Latencies {
    pub(super) fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(MICROS_MAX).clamp(1, MICROS_MAX);
        let doubling = u64::from(micros.ilog2());
        let within = ((micros - (1 << doubling)) * STEPS) >> doubling;
        let last = self.counts.len() - 1;
        let place = usize::try_from(doubling * STEPS + within).unwrap_or(last).min(last);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(took);
    }

    pub(super) const fn max(&self) -> Duration {
        self.max
    }

    /// The time that this share of all took at the most; zero where there was none.
    pub(super) fn quantile(&self, percent: u64) -> Duration {
        let wanted = (self.total * percent).div_ceil(100);
        let mut seen = 0;
        for (place, count) in (0_u64..).zip(&self.counts) {
            seen += count;
            if seen >= wanted && seen > 0 {
                let (doubling, within) = (place / STEPS, place % STEPS);
                let end = (1 << doubling) + ((within + 1) << doubling).div_ceil(STEPS);
                return Duration::from_micros(end).min(self.max);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_an_eighth() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(50), Duration::ZERO);
        for micros in 1..=1_000 {
            latencies.add(Duration::from_micros(micros));
        }
        for percent in [1, 10, 50, 90, 99] {
            let exact = Duration::from_micros(percent * 10);
            let got = latencies.quantile(percent);
            assert!(got >= exact && got <= exact + exact / 4, "{percent} %: {got:?} for {exact:?}");
        }
        assert_eq!(
            (latencies.quantile(100), latencies.max()),
            (latencies.max(), Duration::from_millis(1))
        );
    }

    #[test]
    fn the_extremes_have_a_place() {
        let mut latencies = Latencies::default();
        latencies.add(Duration::ZERO);
        latencies.add(Duration::MAX);
        assert_eq!(latencies.max(), Duration::MAX);
        assert!(latencies.quantile(1) <= Duration::from_micros(2));
    }
}
