//! A build from end to end: what is asked, kept, left out, said, and trained on.

use gft_testserver::Server;
use gft_testserver::openai::{self, answers, prompt};
use gft_testserver::{Reply, Request};
use serde_json::{Value, json};

use crate::world::{gft_ok, gsm8k_model, said, steps};
use crate::{Bench, bytes, golds};

/// Two models: `good` is right in its first sample and wrong in its second; `odd` says the expert's words, then nothing,
/// then is cut, then is right in the words of `good`.
fn two_models() -> Server {
    let golds = golds();
    let experts: std::collections::HashMap<String, String> = crate::read(&crate::gsm8k_train())
        .into_iter()
        .map(|row| (row.prompt.text(), row.expert[0].content.clone()))
        .collect();
    openai::server(move |body, _| {
        let question = prompt(body);
        let question = question.strip_suffix(" Think.").unwrap();
        let right = format!("So it is\n#### {}", golds[question]);
        if body["model"] == "good" {
            return answers(body, |seed| {
                if seed == 7 { right.clone() } else { format!("#### -{}", golds[question]) }
            });
        }
        let texts = [experts[question].as_str(), " \n", "so far", right.as_str()];
        let choice = |(k, text): (usize, &&str)| {
            json!({"message": {"content": text, "reasoning_content": "hm"},
                   "finish_reason": if k == 2 { "length" } else { "stop" }})
        };
        Reply::json(&json!({"choices": texts.iter().enumerate().map(choice).collect::<Vec<_>>()}))
    })
}

fn asked(server: &Server) -> usize {
    server.seen().len()
}

#[test]
fn two_teachers_are_asked_graded_and_trained_on() {
    let (bench, server) = (Bench::new(), two_models());
    let url = format!("{}/v1", server.url);
    let odd = format!("odd,n=4,name=odd one,temperature=0.5,url={url}/");
    let flags =
        ["--teacher", "good", "--teacher", &odd, "--url", &url, "--seed", "7", "--instruction", " Think."];
    let flags = [&flags[..], &["-n", "2", "--system", "Be brief."]].concat();
    let summary = bench.summary("groups.jsonl", &flags);
    assert_eq!((&summary["groups"], &summary["unanswered"]), (&json!(20), &json!(0)));
    let of = |at: usize, keys: &[&str]| -> Vec<u64> {
        keys.iter().map(|key| summary["sources"][at][key].as_u64().unwrap()).collect()
    };
    let keys = ["answered", "cached", "right", "wrong", "empty", "truncated", "duplicate", "kept"];
    assert_eq!(of(0, &keys), [40, 0, 20, 20, 0, 0, 0, 40]);
    // The expert's words, and the right answer in the words of the other teacher, are nothing new.
    assert_eq!(of(1, &keys), [80, 0, 40, 40, 20, 20, 40, 0]);
    assert_eq!(summary["experts"]["right"], 20);
    assert_eq!(asked(&server), 40, "one request for all answers of a prompt");
    let body = &server.seen()[0];
    assert_eq!(body["messages"][0], json!({"role": "system", "content": "Be brief."}));

    let rows = bench.rows("groups.jsonl");
    let original = crate::read(&crate::gsm8k_train());
    for (row, before) in rows.iter().zip(&original) {
        assert_eq!((&row.id, &row.prompt, &row.gold), (&before.id, &before.prompt, &before.gold));
        assert_eq!((&row.expert, &row.solution), (&before.expert, &before.solution));
        let [right, wrong] = row.teachers.as_slice() else { panic!("{:?}", row.teachers) };
        assert_eq!((right.model.as_deref(), right.reward), (Some("good"), None));
        let said = |key: &str| right.provenance.get(key).cloned().unwrap_or(Value::Null);
        assert_eq!((said("verified"), said("sample"), said("seed")), (json!(true), json!(0), json!(7)));
        assert_eq!((said("finish_reason"), said("temperature")), (json!("stop"), Value::Null));
        assert_eq!(said("endpoint"), json!(server.url.strip_prefix("http://").unwrap()));
        assert_eq!((&wrong.provenance["verified"], &wrong.provenance["seed"]), (&json!(false), &json!(8)));
    }

    // Again: refused, then the same from the cache, byte for byte and without a question.
    let before = bytes(&bench.path("groups.jsonl"));
    let again = bench.build("groups.jsonl", &flags);
    assert_eq!(again.status.code(), Some(2));
    assert!(said(&again).contains("--force"), "{}", said(&again));
    let table = bench.build("groups.jsonl", &[&flags[..], &["--force"]].concat());
    assert!(table.status.success() && table.stdout.is_empty());
    assert!(said(&table).contains("groups.jsonl: 20 groups of 20 rows"), "{}", said(&table));
    assert!(said(&table).contains("50.0 % of 40"), "{}", said(&table));
    assert_eq!(before, bytes(&bench.path("groups.jsonl")));
    assert_eq!(asked(&server), 40);

    // Other rules for what is kept need no new answers.
    let kept = bench.summary(
        "right.jsonl",
        &[&flags[..], &["--cache", "groups.jsonl.cache", "--only-right", "--keep-truncated"]].concat(),
    );
    assert_eq!((&kept["sources"][0]["kept"], &kept["sources"][0]["not_right"]), (&json!(20), &json!(20)));
    assert_eq!((&kept["sources"][1]["truncated"], &kept["sources"][1]["not_right"]), (&json!(0), &json!(20)));
    assert_eq!(asked(&server), 40);

    // What is kept is not right as often as what was answered, where right answers repeat each other.
    let kept = [&flags[..], &["--cache", "groups.jsonl.cache"]].concat();
    let words = said(&bench.build("words.jsonl", &kept));
    assert!(words.contains("40 answers dropped whose text the group has already"), "{words}");
    let kept = bench.summary("all.jsonl", &[&kept[..], &["--keep-repeats"]].concat());
    let of = |key: &str| kept["sources"][1][key].as_u64().unwrap();
    assert_eq!(["duplicate", "kept", "kept_right", "kept_wrong"].map(of), [0, 40, 40, 0]);
    assert_eq!(kept["sources"][0]["kept_wrong"], 20);
    assert_eq!(asked(&server), 40);

    let model = gsm8k_model(bench.root.path()).display().to_string();
    let (data, run) = (bench.path("groups.jsonl").display().to_string(), bench.path("run"));
    let out = run.display().to_string();
    let train = ["train", "--method", "gft", "--model", &model, "--data", &data, "--output-dir", &out];
    let small = ["--max-steps", "1", "--train-batch-size", "2", "--max-completion-length", "8"];
    gft_ok(&[&train[..], &small, &["--num-generations", "2", "--truncation-mode", "keep_start"]].concat());
    assert_eq!(steps(&run).len(), 1);
}

#[test]
fn keys_are_sent_to_those_who_want_them() {
    let bench = Bench::new();
    let heads = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&heads);
    let server = Server::start(move |request: &Request| {
        kept.lock().unwrap().push(request.head.to_ascii_lowercase());
        openai::good(&request.body)
    });
    let teacher = format!("m,url={}/v1,key-env=MY_KEY", server.url);
    let other = format!("open,url={}/v1,key-env=", server.url);
    let output = bench
        .command("out.jsonl", &["--limit", "1", "--teacher", &teacher, "--teacher", &other])
        .env("MY_KEY", "Secret1")
        .env("OPENAI_API_KEY", "usual")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let heads = heads.lock().unwrap();
    assert!(heads[0].contains("authorization: bearer secret1"), "{}", heads[0]);
    assert!(!heads[1].contains("authorization"), "{}", heads[1]);
    let files = walk(bench.root.path());
    assert!(files.iter().all(|text| !text.contains("Secret1")), "a key was written to disk");
}

/// The text of every file below a folder.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => texts.extend(walk(&path)),
            false => texts.push(String::from_utf8_lossy(&bytes(&path)).into_owned()),
        }
    }
    texts
}

/// Rows of every kind: a text to be continued becomes a question, what the row brings stays, a row without reference
/// answer is not called wrong, a text alone has no question.
#[test]
fn rows_of_other_formats() {
    let bench = Bench::new();
    let server = openai::server(|body, _| answers(body, |_| "#### 4".into()));
    let url = format!("{}/v1", server.url);
    let file = |name: &str, text: &str| {
        let path = bench.path(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let pairs = file("pairs.jsonl", "{\"prompt\": \"2 + 2 =\", \"completion\": \" four\", \"level\": 3}\n");
    let groups = file(
        "brought.jsonl",
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"5 - 1?\"}], \"answer\": \"4\", \"expert_completions\": [], \
         \"teacher_completions\": [{\"content\": \"#### 5\", \"model\": \"old\", \"reward\": 0.5, \"by\": \"hand\"}]}\n",
    );
    let texts = file("texts.jsonl", "{\"text\": \"Once upon a time.\"}\n");
    let build = |data: &str, out: &str| {
        let mut bench = Bench { root: tempfile::tempdir_in(bench.root.path()).unwrap(), data: data.into() };
        bench.root.disable_cleanup(true);
        let output = bench.build(out, &["--teacher", "m", "--url", &url, "--json"]);
        (bench, output)
    };
    let (made, output) = build(&pairs, "out.jsonl");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&summary["sources"][0]["unscorable"], &summary["sources"][0]["wrong"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(summary["became_questions"], 1);
    let row = &made.rows("out.jsonl")[0];
    assert_eq!(row.prompt, gft_data::Prompt::Question("2 + 2 =".into()));
    assert_eq!((row.expert[0].content.as_str(), &row.columns["level"]), (" four", &json!(3)));
    // Written as null; a field that is null is read as one that is not there.
    assert_eq!(row.teachers[0].provenance.get("verified"), None);
    let text = std::fs::read_to_string(made.path("out.jsonl")).unwrap();
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(line["teacher_completions"][0].get("verified"), Some(&Value::Null));

    let (made, _) = build(&groups, "out.jsonl");
    let row = &made.rows("out.jsonl")[0];
    assert!(row.expert.is_empty() && matches!(row.prompt, gft_data::Prompt::Messages(_)));
    assert_eq!((row.teachers[0].reward, &row.teachers[0].provenance["by"]), (Some(0.5), &json!("hand")));
    assert_eq!(row.teachers[1].provenance["verified"], true);

    let (_, output) = build(&texts, "out.jsonl");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("nothing to respond to"), "{}", said(&output));
}

#[test]
fn a_dry_run_says_what_it_would_cost_and_bounds_are_kept() {
    let (bench, server) = (Bench::new(), openai::server(|body, _| openai::good(body)));
    let url = format!("{}/v1", server.url);
    let flags = ["--teacher", "m", "--url", &url, "-n", "3", "--max-tokens", "100", "--price", "1/2"];
    let plan = bench.summary("out.jsonl", &[&flags[..], &["--dry-run"]].concat());
    let source = &plan["sources"][0];
    assert_eq!(
        (&source["requests"], &source["requests_one_by_one"], &source["cached"]),
        (&json!(20), &json!(60), &json!(0))
    );
    assert_eq!(source["answer_tokens_at_most"], 6000);
    let prompts = source["prompt_tokens_at_most"].as_u64().unwrap();
    let cost = (prompts as f64 + 2.0 * 6000.0) / 1e6;
    assert!((plan["cost_at_most"].as_f64().unwrap() - cost).abs() < 1e-12, "{plan}");
    assert!(server.seen().is_empty() && !bench.path("out.jsonl.cache").exists());

    // The worst case of the eighth prompt alone is above this bound: it is not asked, nor what comes behind it, and nothing
    // is written unless that is wanted.
    let bounded = [&flags[..], &["--max-total-tokens", "780", "--concurrency", "1"]].concat();
    let output = bench.build("out.jsonl", &bounded);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("--partial") && !bench.path("out.jsonl").exists(), "{}", said(&output));
    assert_eq!(asked(&server), 7);
    let summary = bench.summary("out.jsonl", &[&bounded[..], &["--partial"]].concat());
    assert_eq!(summary["bounded"], true);
    assert_eq!((&summary["groups"], &summary["unanswered"], asked(&server)), (&json!(7), &json!(13), 7));
    // Answers that are there are not planned again.
    let plan = bench.summary("out.jsonl", &[&flags[..], &["--dry-run"]].concat());
    assert_eq!((&plan["sources"][0]["requests"], &plan["sources"][0]["cached"]), (&json!(13), &json!(21)));
}

#[test]
fn rows_that_ask_the_same_are_asked_once() {
    let mut bench = Bench::new();
    let line = "{\"question\": \"2+2?\", \"answer\": \"two and two\\n#### 4\"}\n";
    std::fs::write(bench.path("same.jsonl"), line.repeat(30)).unwrap();
    bench.data = bench.path("same.jsonl").display().to_string();
    let server = openai::server(|body, _| openai::good(body));
    let url = format!("{}/v1", server.url);
    let summary = bench.summary("out.jsonl", &["--teacher", "m", "--url", &url]);
    assert_eq!((&summary["groups"], server.seen().len()), (&json!(30), 1));
}
