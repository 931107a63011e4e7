//! Evaluations that `gft eval` left in a run's folder.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::escape::escape;
use crate::run::{Run, names};

/// One evaluation: `summary.json` and, where the model was compared with another, `against.json`.
#[derive(Debug)]
pub struct Evaluation {
    /// Its folder's name.
    pub folder: String,
    /// The task.
    pub task: String,
    /// Its numbers and settings.
    pub summary: Value,
    /// The comparison.
    pub against: Option<Value>,
}

impl Evaluation {
    /// All of a folder, by name.
    pub fn all(folder: &Path) -> Vec<Evaluation> {
        let mut names = names(folder);
        names.sort();
        names.into_iter().filter_map(|name| Self::read(&folder.join(&name), name)).collect()
    }

    fn read(folder: &Path, name: String) -> Option<Evaluation> {
        let json = |file: &str| -> Option<Value> {
            serde_json::from_str(&fs::read_to_string(folder.join(file)).ok()?).ok()
        };
        let summary = json("summary.json")?;
        let task = summary["task"].as_str()?.to_owned();
        Some(Evaluation { folder: name, task, summary, against: json("against.json") })
    }
}

fn interval(estimate: &Value) -> Option<String> {
    let number = |name: &str| estimate[name].as_f64().map(|x| 100.0 * x);
    let (mean, low, high) = (number("mean")?, number("low")?, number("high")?);
    Some(format!("{mean:.1} % <small>[{low:.1}, {high:.1}]</small>"))
}

fn percent(value: &Value) -> String {
    value.as_f64().map_or("–".into(), |x| format!("{:.1} %", 100.0 * x))
}

/// The largest k of a table by k, with its estimate.
fn at_most_k(table: &Value) -> Option<(u64, &Value)> {
    let table = table.as_object()?;
    table.iter().filter_map(|(k, estimate)| Some((k.parse().ok()?, estimate))).max_by_key(|(k, _)| *k)
}

/// The evaluations of some runs as a section; empty if there are none.
pub(crate) fn section(runs: &[Run]) -> String {
    let mut rows = String::new();
    let mut compared = String::new();
    for (run, evaluation) in runs.iter().flat_map(|run| run.evaluations.iter().map(move |e| (run, e))) {
        let (summary, settings) = (&evaluation.summary["summary"], &evaluation.summary["settings"]);
        let k = |name: &str, table: &Value| match at_most_k(table) {
            Some((k, estimate)) if k > 1 => {
                format!("{} <small>{name}@{k}</small>", interval(estimate).unwrap_or_default())
            }
            _ => "–".into(),
        };
        rows.push_str(&format!(
            "<tr><th scope=\"row\">{} <small>{}</small></th><td>{} × {}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(&evaluation.task),
            escape(&run.name),
            summary["problems"],
            summary["samples"],
            settings["temperature"],
            interval(&summary["avg"]).unwrap_or_else(|| "–".into()),
            k("pass", &summary["pass_at"]),
            k("maj", &summary["maj_at"]),
            percent(&summary["truncated"]),
            percent(&summary["unparsed"]),
            summary["lengths"]["mean"].as_f64().map_or("–".into(), |x| format!("{x:.0}")),
        ));
        if let Some(against) = &evaluation.against {
            compared.push_str(&comparison(run, evaluation, against));
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<section id=\"evaluations\"><h2>Evaluations</h2>\n<p class=\"note\">95 % intervals in brackets, by bootstrap over \
         problems.</p><div class=\"wide\"><table><thead><tr><th>task</th><th>problems × samples</th><th>temperature</th>\
         <th>right</th><th>any of k right</th><th>majority right</th><th>cut</th><th>no answer</th><th>tokens</th></tr>\
         </thead><tbody>\n{rows}</tbody></table></div>\n{compared}</section>\n"
    )
}

fn comparison(run: &Run, evaluation: &Evaluation, against: &Value) -> String {
    let mut text = String::new();
    for (metric, paired) in against["differences"][&evaluation.task].as_object().into_iter().flatten() {
        let points = |name: &str| paired["difference"][name].as_f64().unwrap_or(f64::NAN) * 100.0;
        text.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td>{:+.1} points <small>[{:+.1}, {:+.1}]</small></td><td>{}</td><td>{}</td>\
             <td>{}</td></tr>\n",
            escape(metric),
            points("mean"),
            points("low"),
            points("high"),
            paired["better"],
            paired["worse"],
            paired["same"]
        ));
    }
    let drift = &against["drift"]["per_token"];
    let nats = |name: &str| {
        let of = |part: &str| drift[name][part].as_f64();
        match (of("mean"), of("low"), of("high")) {
            (Some(mean), Some(low), Some(high)) => format!("{mean:.4} <small>[{low:.4}, {high:.4}]</small>"),
            _ => "–".into(),
        }
    };
    let drifted = if drift.is_object() {
        format!(
            "<p>Drift from it in nats per token, on own completions: KL(run‖other) {}, KL(other‖run) {}, entropy {} (the other \
             {}).</p>\n",
            nats("exact"),
            nats("exact_forward"),
            nats("entropy"),
            nats("base_entropy")
        )
    } else {
        String::new()
    };
    format!(
        "<h3>{}: {} minus {}, problem by problem</h3><div class=\"wide\"><table><thead><tr><th>metric</th>\
         <th>difference</th><th>better on</th><th>worse on</th><th>same on</th></tr></thead><tbody>\n{text}</tbody>\
         </table></div>\n{drifted}",
        escape(&evaluation.task),
        escape(&run.name),
        escape(against["against"].as_str().unwrap_or("the other model")),
    )
}
