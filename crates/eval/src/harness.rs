//! The same results in the layout of lm-evaluation-harness, for the tools that read that.
//!
//! `{folder}/{model}/results_{date}.json` and `samples_{task}_{date}.jsonl`. What only that program could know (its
//! version, its tokenizer's settings) is null, never made up.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::grade::Verdict;
use crate::record::Record;
use crate::stats::Estimate;
use crate::store::write_json;
use crate::summary::Summary;

/// One task's results.
#[derive(Debug)]
pub struct TaskResults<'a> {
    /// Its name.
    pub name: &'a str,
    /// Problems in its file.
    pub original: usize,
    /// Worked examples in the prompt.
    pub shots: usize,
    /// Its numbers.
    pub summary: &'a Summary,
    /// Its records.
    pub records: &'a [Record],
    /// How it was evaluated.
    pub settings: &'a Value,
}

/// What the results are of.
#[derive(Debug)]
pub struct Origin<'a> {
    /// The model's folder as the user names it.
    pub model: &'a str,
    /// When, in ISO 8601.
    pub date: &'a str,
    /// Seconds that the evaluation took.
    pub seconds: f64,
    /// Sequences computed together.
    pub batch: usize,
    /// Seed.
    pub seed: u64,
    /// Sampling settings, `temperature=0,...`.
    pub gen_kwargs: &'a str,
    /// Problems of each task at most.
    pub limit: Option<usize>,
}

/// The harness's way to make a name of a path.
pub fn sanitized(model: &str) -> String {
    model
        .chars()
        .map(|c| if "\"<>:/\\|?*[]".contains(c) { '_' } else { c })
        .collect::<String>()
        .replace("__", "_")
}

/// Writes both kinds of files; returns the path of the results.
///
/// # Errors
/// A folder or file that cannot be written.
pub fn write(folder: &Path, origin: &Origin<'_>, tasks: &[TaskResults<'_>]) -> Result<PathBuf> {
    let folder = folder.join(sanitized(origin.model));
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder, "create"))?;
    let date = origin.date.replace(':', "-");
    for task in tasks {
        let path = folder.join(format!("samples_{}_{date}.jsonl", task.name));
        let mut text = String::new();
        for record in task.records {
            text.push_str(&sample_line(record).to_string());
            text.push('\n');
        }
        std::fs::write(&path, text).map_err(Error::io(&path, "write"))?;
    }
    let path = folder.join(format!("results_{date}.json"));
    write_json(&path, &results(origin, tasks))?;
    Ok(path)
}

fn results(origin: &Origin<'_>, tasks: &[TaskResults<'_>]) -> Value {
    let by_task = |of: &dyn Fn(&TaskResults<'_>) -> Value| -> Value {
        tasks.iter().map(|task| (task.name.to_owned(), of(task))).collect::<Map<String, Value>>().into()
    };
    json!({
        "results": by_task(&metrics),
        "group_subtasks": by_task(&|_| json!([])),
        "configs": by_task(&|task| json!({"task": task.name, "metadata": {"gft": task.settings}})),
        "versions": by_task(&|_| json!(1)),
        "n-shot": by_task(&|task| json!(task.shots)),
        "higher_is_better": by_task(&|task| {
            let names = ["exact_match".to_owned()].into_iter();
            let names = names.chain(task.summary.pass_at.keys().map(|k| format!("pass@{k}")));
            let names = names.chain(task.summary.maj_at.keys().map(|k| format!("maj@{k}")));
            names.map(|name| (name, Value::Bool(true))).collect::<Map<String, Value>>().into()
        }),
        "n-samples": by_task(&|task| json!({"original": task.original, "effective": task.summary.problems})),
        "config": {
            "model": "gft",
            "model_args": format!("pretrained={}", origin.model),
            "batch_size": origin.batch,
            "device": "cpu",
            "limit": origin.limit,
            "gen_kwargs": origin.gen_kwargs,
            "random_seed": origin.seed,
        },
        "git_hash": null,
        "date": origin.date,
        "pretty_env_info": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "transformers_version": null,
        "lm_eval_version": null,
        "gft_version": env!("CARGO_PKG_VERSION"),
        "tokenizer_pad_token": null,
        "tokenizer_eos_token": null,
        "tokenizer_bos_token": null,
        "eot_token_id": null,
        "max_length": null,
        "task_hashes": {},
        "model_source": "gft",
        "model_name": origin.model,
        "model_name_sanitized": sanitized(origin.model),
        "system_instruction": null,
        "system_instruction_sha": null,
        "fewshot_as_multiturn": false,
        "chat_template": null,
        "chat_template_sha": null,
        "total_evaluation_time_seconds": origin.seconds.to_string(),
    })
}

/// `exact_match` is avg@n: with one sample it is what the harness means by it.
fn metrics(task: &TaskResults<'_>) -> Value {
    let mut of = Map::from_iter([
        ("name".to_owned(), json!(task.name)),
        ("alias".to_owned(), json!(task.name)),
        ("sample_len".to_owned(), json!(task.summary.problems)),
    ]);
    let mut put = |name: String, estimate: &Estimate| {
        of.insert(format!("{name},none"), json!(estimate.mean));
        of.insert(format!("{name}_stderr,none"), json!(estimate.standard_error));
    };
    if let Some(avg) = &task.summary.avg {
        put("exact_match".into(), avg);
    }
    for (k, estimate) in task.summary.pass_at.iter().filter(|(k, _)| **k > 1) {
        put(format!("pass@{k}"), estimate);
    }
    for (k, estimate) in task.summary.maj_at.iter().filter(|(k, _)| **k > 1) {
        put(format!("maj@{k}"), estimate);
    }
    Value::Object(of)
}

fn sample_line(record: &Record) -> Value {
    let hash = |text: &str| -> String {
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let doc = json!({"id": record.id, "answer": record.gold});
    let texts: Vec<&str> = record.samples.iter().map(|sample| sample.text.as_str()).collect();
    let answers: Vec<Option<&str>> = record.samples.iter().map(|sample| sample.answer.as_deref()).collect();
    let right = record.samples.iter().filter(|sample| sample.verdict == Verdict::Right).count();
    json!({
        "doc_id": record.doc,
        "doc": doc,
        "target": record.gold,
        "arguments": {"gen_args_0": {"arg_0": record.prompt, "arg_1": {}}},
        "resps": [texts],
        "filtered_resps": answers,
        "filter": "none",
        "metrics": ["exact_match"],
        "doc_hash": hash(&doc.to_string()),
        "prompt_hash": hash(&record.prompt),
        "target_hash": hash(&record.gold),
        "exact_match": record.mean(),
        "right": right,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_separators() {
        assert_eq!(sanitized("runs/gft:1"), "runs_gft_1");
    }
}
