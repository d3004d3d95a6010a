//! Alternating pairs, medians, quantiles.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use idempotency::Key;
use serde_json::json;
use tokio::runtime::Runtime;

/// Every so manieth operation is timed by itself: timing each would cost as much as a small one.
const SAMPLED: usize = 16;

/// One thing that is measured.
pub(crate) trait Subject: Send + Sync + 'static {
    /// Carries out one operation on a key.
    fn operate(&self, key: &Key) -> impl Future<Output = ()> + Send;
}

/// A library, asked to do the two things that are measured.
pub(crate) trait Sides: Send + Sync + 'static {
    /// Runs an operation on a key that is new.
    fn fresh(&self, key: &Key) -> impl Future<Output = ()> + Send;
    /// Gives the value of a key that is known.
    fn replay(&self, key: &Key) -> impl Future<Output = ()> + Send;
}

/// The fresh side.
pub(crate) struct Fresh<S>(pub(crate) Arc<S>);

/// The replaying side.
pub(crate) struct Replay<S>(pub(crate) Arc<S>);

impl<S: Sides> Subject for Fresh<S> {
    async fn operate(&self, key: &Key) {
        self.0.fresh(key).await;
    }
}

impl<S: Sides> Subject for Replay<S> {
    async fn operate(&self, key: &Key) {
        self.0.replay(key).await;
    }
}

/// What one side did in one round.
pub(crate) struct Round {
    throughput: f64,
    latencies: Vec<Duration>,
}

impl Round {
    /// Of operations that were timed one by one.
    pub(crate) fn of_latencies(latencies: Vec<Duration>) -> Self {
        let total: Duration = latencies.iter().sum();
        Self { throughput: latencies.len() as f64 / total.as_secs_f64(), latencies }
    }
}

/// Runs one operation a key, the keys shared out among `tasks`.
pub(crate) fn round<S: Subject>(runtime: &Runtime, subject: Arc<S>, keys: Vec<Key>, tasks: usize) -> Round {
    let count = keys.len();
    let mut shares: Vec<Vec<Key>> = (0..tasks).map(|_| Vec::with_capacity(count / tasks + 1)).collect();
    for (n, key) in keys.into_iter().enumerate() {
        shares[n % tasks].push(key);
    }
    runtime.block_on(async {
        let begun = Instant::now();
        let running: Vec<_> = shares
            .into_iter()
            .map(|share| {
                let subject = subject.clone();
                tokio::spawn(async move {
                    let mut latencies = Vec::with_capacity(share.len() / SAMPLED + 1);
                    for (n, key) in share.iter().enumerate() {
                        if n % SAMPLED == 0 {
                            let asked = Instant::now();
                            subject.operate(key).await;
                            latencies.push(asked.elapsed());
                        } else {
                            subject.operate(key).await;
                        }
                    }
                    // The keys are dropped outside the measured time of the others.
                    (latencies, share)
                })
            })
            .collect();
        let mut latencies = Vec::new();
        let mut kept = Vec::new();
        for task in running {
            let (own, share) = task.await.expect("no operation panics");
            latencies.extend(own);
            kept.push(share);
        }
        let throughput = count as f64 / begun.elapsed().as_secs_f64();
        Round { throughput, latencies }
    })
}

/// Pairs of rounds, in turns: neither side always has the warmer caches.
pub(crate) fn pairs(
    count: usize,
    ours: impl Fn(usize) -> Round,
    theirs: impl Fn(usize) -> Round,
) -> Vec<(Round, Round)> {
    (0..count)
        .map(|n| {
            if n % 2 == 0 {
                let ours = ours(n);
                (ours, theirs(n))
            } else {
                let theirs = theirs(n);
                (ours(n), theirs)
            }
        })
        .collect()
}

/// The figures of one case.
pub(crate) struct Report {
    case: String,
    subject: &'static str,
    baseline: &'static str,
    ratio: f64,
    throughputs: [f64; 2],
    p50: [f64; 2],
    p99: [f64; 2],
}

impl Report {
    pub(crate) const HEAD: &str = "case                subject        baseline       ratio   subject/s  baseline/s    \
                                   p50 µs    p99 µs   baseline p50    p99";

    /// From pairs of rounds, subject and baseline.
    pub(crate) fn of(case: String, subject: &'static str, baseline: &'static str, pairs: &[(Round, Round)]) -> Self {
        let ratios = pairs.iter().map(|(ours, theirs)| ours.throughput / theirs.throughput);
        let side = |pick: fn(&(Round, Round)) -> &Round| {
            let throughput = median(pairs.iter().map(|pair| pick(pair).throughput));
            let mut micros: Vec<f64> = pairs
                .iter()
                .flat_map(|pair| pick(pair).latencies.iter().map(|latency| latency.as_nanos() as f64 / 1000.0))
                .collect();
            micros.sort_by(f64::total_cmp);
            (throughput, quantile(&micros, 0.5), quantile(&micros, 0.99))
        };
        let (ours, theirs) = (side(|pair| &pair.0), side(|pair| &pair.1));
        Self {
            case,
            subject,
            baseline,
            ratio: median(ratios),
            throughputs: [ours.0, theirs.0],
            p50: [ours.1, theirs.1],
            p99: [ours.2, theirs.2],
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        json!({
            "case": self.case,
            "subject": self.subject,
            "baseline": self.baseline,
            "ratio": self.ratio,
            "subject_per_s": self.throughputs[0],
            "baseline_per_s": self.throughputs[1],
            "p50_us": self.p50[0],
            "p99_us": self.p99[0],
            "baseline_p50_us": self.p50[1],
            "baseline_p99_us": self.p99[1],
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<19} {:<14} {:<14} {:>5.2} {:>11.0} {:>11.0} {:>9.2} {:>9.2} {:>14.2} {:>6.2}",
            self.case,
            self.subject,
            self.baseline,
            self.ratio,
            self.throughputs[0],
            self.throughputs[1],
            self.p50[0],
            self.p99[0],
            self.p50[1],
            self.p99[1],
        )
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// The value below which a share of sorted values lies.
pub(crate) fn quantile(sorted: &[f64], at: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * at).round() as usize).copied().unwrap_or(f64::NAN)
}
