//! The page: head, tables, data, script.

use serde::Serialize;

use crate::escape::{escape, json};
use crate::groups::{self, StepGroups};
use crate::run::Run;
use crate::series::{self, Heat, Panel};
use crate::{Result, config, evaluations};

const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");

/// What the script draws from.
#[derive(Serialize)]
struct Data<'a> {
    runs: Vec<&'a str>,
    panels: Vec<Panel>,
    heats: Vec<Heat>,
    groups: Vec<StepGroups>,
}

/// The whole page of one run, or of several laid over each other.
pub(crate) fn page(runs: &[Run]) -> Result<String> {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let single = match runs {
        [run] => Some(run),
        _ => None,
    };
    let data = Data {
        panels: series::panels(runs),
        heats: series::heats(runs),
        groups: single.map(groups::of_run).transpose()?.unwrap_or_default(),
        runs: names.clone(),
    };
    let title = names.join(" · ");
    let mut body = format!("<h1>{}</h1>\n", escape(&title));
    let has_evaluations = runs.iter().any(|run| !run.evaluations.is_empty());
    body.push_str(&navigation(has_evaluations, !data.groups.is_empty()));
    match single {
        Some(run) => body.push_str(&card(run)),
        None => body.push_str(&last_values(runs)),
    }
    body.push_str(&curves(runs, &data));
    body.push_str(&evaluations::section(runs));
    if !data.groups.is_empty() {
        body.push_str(
            "<section id=\"groups\"><h2>Groups</h2>\n<p class=\"note\">Every response of a prompt with its source, reward and \
             advantage. A token's colour shows its probability, or the coefficient that the objective leaves its gradient; \
             its tooltip has both.</p><div id=\"groups-list\"></div></section>\n",
        );
    }
    body.push_str(&failures(runs));
    match single {
        Some(run) => body.push_str(&config::of_one(run)),
        None => body.push_str(&config::of_several(runs)),
    }
    body.push_str(&reproduce(runs));
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}\
         <script type=\"application/json\" id=\"data\">{}</script>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        escape(&title),
        json(&data)
    ))
}

fn navigation(evaluations: bool, groups: bool) -> String {
    let links = [
        ("curves", "Curves", true),
        ("evaluations", "Evaluations", evaluations),
        ("groups", "Groups", groups),
    ];
    let rest =
        [("failures", "Failures", true), ("config", "Configuration", true), ("reproduce", "Reproduce", true)];
    let shown = links.into_iter().chain(rest).filter(|(.., there)| *there);
    let links: String = shown.map(|(id, name, _)| format!("<a href=\"#{id}\">{name}</a>")).collect();
    format!("<nav>{links}</nav>\n")
}

fn curves(runs: &[Run], data: &Data<'_>) -> String {
    let thinned = series::every(runs).map_or(String::new(), |n| format!(" Long runs: every {n}th step."));
    let heats = if data.heats.is_empty() {
        ""
    } else {
        "<h3>Tokens that were learned from, over time</h3>\n<p class=\"note\">The stronger the colour, the more tokens; it is \
         scaled by the root of their share.</p>\n"
    };
    format!(
        "<section id=\"curves\"><h2>Curves</h2>\n<p class=\"note\">By step. Drag across a diagram to zoom, double-click to \
         go back; point at one to read all of them.{thinned}</p>\n<div class=\"controls\"><label>Smoothing \
         <input id=\"smooth\" type=\"range\" min=\"0\" max=\"0.98\" step=\"0.02\" value=\"0\"></label>\
         <button id=\"reset\" hidden>Whole run</button></div>\n<div class=\"panels\" id=\"panels\"></div>\n\
         {heats}<div class=\"panels\" id=\"heats\"></div>\n</section>\n"
    )
}

fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.0} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

fn fact(name: &str, value: &str) -> String {
    format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value))
}

fn card(run: &Run) -> String {
    let stages = run.stages();
    let setting = |name: &str| {
        let values = stages.iter().filter_map(|stage| stage.get(name)).filter(|value| !value.is_null());
        let mut shown: Vec<String> =
            values.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
        shown.dedup();
        shown.join(", then ")
    };
    let number = |name: &str, digits: usize| run.last(name).map(|x| format!("{x:.digits$}"));
    let mut facts = String::new();
    for (name, value) in [
        ("Method", Some(setting("method"))),
        ("Model", Some(setting("model_name_or_path"))),
        ("Data", Some(setting("dataset_name").replace(['[', ']', '"'], ""))),
        ("Steps", number("step", 0)),
        ("Tokens computed", number("num_tokens", 0)),
        ("Time in steps", Some(seconds(run.sum("step_time")))),
        ("Loss at the end", number("loss", 4)),
        ("Reward at the end", number("reward", 3)),
        ("Entropy at the end", number("entropy", 3)),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            facts.push_str(&fact(name, &value));
        }
    }
    let accuracy =
        |line: Option<&serde_json::Map<String, serde_json::Value>>| line?.get("eval_accuracy")?.as_f64();
    if let (Some(first), Some(last)) = (accuracy(run.evals.first()), accuracy(run.evals.last())) {
        facts
            .push_str(&fact("Held-out accuracy", &format!("{:.1} % → {:.1} %", 100.0 * first, 100.0 * last)));
    }
    format!("<dl class=\"card\">\n{facts}</dl>\n")
}

fn last_values(runs: &[Run]) -> String {
    let heads: String = runs.iter().map(|run| format!("<th>{}</th>", escape(&run.name))).collect();
    let mut rows = String::new();
    for (name, label, digits) in [
        ("step", "steps", 0),
        ("num_tokens", "tokens computed", 0),
        ("loss", "loss", 4),
        ("reward", "reward", 3),
        ("entropy", "entropy", 3),
        ("kl", "KL to the reference", 4),
        ("grad_norm", "gradient norm", 3),
        ("completions/mean_length", "length of own completions", 0),
    ] {
        if runs.iter().all(|run| run.last(name).is_none()) {
            continue;
        }
        let cell = |run: &Run| run.last(name).map_or("–".into(), |x| format!("{x:.digits$}"));
        let cells: String = runs.iter().map(|run| format!("<td>{}</td>", cell(run))).collect();
        rows.push_str(&format!("<tr><th scope=\"row\">{label}</th>{cells}</tr>\n"));
    }
    format!(
        "<section><h2>At the last step</h2>\n<div class=\"wide\"><table><thead><tr><th></th>{heads}</tr></thead><tbody>\n\
         {rows}</tbody></table></div></section>\n"
    )
}

fn failures(runs: &[Run]) -> String {
    let mut items = String::new();
    for run in runs {
        let name = if runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
        let mut item =
            |text: String| items.push_str(&format!("<li>{}</li>\n", escape(&format!("{name}{text}"))));
        let refused = run.sum("update/refused");
        if refused > 0.0 {
            let updates = if refused == 1.0 { "update was" } else { "updates were" };
            item(format!(
                "{refused:.0} {updates} refused by the guard (loss or gradient not finite, or a spike)"
            ));
        }
        for file in &run.refused {
            item(format!("the rollouts of a refused step are in {file}"));
        }
        let silent = run.sum("update/no_signal");
        if silent > 0.0 {
            let updates = if silent == 1.0 { "update" } else { "updates" };
            item(format!("{silent:.0} {updates} had no row with a signal; the weights stayed as they were"));
        }
        for (metric, what) in [
            ("rewards/error_frac", "of the rewards failed"),
            ("rewards/timeout_frac", "of the rewards ran out of time"),
            ("rewards/unscorable_frac", "of the completions could not be scored"),
        ] {
            let most = run.steps.iter().filter_map(|step| step.get(metric)?.as_f64()).fold(0.0, f64::max);
            if most > 0.0 {
                item(format!("up to {:.1} % {what} in a step", 100.0 * most));
            }
        }
        let missing =
            run.steps.iter().filter(|step| step.get("loss").is_none_or(|loss| loss.is_null())).count();
        if missing > 0 {
            let steps = if missing == 1 { "step has" } else { "steps have" };
            item(format!("{missing} {steps} a loss that is not finite"));
        }
    }
    let text = if items.is_empty() { "<p>None.</p>\n".into() } else { format!("<ul>\n{items}</ul>\n") };
    format!("<section id=\"failures\"><h2>Failures</h2>\n{text}</section>\n")
}

fn reproduce(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let folder = run.path.display().to_string();
        text.push_str(&format!(
            "gft train {} --output-dir {}\n",
            quoted(&format!("{folder}/config.toml")),
            quoted(&format!("{folder}-again"))
        ));
    }
    let programs: Vec<&str> = runs.iter().filter_map(|run| run.state.get("program")?.as_str()).collect();
    let ran = if programs.is_empty() { "not recorded".into() } else { programs.join(", ") };
    format!(
        "<section id=\"reproduce\"><h2>Reproduce</h2>\n<p>The same data, model and program give the same run, step for \
         step:</p>\n<pre>{}</pre>\n<dl class=\"card\">\n{}{}{}</dl></section>\n",
        escape(&text),
        fact("Trained by gft", &ran),
        fact("Page made by gft", env!("CARGO_PKG_VERSION")),
        fact("Page made on", &format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
    )
}

/// A path for a shell.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@".contains(c);
    if path.chars().all(plain) { path.into() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What the page says under Failures of a run with these metrics.
    fn failures_of(metrics: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("metrics.jsonl"), metrics).unwrap();
        failures(&[Run::read(dir.path()).unwrap()])
    }

    #[test]
    fn only_steps_can_lack_a_loss() {
        let good = "{\"step\": 1, \"loss\": 0.5}\n{\"step\": 1, \"eval_rows\": 4}\n";
        let end = "{\"step\": 1, \"train_runtime\": 2.0, \"train_loss\": 0.5}\n";
        assert!(failures_of(&format!("{good}{end}")).contains("None."));
        let lost = failures_of(&format!("{good}{{\"step\": 2, \"loss\": null}}\n{end}"));
        assert!(lost.contains("1 step has a loss that is not finite"), "{lost}");
    }
}
