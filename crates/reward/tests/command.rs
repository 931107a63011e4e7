//! Programs that answer, are slow, die, or say things that make no sense.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

mod external;

use std::fs;
use std::path::Path;
use std::time::Duration;

use external::{candidate, row, why};
use gft_data::{Prompt, Row};
use gft_reward::{Combination, CommandReward, CommandSettings, Error, Judged, OnFailure, Reward, Score};
use serde_json::json;

/// Shell that takes the id and the completion out of a question.
const READ: &str = r#"while read -r line; do id=${line#*\"id\":}; id=${id%%,*}; text=${line#*\"completion\":\"}; text=${text%%\"*}; "#;

fn settings(script: &str) -> CommandSettings {
    let script = format!("{READ}{script}; done");
    CommandSettings::new("sh", ["-c", script.as_str()])
}

fn sample() -> Row {
    row(Prompt::Question("2+2?".into()), "4", json!({"level": 3}))
}

fn judge(settings: CommandSettings, texts: &[&str]) -> Judged {
    let row = sample();
    let candidates: Vec<_> = texts.iter().map(|text| candidate(&row, text)).collect();
    CommandReward::new("outside", settings).unwrap().judge(&candidates)
}

fn starts(file: &Path) -> usize {
    fs::read_to_string(file).unwrap().lines().count()
}

#[test]
fn answers_come_back_in_order_from_several_processes() {
    let mut settings = settings(r#"echo "{\"id\":$id,\"reward\":$text,\"metrics\":{\"twice\":$text}}""#);
    settings.workers = 3;
    let texts: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let judged = judge(settings, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    let expected: Vec<Score> = (0..40).map(|n| Score::Value(f64::from(n))).collect();
    assert_eq!(judged.scores, expected);
    assert_eq!(judged.metrics[7]["twice"], 7.0);
    assert_eq!(judged.failure, None);
}

#[test]
fn the_question_has_the_columns_and_the_fields_of_the_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("seen");
    let script =
        format!(r#"printf '%s\n' "$line" >> {}; echo "{{\"id\":$id,\"reward\":null}}""#, file.display());
    assert_eq!(judge(settings(&script), &["four"]).scores, [Score::Unscorable]);
    let seen: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let expected = json!({
        "level": 3, "id": 1, "row_id": "r1", "prompt": "2+2?", "completion": "four", "solution": "so #### 4",
        "gold": "4", "tokens": 4, "truncated": false,
    });
    assert_eq!(seen, expected);
}

#[test]
fn one_process_serves_all_batches() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("starts");
    let script = format!(
        "echo start >> {}; {READ} echo \"{{\\\"id\\\":$id,\\\"reward\\\":1}}\"; done",
        file.display()
    );
    let reward = CommandReward::new("outside", CommandSettings::new("sh", ["-c", &script])).unwrap();
    let row = sample();
    for _ in 0..3 {
        assert_eq!(
            reward.score(&[candidate(&row, "a"), candidate(&row, "b")]),
            [Score::Value(1.0), Score::Value(1.0)]
        );
    }
    assert_eq!(starts(&file), 1);
    assert_eq!(reward.score(&[]), []);
}

#[test]
fn a_slow_answer_is_a_time_out_and_the_next_one_is_well() {
    let mut settings =
        settings(r#"if [ "$text" = slow ]; then sleep 60; fi; echo "{\"id\":$id,\"reward\":1}""#);
    // The first question also has the time for a start.
    (settings.time_limit, settings.start_limit) = (Duration::from_millis(700), Duration::from_secs(20));
    let judged = judge(settings.clone(), &["a", "slow", "b"]);
    assert_eq!(judged.scores, [Score::Value(1.0), Score::TimedOut, Score::Value(1.0)]);
    assert!(judged.failure.unwrap().contains("no answer within 700ms"));

    let row = sample();
    let stop = CommandReward::new("outside", settings).unwrap();
    let stop = Combination::new(vec![Box::new(stop)], &[]).unwrap().on_failure(OnFailure::StopAbove(0.0));
    let error = stop.score(&[candidate(&row, "a"), candidate(&row, "slow")]).unwrap_err();
    assert!(matches!(error, Error::Failed { failed: 1, seen: 2, .. }), "{error}");
}

#[test]
fn what_a_slow_program_has_started_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", file.display());
    let mut settings = CommandSettings::new("sh", ["-c", &script]);
    (settings.time_limit, settings.start_limit) = (Duration::from_secs(2), Duration::ZERO);
    assert_eq!(judge(settings, &["a"]).scores, [Score::TimedOut]);
    let pid = fs::read_to_string(&file).unwrap();
    // The end of an orphan is not waited for by anybody here, so it may come a moment later, and leave a zombie.
    let state = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let gone = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        state().is_empty() || state().contains(") Z ")
    });
    assert!(gone, "{}", state());
}

#[test]
fn a_process_that_does_not_read_blocks_nobody() {
    let mut settings = CommandSettings::new("sleep", ["60"]);
    (settings.time_limit, settings.start_limit) = (Duration::from_millis(200), Duration::ZERO);
    // More than a pipe holds.
    let long = "x".repeat(1 << 20);
    assert_eq!(judge(settings, &[&long]).scores, [Score::TimedOut]);
}

#[test]
fn a_death_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("died");
    let once = format!(
        r#"if [ "$text" = die ] && [ ! -e {0} ]; then touch {0}; exit 3; fi; echo "{{\"id\":$id,\"reward\":1}}""#,
        file.display()
    );
    assert_eq!(judge(settings(&once), &["a", "die", "b"]).scores, vec![Score::Value(1.0); 3]);
    assert!(file.exists());
}

#[test]
fn deaths_are_bounded_and_are_no_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("deaths");
    let script = format!(
        r#"case $text in die*) echo death >> {}; echo "out of luck" >&2; exit 3;; esac; echo "{{\"id\":$id,\"reward\":0}}""#,
        file.display()
    );
    let judged = judge(settings(&script), &["a", "die", "b"]);
    assert_eq!((&judged.scores[0], &judged.scores[2]), (&Score::Value(0.0), &Score::Value(0.0)));
    let message = why(&judged.scores[1]);
    for part in ["reward outside: row r1: `sh` tried 3 times", "exit status: 3", "out of luck"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(starts(&file), 3);

    // Two completions in a row that always kill it: the rest of the batch is not tried.
    let judged = judge(settings(&script), &["die", "die", "die", "die", "b"]);
    assert_eq!(starts(&file), 3 + 6);
    assert!(judged.scores.iter().all(|score| why(score).contains("out of luck")));
    assert!(why(&judged.scores[4]).contains("given up"), "{:?}", judged.scores[4]);
}

#[test]
fn a_program_that_is_not_there_is_a_failure() {
    let judged = judge(CommandSettings::new("/no/such/program", Vec::<String>::new()), &["a"]);
    assert!(why(&judged.scores[0]).contains("/no/such/program"), "{judged:?}");
    assert!(why(&judged.scores[0]).contains("could not be started"), "{judged:?}");
}

#[test]
fn nonsense_is_a_failure_and_the_next_answer_is_read() {
    let script = r#"if [ "$text" = odd ]; then echo "reward: 1.0"; fi; echo "{\"id\":$id,\"reward\":0.5}""#;
    let judged = judge(settings(script), &["a", "odd", "b"]);
    // The true answer to "odd" comes late and must not be taken for that to "b".
    assert_eq!((&judged.scores[0], &judged.scores[2]), (&Score::Value(0.5), &Score::Value(0.5)));
    assert!(why(&judged.scores[1]).contains("`reward: 1.0`"), "{judged:?}");

    let row = sample();
    let reward = CommandReward::new("outside", settings(script)).unwrap();
    let part: Vec<Box<dyn Reward>> = vec![Box::new(reward)];
    let grades = Combination::new(part, &[2.0])
        .unwrap()
        .score(&[candidate(&row, "a"), candidate(&row, "odd")])
        .unwrap();
    assert_eq!(grades.rewards, [Some(1.0), None]);
    assert_eq!((grades.by_reward["outside"].failed, grades.by_reward["outside"].scored), (1, 1));
    assert!(grades.failure.unwrap().contains("reward: 1.0"));
}

#[test]
fn endless_output_is_bounded() {
    let mut endless = CommandSettings::new("sh", ["-c", "tr '\\0' x < /dev/zero"]);
    (endless.time_limit, endless.start_limit) = (Duration::from_secs(20), Duration::ZERO);
    let judged = judge(endless, &["a"]);
    assert!(why(&judged.scores[0]).contains("not a JSON object"), "{judged:?}");
}

#[test]
fn metrics_reach_the_grades() {
    let script = r#"echo "{\"id\":$id,\"reward\":1,\"metrics\":{\"acc\":$text}}""#;
    let reward = CommandReward::new("outside", settings(script)).unwrap();
    let row = sample();
    let parts: Vec<Box<dyn Reward>> = vec![Box::new(reward)];
    let candidates = [candidate(&row, "1"), candidate(&row, "0")];
    let grades = Combination::new(parts, &[]).unwrap().score(&candidates).unwrap();
    assert_eq!(grades.metrics["outside/acc"].value(), Some(0.5));
}

#[test]
fn settings_that_make_no_sense() {
    let refused = |change: fn(&mut CommandSettings)| {
        let mut settings = CommandSettings::new("true", Vec::<String>::new());
        change(&mut settings);
        matches!(CommandReward::new("outside", settings), Err(Error::Setting { .. }))
    };
    assert!(!refused(|_| {}));
    assert!(
        refused(|s| s.tries = 0) && refused(|s| s.workers = 0) && refused(|s| s.time_limit = Duration::ZERO)
    );
}
