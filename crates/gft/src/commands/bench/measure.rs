//! Timing within the process, and one figure as a line of a table or of JSON.

use std::fmt;
use std::time::Instant;

use serde_json::{Value, json};

/// Median time of `runs` calls after `warmup` that do not count.
pub fn median_seconds(warmup: usize, runs: usize, mut work: impl FnMut()) -> f64 {
    for _ in 0..warmup {
        work();
    }
    let mut times: Vec<f64> = (0..runs.max(1))
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Largest resident set of this process so far, in bytes.
pub fn peak_rss_bytes() -> u64 {
    // SAFETY: `usage` is a plain C struct for which zeros are valid, and getrusage only writes to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    usage.ru_maxrss as u64 * if cfg!(target_os = "macos") { 1 } else { 1024 }
}

/// One measurement.
pub struct Figure {
    name: String,
    median_s: f64,
    runs: usize,
    flops: Option<f64>,
    bytes: Option<f64>,
    tokens: Option<usize>,
    peak_rss_bytes: u64,
}

impl Figure {
    /// A measurement that took `median_s`.
    pub fn new(name: impl Into<String>, median_s: f64, runs: usize) -> Self {
        let peak_rss_bytes = peak_rss_bytes();
        Self { name: name.into(), median_s, runs, flops: None, bytes: None, tokens: None, peak_rss_bytes }
    }

    /// Floating-point operations that were done.
    pub fn flops(self, flops: f64) -> Self {
        Self { flops: Some(flops), ..self }
    }

    /// Bytes of memory that were read.
    pub fn bytes(self, bytes: f64) -> Self {
        Self { bytes: Some(bytes), ..self }
    }

    /// Tokens that were worked on.
    pub fn tokens(self, tokens: usize) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// The figure as JSON.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "median_s": self.median_s,
            "runs": self.runs,
            "gflops": self.flops.map(|flops| flops / self.median_s / 1e9),
            "gbytes_per_s": self.bytes.map(|bytes| bytes / self.median_s / 1e9),
            "tokens_per_s": self.tokens.map(|tokens| tokens as f64 / self.median_s),
            "peak_rss_bytes": self.peak_rss_bytes,
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<42} {:>10.2} ms", self.name, self.median_s * 1e3)?;
        if let Some(tokens) = self.tokens {
            write!(f, " {:>9.0} tokens/s", tokens as f64 / self.median_s)?;
        }
        if let Some(flops) = self.flops {
            write!(f, " {:>7.1} GFLOP/s", flops / self.median_s / 1e9)?;
        }
        if let Some(bytes) = self.bytes {
            write!(f, " {:>7.1} GB/s", bytes / self.median_s / 1e9)?;
        }
        write!(f, "   peak {:.2} GB", self.peak_rss_bytes as f64 / 1e9)
    }
}
