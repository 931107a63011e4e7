//! Runs the verifier over labelled pairs (JSON lines with `gold`, `answer`, `equal`) and reports accuracy and speed.
//! In rows with `"extract": true` the answer is a completion, in which the answer is looked for first.
//!
//! `cargo run --release -p gft-verify --example check -- pairs.jsonl [--verdicts out.jsonl] [--repeat n]`

use gft_verify::{ExtractOptions, Outcome, Policy, Verdict, grade, verify};
use std::io::Write;
use std::time::Instant;

struct Pair {
    gold: String,
    answer: String,
    equal: bool,
    extract: bool,
}

impl Pair {
    fn verdict(&self, policy: &Policy) -> Verdict {
        if self.extract {
            grade(&self.answer, &self.gold, &ExtractOptions::default(), policy).verdict
        } else {
            verify(&self.gold, &self.answer, policy)
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args.first().ok_or("give a file of pairs")?;
    let option = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
    let repeat: usize = option("--repeat").map_or(Ok(1), |r| r.parse())?;
    let mut pairs: Vec<Pair> = Vec::new();
    for line in std::fs::read_to_string(path)?.lines() {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let field = |k: &str| row[k].as_str().unwrap_or("").to_string();
        let flag = |k: &str| row[k].as_bool().unwrap_or(false);
        pairs.push(Pair {
            gold: field("gold"),
            answer: field("answer"),
            equal: flag("equal"),
            extract: flag("extract"),
        });
    }
    let policy = Policy::lenient();
    let start = Instant::now();
    let mut equal = 0usize;
    for _ in 0..repeat {
        for pair in &pairs {
            equal += usize::from(pair.verdict(&policy).is_equal());
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    let mut out = option("--verdicts").map(std::fs::File::create).transpose()?;
    let (mut tp, mut fp, mut positives, mut asymmetric, mut probable, mut most) = (0, 0, 0, 0, 0, 0);
    let mut slowest = (0.0, String::new());
    for pair in &pairs {
        let Pair { gold, answer, equal: label, extract } = pair;
        let start = Instant::now();
        let verdict = pair.verdict(&policy);
        let took = start.elapsed().as_secs_f64();
        if took > slowest.0 {
            slowest = (took, format!("{gold} | {answer}"));
        }
        asymmetric += usize::from(!extract && verify(answer, gold, &policy).outcome != verdict.outcome);
        probable += usize::from(matches!(verdict.outcome, Outcome::Equal(gft_verify::Certainty::Probable)));
        most = most.max(verdict.work);
        positives += usize::from(*label);
        tp += usize::from(*label && verdict.is_equal());
        fp += usize::from(!*label && verdict.is_equal());
        if verdict.is_equal() != *label {
            println!("{} {gold:?} {answer:?} -> {verdict}", if *label { "MISSED  " } else { "ACCEPTED" });
        }
        if let Some(file) = &mut out {
            let row = serde_json::json!({"equal": verdict.is_equal(), "how": verdict.to_string()});
            writeln!(file, "{row}")?;
        }
    }
    let negatives = pairs.len() - positives;
    let correct = tp + negatives - fp;
    println!(
        "pairs {} accuracy {:.2}% true positives {:.2}% false positives {:.2}% asymmetric {asymmetric} probable {probable}",
        pairs.len(),
        100.0 * correct as f64 / pairs.len() as f64,
        100.0 * tp as f64 / positives.max(1) as f64,
        100.0 * fp as f64 / negatives.max(1) as f64,
    );
    println!(
        "checks/s {:.0} (equal {equal}) most work {most} slowest {:.0} us: {}",
        (pairs.len() * repeat) as f64 / elapsed,
        slowest.0 * 1e6,
        slowest.1.chars().take(120).collect::<String>()
    );
    Ok(())
}
