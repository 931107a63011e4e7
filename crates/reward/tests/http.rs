//! Reward servers that answer, are slow, die, or say things that make no sense.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

mod external;

use std::time::Duration;

use external::{candidate, row, why};
use gft_data::{Prompt, Row};
use gft_reward::{Combination, HttpReward, HttpSettings, Judged, OnFailure, Reward, Score};
use gft_testserver::{Reply, Server, nobody};
use serde_json::{Value, json};

/// A server that gives its replies in turn, the last one for ever; its address too.
fn serve(replies: Vec<Reply>) -> (String, Server) {
    let server = Server::in_turn(replies);
    (format!("{}/get_reward", server.url), server)
}

fn say(value: Value) -> Reply {
    Reply::json(&value)
}

fn sample() -> Row {
    row(Prompt::Question("2+2?".into()), "4", json!({}))
}

fn reward(url: &str, change: impl Fn(&mut HttpSettings)) -> HttpReward {
    let mut settings = HttpSettings::new(url);
    (settings.timeout, settings.tries) = (Duration::from_secs(20), 3);
    change(&mut settings);
    HttpReward::new("remote", settings).unwrap()
}

fn judge(reward: &HttpReward, texts: &[&str]) -> Judged {
    let row = sample();
    let candidates: Vec<_> = texts.iter().map(|text| candidate(&row, text)).collect();
    reward.judge(&candidates)
}

#[test]
fn batches_in_openrlhfs_shape() {
    let replies = vec![
        say(json!({"rewards": [1.0, null], "scores": [1, 0], "extra_logs": {"acc": [1, 0]}})),
        say(json!({"rewards": [0.25]})),
    ];
    let (url, seen) = serve(replies);
    let judged = judge(&reward(&url, |s| s.batch = 2), &["4", "5", "6"]);
    assert_eq!(judged.scores, [Score::Value(1.0), Score::Unscorable, Score::Value(0.25)]);
    assert_eq!(judged.metrics[0]["acc"], 1.0);
    let expected = [
        json!({"query": ["2+2?4", "2+2?5"], "prompts": ["2+2?", "2+2?"], "labels": ["4", "4"]}),
        json!({"query": ["2+2?6"], "prompts": ["2+2?"], "labels": ["4"]}),
    ];
    assert_eq!(seen.seen(), expected);
}

#[test]
fn what_passes_is_tried_again() {
    let replies = vec![Reply::Die, Reply::Say(503, "", "busy".into()), say(json!({"rewards": [0.5]}))];
    let (url, seen) = serve(replies);
    assert_eq!(judge(&reward(&url, |_| {}), &["4"]).scores, [Score::Value(0.5)]);
    assert_eq!(seen.seen().len(), 3);
}

#[test]
fn tries_are_bounded_and_failures_are_no_zeros() {
    let (url, seen) = serve(vec![Reply::Say(500, "", "no memory".into())]);
    let judged = judge(&reward(&url, |_| {}), &["4", "5"]);
    for score in &judged.scores {
        for part in ["reward remote", "500", "no memory", "tried 3 times"] {
            assert!(why(score).contains(part), "{part}: {}", why(score));
        }
    }
    assert_eq!(seen.seen().len(), 3);
    // The other requests of a batch are tried once each.
    judge(&reward(&url, |s| s.batch = 1), &["4", "5", "6"]);
    assert_eq!(seen.seen().len(), 3 + 3 + 1 + 1);
}

#[test]
fn a_slow_server_is_a_time_out() {
    let (url, _) = serve(vec![Reply::Hang]);
    let slow = reward(&url, |s| (s.timeout, s.tries) = (Duration::from_millis(200), 2));
    let judged = judge(&slow, &["4"]);
    assert_eq!(judged.scores, [Score::TimedOut]);
    assert!(judged.failure.unwrap().contains("no answer within 200ms (tried 2 times)"));
    let row = sample();
    let stop = Combination::new(vec![Box::new(slow)], &[]).unwrap().on_failure(OnFailure::StopAbove(0.0));
    assert!(stop.score(&[candidate(&row, "4")]).is_err());
}

#[test]
fn nonsense_is_a_failure_and_not_asked_for_again() {
    let odd = [
        (Reply::Say(200, "", "<html>".into()), "not a JSON object"),
        (say(json!({"reward": [1]})), "without a list `rewards`"),
        (say(json!({"rewards": [1, 2]})), "2 rewards for 1 completions"),
        (Reply::Say(404, "", "where".into()), "404"),
        (say(json!({"rewards": ["1"]})), "reward 0 is"),
    ];
    for (reply, message) in odd {
        let (url, seen) = serve(vec![reply]);
        let judged = judge(&reward(&url, |_| {}), &["4"]);
        assert!(why(&judged.scores[0]).contains(message), "{message}: {judged:?}");
        assert_eq!(seen.seen().len(), 1, "{message}");
    }
}

#[test]
fn a_server_that_is_not_there() {
    let url = nobody();
    let judged = judge(&reward(&url, |s| s.tries = 1), &["4"]);
    assert!(why(&judged.scores[0]).contains(&url), "{judged:?}");
}
