//! `gft eval` end to end: a small model on GSM8K's rows, alone, interrupted, and against another.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

mod world;

use std::path::{Path, PathBuf};

use serde_json::Value;
use world::model::{TINY, gsm8k_train, make_model, texts};
use world::{gft, gft_ok, gsm8k_model, lines, said};

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The records of the only task below a folder, in the order of problems.
fn records(out: &Path) -> (PathBuf, Vec<Value>) {
    let folder = std::fs::read_dir(out).unwrap().next().unwrap().unwrap().path();
    let file = folder.join("records.jsonl");
    let mut records = lines(&file);
    records.sort_by_key(|record| record["doc"].as_u64());
    (file, records)
}

#[test]
fn the_same_completions_whatever_the_batch_and_after_an_interruption() {
    let dir = tempfile::tempdir().unwrap();
    let (model, data) = (gsm8k_model(dir.path()), gsm8k_train());
    let eval = |out: &Path, more: &[&str]| {
        let mut args =
            vec!["eval", path(&data), "--model", path(&model), "--output-dir", path(out), "--json"];
        args.extend(["--benchmark", "gsm8k", "-n", "3", "--temperature", "0.8", "--max-new-tokens", "12"]);
        args.extend(more);
        gft_ok(&args)
    };
    let (one, many) = (dir.path().join("one"), dir.path().join("many"));
    let found = json(&eval(&one, &["--batch", "1"]));
    let summary = &found["tasks"][0]["summary"];
    assert_eq!((summary["problems"].as_u64(), summary["samples"].as_u64()), (Some(20), Some(3)));
    // A model that has learned nothing talks to the limit and says nothing right.
    assert_eq!(summary["avg"]["mean"], 0.0);
    assert!(summary["truncated"].as_f64().unwrap() > 0.5, "{summary}");
    eval(&many, &["--batch", "32"]);
    let (file, expected) = records(&one);
    assert_eq!(expected, records(&many).1);
    assert_eq!(expected.len(), 20);
    // Killed in the middle of a line: the whole lines stay, the rest is done again, the same as before.
    let text = std::fs::read_to_string(&file).unwrap();
    let kept: Vec<&str> = text.lines().take(7).collect();
    std::fs::write(&file, format!("{}\n{{\"doc\": 1", kept.join("\n"))).unwrap();
    let again = eval(&one, &["--batch", "5"]);
    assert!(said(&again).contains("7 of 20 problems are done already"), "{}", said(&again));
    assert_eq!(json(&again)["tasks"][0]["summary"], found["tasks"][0]["summary"]);
    let (_, found) = records(&one);
    assert_eq!(found, expected);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with(&kept.join("\n")));
    // What made them stands there for other programs and for people.
    let settings = &json(&again)["tasks"][0]["settings"];
    assert_eq!(
        (&settings["style"]["name"], &settings["template"]["presentation"]),
        (&"auto".into(), &"auto".into())
    );
    assert!(!settings.to_string().contains("Options") && settings["temperature"].is_number(), "{settings}");
    let args = ["eval", path(&data), "--model", path(&model), "--output-dir", path(&one), "--limit", "1"];
    let table = |more: &[&str]| {
        let args = [&args[..], &["--benchmark", "gsm8k", "--max-new-tokens", "4"], more].concat();
        String::from_utf8(gft_ok(&args).stdout).unwrap()
    };
    assert!(table(&[]).contains("1 problem, 1 sample each, greedy, at most 4 tokens"), "{}", table(&[]));
    let drawn = table(&["-n", "2", "--temperature", "0.7", "--top-p", "0.9"]);
    assert!(drawn.contains("2 samples each, temperature 0.7, top_p 0.9, at most 4 tokens"), "{drawn}");
    // Fewer problems are part of the same records; another seed is not.
    let limited = json(&eval(&one, &["--limit", "4"]));
    assert_eq!(limited["tasks"][0]["summary"]["problems"], 4);
    eval(&one, &["--seed", "1", "--limit", "1"]);
    assert_eq!(std::fs::read_dir(&one).unwrap().count(), 4);
}

#[test]
fn two_models_problem_by_problem() {
    let dir = tempfile::tempdir().unwrap();
    let (model, data) = (gsm8k_model(dir.path()), gsm8k_train());
    let other = dir.path().join("other");
    make_model(&other, &texts(), TINY, 2);
    let (out, harness) = (dir.path().join("out"), dir.path().join("harness"));
    let against = |second: &Path| {
        let mut args =
            vec!["eval", path(&data), "--model", path(&model), "--against", path(second), "--json"];
        args.extend([
            "--benchmark",
            "gsm8k",
            "--limit",
            "5",
            "--max-new-tokens",
            "8",
            "--drift-prompts",
            "4",
        ]);
        args.extend(["--output-dir", path(&out), "--harness-dir", path(&harness)]);
        json(&gft_ok(&args))["against"].clone()
    };
    let itself = against(&model);
    assert_eq!(itself["differences"]["gsm8k"]["avg"]["same"], 5);
    for statistic in ["k1", "k3", "exact", "exact_forward"] {
        assert_eq!(itself["drift"]["per_token"][statistic]["mean"], 0.0, "{itself}");
    }
    let drift = &against(&other)["drift"];
    assert!(drift["per_token"]["exact"]["mean"].as_f64().unwrap() > 1e-4, "{drift}");
    assert_eq!(drift["completions"], 4);
    // lm-evaluation-harness's layout.
    let folder = std::fs::read_dir(&harness).unwrap().next().unwrap().unwrap().path();
    let names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let named = |begin: &str| folder.join(names.iter().find(|name| name.starts_with(begin)).unwrap());
    let results: Value = serde_json::from_str(&std::fs::read_to_string(named("results_")).unwrap()).unwrap();
    assert_eq!(results["results"]["gsm8k"]["exact_match,none"], 0.0);
    assert_eq!(results["n-samples"]["gsm8k"]["effective"], 5);
    let samples = lines(&named("samples_gsm8k_"));
    assert_eq!(samples.len(), 5);
    assert_eq!(samples[0]["resps"][0].as_array().unwrap().len(), 1);
}

#[test]
fn prompts_in_every_style_and_what_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (model, data) = (gsm8k_model(dir.path()), gsm8k_train());
    let prompt = |more: &[&str]| -> String {
        let out = tempfile::tempdir().unwrap();
        let mut args = vec!["eval", path(&data), "--model", path(&model), "--output-dir", path(out.path())];
        args.extend(["--limit", "1", "--max-new-tokens", "2"]);
        args.extend(more);
        gft_ok(&args);
        records(out.path()).1[0]["prompt"].as_str().unwrap().to_owned()
    };
    let question = "Natalia sold clips";
    assert!(prompt(&[]).starts_with(question));
    assert!(prompt(&["--instruction", " Be brief."]).contains(" Be brief."));
    assert!(prompt(&["--prompt-style", "boxed"]).ends_with("within \\boxed{}.\n"));
    assert!(prompt(&["--prompt-style", "qwen-boxed"]).starts_with("<|im_start|>system\nPlease reason"));
    assert!(prompt(&["--prompt-style", "few-shot", "--shots", "2"]).ends_with("\nAnswer:"));
    let shots = ["--prompt-style", "few-shot", "--shots", "1", "--shots-from", path(&data)];
    let shown = prompt(&shots);
    assert!(shown.starts_with(&format!("Question: {question}")) && !shown.contains("<<"), "{shown}");
    for (more, code, says) in [
        (vec!["--prompt-style", "few-shot", "--shots", "5"], 2, "4 built-in examples"),
        (vec!["--prompt-style", "boxed", "--instruction", "x"], 2, "--instruction"),
        (vec!["--benchmark", "gsm"], 3, "unknown benchmark"),
        (vec!["--model", "nowhere"], 3, "no such folder"),
    ] {
        let mut args = vec!["eval", path(&data), "--model", path(&model), "--output-dir", path(dir.path())];
        args.extend(more);
        let output = gft(&args);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(says), "{}", said(&output));
    }
}
