//! Tables of a study's results in Markdown, written into the marked places of a document.

use std::collections::{BTreeMap, BTreeSet};

use crate::results::Outcome;

/// `document` with every block between `<!-- study NAME -->` and `<!-- end -->` replaced by the table of that study; in
/// the same way `<!-- curve NAME -->` by its accuracies on the way and `<!-- coverage NAME -->` by its pass@k. What is in
/// no such block stays as it is.
pub fn report(document: &str, outcomes: &[Outcome]) -> String {
    const OPEN: &str = "<!-- ";
    const CLOSE: &str = "<!-- end -->";
    let mut text = String::new();
    let mut rest = document;
    while let Some(at) = rest.find(OPEN) {
        let (before, here) = rest.split_at(at);
        text.push_str(before);
        let block = here[OPEN.len()..].split_once(" -->").and_then(|(words, behind)| {
            let (kind, name) = words.split_once(' ')?;
            Some((words, Kind::named(kind)?, name, behind, behind.find(CLOSE)?))
        });
        let Some((words, kind, name, behind, end)) = block else {
            text.push_str(OPEN);
            rest = &here[OPEN.len()..];
            continue;
        };
        text.push_str(&format!("{OPEN}{words} -->\n{}{CLOSE}", kind.table(name, outcomes)));
        rest = &behind[end + CLOSE.len()..];
    }
    text + rest
}

/// What a block shows.
#[derive(Clone, Copy)]
enum Kind {
    Study,
    Curve,
    Coverage,
}

impl Kind {
    fn named(word: &str) -> Option<Kind> {
        match word {
            "study" => Some(Kind::Study),
            "curve" => Some(Kind::Curve),
            "coverage" => Some(Kind::Coverage),
            _ => None,
        }
    }

    fn table(self, study: &str, outcomes: &[Outcome]) -> String {
        let rows = rows(study, outcomes);
        let table = match self {
            Kind::Study => table(&rows),
            Kind::Curve => curve(&rows),
            Kind::Coverage => coverage(&rows),
        };
        table.unwrap_or_else(|| "Not run yet.\n".into())
    }
}

/// The runs of a study by experiment and choice of its grid, in the order of their names.
pub(crate) fn rows<'a>(study: &str, outcomes: &'a [Outcome]) -> Vec<(String, Vec<&'a Outcome>)> {
    let mut rows: BTreeMap<String, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.job.study == study) {
        rows.entry(label(outcome)).or_default().push(outcome);
    }
    rows.into_iter().collect()
}

/// One line per row: means over seeds, with the standard deviation where there are several.
fn table(rows: &[(String, Vec<&Outcome>)]) -> Option<String> {
    let samples = rows.first()?.1.first()?.measured.samples;
    let mut text = format!(
        "| run | seeds | avg@{samples} | pass@{samples} | held-out | entropy | KL/token | expert style | tokens | seconds |\n\
         |---|---|---|---|---|---|---|---|---|---|\n"
    );
    for (label, of) in rows {
        let column = |value: &dyn Fn(&Outcome) -> f64, digits: usize| {
            spread(&of.iter().map(|outcome| value(outcome)).collect::<Vec<_>>(), digits)
        };
        text.push_str(&format!(
            "| {label} | {} | {} | {} | {} | {} | {} | {} | {} k | {} |\n",
            of.len(),
            column(&|o| 100.0 * o.measured.accuracy.mean, 1),
            column(&|o| 100.0 * o.measured.pass.mean, 1),
            column(&|o| 100.0 * o.measured.held_out.mean, 1),
            column(&|o| o.measured.entropy, 3),
            column(&|o| o.measured.kl, 3),
            column(&|o| 100.0 * o.measured.styles.get("expert").copied().unwrap_or(0.0), 0),
            column(&|o| o.tokens as f64 / 1000.0, 0),
            column(&|o| o.seconds, 0),
        ));
    }
    Some(text)
}

/// Accuracy at each step that some run was evaluated at.
fn curve(rows: &[(String, Vec<&Outcome>)]) -> Option<String> {
    let runs = rows.iter().flat_map(|(_, of)| of.iter());
    let steps: BTreeSet<u64> =
        runs.flat_map(|outcome| outcome.curve.iter().map(|point| point.step)).collect();
    let head = steps.iter().map(|step| format!(" step {step} |")).collect::<String>();
    let mut text = format!("| run | seeds |{head}\n|---|---|{}\n", "---|".repeat(steps.len()));
    for (label, of) in rows.iter().filter(|(_, of)| of.iter().any(|outcome| !outcome.curve.is_empty())) {
        let at = |step: &u64| {
            let points = of.iter().flat_map(|outcome| &outcome.curve).filter(|point| point.step == *step);
            let found: Vec<f64> = points.map(|point| 100.0 * point.accuracy).collect();
            if found.is_empty() { " |".to_owned() } else { format!(" {} |", spread(&found, 1)) }
        };
        text.push_str(&format!("| {label} | {} |{}\n", of.len(), steps.iter().map(at).collect::<String>()));
    }
    (!steps.is_empty()).then_some(text)
}

/// Unbiased pass@k, the mean over problems, for k up to the number of samples.
fn coverage(rows: &[(String, Vec<&Outcome>)]) -> Option<String> {
    let ks = ks(rows.first()?.1.first()?.measured.samples);
    let head = ks.iter().map(|k| format!(" pass@{k} |")).collect::<String>();
    let mut text = format!("| run | seeds |{head}\n|---|---|{}\n", "---|".repeat(ks.len()));
    for (label, of) in rows {
        let at = |k: &usize| {
            let found = of.iter().filter_map(|outcome| outcome.measured.pass_at(*k));
            let found: Vec<f64> = found.map(|share| 100.0 * share).collect();
            if found.is_empty() { " |".to_owned() } else { format!(" {} |", spread(&found, 1)) }
        };
        text.push_str(&format!("| {label} | {} |{}\n", of.len(), ks.iter().map(at).collect::<String>()));
    }
    Some(text)
}

/// The powers of 4 up to `samples`.
pub(crate) fn ks(samples: usize) -> Vec<usize> {
    std::iter::successors(Some(1), |k| Some(4 * k)).take_while(|k| *k <= samples).collect()
}

fn label(outcome: &Outcome) -> String {
    let job = &outcome.job;
    let chosen: BTreeMap<&str, &str> = job.chosen.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let chosen: Vec<String> = chosen.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let mut label = job.experiment.clone();
    if !chosen.is_empty() {
        label.push_str(&format!(", {}", chosen.join(", ")));
    }
    label
}

/// Mean and, of several values, the sample standard deviation.
fn spread(values: &[f64], digits: usize) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return format!("{mean:.digits$}");
    }
    let deviation = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    format!("{mean:.digits$} ± {deviation:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Interval, Measured};
    use crate::run::Point;
    use crate::table::Job;

    #[test]
    fn what_is_outside_of_blocks_stays() {
        let text = "# A <!-- a remark -->\n<!-- study x -->\nold\n<!-- end -->\ntail <!-- study y -->";
        assert_eq!(
            report(text, &[]),
            "# A <!-- a remark -->\n<!-- study x -->\nNot run yet.\n<!-- end -->\ntail <!-- study y -->"
        );
    }

    fn outcome(experiment: &str, seed: u64, right: &[f64], curve: &[(u64, f64)]) -> Outcome {
        let interval = Interval { mean: 0.5, low: 0.4, high: 0.6 };
        let job = Job {
            study: "x".into(),
            experiment: experiment.into(),
            rows: "train.jsonl".into(),
            chosen: BTreeMap::new(),
            settings: BTreeMap::new(),
            stages: Vec::new(),
            seed,
        };
        Outcome {
            key: job.key(),
            job,
            steps: 8,
            tokens: 1000,
            seconds: 1.0,
            curve: curve.iter().map(|(step, accuracy)| Point { step: *step, accuracy: *accuracy }).collect(),
            measured: Measured {
                samples: 4,
                accuracy: interval,
                pass: interval,
                held_out: interval,
                entropy: 0.1,
                kl: 0.2,
                styles: BTreeMap::new(),
                per_problem: right.to_vec(),
                others_per_problem: Vec::new(),
            },
        }
    }

    #[test]
    fn curves_and_coverage() {
        let outcomes = [
            outcome("b", 0, &[0.25, 0.0], &[]),
            outcome("a", 0, &[1.0, 0.25], &[(0, 0.25), (8, 0.5)]),
            outcome("a", 1, &[1.0, 0.25], &[(0, 0.25), (8, 0.75)]),
        ];
        let text = report("<!-- curve x -->\n<!-- end -->\n<!-- coverage x -->\n<!-- end -->", &outcomes);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1..4],
            [
                "| run | seeds | step 0 | step 8 |",
                "|---|---|---|---|",
                "| a | 2 | 25.0 ± 0.0 | 62.5 ± 17.7 |",
            ]
        );
        // One right of four: pass@1 is a quarter, pass@4 is 1.
        assert_eq!(
            lines[6..10],
            [
                "| run | seeds | pass@1 | pass@4 |",
                "|---|---|---|---|",
                "| a | 2 | 62.5 ± 0.0 | 100.0 ± 0.0 |",
                "| b | 1 | 12.5 | 50.0 |",
            ]
        );
    }

    #[test]
    fn spreads() {
        assert_eq!(spread(&[1.0], 1), "1.0");
        assert_eq!(spread(&[1.0, 3.0], 2), "2.00 ± 1.41");
    }
}
