//! T21: every kind of trouble ends each prompt as a complete group or as a counted drop.

use gft_testserver::openai::{self, good, prompt};
use gft_testserver::{Reply, nobody};
use serde_json::json;

use crate::world::said;
use crate::{Bench, golds};

#[test]
fn each_prompt_ends_as_a_group_or_a_counted_drop() {
    let bench = Bench::new();
    let mut questions: Vec<String> =
        crate::read(&crate::gsm8k_train()).iter().map(|r| r.prompt.text()).collect();
    questions.truncate(20);
    let server = openai::server(move |body, times| {
        let number = questions.iter().position(|question| *question == prompt(body)).unwrap();
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
            7 => Reply::Say(400, "", "I will not say that".into()),
            8 => Reply::Say(200, "", "<html>login</html>".into()),
            _ => Reply::Hang,
        }
    });
    let url = format!("{}/v1", server.url);
    let flags = ["--teacher", "m", "--url", &url, "--tries", "2", "--timeout", "3", "--concurrency", "4"];
    let summary = bench.summary("out.jsonl", &flags);
    // Odd ones stay bad; a refusal is not tried again, so the even one of that pair is lost too.
    assert_eq!((&summary["groups"], &summary["unanswered"]), (&json!(9), &json!(11)), "{summary}");
    let source = &summary["sources"][0];
    assert_eq!((&source["failed"], &source["answered"], &source["kept"]), (&json!(11), &json!(9), &json!(9)));
    for kind in ["busy (429, 5xx)", "broken or senseless answer", "too slow", "refused"] {
        assert!(source["troubles"][kind].as_u64().is_some_and(|n| n > 0), "{kind}: {source}");
    }
    let failure = &summary["failures"][0];
    assert_eq!(failure["source"], "m");
    assert!(failure["row"].as_str().unwrap().starts_with("gsm8k-train-20:"), "{failure}");
    assert!(!failure["why"].as_str().unwrap().is_empty());
    assert_eq!(bench.rows("out.jsonl").len(), 9);
    // The next build asks for the missing ones alone, and the refusal has passed.
    server.forget();
    let summary = bench.summary("out.jsonl", &[&flags[..], &["--force"]].concat());
    assert_eq!((&summary["groups"], &summary["sources"][0]["cached"]), (&json!(10), &json!(9)));
    let answered: Vec<String> = bench.rows("out.jsonl").iter().map(|row| row.prompt.text()).collect();
    let asked_again = server.seen().iter().filter(|body| answered.contains(&prompt(body))).count();
    assert_eq!(asked_again, 1);
}

#[test]
fn a_dead_server_a_wrong_key_and_a_server_of_nonsense_end_the_build() {
    let bench = Bench::new();
    let dead = format!("{}/v1", nobody());
    let output =
        bench.build("out.jsonl", &["--teacher", "m", "--url", &dead, "--tries", "1", "--give-up-after", "3"]);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let place = format!("3 prompts in a row brought nothing from {dead}/chat/completions");
    assert!(said(&output).contains(&place), "{}", said(&output));
    // What is wrong stands there from the first try on.
    let note = format!("note: m: {dead}/chat/completions: ");
    assert!(said(&output).contains(&note) && said(&output).contains("refused"), "{}", said(&output));
    let closed = openai::server(|_, _| Reply::Say(401, "", "bad key".into()));
    let url = format!("{}/v1", closed.url);
    let output = bench.build("out.jsonl", &["--teacher", "m", "--url", &url]);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(
        said(&output).contains("refuses requests") && said(&output).contains("bad key"),
        "{}",
        said(&output)
    );
    // Fewer rows than it takes to give up: there is nothing to write.
    let nonsense = openai::server(|_, _| Reply::Say(200, "", "{}".into()));
    let url = format!("{}/v1", nonsense.url);
    let few = ["--teacher", "m", "--url", &url, "--tries", "1", "--limit", "2"];
    let output = bench.build("out.jsonl", &few);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(said(&output).contains("no group is complete: 2 rows without all answers"), "{}", said(&output));
    assert!(said(&output).contains("without a list `choices`"), "{}", said(&output));
    assert!(said(&output).contains(&format!("{url}/chat/completions: ")), "{}", said(&output));
    assert!(!bench.path("out.jsonl").exists());
    assert_eq!(golds().len(), 20);
}
