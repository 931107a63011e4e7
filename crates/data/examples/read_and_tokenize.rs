//! From a file on disk to token ids with masks: `read_and_tokenize MODEL_DIR FILE [RUNS]` prints one JSON line.
//! `bench/data/read_and_tokenize.py` does the same work with `datasets` and transformers.

use gft_data::{Dataset, EncodeOptions, Encoder, ReadOptions, Tokenizer};
use rayon::prelude::*;
use serde_json::json;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (folder, file, runs) = match args.as_slice() {
        [folder, file] => (folder, file, 3),
        [folder, file, runs] => (folder, file, runs.parse::<usize>()?.max(1)),
        _ => return Err("usage: read_and_tokenize MODEL_DIR FILE [RUNS]".into()),
    };
    let encoder = Encoder::new(Arc::new(Tokenizer::load(Path::new(folder))?), EncodeOptions::default())?;
    let (mut read, mut all, mut counted) = (Vec::new(), Vec::new(), (0, 0));
    for _ in 0..runs {
        let start = Instant::now();
        let set = Dataset::open(&[file], &ReadOptions::default())?;
        read.push(start.elapsed().as_secs_f64());
        counted = (set.len(), tokens(&set, &encoder)?);
        all.push(start.elapsed().as_secs_f64());
    }
    let (rows, tokens) = counted;
    let seconds = median(&mut all);
    let line = json!({
        "name": "read and tokenize", "median_s": seconds, "min_s": all[0], "runs": runs, "read_s": median(&mut read),
        "rows": rows, "tokens": tokens, "rows_per_s": rows as f64 / seconds, "tokens_per_s": tokens as f64 / seconds,
        "peak_rss_bytes": peak_rss_bytes()?,
    });
    println!("{line}");
    Ok(())
}

/// Tokens of all prompts and completions, encoded as training encodes them.
fn tokens(set: &Dataset, encoder: &Encoder) -> Outcome<usize> {
    let counts = (0..set.len()).into_par_iter().map(|i| {
        let row = encoder.row(&set.row(i)?)?.kept().ok_or("a prompt too long")?;
        Ok(row.prompt.ids.len() + row.expert.iter().map(|c| c.ids.len()).sum::<usize>())
    });
    Ok(counts.collect::<Outcome<Vec<_>>>()?.into_iter().sum())
}

/// The upper median; sorts.
fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// The most memory that this process ever held, from the system's own count.
fn peak_rss_bytes() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|l| l.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
