//! Metrics as curves and histograms: which ones are shown, and their points.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::run::Run;

/// Points of a curve at most; longer runs show every second, third ... step, and say so.
const POINTS: usize = 2000;
/// Columns of a histogram over time at most.
const COLUMNS: usize = 120;

/// One diagram.
#[derive(Debug, Serialize)]
pub(crate) struct Panel {
    title: &'static str,
    curves: Vec<Curve>,
}

/// One curve of a diagram.
#[derive(Debug, Serialize)]
struct Curve {
    /// Index of its run.
    run: usize,
    label: String,
    /// Index among the curves of its run, for its dashes or colour.
    kind: usize,
    points: Vec<(f64, f64)>,
}

/// A histogram over time.
#[derive(Debug, Serialize)]
pub(crate) struct Heat {
    title: String,
    /// What the ranges are, lowest first.
    ranges: Vec<String>,
    /// Step and share of each range.
    columns: Vec<(f64, Vec<f64>)>,
}

/// Title, and metrics with their labels.
const PANELS: [(&str, &[(&str, &str)]); 13] = [
    ("Loss", &[("loss", "loss")]),
    ("Loss of held-out demonstrations, a token", &[("eval_loss", "loss")]),
    (
        "Reward by source",
        &[
            ("reward", "all"),
            ("gft/reward_mean/expert", "expert"),
            ("gft/reward_mean/teacher", "teacher"),
            ("gft/reward_mean/self", "own"),
        ],
    ),
    ("Held-out accuracy", &[("eval_accuracy", "right")]),
    (
        "Entropy, nats",
        &[
            ("entropy", "all"),
            ("gft/entropy/expert", "expert"),
            ("gft/entropy/teacher", "teacher"),
            ("gft/entropy/self", "own"),
        ],
    ),
    ("KL to the reference", &[("kl", "kl")]),
    (
        "Length of own completions, tokens",
        &[
            ("completions/mean_length", "mean"),
            ("completions/mean_terminated_length", "mean of those that ended"),
        ],
    ),
    ("Share of own completions that were cut", &[("completions/clipped_ratio", "cut")]),
    ("Gradient norm, before clipping", &[("grad_norm", "norm")]),
    ("Groups whose rewards do not differ", &[("frac_reward_zero_std", "share")]),
    (
        "Mean coefficient",
        &[
            ("gft/coef_mean", "all"),
            ("gft/coef_mean/expert", "expert"),
            ("gft/coef_mean/teacher", "teacher"),
            ("gft/coef_mean/self", "own"),
        ],
    ),
    ("Learning rate", &[("learning_rate", "rate")]),
    ("Tokens a second", &[("perf/tokens_per_second", "tokens")]),
];

fn number(line: &Map<String, Value>, name: &str) -> Option<f64> {
    line.get(name).and_then(Value::as_f64)
}

fn points(run: &Run, name: &str) -> Vec<(f64, f64)> {
    let lines = if name.starts_with("eval_") { &run.evals } else { &run.steps };
    let all: Vec<(f64, f64)> =
        lines.iter().filter_map(|line| Some((number(line, "step")?, number(line, name)?))).collect();
    thinned(all, POINTS)
}

/// Every n-th value and the last.
fn thinned<T: Clone>(values: Vec<T>, most: usize) -> Vec<T> {
    let every = values.len().div_ceil(most).max(1);
    let last = values.len().saturating_sub(1);
    let kept = values.into_iter().enumerate().filter(|(i, _)| i % every == 0 || *i == last);
    kept.map(|(_, value)| value).collect()
}

/// Every how many steps curves have a point, where that is not every step.
pub(crate) fn every(runs: &[Run]) -> Option<usize> {
    let longest = runs.iter().map(|run| run.steps.len()).max()?;
    Some(longest.div_ceil(POINTS)).filter(|every| *every > 1)
}

/// The diagrams that have any points.
pub(crate) fn panels(runs: &[Run]) -> Vec<Panel> {
    let mut panels = Vec::new();
    for (title, metrics) in PANELS {
        let mut curves = Vec::new();
        for (index, run) in runs.iter().enumerate() {
            for (kind, (name, label)) in metrics.iter().enumerate() {
                let points = points(run, name);
                if points.is_empty() {
                    continue;
                }
                let label = match (runs.len(), metrics.len()) {
                    (1, _) => (*label).to_owned(),
                    (_, 1) => run.name.clone(),
                    _ => format!("{}: {label}", run.name),
                };
                curves.push(Curve { run: index, label, kind, points });
            }
        }
        if !curves.is_empty() {
            panels.push(Panel { title, curves });
        }
    }
    panels
}

/// Probabilities and coefficients of the targets over time.
pub(crate) fn heats(runs: &[Run]) -> Vec<Heat> {
    let mut heats = Vec::new();
    for run in runs {
        for (name, what) in [("gft/prob_hist", "probability"), ("gft/coef_hist", "coefficient")] {
            let columns: Vec<(f64, Vec<f64>)> = run
                .steps
                .iter()
                .filter_map(|step| Some((number(step, "step")?, shares(step.get(name)?)?)))
                .collect();
            let Some(count) = columns.first().map(|(_, shares)| shares.len()) else { continue };
            let range = |i: usize| {
                if i < 10 {
                    format!("{:.1} to {:.1}", i as f64 / 10.0, (i + 1) as f64 / 10.0)
                } else {
                    "1 and above".into()
                }
            };
            let of = if runs.len() > 1 { format!(" ({})", run.name) } else { String::new() };
            heats.push(Heat {
                title: format!("Tokens by {what}{of}"),
                ranges: (0..count).map(range).collect(),
                columns: thinned(columns, COLUMNS),
            });
        }
    }
    heats
}

fn shares(counts: &Value) -> Option<Vec<f64>> {
    let counts: Option<Vec<f64>> = counts.as_array()?.iter().map(Value::as_f64).collect();
    let counts = counts?;
    let total: f64 = counts.iter().sum();
    (total > 0.0).then(|| counts.iter().map(|count| (1e4 * count / total).round() / 1e4).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_keep_their_ends() {
        let kept = thinned((0..10_001).collect::<Vec<usize>>(), 2000);
        assert!(kept.len() <= 2001 && kept[0] == 0 && kept[kept.len() - 1] == 10_000);
        assert_eq!(thinned(vec![1, 2, 3], 2000), [1, 2, 3]);
    }
}
