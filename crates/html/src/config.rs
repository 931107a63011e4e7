//! The configuration of runs: what differs from the method's defaults, and what differs between runs.

use gft_train::config::load;
use serde_json::{Map, Value};

use crate::escape::escape;
use crate::run::Run;

/// A setting, its value, and what it would be otherwise.
struct Difference {
    name: String,
    value: Value,
    default: Value,
}

/// Settings of a stage that are not the defaults of its method; `None` where the method is not known.
fn differences(stage: &Map<String, Value>) -> Option<Vec<Difference>> {
    let method = stage.get("method")?.as_str()?;
    let defaults = load(None, [("method", method)]).ok()?;
    let defaults = defaults.stages.first()?.settings.values();
    let changed = defaults.into_iter().filter_map(|(name, default)| {
        let value = stage.get(name)?;
        (*value != default).then(|| Difference { name: name.into(), value: value.clone(), default })
    });
    Some(changed.collect())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The section of one run.
pub(crate) fn of_one(run: &Run) -> String {
    let stages = run.stages();
    let several = stages.len() > 1;
    let mut text = String::new();
    for (index, stage) in stages.iter().enumerate() {
        if several {
            text.push_str(&format!("<h3>Stage {}</h3>\n", index + 1));
        }
        let method = stage.get("method").and_then(Value::as_str).unwrap_or_default();
        match differences(stage) {
            Some(changed) => {
                text.push_str(
                    "<div class=\"wide\"><table><thead><tr><th>setting</th><th>this run</th><th>default of ",
                );
                text.push_str(&format!("{}</th></tr></thead><tbody>\n", escape(method)));
                for Difference { name, value, default } in changed {
                    text.push_str(&format!(
                        "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>\n",
                        escape(&name),
                        escape(&shown(&value)),
                        escape(&shown(&default))
                    ));
                }
                text.push_str("</tbody></table></div>\n");
            }
            None => {
                text.push_str("<p class=\"note\">The method of this run is not known to this program.</p>\n")
            }
        }
    }
    if let Some(config) = &run.config {
        text.push_str(&format!(
            "<details><summary>all of config.toml</summary><pre>{}</pre></details>\n",
            escape(config)
        ));
    }
    format!("<section id=\"config\"><h2>Configuration</h2>\n{text}</section>\n")
}

/// What differs between runs.
pub(crate) fn of_several(runs: &[Run]) -> String {
    let first: Vec<Option<&Map<String, Value>>> =
        runs.iter().map(|run| run.stages().first().copied()).collect();
    let names: Vec<&String> =
        first.iter().flatten().next().map(|stage| stage.keys().collect()).unwrap_or_default();
    let mut rows = String::new();
    for name in names {
        let values: Vec<Option<&Value>> =
            first.iter().map(|stage| stage.and_then(|stage| stage.get(name))).collect();
        if values.windows(2).all(|pair| pair[0] == pair[1]) {
            continue;
        }
        let cells =
            values.iter().map(|value| format!("<td>{}</td>", escape(&value.map_or("–".into(), shown))));
        rows.push_str(&format!(
            "<tr><th scope=\"row\">{}</th>{}</tr>\n",
            escape(name),
            cells.collect::<String>()
        ));
    }
    let heads: String = runs.iter().map(|run| format!("<th>{}</th>", escape(&run.name))).collect();
    format!(
        "<section id=\"config\"><h2>What differs between the runs</h2>\n<p class=\"note\">Settings of the first stage.</p>\
         <div class=\"wide\"><table><thead><tr><th>setting</th>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>\
         </section>\n"
    )
}
