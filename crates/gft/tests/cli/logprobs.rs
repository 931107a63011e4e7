//! Log-probabilities: those of transformers, in order, for rows of every kind.

use std::fs;

use serde_json::{Value, json};

use crate::process::{fixture, gft, golden, with_model};

/// A fixture's tensor: integers or floats.
fn tensor(case: &str, name: &str) -> Vec<f64> {
    let bytes = fs::read(golden(&format!("model/{case}/expected.safetensors"))).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let at = |i: usize| 8 + length + header[name]["data_offsets"][i].as_u64().unwrap() as usize;
    let data = &bytes[at(0)..at(1)];
    match header[name]["dtype"].as_str().unwrap() {
        "I64" => data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
        "F32" => data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
        other => panic!("{name}: {other}"),
    }
}

fn ids(case: &str, name: &str) -> Vec<u64> {
    tensor(case, name).into_iter().map(|x| x as u64).collect()
}

fn logprobs(row: &Value) -> Vec<Option<f64>> {
    // What is written is the shortest text of an f32: back through f32, so that differences are those of the values.
    let value = |x: &Value| x.as_f64().map(|x| f64::from(x as f32));
    row["logprobs"].as_array().unwrap().iter().map(value).collect()
}

#[test]
fn values_are_those_of_transformers() {
    for case in ["llama3", "mistral", "qwen2", "qwen3", "llama_bf16"] {
        let dir = tempfile::tempdir().unwrap();
        let rows: Vec<String> = (0..2)
            .map(|i| json!({"id": i, "input_ids": ids(case, &format!("input_ids.{i}"))}).to_string())
            .collect();
        for budget in ["1", "4096"] {
            let args = ["logprobs", "--model", &fixture(case), "--batch-tokens", budget];
            let run = gft(dir.path(), &args, &rows.join("\n")).ok();
            for (i, row) in run.rows().iter().enumerate() {
                assert_eq!(row["id"], i);
                assert_eq!(row["input_ids"], json!(ids(case, &format!("input_ids.{i}"))));
                let found = logprobs(row);
                let expected = tensor(case, &format!("logprobs.{i}"));
                assert_eq!((found[0], found.len()), (None, 1 + expected.len()));
                for (a, b) in found[1..].iter().zip(expected) {
                    // DESIGN.md T9: 1e-5 on log-probabilities of f32 against f64.
                    assert!((a.unwrap() - b).abs() < 1e-5, "{case}: {a:?}, expected {b}");
                }
            }
        }
    }
}

#[test]
fn packing_changes_nothing_and_keeps_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<String> = (0..40u64)
        .map(|i| {
            let ids: Vec<u64> = (0..1 + i % 9).map(|j| (i * 7 + j * 5) % 72).collect();
            json!({"n": i, "input_ids": ids}).to_string()
        })
        .collect();
    let run = |budget: &str| {
        let args = ["logprobs", "--model", &fixture("llama3"), "--batch-tokens", budget];
        gft(dir.path(), &args, &rows.join("\n")).ok().rows()
    };
    let (alone, packed) = (run("1"), run("64"));
    assert_eq!(alone.len(), 40);
    for (i, (a, b)) in alone.iter().zip(&packed).enumerate() {
        assert_eq!((&a["n"], &b["n"]), (&json!(i), &json!(i)));
        for (x, y) in logprobs(a).iter().zip(logprobs(b)) {
            // Products of one row and of many add in another order. T8's 1e-6 is relative here: values are of order 5,
            // whose f32 spacing is 5e-7.
            let (x, y) = (x.unwrap_or(0.0), y.unwrap_or(0.0));
            assert!((x - y).abs() <= 1e-6 * x.abs().max(1.0), "row {i}: {x} {y}");
        }
    }
}

#[test]
fn prompt_and_completion_are_the_tokens_of_the_whole() {
    let dir = with_model(&["--chat-template", "chatml"]);
    let rows = [
        json!({"prompt": "How many", "completion": " clips did she sell?", "source": "a"}),
        json!({"prompt": [{"role": "user", "content": "1+1"}], "completion": [{"role": "assistant", "content": "2"}]}),
        json!({"messages": [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]}),
    ];
    let input = rows.map(|row| row.to_string()).join("\n");
    let plain = gft(dir.path(), &["logprobs", "--model", "m"], &input).ok().rows();
    let ended = gft(dir.path(), &["logprobs", "--model", "m", "--eos"], &input).ok().rows();
    for row in &plain {
        let ids = row["input_ids"].as_array().unwrap();
        let start = row["completion_start"].as_u64().unwrap() as usize;
        assert!(start > 0 && start < ids.len());
        assert_eq!(row["logprobs"].as_array().unwrap().len(), ids.len());
        assert!(row["logprobs"][0].is_null() && row["logprobs"][1].is_number());
    }
    assert_eq!((&plain[0]["source"], &plain[0]["prompt"]), (&json!("a"), &json!("How many")));
    // Text is scored as it stands, and ended as training ends it on request; a template writes its own end.
    let eos = 0;
    let longer = |a: &Value, b: &Value| {
        let (a, b) = (a["input_ids"].as_array().unwrap(), b["input_ids"].as_array().unwrap());
        assert_eq!(b[..a.len()], a[..]);
        b[a.len()..].to_vec()
    };
    assert_eq!(longer(&plain[0], &ended[0]), [json!(eos)]);
    assert!(longer(&plain[1], &ended[1]).is_empty());
    assert_eq!(plain[1]["input_ids"].as_array().unwrap().last(), Some(&json!(eos)));
    assert_eq!(plain[1]["input_ids"], plain[2]["input_ids"]);
    assert_eq!(plain[1]["logprobs"], plain[2]["logprobs"]);
    // The ids alone give the same numbers.
    let again = json!({"input_ids": plain[0]["input_ids"]}).to_string();
    let again = gft(dir.path(), &["logprobs", "--model", "m"], &again).ok().rows();
    for (a, b) in logprobs(&plain[0]).iter().zip(logprobs(&again[0])) {
        let (a, b) = (a.unwrap_or(0.0), b.unwrap_or(0.0));
        assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0)); // T8, as above
    }
}
