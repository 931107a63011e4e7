//! Functions of Python files, in the forms that verl, TRL and OpenRLHF call.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

mod external;

use std::fs;

use external::{candidate, row, why};
use gft_data::{Message, Prompt, Row};
use gft_reward::{CommandReward, CommandSettings, Error, Judged, Reward, Score};
use serde_json::json;

fn sample() -> Row {
    let columns = json!({"data_source": "sums", "extra_info": {"bonus": 0.25}, "level": 3});
    row(Prompt::Question("2+2?".into()), "4", columns)
}

fn judge(row: &Row, code: &str, function: &str, texts: &[&str]) -> Judged {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("my reward.py");
    fs::write(&file, code).unwrap();
    let mut settings = CommandSettings::python(&file, function).unwrap();
    settings.tries = 1;
    let candidates: Vec<_> = texts.iter().map(|text| candidate(row, text)).collect();
    CommandReward::new(function, settings).unwrap().judge(&candidates)
}

const VERL: &str = r#"
print("loading")
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    print("scoring", solution_str)
    if solution_str == "raise":
        raise KeyError("gone")
    if solution_str == "nan":
        return float("nan")
    right = data_source == "sums" and solution_str == ground_truth
    return {"score": float(right) + extra_info["bonus"], "acc": right, "words": "ignored"}
"#;

#[test]
fn verl() {
    let judged = judge(&sample(), VERL, "compute_score", &["4", "raise", "5", "nan"]);
    assert_eq!((&judged.scores[0], &judged.scores[2]), (&Score::Value(1.25), &Score::Value(0.25)));
    assert!(why(&judged.scores[1]).contains("KeyError: 'gone'"), "{judged:?}");
    assert!(why(&judged.scores[3]).contains("nan"), "{judged:?}");
    assert_eq!(judged.metrics[0], [("acc".to_owned(), 1.0)].into());
}

#[test]
fn verl_takes_its_own_ground_truth_first() {
    let columns =
        json!({"data_source": "sums", "extra_info": {"bonus": 0}, "reward_model": {"ground_truth": "five"}});
    let row = row(Prompt::Question("q".into()), "4", columns);
    assert_eq!(
        judge(&row, VERL, "compute_score", &["five", "4"]).scores,
        [Score::Value(1.0), Score::Value(0.0)]
    );
}

const TRL: &str = r#"
def plain(prompts, completions, level, gold, log_metric=None, **columns):
    assert prompts == ["2+2?"] * len(completions) and set(level) == {3} and "extra_info" in columns
    for text in completions:
        log_metric("length", len(text))
    return [None if c == "skip" else float(c == g) for c, g in zip(completions, gold)]

async def chat(completions, **kwargs):
    return [float(c[0]["role"] == "assistant") + len(c[0]["content"]) for c in completions]

def two(completions):
    return [1.0, 2.0]

def relative(completions, **columns):
    longest = max(len(text) for text in completions)
    return [len(text) / longest for text in completions]

def correctness_reward_func(prompts, completions, answer, **kwargs):
    return [2.0 if text == right.split('#### ')[1] else 0.0 for text, right in zip(completions, answer)]

def one_bad(completions, **columns):
    return [1.0, float("nan"), "x"]
"#;

#[test]
fn trl() {
    let judged = judge(&sample(), TRL, "plain", &["4", "skip", "5"]);
    assert_eq!(judged.scores, [Score::Value(1.0), Score::Unscorable, Score::Value(0.0)]);
    // One call, whose metric is the mean of what it logged.
    assert_eq!(judged.metrics[1]["length"], 2.0);
    let talk = row(Prompt::Messages(vec![Message::user("hi")]), "4", json!({}));
    assert_eq!(judge(&talk, TRL, "chat", &["hey"]).scores, [Score::Value(4.0)]);
    assert!(why(&judge(&talk, TRL, "two", &["hey"]).scores[0]).contains("2 rewards for 1 completion"));
}

/// A group is one call, so that a reward may compare its completions; a failure of one is its own.
#[test]
fn trl_sees_all_completions_of_a_prompt_and_no_others() {
    let judged = judge(&sample(), TRL, "relative", &["ab", "abcd", "a"]);
    assert_eq!(judged.scores, [0.5, 1.0, 0.25].map(Score::Value));
    let judged = judge(&sample(), TRL, "one_bad", &["4", "5", "6"]);
    assert_eq!(judged.scores[0], Score::Value(1.0));
    assert!(why(&judged.scores[1]).contains("the reward is nan"), "{judged:?}");
    assert!(why(&judged.scores[2]).contains("ValueError"), "{judged:?}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.py");
    fs::write(&file, TRL).unwrap();
    let (first, second) = (sample(), sample());
    let both = [candidate(&first, "abcd"), candidate(&first, "ab"), candidate(&second, "a")];
    let reward = CommandReward::new("f", CommandSettings::python(&file, "relative").unwrap()).unwrap();
    assert_eq!(reward.score(&both), [1.0, 0.5, 1.0].map(Score::Value));
}

/// The columns of the data set reach the function under their own names, those with a role too.
#[test]
fn trl_has_the_columns_of_the_data_set() {
    let mut row = sample();
    row.named.insert("answer".into(), "2 and 2\n#### 4".into());
    let judged = judge(&row, TRL, "correctness_reward_func", &["4", "5"]);
    assert_eq!(judged.scores, [Score::Value(2.0), Score::Value(0.0)]);
    let without = judge(&sample(), TRL, "correctness_reward_func", &["4"]);
    let message = why(&without.scores[0]);
    assert!(message.contains("takes answer, and the row has none of that name; there are"), "{message}");
}

#[test]
fn openrlhf() {
    let code = "
def reward_func(queries, prompts, labels):
    assert queries[0].startswith(prompts[0])
    return {'rewards': [float(queries[0].endswith(labels[0]))], 'extra_logs': {'n': [2]}}
";
    let judged = judge(&sample(), code, "reward_func", &["it is 4", "no"]);
    assert_eq!(judged.scores, [Score::Value(1.0), Score::Value(0.0)]);
    assert_eq!(judged.metrics[0]["n"], 2.0);
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let said = |code: &str| why(&judge(&sample(), code, "compute_score", &["4"]).scores[0]).to_owned();
    assert!(said("import no_such_module_at_all").contains("no_such_module_at_all"));
    assert!(said("def other(): pass").contains("no function compute_score; it has other"));
    assert!(said("def compute_score(a, b): pass").contains("none of the known forms"));
    assert!(
        said("def compute_score(data_source, solution_str, ground_truth): import os; os._exit(9)")
            .contains("9")
    );
    assert!(said("def other(): pass").contains("my reward.py:compute_score` tried 1 times"));
    let missing = CommandSettings::python("nowhere/f.py".as_ref(), "f");
    assert!(matches!(missing, Err(Error::File { .. })));
}
