//! Results as a reader wants them on a terminal.

use std::collections::BTreeMap;

use gft_eval::stats::{Estimate, Paired};
use gft_eval::{Drift, Summary};
use gft_report::counted;
use serde_json::Value;

use super::model::Evaluated;

/// All tasks of a model.
pub fn results(model: &str, found: &[Evaluated]) -> String {
    let mut text = format!("{model}\n");
    for evaluated in found {
        text.push_str(&task(evaluated));
    }
    text
}

fn task(evaluated: &Evaluated) -> String {
    let Evaluated { task, folder, summary, too_long, .. } = evaluated;
    let Summary { problems, samples, .. } = summary;
    let (problems, each) = (counted(*problems as u64, "problem"), counted(*samples as u64, "sample"));
    let mut text = format!("\n  {task}: {problems}, {each} each, {}\n", drawn(&evaluated.settings));
    let mut line = |name: String, estimate: &Estimate| {
        text.push_str(&format!(
            "    {name:<8} {:5.1} %  [{:.1}, {:.1}]\n",
            100.0 * estimate.mean,
            100.0 * estimate.low,
            100.0 * estimate.high
        ));
    };
    if let Some(avg) = &summary.avg {
        line(format!("avg@{samples}"), avg);
    }
    for (name, estimates) in [("pass", &summary.pass_at), ("maj", &summary.maj_at)] {
        for (k, estimate) in estimates.iter().filter(|(k, _)| **k > 1) {
            line(format!("{name}@{k}"), estimate);
        }
    }
    let percent = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share));
    let lengths = summary.lengths;
    text.push_str(&format!(
        "    cut {}, without a readable answer {}, {:.0} tokens ({} to {}), {:.2} distinct answers\n",
        percent(summary.truncated),
        percent(summary.unparsed),
        lengths.mean,
        lengths.min,
        lengths.max,
        summary.distinct_answers.unwrap_or(0.0),
    ));
    for (count, what) in [
        (*too_long, "prompts too long for the model"),
        (summary.excluded, "problems without a gradable sample"),
        (summary.unscorable, "samples against an unreadable reference"),
        (summary.timed_out, "samples on which grading gave up"),
    ] {
        if count > 0 {
            text.push_str(&format!("    left out: {count} {what}\n"));
        }
    }
    if let Some(avg) = summary.avg.filter(|avg| avg.standard_error == 0.0 && avg.problems > 1) {
        text.push_str(&format!(
            "    every problem has the same value, so the interval has no width; with {} problems it may still be off by {:.1} %\n",
            avg.problems,
            (300.0 / avg.problems as f64).min(100.0)
        ));
    }
    text.push_str(&format!("    records: {}\n", folder.display()));
    text
}

/// How completions were drawn, from the settings of their records: whoever compares numbers must know.
fn drawn(settings: &Value) -> String {
    // Written as f32, so that 0.7 is not 0.699999988.
    let number = |name: &str| settings[name].as_f64().unwrap_or(0.0) as f32;
    let how = match number("temperature") {
        0.0 => "greedy".to_owned(),
        temperature => {
            let top_p = Some(number("top_p")).filter(|p| *p < 1.0).map(|p| format!(", top_p {p}"));
            let top_k = Some(number("top_k")).filter(|k| *k > 0.0).map(|k| format!(", top_k {k}"));
            format!("temperature {temperature}{}{}", top_p.unwrap_or_default(), top_k.unwrap_or_default())
        }
    };
    format!("{how}, at most {}", counted(number("max_new_tokens") as u64, "token"))
}

/// Paired differences of two models.
pub fn differences(model: &str, other: &str, differences: &[(String, BTreeMap<String, Paired>)]) -> String {
    let mut text = format!("\n{model} minus {other}, problem by problem\n");
    for (task, found) in differences {
        for (name, paired) in found {
            let Estimate { mean, low, high, .. } = paired.difference;
            let word = if paired.is_clear() { "" } else { ", not told apart" };
            text.push_str(&format!(
                "  {task} {name}: {:+.1} points [{:+.1}, {:+.1}]; better on {}, worse on {}, same on {}{word}\n",
                100.0 * mean,
                100.0 * low,
                100.0 * high,
                paired.better,
                paired.worse,
                paired.same
            ));
        }
    }
    text
}

/// How far a model has moved.
pub fn drift(model: &str, base: &str, drift: &Drift) -> String {
    let mut text = format!(
        "\nDrift of {model} from {base}: {} completions of {} prompts at temperature 1, in nats\n  {:<24} {:>26} {:>26}\n",
        drift.completions, drift.prompts, "", "per token", "per completion"
    );
    let (token, whole) = (&drift.per_token, &drift.per_sequence);
    for (name, a, b) in [
        ("KL(model || base), exact", token.exact, whole.exact),
        ("  estimated, k1", token.k1, whole.k1),
        ("  estimated, k3", token.k3, whole.k3),
        ("KL(base || model), exact", token.exact_forward, whole.exact_forward),
        ("entropy", token.entropy, whole.entropy),
        ("entropy of the base", token.base_entropy, whole.base_entropy),
    ] {
        let shown = |estimate: Option<Estimate>| {
            estimate.map_or("-".into(), |e| format!("{:.4} [{:.4}, {:.4}]", e.mean, e.low, e.high))
        };
        text.push_str(&format!("  {name:<24} {:>26} {:>26}\n", shown(a), shown(b)));
    }
    text
}
