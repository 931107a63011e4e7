//! The figures of a study: accuracy against distance and forgetting, learning curves, coverage.

use std::collections::BTreeMap;

use crate::figure::{Axis, Figure, Scale, Series};
use crate::report::{ks, rows};
use crate::results::Outcome;

/// The figures that a study's results have numbers for, by the name of their files without the ending.
pub fn figures(study: &str, outcomes: &[Outcome]) -> Vec<(String, Figure)> {
    let rows = rows(study, outcomes);
    let mut found = Vec::new();
    let mut add = |kind: &str, figure: Option<Figure>| {
        found.extend(figure.map(|figure| (format!("{study}-{kind}"), figure)));
    };
    let kl = Axis { title: "KL(model || base), nats per token".into(), scale: Scale::Logarithmic };
    add("kl", along_rates(study, outcomes, kl, &|o| o.measured.kl));
    let held_out = Axis { title: "accuracy on other families, %".into(), scale: Scale::Linear };
    add("held-out", along_rates(study, outcomes, held_out, &|o| 100.0 * o.measured.held_out.mean));
    add("curve", curves(study, &rows));
    add("coverage", coverage(study, &rows));
    found
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn accuracy() -> Axis {
    Axis { title: "accuracy on the target, %".into(), scale: Scale::Linear }
}

/// Accuracy against something else, each experiment's learning rates joined, if some experiment has several.
fn along_rates(
    study: &str,
    outcomes: &[Outcome],
    x: Axis,
    value: &dyn Fn(&Outcome) -> f64,
) -> Option<Figure> {
    let mut experiments: BTreeMap<&str, Vec<(f64, &Outcome)>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.job.study == study) {
        let rate = outcome.job.chosen.get("learning_rate").and_then(|rate| rate.parse().ok());
        if let Some(rate) = rate {
            experiments.entry(&outcome.job.experiment).or_default().push((rate, outcome));
        }
    }
    let series = experiments.into_iter().map(|(name, mut runs)| {
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let points = runs.chunk_by(|a, b| a.0 == b.0).map(|same| {
            let of = |value: &dyn Fn(&Outcome) -> f64| {
                mean(&same.iter().map(|(_, outcome)| value(outcome)).collect::<Vec<_>>())
            };
            (of(value), of(&|o| 100.0 * o.measured.accuracy.mean))
        });
        Series { name: name.into(), points: points.collect() }
    });
    let series: Vec<Series> = series.collect();
    let several = series.iter().any(|series| series.points.len() > 1);
    several.then(|| Figure { title: format!("{study}: along learning rates"), x, y: accuracy(), series })
}

/// Accuracy on the way.
fn curves(study: &str, rows: &[(String, Vec<&Outcome>)]) -> Option<Figure> {
    let with = rows.iter().filter(|(_, of)| of.iter().any(|outcome| !outcome.curve.is_empty()));
    let series = with.map(|(name, of)| {
        let mut steps: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for point in of.iter().flat_map(|outcome| &outcome.curve) {
            steps.entry(point.step).or_default().push(100.0 * point.accuracy);
        }
        let points = steps.iter().map(|(step, found)| (*step as f64, mean(found)));
        Series { name: name.clone(), points: points.collect() }
    });
    let series: Vec<Series> = series.collect();
    let x = Axis { title: "steps".into(), scale: Scale::Linear };
    let title = format!("{study}: on the way");
    (!series.is_empty()).then(|| Figure { title, x, y: accuracy(), series })
}

/// pass@k along k, where k goes far enough to say something.
fn coverage(study: &str, rows: &[(String, Vec<&Outcome>)]) -> Option<Figure> {
    let samples = rows.first()?.1.first()?.measured.samples;
    let series = rows.iter().map(|(name, of)| {
        let at = |k: &usize| {
            let found: Vec<f64> = of.iter().filter_map(|outcome| outcome.measured.pass_at(*k)).collect();
            (!found.is_empty()).then(|| (*k as f64, 100.0 * mean(&found)))
        };
        Series { name: name.clone(), points: ks(samples).iter().filter_map(at).collect() }
    });
    let x = Axis { title: "k".into(), scale: Scale::Logarithmic };
    let y = Axis { title: "pass@k, %".into(), scale: Scale::Linear };
    let title = format!("{study}: coverage");
    (samples >= 64).then(|| Figure { title, x, y, series: series.collect() })
}
