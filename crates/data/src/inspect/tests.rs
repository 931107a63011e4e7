//! The report and the view of small data sets, counted by hand.

use super::*;
use crate::{ChatTemplate, Date, EncodeOptions, Message, Prompt, ReadOptions, RenderOptions, Tokenizer};
use std::path::PathBuf;
use std::sync::Arc;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data").join(name)
}

fn encoder(template: &str, options: EncodeOptions) -> Encoder {
    let tokenizer = Arc::new(Tokenizer::load(&golden("tokenizers/plain")).unwrap());
    let source = std::fs::read_to_string(golden("templates").join(template)).unwrap();
    let template = ChatTemplate::new(&source, "test", tokenizer.specials().clone()).unwrap();
    Encoder::with_template(tokenizer, template, options).unwrap()
}

fn set(lines: &[&str]) -> (tempfile::TempDir, Dataset) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    let set = Dataset::open(&[path], &ReadOptions::default()).unwrap();
    (folder, set)
}

#[test]
fn quantiles_and_histogram() {
    let lengths = Lengths::of((1..=100).collect());
    assert_eq!(
        (lengths.min, lengths.p50, lengths.p90, lengths.p95, lengths.p99, lengths.max),
        (1, 50, 90, 95, 99, 100)
    );
    assert_eq!((lengths.count, lengths.sum, lengths.mean), (100, 5050, 50.5));
    let bins: Vec<(u64, u64, u64)> = lengths.histogram.iter().map(|b| (b.from, b.to, b.count)).collect();
    assert_eq!((bins[0], bins[1], bins[10]), ((0, 10, 9), (10, 20, 10), (100, 110, 1)));
    assert_eq!(bins.iter().map(|b| b.2).sum::<u64>(), 100);
    assert_eq!(Lengths::of(vec![7]).p99, 7);
    // One length far off leaves the bins of the others as they are.
    let far = Lengths::of((1..=1000).chain([1_000_000]).collect());
    let bins: Vec<(u64, u64, u64)> = far.histogram.iter().map(|b| (b.from, b.to, b.count)).collect();
    assert_eq!((bins[0], bins.last().copied()), ((0, 100, 99), Some((900, 1_000_001, 102))));
    assert_eq!(Lengths::of(Vec::new()), Lengths::default());
}

/// Rows of text alone have no prompts that could be the same.
#[test]
fn texts_have_no_duplicate_prompts() {
    let (_folder, set) = set(&[r#"{"text": "a"}"#, r#"{"text": "b"}"#, r#"{"text": "a"}"#]);
    let report = DatasetReport::new(&set, None, None, &mut |_, _| ()).unwrap();
    assert_eq!((report.duplicate_prompts, report.duplicate_rows), (0, 1));
}

#[test]
fn report_without_a_model() {
    let (_folder, set) = set(&[
        r#"{"question": "aé", "answer": "one\n#### 1"}"#,
        r#"{"question": "aé", "answer": "one\n#### 1"}"#,
        r#"{"question": "aé", "answer": "two, which is a rather long story without any answer in it"}"#,
        r#"{"question": "abcd", "answer": "7"}"#,
    ]);
    let report = DatasetReport::new(&set, None, None, &mut |_, _| ()).unwrap();
    assert_eq!((report.rows, report.sampled, report.unit), (4, 4, "characters"));
    assert_eq!((report.duplicate_prompts, report.duplicate_rows), (2, 1));
    assert_eq!((report.gold["####"], report.without_gold, report.without_completion), (2, 1, 1));
    // The bare answer is a reference, not a completion.
    assert_eq!((report.prompts.min, report.prompts.max, report.experts.count), (2, 4, 3));
    let part = DatasetReport::new(&set, None, Some(1), &mut |_, _| ()).unwrap();
    assert_eq!((part.rows, part.sampled, part.prompts.count), (4, 1, 1));
}

#[test]
fn report_of_tokens() {
    let (_folder, set) = set(&[
        r#"{"question": "Why?", "answer": "Because it is so and so and so and so and so and so."}"#,
        r#"{"question": "How many clips did Natalia sell altogether in April and in May of that year?", "answer": "A rather large number of clips, and more."}"#,
        r#"{"question": "Why <|im_end|>?", "answer": "no\nno no"}"#,
    ]);
    let options = EncodeOptions {
        max_prompt_tokens: Some(30),
        max_completion_tokens: Some(12),
        ..EncodeOptions::default()
    };
    let encoder = encoder("chatml.jinja", options);
    let report = DatasetReport::new(&set, Some(&encoder), None, &mut |_, _| ()).unwrap();
    assert_eq!((report.prompts_too_long, report.completions_cut, report.special_tokens_in_text), (1, 1, 1));
    // Lengths are whole, what is learned is what the limits leave.
    let limited: Vec<_> = set.iter().filter_map(|row| encoder.row(&row.unwrap()).unwrap().kept()).collect();
    let learned: usize = limited.iter().map(|row| row.expert[0].ids.len()).sum();
    let context: usize = limited.iter().map(|row| row.prompt.ids.len()).sum();
    assert_eq!((report.prompts.count, report.experts.count, report.failed, limited.len()), (3, 3, 0, 2));
    assert!(report.prompts.max > 30 && report.experts.max > 12);
    assert_eq!(report.totals.sum, report.prompts.sum + report.experts.sum);
    assert_eq!(report.supervised_tokens, learned as u64);
    assert_eq!(report.supervised_fraction, learned as f64 / (learned + context) as f64);
    assert_eq!((report.limits.max_prompt_length, report.limits.max_completion_length), (Some(30), Some(12)));
    assert!(report.encoding.contains("<|im_end|>"));
}

/// Reasons are counted by kind, whatever numbers stand in them.
#[test]
fn drops_are_counted_by_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.jsonl");
    std::fs::write(&path, "{\"text\": \"a\"}\n{\"te\n{\"tex\n\n{\"text\": \"b\"}\n").unwrap();
    let options = ReadOptions { bad_rows: crate::BadRows::Drop, ..ReadOptions::default() };
    let report =
        DatasetReport::new(&Dataset::open(&[path], &options).unwrap(), None, None, &mut |_, _| ()).unwrap();
    let reasons: Vec<(u64, Vec<u64>, &str)> = report
        .drop_reasons
        .iter()
        .map(|r| {
            let lines = r.places.iter().map(|at| at.line).collect();
            (r.count, lines, r.reason.split(':').next().unwrap())
        })
        .collect();
    assert_eq!(reasons, [(2, vec![2, 3], "no JSON"), (1, vec![4], "a blank line")]);
}

#[test]
fn rows_that_fail_are_listed() {
    let (_folder, set) =
        set(&[r#"{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}"#]);
    let options = EncodeOptions {
        render: RenderOptions { date: Date::new(2025, 1, 1), ..RenderOptions::default() },
        ..EncodeOptions::default()
    };
    let report =
        DatasetReport::new(&set, Some(&encoder("mistral.jinja", options)), None, &mut |_, _| ()).unwrap();
    assert_eq!((report.failed, report.prompts.count), (1, 0));
    assert!(
        report.failures[0].contains("data:1") && report.failures[0].contains("after 1 turns comes no user"),
        "{:?}",
        report.failures
    );
}

#[test]
fn every_token_has_its_role() {
    let encoder = encoder("chatml.jinja", EncodeOptions { all_turns: true, ..EncodeOptions::default() });
    let row = crate::Row {
        id: "r".into(),
        prompt: Prompt::Messages(vec![Message::user("q"), Message::assistant("é🙂"), Message::user("s")]),
        solution: None,
        gold: None,
        expert: vec![crate::Completion::text("t")],
        teachers: Vec::new(),
        columns: serde_json::Map::new(),
        named: serde_json::Map::new(),
    };
    let view = encoder.view(&row).unwrap().unwrap().remove(0);
    let text =
        |role: TokenRole| view.iter().filter(|t| t.role == role).map(|t| t.text.as_str()).collect::<String>();
    assert_eq!(text(TokenRole::Context), "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(text(TokenRole::Supervised), "é🙂<|im_end|>t<|im_end|>");
    assert_eq!(text(TokenRole::Masked), "\n<|im_start|>user\ns<|im_end|>\n<|im_start|>assistant\n");
}
