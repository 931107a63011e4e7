//! Teachers behind endpoints that answer, are slow, die, or talk nonsense: each prompt ends complete or as a counted drop,
//! and nothing that was answered is asked again.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gft_data::Message;
use gft_remote::Retry;
use gft_rollout::teacher::{
    AskEnded, Bound, Budget, Cache, Endpoint, EndpointSettings, Price, Question, Sampling, Tally,
    TeacherError, ask,
};
use gft_testserver::openai::{self, good, prompt};
use gft_testserver::{Reply, Server, nobody};
use serde_json::Value;

/// A server of teachers, and its address for clients.
fn serve(reply: impl Fn(&Value, usize) -> Reply + Send + Sync + 'static) -> (String, Server) {
    let server = openai::server(reply);
    (format!("{}/v1", server.url), server)
}

fn endpoint(url: &str, change: impl Fn(&mut EndpointSettings)) -> Endpoint {
    let mut settings = EndpointSettings {
        base_url: url.into(),
        model: "m".into(),
        api_key: None,
        concurrency: 4,
        requests_per_minute: None,
        timeout: Duration::from_secs(10),
        retry: Retry {
            tries: 3,
            first_wait: Duration::from_millis(2),
            longest_wait: Duration::from_millis(4),
            longest_retry_after: Duration::from_secs(5),
        },
        give_up_after: 100,
        price: Price::default(),
    };
    change(&mut settings);
    Endpoint::new(settings).unwrap()
}

fn question(url: &str, index: u64) -> Question {
    let sampling =
        Sampling { temperature: Some(0.5), top_p: None, max_tokens: 5, seed: Some(7), stop: vec![] };
    let messages = vec![Message::user(&format!("p{index}"))];
    Question { place: url.into(), model: "m".into(), messages, sampling }
}

type Asked = Result<(Tally, AskEnded), TeacherError>;

fn run_with(endpoint: &Endpoint, url: &str, folder: &Path, n: usize, prompts: u64, budget: &Budget) -> Asked {
    let cache = Cache::open(folder).unwrap();
    let ask_of = |index| Ok(Some(question(url, index)));
    ask(endpoint, &cache, budget, n, prompts, ask_of, &mut |_| {}, &|| false)
}

fn run(endpoint: &Endpoint, url: &str, folder: &Path, n: usize, prompts: u64) -> Asked {
    run_with(endpoint, url, folder, n, prompts, &Budget::new(Bound::default()))
}

/// T21. Every kind of trouble once or for ever, by the prompt's number.
#[test]
fn hostile_servers_cost_prompts_and_never_the_run() {
    let (url, seen) = serve(|body, times| {
        let number: usize = prompt(body)[1..].parse().unwrap();
        if number.is_multiple_of(2) && times > 0 {
            return good(body);
        }
        match number / 2 {
            0 => Reply::Say(500, "", "oops".into()),
            1 => Reply::Say(429, "retry-after: 0.01\r\n", "slow down".into()),
            2 => Reply::Half,
            3 => Reply::Die,
            4 => Reply::Say(200, "", "{\"choices\": [{".into()),
            5 => Reply::Say(200, "", "{\"id\": 1}".into()),
            6 => Reply::Say(200, "", "{\"choices\": []}".into()),
            7 => Reply::Say(503, "retry-after: 3600\r\n", "closed".into()),
            _ => Reply::Hang,
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let endpoint = endpoint(&url, |settings| settings.timeout = Duration::from_millis(500));
    let (tally, ended) = run(&endpoint, &url, folder.path(), 2, 18).unwrap();
    assert_eq!(ended, AskEnded::Whole);
    // Even numbers recover at the second try, but nobody waits for an hour.
    assert_eq!((tally.prompts, tally.complete, tally.failed), (18, 8, 10), "{:?}", tally.failures);
    assert_eq!((tally.answered, tally.cached), (16, 0));
    for kind in ["busy (429, 5xx)", "broken or senseless answer", "too slow"] {
        assert!(tally.troubles.get(kind).is_some_and(|&count| count > 0), "{kind}: {:?}", tally.troubles);
    }
    // Again: what was answered is not asked, what failed is.
    seen.forget();
    let (tally, _) = run(&endpoint, &url, folder.path(), 2, 18).unwrap();
    assert_eq!((tally.cached, tally.complete, tally.failed), (16, 9, 9));
    let asked: Vec<String> = seen.seen().iter().map(prompt).collect();
    assert!((0..14).step_by(2).all(|number| !asked.contains(&format!("p{number}"))), "{asked:?}");
}

#[test]
fn stopped_in_the_middle_and_resumed_without_asking_twice() {
    let (url, seen) = serve(|body, _| good(body));
    let folder = tempfile::tempdir().unwrap();
    let (cache, budget) = (Cache::open(folder.path()).unwrap(), Budget::new(Bound::default()));
    let endpoint = endpoint(&url, |_| {});
    let asked = AtomicUsize::new(0);
    let ask_of = |index| {
        asked.fetch_add(1, Ordering::SeqCst);
        Ok(Some(question(&url, index)))
    };
    let stop = || asked.load(Ordering::SeqCst) > 12;
    let error = ask(&endpoint, &cache, &budget, 2, 40, ask_of, &mut |_| {}, &stop).unwrap_err();
    assert!(matches!(error, TeacherError::Interrupted));
    let before = seen.seen().len();
    assert!((8..40).contains(&before), "{before}");
    let (tally, _) = run(&endpoint, &url, folder.path(), 2, 40).unwrap();
    assert_eq!((tally.complete, tally.cached + tally.answered), (40, 80));
    let prompts: Vec<String> = seen.seen().iter().map(prompt).collect();
    assert_eq!(prompts.len(), 40, "each prompt once over both runs");
    // More samples later add to the first ones.
    let (tally, _) = run(&endpoint, &url, folder.path(), 3, 40).unwrap();
    assert_eq!((tally.cached, tally.answered), (80, 40));
    assert_eq!(seen.seen().last().unwrap()["seed"], 9);
}

#[test]
fn a_server_that_gives_one_answer_is_asked_for_one() {
    for refuses in [true, false] {
        let (url, seen) = serve(move |body, _| match body.get("n") {
            Some(_) if refuses => Reply::Say(422, "", "n is not supported".into()),
            _ => {
                let mut one = body.clone();
                one.as_object_mut().unwrap().remove("n");
                good(&one)
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let endpoint = endpoint(&url, |settings| settings.concurrency = 1);
        let (tally, _) = run(&endpoint, &url, folder.path(), 3, 2).unwrap();
        assert_eq!((tally.complete, tally.answered), (2, 6));
        assert!(endpoint.one_by_one());
        let with_n = seen.seen().iter().filter(|body| body.get("n").is_some()).count();
        assert_eq!(with_n, 1, "it is tried once");
        let seeds: Vec<u64> =
            seen.seen().iter().rev().take(3).map(|body| body["seed"].as_u64().unwrap()).collect();
        assert_eq!(seeds, [9, 8, 7], "each sample its own seed");
    }
}

#[test]
fn newer_models_name_the_limit_otherwise() {
    let (url, _) = serve(|body, _| match body.get("max_tokens") {
        Some(_) => Reply::Say(400, "", "Use 'max_completion_tokens' instead.".into()),
        None => good(body),
    });
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(&endpoint(&url, |_| {}), &url, folder.path(), 2, 3).unwrap().0.complete, 3);
}

#[test]
fn the_cost_bound_is_kept_and_said() {
    let (url, seen) = serve(|body, _| good(body));
    let folder = tempfile::tempdir().unwrap();
    let budget = Budget::new(Bound { tokens: Some(200), money: None });
    let (tally, ended) = run_with(&endpoint(&url, |_| {}), &url, folder.path(), 2, 50, &budget).unwrap();
    assert_eq!(ended, AskEnded::Bounded);
    let usage = budget.spent().usage;
    assert_eq!(usage.prompt_tokens + usage.completion_tokens, 8 * tally.complete);
    assert!(tally.complete > 5 && 8 * tally.complete <= 200, "{tally:?}");
    assert_eq!(seen.seen().len() as u64, tally.complete);
}

#[test]
fn a_wrong_key_and_a_dead_server_end_the_asking() {
    let (url, seen) = serve(|_, _| Reply::Say(401, "", "bad key".into()));
    let folder = tempfile::tempdir().unwrap();
    let error = run(&endpoint(&url, |_| {}), &url, folder.path(), 1, 100).unwrap_err().to_string();
    assert!(error.contains("refuses requests") && error.contains("bad key"), "{error}");
    assert!(seen.seen().len() <= 4);
    let dead = format!("{}/v1", nobody());
    let gone = endpoint(&dead, |settings| settings.give_up_after = 5);
    let error = run(&gone, &dead, folder.path(), 1, 1000).unwrap_err();
    assert!(matches!(error, TeacherError::Gone { failed: 5, .. }), "{error}");
}

/// Where no connection was ever made a request is not tried as often as one that a busy server sends away.
#[test]
fn a_server_that_was_never_there_is_tried_twice_and_said_at_once() {
    let dead = format!("{}/v1", nobody());
    let folder = tempfile::tempdir().unwrap();
    let gone = endpoint(&dead, |settings| settings.retry.tries = 6);
    let (tally, _) = run(&gone, &dead, folder.path(), 1, 3).unwrap();
    assert_eq!((tally.failed, tally.troubles.get("no connection")), (3, Some(&6)), "{tally:?}");
    assert!(gone.first_trouble().unwrap().to_lowercase().contains("refused"), "{:?}", gone.first_trouble());
    // One that is there is tried as often as was asked for.
    let (url, _) = serve(|_, _| Reply::Say(500, "", "oops".into()));
    let busy = endpoint(&url, |settings| settings.retry.tries = 6);
    let (tally, _) = run(&busy, &url, folder.path(), 1, 1).unwrap();
    assert_eq!(tally.troubles.get("busy (429, 5xx)"), Some(&6), "{tally:?}");
    assert!(busy.first_trouble().unwrap().contains("oops"));
}

/// Four workers, and one word of the server holds all of them. The others' answers take long enough for the word to be
/// heard before they ask again; a wait may be longer than the server said and never shorter.
#[test]
fn retry_after_is_for_everybody() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let clock = Arc::clone(&times);
    let (url, _) = serve(move |body, _| {
        let first = {
            let mut times = clock.lock().unwrap();
            times.push(Instant::now());
            times.len() == 1
        };
        if first {
            return Reply::Say(429, "retry-after: 1\r\n", String::new());
        }
        thread::sleep(Duration::from_millis(400));
        good(body)
    });
    let folder = tempfile::tempdir().unwrap();
    run(&endpoint(&url, |_| {}), &url, folder.path(), 1, 8).unwrap();
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 9);
    assert!(times[4] - times[0] >= Duration::from_secs(1), "the fifth request came early");
}
