//! Teachers that are model folders, and the policy's own samples.

use serde_json::{Value, json};

use crate::world::{gft_ok, gsm8k_model, said};
use crate::{Bench, bytes};

#[test]
fn a_folder_answers_the_same_every_time_and_the_policy_has_a_column_of_its_own() {
    let bench = Bench::new();
    gsm8k_model(bench.root.path());
    let flags = ["--limit", "6", "--teacher", "./model,name=own,seed=3,temperature=0.7", "--max-tokens", "6"];
    let flags =
        [&flags[..], &["-n", "2", "--keep-truncated", "--policy", "model", "--policy-n", "3"]].concat();
    let summary = bench.summary("a.jsonl", &flags);
    assert_eq!(summary["groups"], 6);
    let [teacher, policy] = [&summary["sources"][0], &summary["sources"][1]];
    assert_eq!((&teacher["name"], &teacher["answered"]), (&json!("own"), &json!(12)));
    assert_eq!(
        (&policy["source"], &policy["answered"], &policy["kept"]),
        (&json!("policy"), &json!(18), &json!(18))
    );

    // Drawn anew, one at a time or together with others: the same rows.
    bench.summary("b.jsonl", &flags);
    assert_eq!(bytes(&bench.path("a.jsonl")), bytes(&bench.path("b.jsonl")));
    let row = &bench.rows("a.jsonl")[2];
    let samples = row.policy_completions().unwrap();
    assert_eq!(samples.len(), 3);
    assert_eq!(
        (&samples[1].provenance["sample"], &samples[1].provenance["temperature"]),
        (&json!(1), &json!(1.0))
    );
    let folder = row.teachers[0].provenance["folder"].as_str().unwrap();
    assert!(folder.starts_with("model#") && folder.len() == "model#".len() + 16, "{folder}");
    assert_eq!(
        (&row.teachers[0].provenance["seed"], &row.teachers[0].provenance["temperature"]),
        (&json!(3), &json!(0.7))
    );
    assert!(row.teachers[0].provenance["tokens"].as_u64().is_some_and(|n| (1..=6).contains(&n)));
    // Training takes experts and teachers; the policy's samples are no demonstrations.
    assert!(row.teachers.iter().all(|teacher| teacher.model.as_deref() == Some("own")));
    assert_eq!(row.expert.len(), 1);

    // Another model in the folder is another teacher: it is asked.
    let config = bench.path("model/generation_config.json");
    std::fs::write(&config, "{\"top_k\": 5}").unwrap();
    let plan = bench.summary("a.jsonl", &[&flags[..], &["--dry-run"]].concat());
    let cached: Vec<&Value> = plan["sources"].as_array().unwrap().iter().map(|s| &s["cached"]).collect();
    assert_eq!(cached, [0, 0]);
}

#[test]
fn a_prompt_that_is_too_long_for_a_folder_is_a_counted_drop() {
    let mut bench = Bench::new();
    gsm8k_model(bench.root.path());
    let long = "word ".repeat(2000);
    let lines = format!(
        "{{\"question\": \"2+2?\", \"answer\": \"4\"}}\n{{\"question\": \"{long}\", \"answer\": \"4\"}}\n"
    );
    std::fs::write(bench.path("rows.jsonl"), lines).unwrap();
    bench.data = bench.path("rows.jsonl").display().to_string();
    let flags = ["--teacher", "model", "--max-tokens", "4", "--keep-truncated"];
    let summary = bench.summary("out.jsonl", &flags);
    assert_eq!((&summary["groups"], &summary["unanswered"]), (&json!(1), &json!(1)));
    let failure = &summary["failures"][0];
    assert_eq!(failure["row"], "rows:2");
    assert!(failure["why"].as_str().unwrap().contains("the model takes 1023"), "{failure}");
    let output = bench.build("other.jsonl", &["--teacher", "./nowhere"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
}

/// What every command takes that takes a model: the run of `--use-peft`, by its name alone. Its base belongs to what
/// identifies it.
#[test]
fn an_adapter_is_a_teacher() {
    let bench = Bench::new();
    let model = gsm8k_model(bench.root.path()).display().to_string();
    let out = bench.path("adapter").display().to_string();
    let train = ["train", "--method", "sft", "--model", &model, "--data", &bench.data, "--output-dir", &out];
    gft_ok(&[&train[..], &["--use-peft", "--lora-r", "2", "--max-steps", "1", "--quiet"]].concat());
    assert!(!bench.path("adapter/config.json").exists());
    let flags = ["--limit", "3", "--teacher", "adapter", "--max-tokens", "4", "--keep-truncated"];
    let flags = [&flags[..], &["--policy", "adapter", "--policy-n", "2"]].concat();
    let summary = bench.summary("out.jsonl", &flags);
    assert_eq!((&summary["groups"], &summary["sources"][0]["answered"]), (&json!(3), &json!(3)));
    let cached = || {
        let plan = bench.summary("out.jsonl", &[&flags[..], &["--dry-run"]].concat());
        plan["sources"].as_array().unwrap().iter().map(|s| s["cached"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(cached(), 9);
    std::fs::write(bench.path("model/generation_config.json"), "{\"top_k\": 5}").unwrap();
    assert_eq!(cached(), 0);
}
