//! Mutates labelled pairs and hostile fragments at random for a given time, and reports the count, the longest check,
//! the most time per unit of work, and the peak of memory. A panic or an asymmetric verdict ends it with an error.
//!
//! `cargo run --release -p gft-verify --example soak -- tests/golden/verify/pairs.jsonl 600 [seed]`

use gft_verify::{ExtractOptions, Policy, Verdict, grade, verify};
use std::time::Instant;

const FRAGMENTS: [&str; 40] = [
    "9^{9^{9}}",
    "\\sqrt{",
    "\\frac{1}{",
    "}",
    "{",
    "(",
    ")",
    "[",
    "]",
    "!",
    "^{100}",
    "^",
    "_",
    "\\binom{1000}{500}",
    "\\sin(",
    "\\ln(",
    "e^{",
    "x",
    "y",
    "n",
    "1e999",
    "0.\\overline{142857}",
    "+",
    "-",
    "\\pm ",
    ",",
    "=",
    "<",
    "\\cup",
    "\\boxed{",
    "\\text{",
    "77777777777777777777777777",
    "(a+b+c+d)^{20}",
    "\\begin{pmatrix}",
    "\\\\",
    "\\end{pmatrix}",
    "\\sqrt[3]{",
    "i",
    "\\pi",
    "100!",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// One string, changed in a few places.
fn mutate(random: &mut Random, text: &str, corpus: &[String]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..random.below(6) {
        let at = random.below(chars.len() + 1);
        match random.below(7) {
            0 if at < chars.len() => {
                chars.remove(at);
            }
            1 => chars.insert(at, char::from_u32(random.below(0x250) as u32).unwrap_or('?')),
            2 => {
                let piece = FRAGMENTS[random.below(FRAGMENTS.len())];
                chars.splice(at..at, piece.chars());
            }
            3 => {
                let other: Vec<char> = corpus[random.below(corpus.len())].chars().collect();
                chars.splice(at..at, other);
            }
            4 => {
                let end = (at + random.below(12)).min(chars.len());
                let copy: Vec<char> = chars[at.min(end)..end].to_vec();
                let most = if random.below(50) == 0 { 400 } else { 6 };
                let times = 1 + random.below(most);
                let at = at.min(chars.len());
                for _ in 0..times {
                    chars.splice(at..at, copy.iter().copied());
                }
            }
            5 if chars.len() > 1 => {
                let other = random.below(chars.len());
                let at = at.min(chars.len() - 1);
                chars.swap(at, other);
            }
            _ => chars.truncate(at),
        }
        chars.truncate(20_000);
    }
    chars.into_iter().collect()
}

/// A check with its time; a slow one is timed again, since the machine may have been busy elsewhere.
fn timed(a: &str, b: &str, policy: &Policy) -> (Verdict, u128) {
    let begin = Instant::now();
    let verdict = verify(a, b, policy);
    let mut took = begin.elapsed().as_nanos();
    for _ in 0..4 {
        if took < 1_000_000 {
            break;
        }
        let begin = Instant::now();
        verify(a, b, policy);
        took = took.min(begin.elapsed().as_nanos());
    }
    (verdict, took)
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("VmHWM unknown").to_string()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args.first().ok_or("give a file of pairs")?;
    let seconds: f64 = args.get(1).map_or(Ok(600.0), |s| s.parse())?;
    let mut random = Random(args.get(2).map_or(Ok(1), |s| s.parse())?);
    let mut corpus: Vec<String> = Vec::new();
    for line in std::fs::read_to_string(path)?.lines() {
        let row: serde_json::Value = serde_json::from_str(line)?;
        for key in ["gold", "answer"] {
            corpus.push(row[key].as_str().unwrap_or("").to_string());
        }
    }
    let policies = [Policy::lenient(), Policy::strict()];
    let (mut count, mut equal, mut longest, mut per_unit) =
        (0u64, 0u64, (0u128, String::new()), (0u128, String::new()));
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < seconds {
        let pick = random.below(corpus.len());
        let a = mutate(&mut random, &corpus[pick].clone(), &corpus);
        let near = if random.below(2) == 0 { a.clone() } else { corpus[random.below(corpus.len())].clone() };
        let b = mutate(&mut random, &near, &corpus);
        let policy = &policies[random.below(2)];
        let (there, took) = timed(&a, &b, policy);
        let back = verify(&b, &a, policy);
        if there.outcome != back.outcome {
            return Err(format!("asymmetric: {a:?} {b:?}: {there} / {back}").into());
        }
        if there.work > policy.work {
            return Err(format!("{} units: {a:?} {b:?}", there.work).into());
        }
        let options = ExtractOptions { last_number: true, ..ExtractOptions::default() };
        grade(&format!("{b} \\boxed{{{a}}} {b}"), &b, &options, policy);
        count += 1;
        equal += u64::from(there.is_equal());
        if took > longest.0 {
            longest = (took, format!("{} units, {there}: {a:?} {b:?}", there.work));
        }
        if there.work > 20_000 && took / u128::from(there.work) > per_unit.0 {
            per_unit =
                (took / u128::from(there.work), format!("{} units, {took} ns: {a:?} {b:?}", there.work));
        }
    }
    println!("{count} checks (twice each, and graded), {equal} equal, no panic, all symmetric");
    println!("longest {} us: {}", longest.0 / 1000, longest.1.chars().take(600).collect::<String>());
    println!("most per unit {} ns: {}", per_unit.0, per_unit.1.chars().take(600).collect::<String>());
    println!("{}", peak_memory());
    Ok(())
}
