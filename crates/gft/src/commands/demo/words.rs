//! The demo's table, and what it shows in plain words: every sentence is computed from the measurements.

use std::path::Path;

use gft_eval::stats::{Bootstrap, Paired, paired};

use super::Line;

/// All numbers, one model a line.
pub fn table(lines: &[Line]) -> String {
    let samples = lines.first().map_or(0, |line| line.measured.samples);
    let mut text = format!(
        "\n{:<22} {:>20} {:>8} {:>20} {:>8} {:>9} {:>8}\n",
        "",
        format!("accuracy (avg@{samples})"),
        format!("pass@{samples}"),
        "other families",
        "entropy",
        "KL/token",
        "seconds"
    );
    for line in lines {
        let m = &line.measured;
        let interval = |i: gft_study::Interval| {
            format!("{:.1} % ({:.1}-{:.1})", 100.0 * i.mean, 100.0 * i.low, 100.0 * i.high)
        };
        text.push_str(&format!(
            "{:<22} {:>20} {:>7.1}% {:>20} {:>8.3} {:>9.3} {:>8.1}\n",
            label(line),
            interval(m.accuracy),
            100.0 * m.pass.mean,
            interval(m.held_out),
            m.entropy,
            m.kl,
            line.seconds,
        ));
    }
    text + "Brackets: 95 % intervals over problems, by bootstrap. One seed: another moves these numbers too.\n\n"
}

fn label(line: &Line) -> String {
    if line.wrong_experts { format!("{}, half wrong", line.name) } else { line.name.to_owned() }
}

/// What each method gained and cost, and what wrong experts did to it.
pub fn told(lines: &[Line]) -> String {
    let find = |name: &str, wrong: bool| lines.iter().find(|l| l.name == name && l.wrong_experts == wrong);
    let Some(base) = find("base", false) else { return String::new() };
    let mut text = String::new();
    for name in ["SFT", "GFT"] {
        let Some(clean) = find(name, false) else { continue };
        text.push_str(&format!(
            "{name}: on the target {}; on the other families {}; it moved {:.2} nats per token away from the base, and \
             its entropy went from {:.2} to {:.2}.\n",
            change(clean, base, |l| &l.measured.per_problem),
            change(clean, base, |l| &l.measured.others_per_problem),
            clean.measured.kl,
            base.measured.entropy,
            clean.measured.entropy,
        ));
        if let Some(wrong) = find(name, true) {
            text.push_str(&format!(
                "     With half of the experts wrong instead of none: on the target {}.\n",
                change(wrong, clean, |l| &l.measured.per_problem)
            ));
        }
    }
    for wrong in [false, true] {
        if let (Some(gft), Some(sft)) = (find("GFT", wrong), find("SFT", wrong)) {
            let experts = if wrong { "half of the experts wrong" } else { "right experts" };
            text.push_str(&format!(
                "GFT against SFT with {experts}: on the target {}; on the other families {}.\n",
                change(gft, sft, |l| &l.measured.per_problem),
                change(gft, sft, |l| &l.measured.others_per_problem),
            ));
        }
    }
    text
}

/// A paired difference as words: `12.3 points better (10.1 to 14.5)`, or that it is not clear.
fn change(new: &Line, old: &Line, of: impl Fn(&Line) -> &Vec<f64>) -> String {
    let Some(Paired { difference, .. }) = paired(of(new), of(old), &Bootstrap::default()) else {
        return "not comparable (other problems)".into();
    };
    let points = |x: f64| 100.0 * x;
    let (mean, low, high) = (points(difference.mean), points(difference.low), points(difference.high));
    if low > 0.0 {
        format!("{mean:.1} points better ({low:.1} to {high:.1})")
    } else if high < 0.0 {
        format!("{:.1} points worse ({:.1} to {:.1})", -mean, -high, -low)
    } else {
        format!("no clear change ({low:+.1} to {high:+.1} points)")
    }
}

/// What to do next.
pub fn next(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "\nTry next:\n  \
         gft chat --model {dir}/runs/gft              (ask: tom has 23 mon gets 3 tue loses 5 how many ?)\n  \
         gft eval --model {dir}/runs/sft {dir}/data/test.jsonl\n  \
         gft train {dir}/gft.toml --method gft-stable --output-dir {dir}/runs/stable\n  \
         gft demo --dir {dir} --seed 1\n"
    )
}
