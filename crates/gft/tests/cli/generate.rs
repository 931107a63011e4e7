//! Generation: the same completions whatever runs beside them, ended where they must end.

use std::fs;
use std::io::{BufRead, BufReader, Read};

use serde_json::{Value, json};

use crate::process::{command, fixture, gft, with_model};

const PROMPTS: &str = r#"{"id": "a", "prompt": "Natalia sold clips"}
{"id": "b", "prompt": "How many"}

{"id": "c", "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]}
{"id": "d", "input_ids": [5, 6, 7]}
{"id": "e", "messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}
"#;

const ARGS: [&str; 9] = ["generate", "--model", "m", "-n", "3", "--max-new-tokens", "24", "--seed", "3"];

#[test]
fn completions_do_not_depend_on_the_batch_nor_on_threads() {
    let dir = with_model(&["--chat-template", "chatml"]);
    let run = |more: &[&str]| gft(dir.path(), &[&ARGS[..], more].concat(), PROMPTS).ok();
    let whole = run(&[]);
    for more in [&["--batch", "1"][..], &["--batch", "4"], &["--batch", "15", "--threads", "1"]] {
        assert!(run(more).stdout == whole.stdout, "{more:?}");
    }
    assert!(run(&["--seed", "4"]).stdout != whole.stdout);
    let rows = whole.rows();
    let names: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    for row in &rows {
        let completions = row["completions"].as_array().unwrap();
        assert_eq!(completions.len(), 3);
        assert_ne!(completions[0]["tokens"], completions[1]["tokens"], "two samples are one");
        for completion in completions {
            let count = completion["tokens"].as_array().unwrap().len();
            assert!(count > 0 && count <= 24);
            assert_eq!(completion["logprobs"].as_array().unwrap().len(), count);
            assert_eq!(completion["sampling_logprobs"].as_array().unwrap().len(), count);
            assert_eq!(completion["finish"] == "length", count == 24);
            assert!(completion["text"].is_string());
        }
    }
    assert_eq!(rows[3]["prompt_ids"], json!([5, 6, 7]));
    let twice = gft(dir.path(), &ARGS, &"{\"input_ids\": [5, 6, 7]}\n".repeat(2)).ok().rows();
    assert_ne!(twice[0]["completions"], twice[1]["completions"], "two rows have the same random numbers");
    assert!(rows[0]["prompt"] == "Natalia sold clips" && rows[0]["prompt_ids"].is_array());
}

#[test]
fn reported_log_probabilities_are_those_of_logprobs() {
    let dir = with_model(&["--chat-template", "chatml"]);
    let rows = gft(dir.path(), &[&ARGS[..], &["--temperature", "0.7"]].concat(), PROMPTS).ok().rows();
    for row in &rows {
        let prompt = row["prompt_ids"].as_array().unwrap();
        for completion in row["completions"].as_array().unwrap() {
            let tokens = completion["tokens"].as_array().unwrap();
            let ids = [&prompt[..], &tokens[..]].concat();
            let input = json!({ "input_ids": ids }).to_string();
            let scored = gft(dir.path(), &["logprobs", "--model", "m", "--temperature", "0.7"], &input).ok();
            let scored = scored.rows()[0]["logprobs"].as_array().unwrap()[prompt.len()..].to_vec();
            for (a, b) in completion["logprobs"].as_array().unwrap().iter().zip(&scored) {
                // DESIGN.md T9: 1e-5; one is the cached path, the other the packed one.
                assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-5, "{a} {b}");
            }
        }
    }
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let dir = with_model(&[]);
    let args = ["generate", "--model", "m", "--prompt", "How many", "--max-new-tokens", "60", "--ignore-eos"];
    let free = gft(dir.path(), &args, "").ok();
    assert!(free.stderr.contains("no chat template"), "the plain fallback is not said: {}", free.stderr);
    let text = |row: &Value| row["completions"][0]["text"].as_str().unwrap().to_owned();
    let free = text(&free.rows()[0]);
    // Two letters from the middle of what the model writes.
    let stop: String = free.chars().skip(free.chars().count() / 2).filter(char::is_ascii).take(1).collect();
    let cut = gft(dir.path(), &[&args[..], &["--stop", &stop, "--stop", "never written"]].concat(), "").ok();
    let row = &cut.rows()[0];
    assert_eq!(text(row), free[..free.find(&stop).unwrap()]);
    assert_eq!(
        (&row["completions"][0]["finish"], &row["completions"][0]["stop"]),
        (&json!("stop"), &json!(stop))
    );
    let plain = gft(dir.path(), &[&args[..], &["--text", "--quiet"]].concat(), "").ok();
    assert_eq!((plain.stdout, plain.stderr), (format!("{free}\n"), String::new()));
}

#[test]
fn defaults_come_from_the_generation_config() {
    let dir = with_model(&[]);
    let path = dir.path().join("m/generation_config.json");
    let args = ["generate", "--model", "m", "--prompt", "How many", "--verbose"];
    let with = |config: Value, more: &[&str]| {
        fs::write(&path, config.to_string()).unwrap();
        gft(dir.path(), &[&args[..], more].concat(), "")
    };
    let config =
        json!({"temperature": 0.5, "top_k": 4, "max_new_tokens": 5, "num_beams": 3, "eos_token_id": [0, 1]});
    let run = with(config.clone(), &["--top-p", "0.9"]).ok();
    for said in [
        "temperature 0.5 (generation_config.json)",
        "top_k 4 (generation_config.json)",
        "top_p 0.9 (flag)",
        "min_p 0 (default)",
        "max_new_tokens 5",
        "ids [0, 1]",
        "num_beams=3, which is not applied",
    ] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
    assert!(run.rows()[0]["completions"][0]["tokens"].as_array().unwrap().len() <= 5);
    let greedy = with(json!({"do_sample": false, "temperature": 0.6}), &["--max-new-tokens", "9"]).ok();
    let zero = with(json!({}), &["--temperature", "0", "--max-new-tokens", "9"]).ok();
    assert_eq!(greedy.stdout, zero.stdout);
    let wrong = with(json!({"top_p": 1.5}), &[]);
    assert_eq!(wrong.code, Some(3));
    assert!(wrong.stderr.contains("`top_p` is 1.5; it must be above 0 and at most 1"), "{}", wrong.stderr);
}

#[test]
fn an_answer_ends_at_the_ids_of_the_generation_config() {
    let dir = with_model(&[]);
    let even: Vec<u64> = (0..300).step_by(2).collect();
    let config = json!({ "eos_token_id": even });
    fs::write(dir.path().join("m/generation_config.json"), config.to_string()).unwrap();
    let run = |more: &[&str]| gft(dir.path(), &[&ARGS[..], more].concat(), PROMPTS).ok().rows();
    let mut lengths = Vec::new();
    for row in run(&[]) {
        for completion in row["completions"].as_array().unwrap() {
            let tokens: Vec<u64> =
                completion["tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
            assert_eq!(tokens.iter().position(|id| even.contains(id)), Some(tokens.len() - 1), "{tokens:?}");
            assert_eq!(completion["finish"], "stop");
            lengths.push(tokens.len());
        }
    }
    assert!(lengths.iter().any(|&n| n > 1), "{lengths:?}");
    assert!(run(&["--ignore-eos"]).iter().all(|row| row["completions"][0]["finish"] == "length"));
}

#[test]
fn no_tokenizer_is_needed_for_ids() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["generate", "--model", &fixture("llama3"), "--max-new-tokens", "4", "--temperature", "0"];
    let run = gft(dir.path(), &args, r#"{"input_ids": [1, 2, 3]}"#).ok();
    let completion = &run.rows()[0]["completions"][0];
    assert_eq!(completion["tokens"].as_array().unwrap().len(), 4);
    assert!(completion.get("text").is_none());
    assert_eq!(completion["sampling_logprobs"], json!([0.0, 0.0, 0.0, 0.0]));
}

#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    let dir = with_model(&[]);
    let rows = dir.path().join("rows.jsonl");
    fs::write(&rows, "{\"prompt\": \"How many\"}\n".repeat(200)).unwrap();
    let args = [
        "generate",
        "--model",
        "m",
        "rows.jsonl",
        "--max-new-tokens",
        "40",
        "--batch",
        "2",
        "--ignore-eos",
        "-q",
    ];
    let mut child = command(dir.path(), &args).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"prompt\":\"How many\""), "{line}");
    drop(out);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_with_130_and_whole_rows() {
    let dir = with_model(&[]);
    let rows = dir.path().join("rows.jsonl");
    fs::write(&rows, "{\"prompt\": \"How many\"}\n".repeat(20_000)).unwrap();
    let args = [
        "generate",
        "--model",
        "m",
        "rows.jsonl",
        "--max-new-tokens",
        "40",
        "--batch",
        "2",
        "--ignore-eos",
        "-q",
    ];
    let mut child = command(dir.path(), &args).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    out.read_line(&mut text).unwrap();
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    out.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    assert!(text.lines().count() < 20_000);
}
