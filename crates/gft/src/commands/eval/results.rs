//! What `gft eval` says: tables or JSON, a second model's results beside the first's, and lm-evaluation-harness's layout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gft_eval::harness::{self, Origin, TaskResults};
use gft_eval::stats::Paired;
use gft_eval::{Drift, Summary};
use serde::Serialize;
use serde_json::{Value, json};

use super::model::Evaluated;
use super::{Args, Plan, table};
use crate::failure::Failure;
use crate::{output, prompts};

/// Results as `--json` writes them.
#[derive(Serialize)]
struct Results<'a> {
    model: String,
    tasks: Vec<TaskOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against<'a>>,
}

#[derive(Serialize)]
struct TaskOut<'a> {
    task: &'a str,
    records: String,
    prompts_too_long: usize,
    settings: &'a Value,
    summary: &'a Summary,
}

#[derive(Serialize)]
struct Against<'a> {
    model: String,
    tasks: Vec<TaskOut<'a>>,
    differences: Value,
    drift: Option<Drift>,
}

/// A second model's results beside the first's.
pub(super) struct Compared {
    pub path: PathBuf,
    pub found: Vec<Evaluated>,
    pub differences: Vec<(String, BTreeMap<String, Paired>)>,
    pub drift: Option<Drift>,
}

/// Differences by task, as JSON.
pub(super) fn by_task(differences: &[(String, BTreeMap<String, Paired>)]) -> Value {
    differences
        .iter()
        .map(|(task, found)| (task.clone(), json!(found)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Writes the results as lm-evaluation-harness does.
pub(super) fn write_harness(
    folder: &Path,
    args: &Args,
    plan: &Plan,
    found: &[Evaluated],
    seconds: f64,
) -> Result<(), Failure> {
    let sampling = &plan.options.sampling;
    let gen_kwargs = format!(
        "temperature={},top_p={},top_k={},max_gen_toks={},n={}",
        sampling.temperature,
        sampling.top_p,
        sampling.top_k,
        plan.options.max_new_tokens,
        plan.options.samples
    );
    let model = args.model.display().to_string();
    let origin = Origin {
        model: &model,
        date: &prompts::now(),
        seconds,
        batch: plan.options.max_batch,
        seed: plan.options.seed,
        gen_kwargs: &gen_kwargs,
        limit: args.limit.map(|limit| limit as usize),
    };
    let tasks: Vec<TaskResults<'_>> = found
        .iter()
        .zip(&plan.tasks)
        .map(|(evaluated, task)| TaskResults {
            name: &evaluated.task,
            original: task.problems.len(),
            shots: plan.styled.shots.len(),
            summary: &evaluated.summary,
            records: &evaluated.records,
            settings: &evaluated.settings,
        })
        .collect();
    let path = harness::write(folder, &origin, &tasks)?;
    args.verbosity.detail(&format!("lm-evaluation-harness's layout: {}", path.display()));
    Ok(())
}

fn task_out(evaluated: &Evaluated) -> TaskOut<'_> {
    TaskOut {
        task: &evaluated.task,
        records: evaluated.folder.display().to_string(),
        prompts_too_long: evaluated.too_long,
        settings: &evaluated.settings,
        summary: &evaluated.summary,
    }
}

/// Prints them.
pub(super) fn print(args: &Args, found: &[Evaluated], compared: Option<Compared>) -> Result<(), Failure> {
    let model = args.model.display().to_string();
    if args.json {
        let against = compared.as_ref().map(|compared| Against {
            model: compared.path.display().to_string(),
            tasks: compared.found.iter().map(task_out).collect(),
            differences: by_task(&compared.differences),
            drift: compared.drift.clone(),
        });
        return output::json(&Results { model, tasks: found.iter().map(task_out).collect(), against });
    }
    let mut text = table::results(&model, found);
    if let Some(compared) = &compared {
        let other = compared.path.display().to_string();
        text.push_str(&table::results(&other, &compared.found));
        text.push_str(&table::differences(&model, &other, &compared.differences));
        if let Some(drift) = &compared.drift {
            text.push_str(&table::drift(&model, &other, drift));
        }
    }
    output::write(&text);
    Ok(())
}
