//! Rows per second from a file on disk to token ids with masks: `throughput MODEL_DIR FILE`. `throughput.py` beside it does
//! the same work with `datasets` and transformers.

use gft_data::{Dataset, EncodeOptions, Encoder, ReadOptions, Tokenizer};
use rayon::prelude::*;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, file] = args.as_slice() else { return Err("usage: throughput MODEL_DIR FILE".into()) };
    let encoder = Encoder::new(Arc::new(Tokenizer::load(Path::new(folder))?), EncodeOptions::default())?;
    let start = Instant::now();
    let set = Dataset::open(&[file], &ReadOptions::default())?;
    let read = start.elapsed();
    let counts = (0..set.len()).into_par_iter().map(|i| {
        let row = encoder.row(&set.row(i)?)?.kept().ok_or("a prompt too long")?;
        Ok(row.prompt.ids.len() + row.expert.iter().map(|c| c.ids.len()).sum::<usize>())
    });
    let tokens: usize = counts.collect::<Result<Vec<_>, Box<dyn Error + Send + Sync>>>()?.into_iter().sum();
    let all = start.elapsed();
    let rate = set.len() as f64 / all.as_secs_f64();
    println!("{} rows, {tokens} tokens: read {read:.3?}, all {all:.3?}, {rate:.0} rows/s", set.len());
    Ok(())
}
