//! Power of two choices: of two endpoints drawn at random, the one with the lower expected wait.
//!
//! The expected wait is (requests in flight + 1) × latency, where the latency is a peak-sensitive, decaying average
//! (the "peak EWMA" of Finagle and Linkerd): a slow response counts at once and in full, a fast one bit by bit, and an
//! endpoint that is left alone is forgiven with time, so that it is tried again.

use std::time::{Duration, Instant};

/// After this time a measurement has lost 63 % of its weight. Ten seconds, as Linkerd: long against one slow response,
/// short against a rollout.
const DECAY: Duration = Duration::from_secs(10);

/// How many times slower than the other an endpoint may count. Requests to one endpoint differ (a report takes longer
/// than an icon): without a bound one slow response would send everything to the other endpoint, whatever its queue.
const RATIO_MAX: f64 = 8.0;

/// Differences below this are noise (in nanoseconds). It also keeps a fully decayed latency from hiding the queue.
const FLOOR: f64 = 10_000.0;

/// A decaying average of latencies that follows a peak at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeakEwma {
    nanos: f64,
    at: Instant,
}

impl PeakEwma {
    /// The average after the first measurement.
    pub fn new(latency: Duration, now: Instant) -> Self {
        Self { nanos: latency.as_nanos() as f64, at: now }
    }

    /// Adds a measurement.
    pub fn observe(&mut self, latency: Duration, now: Instant) {
        let sample = latency.as_nanos() as f64;
        self.nanos = if sample >= self.nanos {
            sample
        } else {
            let keep = self.weight(now);
            self.nanos * keep + sample * (1.0 - keep)
        };
        self.at = now;
    }

    /// What the average counts for now, in nanoseconds.
    pub fn read(&self, now: Instant) -> f64 {
        self.nanos * self.weight(now)
    }

    fn weight(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at);
        (-age.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

/// What is known of an endpoint at the moment of choice.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// Requests in flight.
    pub outstanding: u32,
    /// [`PeakEwma::read`], or `None` if the endpoint has not answered yet.
    pub latency: Option<f64>,
    /// Ejected as an outlier.
    pub ejected: bool,
    /// As many requests in flight as are allowed.
    pub busy: bool,
    /// Already tried for this request.
    pub tried: bool,
}

impl Candidate {
    /// Whether a request waits less here than there. Without a measurement on both sides only the queues are
    /// compared: a new endpoint is neither flooded nor starved.
    fn at_most(&self, other: &Self) -> bool {
        let (Some(a), Some(b)) = (self.latency, other.latency) else {
            return self.outstanding <= other.outstanding;
        };
        let (a, b) = (a.max(FLOOR), b.max(FLOOR));
        let wait = |latency: f64, queue: u32| latency * (f64::from(queue) + 1.0);
        wait(a.min(b * RATIO_MAX), self.outstanding) <= wait(b.min(a * RATIO_MAX), other.outstanding)
    }

    fn is_open(&self) -> bool {
        !(self.ejected || self.busy || self.tried)
    }
}

/// Why no endpoint could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The backend has no endpoint.
    Empty,
    /// Every endpoint that could serve has as many requests in flight as are allowed.
    Busy,
    /// Every endpoint is ejected, and the configuration allows that.
    Ejected,
}

/// Chooses one of `count` endpoints.
///
/// `view` describes the endpoint at an index and hands out the caller's handle to it, which is returned for the
/// chosen one. It is called twice if both endpoints drawn are open, the common case, and once or twice per endpoint
/// otherwise. `random` yields uniform numbers.
///
/// Ejected, busy and tried endpoints are skipped, with two exceptions. If more than `max_ejected_percent` of the
/// endpoints are ejected, ejection is ignored: then it is likelier that the cause is on our side, and all are tried.
/// If only tried endpoints are left, one of them is chosen again.
pub fn pick<H>(
    count: usize,
    max_ejected_percent: u8,
    mut view: impl FnMut(usize) -> (Candidate, H),
    mut random: impl FnMut() -> u64,
) -> Result<H, Unavailable> {
    match count {
        0 => return Err(Unavailable::Empty),
        1 => {
            let (candidate, handle) = view(0);
            if candidate.is_open() {
                return Ok(handle);
            }
        }
        _ => {
            let (i, j) = draw_two(count, random());
            let ((a, first), (b, second)) = (view(i), view(j));
            if a.is_open() && b.is_open() {
                return Ok(if a.at_most(&b) { first } else { second });
            }
        }
    }
    let census = Census::take(count, &mut view);
    let (eligible, tier) = census.tier(count, max_ejected_percent)?;
    let (i, j) = if eligible == 1 { (0, 0) } else { draw_two(eligible, random()) };
    let (mut first, mut second) = (None, None);
    for (at, found) in (0..count).map(view).filter(|(candidate, _)| tier.admits(candidate)).enumerate() {
        if at == i {
            first = Some(found);
        } else if at == j {
            second = Some(found);
        }
    }
    match (first, second) {
        (Some((a, first)), Some((b, second))) => Ok(if a.at_most(&b) { first } else { second }),
        (Some((_, only)), None) | (None, Some((_, only))) => Ok(only),
        (None, None) => Err(Unavailable::Empty),
    }
}

/// Two different indices below `count`, each pair equally likely. `count` is at least 2.
fn draw_two(count: usize, random: u64) -> (usize, usize) {
    // Lemire's multiply-shift: the bias is count / 2^32.
    let below = |bits: u64, bound: usize| ((bits * bound as u64) >> 32) as usize;
    let first = below(random >> 32, count);
    let second = below(random & 0xffff_ffff, count - 1);
    (first, second + usize::from(second >= first))
}

/// How many endpoints are in which state.
#[derive(Default)]
struct Census {
    ejected: usize,
    /// Not busy, by (ejected, tried).
    free: [[usize; 2]; 2],
}

/// Which endpoints may be chosen.
#[derive(Clone, Copy)]
struct Tier {
    ejected_too: bool,
    tried: bool,
}

impl Tier {
    fn admits(self, candidate: &Candidate) -> bool {
        !candidate.busy && candidate.tried == self.tried && (self.ejected_too || !candidate.ejected)
    }
}

impl Census {
    fn take<H>(count: usize, view: &mut impl FnMut(usize) -> (Candidate, H)) -> Self {
        let mut census = Self::default();
        for (candidate, _) in (0..count).map(view) {
            census.ejected += usize::from(candidate.ejected);
            if !candidate.busy {
                census.free[usize::from(candidate.ejected)][usize::from(candidate.tried)] += 1;
            }
        }
        census
    }

    /// The best tier that has an endpoint, and how many it has.
    fn tier(&self, count: usize, max_ejected_percent: u8) -> Result<(usize, Tier), Unavailable> {
        let ejected_too = self.ejected * 100 > usize::from(max_ejected_percent) * count;
        for tried in [false, true] {
            let at = usize::from(tried);
            let free = self.free[0][at] + if ejected_too { self.free[1][at] } else { 0 };
            if free > 0 {
                return Ok((free, Tier { ejected_too, tried }));
            }
        }
        Err(if self.ejected == count && !ejected_too { Unavailable::Ejected } else { Unavailable::Busy })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// SplitMix64: a stream of numbers from a seed.
    fn stream(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    fn candidate() -> impl Strategy<Value = Candidate> {
        let flag = || proptest::bool::weighted(0.3);
        let latency = proptest::option::of(0.0..1e9_f64);
        (0_u32..100, latency, flag(), flag(), flag()).prop_map(
            |(outstanding, latency, ejected, busy, tried)| Candidate {
                outstanding,
                latency,
                ejected,
                busy,
                tried,
            },
        )
    }

    fn choose(candidates: &[Candidate], percent: u8, seed: u64) -> Result<usize, Unavailable> {
        pick(candidates.len(), percent, |i| (candidates[i], i), stream(seed))
    }

    proptest! {
        #[test]
        fn only_what_may_serve_is_chosen(
            all in proptest::collection::vec(candidate(), 0..12), percent in 0_u8..=100, seed: u64,
        ) {
            let ejected = all.iter().filter(|c| c.ejected).count();
            let ignore_ejection = ejected * 100 > usize::from(percent) * all.len();
            let may = |c: &Candidate| !c.busy && (ignore_ejection || !c.ejected);
            match choose(&all, percent, seed) {
                Ok(i) => {
                    prop_assert!(may(&all[i]));
                    prop_assert!(!all[i].tried || !all.iter().any(|c| may(c) && !c.tried));
                }
                Err(reason) => {
                    prop_assert!(!all.iter().any(may));
                    prop_assert_eq!(reason == Unavailable::Empty, all.is_empty());
                    let only_ejected = !all.is_empty() && ejected == all.len() && !ignore_ejection;
                    prop_assert_eq!(reason == Unavailable::Ejected, only_ejected);
                }
            }
        }

        #[test]
        fn equal_endpoints_share_evenly(
            open in 1_usize..8, closed in 0_usize..4, latency in proptest::option::of(0.0..1e9_f64), seed: u64,
        ) {
            let one = Candidate { latency, ..Candidate::default() };
            let mut all = vec![one; open];
            all.resize(open + closed, Candidate { busy: true, ..one });
            let mut random = stream(seed);
            let mut hits = vec![0_u32; open + closed];
            let rounds = 2_000 * open as u32;
            for _ in 0..rounds {
                hits[pick(all.len(), 50, |i| (all[i], i), &mut random).unwrap()] += 1;
            }
            prop_assert!(hits[open..].iter().all(|n| *n == 0));
            // The standard deviation is below 45 of 2,000; nine of them hold for any seed.
            prop_assert!(hits[..open].iter().all(|n| (1_600..=2_400).contains(n)), "{hits:?}");
        }

        #[test]
        fn two_draws_differ_and_stay_in_bounds(count in 2_usize..1_000, random: u64) {
            let (a, b) = draw_two(count, random);
            prop_assert!(a != b && a < count && b < count);
        }

        #[test]
        fn the_average_stays_between_zero_and_the_peak(
            samples in proptest::collection::vec((0_u64..1_000_000, 0_u64..100_000), 1..50),
        ) {
            let start = Instant::now();
            let (mut now, mut peak) = (start, 0.0_f64);
            let mut ewma: Option<PeakEwma> = None;
            for (micros, pause) in samples {
                now += Duration::from_millis(pause);
                let sample = Duration::from_micros(micros);
                peak = peak.max(sample.as_nanos() as f64);
                ewma.get_or_insert(PeakEwma::new(sample, now)).observe(sample, now);
                let value = ewma.unwrap().read(now);
                prop_assert!((0.0..=peak).contains(&value));
            }
        }
    }

    #[test]
    fn the_faster_of_two_serves_more() {
        // Latency 1 ms and 4 ms; each round one request arrives and the fast one finishes four times as many.
        let now = Instant::now();
        let latency = [1_u64, 4].map(|ms| PeakEwma::new(Duration::from_millis(ms), now));
        let (mut outstanding, mut served, mut random) = ([0_u32; 2], [0_u32; 2], stream(7));
        for round in 0..10_000_u32 {
            let view = |i: usize| {
                let latency = Some(latency[i].read(now));
                (Candidate { outstanding: outstanding[i], latency, ..Candidate::default() }, i)
            };
            let chosen = pick(2, 50, view, &mut random).unwrap();
            outstanding[chosen] += 1;
            served[chosen] += 1;
            if round % 5 != 0 {
                outstanding[0] = outstanding[0].saturating_sub(1);
            } else {
                outstanding[1] = outstanding[1].saturating_sub(1);
            }
        }
        assert!(served[0] > 3 * served[1], "{served:?}");
        assert!(served[1] > 500, "the slower one still serves: {served:?}");
    }

    #[test]
    fn a_slow_response_does_not_starve_an_endpoint() {
        let slow = Candidate { latency: Some(1e9), ..Candidate::default() };
        let fast = Candidate { latency: Some(1e6), outstanding: 8, ..Candidate::default() };
        assert_eq!(choose(&[slow, fast], 50, 1), Ok(0));
        assert_eq!(choose(&[slow, Candidate { outstanding: 6, ..fast }], 50, 1), Ok(1));
    }

    #[test]
    fn a_peak_counts_at_once_and_is_forgiven_with_time() {
        let start = Instant::now();
        let mut ewma = PeakEwma::new(Duration::from_millis(1), start);
        ewma.observe(Duration::from_secs(1), start);
        assert!(ewma.read(start) >= 1e9);
        assert!(ewma.read(start + DECAY * 10) < 1e5);
        ewma.observe(Duration::from_millis(1), start + DECAY);
        let value = ewma.read(start + DECAY);
        assert!((1e6..5e8).contains(&value), "{value}");
    }

    #[test]
    fn the_last_endpoint_is_tried_again() {
        let tried = Candidate { tried: true, ..Candidate::default() };
        assert_eq!(choose(&[tried], 50, 3), Ok(0));
        assert_eq!(choose(&[tried, Candidate { busy: true, ..Candidate::default() }], 50, 3), Ok(0));
        assert_eq!(choose(&[tried, Candidate::default()], 50, 3), Ok(1));
    }

    #[test]
    fn too_many_ejected_are_not_ejected() {
        let ejected = Candidate { ejected: true, ..Candidate::default() };
        let all = [ejected, ejected, Candidate::default()];
        assert_eq!(choose(&[ejected], 50, 1), Ok(0));
        assert_eq!(choose(&[ejected], 100, 1), Err(Unavailable::Ejected));
        assert!((0..100).all(|seed| choose(&all, 67, seed) == Ok(2)));
        assert!((0..100).any(|seed| choose(&all, 50, seed) != Ok(2)));
    }
}
