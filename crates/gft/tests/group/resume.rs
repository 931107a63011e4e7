//! Stopped in the middle, in the hard way and in the soft one, and gone on with.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gft_testserver::Server;
use gft_testserver::openai::{self, good, prompt};
use serde_json::json;

use crate::{Bench, bytes};

/// A server that answers `before` requests and lets the others wait until it is opened.
fn gate(before: usize) -> (Server, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&open);
    let counted = std::sync::atomic::AtomicUsize::new(0);
    let server = openai::server(move |body, _| {
        if counted.fetch_add(1, Ordering::SeqCst) >= before {
            while !opened.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        good(body)
    });
    (server, open)
}

fn start(bench: &Bench, flags: &[&str]) -> Child {
    bench.command("out.jsonl", flags).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until so many requests have come and so many answers are kept.
fn wait_for(bench: &Bench, server: &Server, requests: usize, answers: usize, child: &mut Child) {
    while server.seen().len() < requests || kept(bench) < answers {
        assert!(child.try_wait().unwrap().is_none(), "the build ended before it was stopped");
        std::thread::yield_now();
    }
}

/// Whole answers in the cache.
fn kept(bench: &Bench) -> usize {
    let Ok(folders) = std::fs::read_dir(bench.path("out.jsonl.cache")) else { return 0 };
    let files = folders.flatten().flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten());
    files.flatten().filter(|file| file.file_name().to_string_lossy().ends_with(".json")).count()
}

#[test]
fn killed_in_the_middle_no_question_is_asked_twice_and_the_file_is_the_same() {
    let straight = Bench::new();
    let server = openai::server(|body, _| good(body));
    let url = format!("{}/v1", server.url);
    straight.summary("out.jsonl", &["--teacher", "m", "--url", &url, "--concurrency", "2", "-n", "2"]);

    let bench = Bench::new();
    let (server, open) = gate(7);
    let url = format!("{}/v1", server.url);
    let flags = ["--teacher", "m", "--url", &url, "--concurrency", "2", "-n", "2"];
    let mut child = start(&bench, &flags);
    // Two more are under way, and no third can be.
    wait_for(&bench, &server, 9, 14, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.path("out.jsonl").exists());
    open.store(true, Ordering::SeqCst);
    let summary = bench.summary("out.jsonl", &flags);
    assert_eq!(
        (&summary["sources"][0]["cached"], &summary["sources"][0]["answered"]),
        (&json!(14), &json!(26))
    );
    let mut times: HashMap<String, usize> = HashMap::new();
    for body in server.seen() {
        *times.entry(prompt(&body)).or_default() += 1;
    }
    // The two that were never answered are asked again, the others once.
    assert_eq!((times.len(), times.values().filter(|&&n| n > 1).count(), server.seen().len()), (20, 2, 22));
    let port = |text: Vec<u8>, url: &str| {
        String::from_utf8(text).unwrap().replace(url.strip_prefix("http://").unwrap(), "HOST")
    };
    let host = |url: &str| url.strip_suffix("/v1").unwrap().to_owned();
    let expected = bytes(&straight.path("out.jsonl"));
    let first = String::from_utf8(expected.clone()).unwrap();
    let straight_host = first.split("\"endpoint\":\"").nth(1).unwrap().split('"').next().unwrap();
    let expected = port(expected, &format!("http://{straight_host}"));
    assert_eq!(port(bytes(&bench.path("out.jsonl")), &host(&url)), expected);
}

#[test]
fn ctrl_c_keeps_the_answers_and_ends_with_130() {
    let bench = Bench::new();
    let (server, open) = gate(5);
    let url = format!("{}/v1", server.url);
    let flags = ["--teacher", "m", "--url", &url, "--concurrency", "1"];
    let mut child = bench.command("out.jsonl", &flags).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&bench, &server, 6, 5, &mut child);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    // It says that it stops, and waits for the answer that is under way: that one is kept too.
    let mut words = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(words.any(|line| line.contains("stopping: requests under way are waited for")));
    open.store(true, Ordering::SeqCst);
    assert!(words.any(|line| line.contains("the same command goes on from out.jsonl.cache")));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!bench.path("out.jsonl").exists());
    assert_eq!(server.seen().len(), 6, "nothing is asked after the signal");
    let summary = bench.summary("out.jsonl", &flags);
    assert_eq!((&summary["groups"], &summary["sources"][0]["cached"]), (&json!(20), &json!(6)));
}
