//! `gft group stats`: numbers that can be checked by hand.

use serde_json::{Value, json};

use crate::Bench;
use crate::world::{gft, gft_ok, gsm8k, gsm8k_model, said};

const GROUPS: &str = r#####"{"id": "a", "prompt": "3+4?", "answer": "7", "expert_completions": ["three and four\n#### 7"], "teacher_completions": [{"content": "#### 7", "model": "t"}, {"content": "#### 8", "model": "t", "verified": true}]}
{"id": "b", "prompt": "1+1?", "answer": "2", "expert_completions": ["I add one and one\nand get\n#### 3"], "teacher_completions": [{"content": "#### 5", "model": "t"}], "policy_completions": ["#### 2", "#### 2"]}
"#####;

#[test]
fn sources_signal_and_rejected_experts() {
    let bench = Bench::new();
    let path = bench.path("groups.jsonl").display().to_string();
    std::fs::write(&path, GROUPS).unwrap();
    let found: Value = serde_json::from_slice(&gft_ok(&["group", "stats", &path, "--json"]).stdout).unwrap();
    let signal =
        |kind: &str| ["mixed", "all_right", "all_wrong", "too_few"].map(|key| found[kind][key].clone());
    assert_eq!(signal("demonstrations"), [1, 0, 1, 0]);
    assert_eq!(signal("policy"), [0, 1, 0, 1]);
    assert_eq!(signal("all"), [2, 0, 0, 0]);
    let teacher = &found["sources"][1];
    assert_eq!(
        (&teacher["name"], &teacher["completions"], &teacher["disagreeing"]),
        (&json!("t"), &json!(3), &json!(1))
    );
    assert_eq!(teacher["lengths"]["max"], 6);
    assert_eq!(
        found["compositions"],
        json!({"1 expert + 1 teacher + 2 policy": 1, "1 expert + 2 teacher": 1})
    );
    assert_eq!(
        found["rejected"][0],
        json!({"row": "b", "gold": "2", "answer": "3", "text": "I add one and one\nand get\n#### 3"})
    );

    let page = String::from_utf8(gft_ok(&["group", "stats", &path]).stdout).unwrap();
    for part in [
        "2 groups",
        "expert",
        "50.0 %",
        "33.3 %",
        "experts that the verifier rejects: 1",
        "I add one and one and get #### 3",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(page.lines().all(|line| line.chars().count() <= 120), "{page}");
}

#[test]
fn columns_and_bad_rows_as_for_other_readers() {
    let bench = Bench::new();
    let path = bench.path("groups.jsonl").display().to_string();
    let renamed = GROUPS.replace("\"teacher_completions\"", "\"drafts\"");
    std::fs::write(&path, format!("{renamed}{{\"prompt\"\n")).unwrap();
    let output = gft(&["group", "stats", &path]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("groups.jsonl:3"), "{}", said(&output));
    let flags = ["--bad-rows", "drop", "--columns", "teachers=drafts", "--json"];
    let output = gft_ok(&[["group", "stats", &path].as_slice(), &flags].concat());
    assert!(said(&output).contains("1 rows are left out, the first: "), "{}", said(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["groups"], &found["sources"][1]["completions"]), (&json!(2), &json!(3)));
    let output = gft(&["group", "stats", &path, "--bad-rows", "drop", "--columns", "teachers=draft"]);
    assert!(said(&output).contains("did you mean \"drafts\"?"), "{}", said(&output));
}

#[test]
fn real_groups_in_tokens() {
    let bench = Bench::new();
    let model = gsm8k_model(bench.root.path()).display().to_string();
    let path = gsm8k().display().to_string();
    let call = ["group", "stats", &path, "--json"];
    let characters: Value = serde_json::from_slice(&gft_ok(&call).stdout).unwrap();
    let tokens: Value =
        serde_json::from_slice(&gft_ok(&[&call[..], &["--model", &model]].concat()).stdout).unwrap();
    assert_eq!((&characters["unit"], &tokens["unit"]), (&json!("characters"), &json!("tokens")));
    assert_eq!(tokens["groups"], 10);
    assert_eq!(tokens["sources"].as_array().unwrap().len(), 5, "an expert and four teachers");
    let mean = |found: &Value| found["sources"][0]["lengths"]["mean"].as_f64().unwrap();
    assert!(mean(&tokens) < mean(&characters));
    let signal = &tokens["demonstrations"];
    let sum: u64 =
        ["mixed", "all_right", "all_wrong", "too_few"].iter().map(|k| signal[*k].as_u64().unwrap()).sum();
    assert_eq!(sum, 10);
    let output = gft(&["group", "stats", "nowhere.jsonl"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
}
