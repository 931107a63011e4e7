//! Tables of a study's results in Markdown, written into the marked places of a document.

use std::collections::BTreeMap;

use crate::results::Outcome;

/// `document` with every block between `<!-- study NAME -->` and `<!-- end -->` replaced by the table of that study.
/// What is in no such block stays as it is.
pub fn report(document: &str, outcomes: &[Outcome]) -> String {
    const OPEN: &str = "<!-- study ";
    const CLOSE: &str = "<!-- end -->";
    let mut text = String::new();
    let mut rest = document;
    while let Some(at) = rest.find(OPEN) {
        let Some((name, behind)) = rest[at + OPEN.len()..].split_once(" -->") else { break };
        let Some(end) = behind.find(CLOSE) else { break };
        text.push_str(&rest[..at]);
        text.push_str(&format!("{OPEN}{name} -->\n{}{CLOSE}", table(name, outcomes)));
        rest = &behind[end + CLOSE.len()..];
    }
    text + rest
}

/// One row per experiment and choice of its grid: means over seeds, with the standard deviation where there are several.
fn table(study: &str, outcomes: &[Outcome]) -> String {
    let mut rows: Vec<(String, Vec<&Outcome>)> = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.job.study == study) {
        let label = label(outcome);
        match rows.iter_mut().find(|(name, _)| *name == label) {
            Some((_, of)) => of.push(outcome),
            None => rows.push((label, vec![outcome])),
        }
    }
    if rows.is_empty() {
        return "Not run yet.\n".into();
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let samples = rows[0].1[0].measured.samples;
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
    text
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

    #[test]
    fn what_is_outside_of_blocks_stays() {
        let text = "# A\n<!-- study x -->\nold\n<!-- end -->\ntail <!-- study y -->";
        assert_eq!(
            report(text, &[]),
            "# A\n<!-- study x -->\nNot run yet.\n<!-- end -->\ntail <!-- study y -->"
        );
    }

    #[test]
    fn spreads() {
        assert_eq!(spread(&[1.0], 1), "1.0");
        assert_eq!(spread(&[1.0, 3.0], 2), "2.00 ± 1.41");
    }
}
