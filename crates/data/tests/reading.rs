//! Rows of every layout: what they become, what is said about them, and what is refused with file and line.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

mod files;

use files::{folder, golden, open};
use gft_data::{BadRows, ColumnMap, Dataset, GoldRule, Message, Prompt, ReadOptions, Row, SolutionAsExpert};

fn first(lines: &str) -> Row {
    first_with(lines, &ReadOptions::default())
}

fn first_with(lines: &str, options: &ReadOptions) -> Row {
    let folder = folder(&[("data.jsonl", lines)]);
    Dataset::open(&[folder.path().join("data.jsonl")], options).unwrap().row(0).unwrap()
}

fn refused(lines: &str) -> String {
    let folder = folder(&[("data.jsonl", lines)]);
    Dataset::open(&[folder.path().join("data.jsonl")], &ReadOptions::default()).unwrap_err().to_string()
}

fn question(text: &str) -> Prompt {
    Prompt::Question(text.into())
}

fn contents(row: &Row) -> Vec<&str> {
    row.expert.iter().map(|c| c.content.as_str()).collect()
}

#[test]
fn gsm8k() {
    let set = open(&golden("rows/gsm8k-train-20.jsonl"));
    assert_eq!((set.len(), set.gold_rules()[&GoldRule::Hashes]), (20, 20));
    let row = set.row(0).unwrap();
    assert_eq!((row.id.as_str(), row.gold.as_deref()), ("gsm8k-train-20:1", Some("72")));
    assert!(matches!(&row.prompt, Prompt::Question(q) if q.starts_with("Natalia sold clips to 48")));
    assert!(row.expert[0].content.contains("<<48/2=24>>") && row.expert[0].content.ends_with("#### 72"));
    let text = set.description();
    assert!(text.contains("question/answer [prompt=question, solution=answer], 20 rows"), "{text}");
    assert!(text.contains("20 from ####"), "{text}");

    let strip = ReadOptions { strip_calculator: true, ..ReadOptions::default() };
    let row = Dataset::open(&[golden("rows/gsm8k-train-20.jsonl")], &strip).unwrap().row(0).unwrap();
    assert!(row.expert[0].content.starts_with("Natalia sold 48/2 = 24 clips in May."));
    assert!(!row.solution.unwrap().contains("<<"));
}

#[test]
fn group_rows() {
    let set = open(&golden("rows/gsm8k-groups-10.jsonl"));
    assert_eq!(set.len(), 10);
    let row = set.row(0).unwrap();
    assert_eq!((row.id.as_str(), row.gold.as_deref()), ("gsm8k-test-0000", Some("18")));
    let models: Vec<_> = row.teachers.iter().filter_map(|t| t.model.as_deref()).collect();
    assert_eq!(models, ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"]);
    assert_eq!(contents(&row), [row.solution.as_deref().unwrap()]);
    assert!(row.columns.is_empty());

    let row = first(
        r#"{"prompt": "p", "solution": "s", "expert_completions": ["e1", {"content": "e2", "model": "m", "reward": 0.5}], "teacher_completions": ["t"], "level": 3}"#,
    );
    assert_eq!(contents(&row), ["e1", "e2"]);
    assert_eq!((row.expert[1].model.as_deref(), row.expert[1].reward), (Some("m"), Some(0.5)));
    assert_eq!((row.teachers[0].content.as_str(), row.columns["level"].as_i64()), ("t", Some(3)));
}

#[test]
fn layouts() {
    let row = first(r#"{"problem": "p", "solution": "so $\\boxed{7}$", "answer": "7.0", "source": "amc"}"#);
    assert_eq!(
        (row.prompt.clone(), row.gold.as_deref(), row.columns["source"].as_str()),
        (question("p"), Some("7.0"), Some("amc"))
    );
    assert_eq!(contents(&row), ["so $\\boxed{7}$"]);

    let row = first(r#"{"prompt": "Q: 1+1\nA:", "completion": " 2"}"#);
    assert_eq!((row.prompt.clone(), contents(&row)), (Prompt::Text("Q: 1+1\nA:".into()), vec![" 2"]));

    let row = first(
        r#"{"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}"#,
    );
    assert_eq!((row.prompt.clone(), contents(&row)), (Prompt::Messages(vec![Message::user("q")]), vec!["a"]));

    let row = first(r#"{"instruction": "Add", "input": "1 2", "output": "3", "system": "Be brief."}"#);
    assert_eq!(row.prompt, Prompt::Messages(vec![Message::system("Be brief."), Message::user("Add\n1 2")]));
    assert_eq!(contents(&row), ["3"]);
    let row = first(r#"{"instruction": "Add", "input": "", "output": "3"}"#);
    assert_eq!(row.prompt, question("Add"));

    let row = first(
        r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}"#,
    );
    assert_eq!(
        row.prompt,
        Prompt::Messages(vec![Message::user("a"), Message::assistant("b"), Message::user("c")])
    );
    assert_eq!(contents(&row), ["d"]);

    let row = first(
        r#"{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}"#,
    );
    assert_eq!(row.prompt, Prompt::Messages(vec![Message::system("s"), Message::user("q")]));
    assert_eq!(contents(&row), ["a"]);

    let row = first(r#"{"prompt": "p", "chosen": "good", "rejected": "bad"}"#);
    assert_eq!((contents(&row), row.teachers[0].content.as_str()), (vec!["good"], "bad"));

    let row = first(r#"{"query": "q", "response": "r"}"#);
    assert_eq!((row.prompt.clone(), contents(&row)), (question("q"), vec!["r"]));

    let row = first(r#"{"text": "just text"}"#);
    assert_eq!((row.prompt.clone(), contents(&row)), (Prompt::Text(String::new()), vec!["just text"]));

    let row = first(r#"{"prompt": "p", "topic": "t"}"#);
    assert_eq!((row.prompt.clone(), row.expert.len(), row.gold.clone()), (question("p"), 0, None));

    // OlympiadBench: several solutions, several values of the answer.
    let row =
        first(r#"{"question": "q", "solution": ["one way", "another way"], "final_answer": ["1", "2"]}"#);
    assert_eq!((contents(&row), row.gold.as_deref()), (vec!["one way", "another way"], Some("1, 2")));
}

/// A turn with more than text keeps its messages; the reasoning is the template's business.
#[test]
fn turns_with_more_than_text() {
    let row = first(
        r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "r"}]}"#,
    );
    assert_eq!(row.expert[0].content, "a");
    assert_eq!(row.expert[0].messages[0].0["reasoning_content"], "r");
}

/// What a reward function is given beside the prompt: every column as the file has it.
#[test]
fn columns_with_a_role_keep_their_names() {
    let row = first(r#"{"question": "q", "answer": "so\n#### 4", "level": 2}"#);
    assert_eq!(serde_json::Value::from(row.named), serde_json::json!({"answer": "so\n#### 4"}));
    assert_eq!(serde_json::Value::from(row.columns), serde_json::json!({"level": 2}));
}

#[test]
fn a_bare_answer_is_no_demonstration() {
    let options = |solution_as_expert| ReadOptions { solution_as_expert, ..ReadOptions::default() };
    for bare in ["42", "$42$", "\\\\boxed{42}", "#### 42"] {
        let line = format!(r#"{{"prompt": "p", "solution": "{bare}"}}"#);
        let row = first(&line);
        assert_eq!((row.gold.is_some(), row.expert.len()), (true, 0), "{bare}");
        assert_eq!(first_with(&line, &options(SolutionAsExpert::Always)).expert.len(), 1);
    }
    // Several in a list, TriviaQA's aliases: none is a demonstration, the first is the gold.
    for several in
        [r#"["6", "5"]"#, r#"["6", 5]"#, r#"["6", "half of the twelve that there were in the basket"]"#]
    {
        let row = first(&format!(r#"{{"prompt": "2+3", "answer": {several}}}"#));
        assert_eq!((row.gold.as_deref(), row.expert.len()), (Some("6"), 0), "{several}");
    }
    let long = first(r#"{"prompt": "p", "answer": ["the sum of all of the odd numbers below five", "4"]}"#);
    assert_eq!((long.gold.is_some(), long.expert.len()), (true, 0));
    // Several solutions that are worked are demonstrations, the bare one among them is not.
    let ways =
        first(r#"{"prompt": "p", "solution": ["6 times 7 is\n#### 42", "42", "40 and 2 is\n#### 42"]}"#);
    assert_eq!((ways.gold.as_deref(), ways.expert.len()), (Some("42"), 2));
    let worked = r#"{"prompt": "p", "solution": "6 times 7 is\n#### 42"}"#;
    assert_eq!(first(worked).expert.len(), 1);
    assert_eq!(first_with(worked, &options(SolutionAsExpert::Never)).expert.len(), 0);
    let folder = folder(&[
        ("data.jsonl", r#"{"prompt": "p", "solution": "42"}"#),
        ("several.jsonl", r#"{"prompt": "p", "answer": ["42", "41"]}"#),
    ]);
    let said = open(&folder.path().join("data.jsonl")).description();
    assert!(said.contains("solutions are references and not learned"), "{said}");
    let said = open(&folder.path().join("several.jsonl")).description();
    assert!(said.contains("1 row has several bare answers, of which the first is the gold"), "{said}");
}

/// Among worked solutions a bare one is not learned, and among bare ones a worked one is: neither by a vote of the file's
/// first rows. Both are counted and said.
#[test]
fn whether_a_solution_is_learned_is_decided_for_its_row() {
    let worked = r#"{"prompt": "p", "solution": "6 times 7 is\n#### 42"}"#;
    let bare = r#"{"prompt": "p", "solution": "42"}"#;
    let own = r#"{"prompt": "p", "solution": "42", "response": "It is 42."}"#;
    for (lines, learned) in [
        (vec![bare, worked, worked], vec![false, true, true]),
        (vec![worked, bare, bare], vec![true, false, false]),
        ([[bare; 70].as_slice(), &[worked; 70]].concat(), [[false; 70], [true; 70]].concat()),
    ] {
        let folder = folder(&[("data.jsonl", &lines.join("\n"))]);
        let set = open(&folder.path().join("data.jsonl"));
        let found: Vec<bool> = set.iter().map(|row| !row.unwrap().expert.is_empty()).collect();
        assert_eq!(found, learned);
        let count = learned.iter().filter(|learned| **learned).count() as u64;
        let solutions = set.files()[0].solutions;
        assert_eq!((solutions.learned, solutions.references), (count, lines.len() as u64 - count));
        let said = format!("{count} solutions are learned, {} are bare references", solutions.references);
        assert!(set.description().contains(&said), "{}", set.description());
    }
    // Rows that bring experts of their own have nothing to decide.
    let options = ReadOptions {
        columns: ColumnMap { expert: Some("response".into()), ..ColumnMap::default() },
        ..ReadOptions::default()
    };
    let folder = folder(&[("data.jsonl", own)]);
    let set = Dataset::open(&[folder.path().join("data.jsonl")], &options).unwrap();
    assert_eq!((set.files()[0].solutions.learned, set.files()[0].solutions.references), (0, 0));
    assert_eq!(set.row(0).unwrap().expert[0].content, "It is 42.");
}

#[test]
fn column_map() {
    let line = r#"{"Body": "Two birds.", "Question": "How many?", "Answer": 2.0, "meta": {"gold": "two"}}"#;
    assert!(refused(line).contains("the columns are Body, Question, Answer, meta"));
    let columns = ColumnMap {
        prompt: Some("Body".into()),
        input: Some("Question".into()),
        answer: Some("meta.gold".into()),
        ..ColumnMap::default()
    };
    let row = first_with(line, &ReadOptions { columns, ..ReadOptions::default() });
    assert_eq!((row.prompt, row.gold.as_deref()), (question("Two birds.\nHow many?"), Some("two")));

    let columns = ColumnMap { prompt: Some("Boby".into()), ..ColumnMap::default() };
    let folder = folder(&[("data.jsonl", line)]);
    let options = ReadOptions { columns, ..ReadOptions::default() };
    let error = Dataset::open(&[folder.path().join("data.jsonl")], &options).unwrap_err().to_string();
    assert!(
        error.contains("data.jsonl: ") && error.contains("\"Boby\" as prompt, but no row has such a column"),
        "{error}"
    );
    assert!(
        error.contains("the columns are Body, Question, Answer, meta")
            && error.ends_with("did you mean \"Body\"?")
    );
}

#[test]
fn bad_rows_stop_with_file_and_line() {
    let good = r#"{"question": "q", "answer": "a"}"#;
    for (bad, reason) in [
        ("", "a blank line"),
        ("{\"question\": ", "no JSON"),
        ("[1]", "must be a JSON object"),
        (r#"{"answer": "a"}"#, "column \"question\" is missing"),
        (r#"{"question": null, "answer": "a"}"#, "column \"question\" is missing"),
        (r#"{"question": " ", "answer": "a"}"#, "column \"question\" is empty"),
        (r#"{"question": 3, "answer": "a"}"#, "must be text or a list of messages, not a number"),
        (r#"{"question": "q", "answer": {"x": 1}}"#, "column \"answer\" must be text, not an object"),
        (r#"{"question": [{"content": "x"}], "answer": "a"}"#, "message 0: needs a \"role\""),
        ("{\"question\": \"\\ud800\", \"answer\": \"a\"}", "no JSON"),
    ] {
        let error = refused(&format!("{good}\n{bad}\n{good}\n"));
        assert!(error.contains("data.jsonl:2: ") && error.contains(reason), "{bad}: {error}");
    }
}

/// Blank lines behind the last row are no rows; one between rows is a row that is missing.
#[test]
fn a_file_may_end_in_blank_lines() {
    let text = "{\"text\": \"a\"}\n{\"text\": \"b\"}\n\n \r\n\n";
    let folder = folder(&[("data.jsonl", text)]);
    let set = open(&folder.path().join("data.jsonl"));
    assert_eq!((set.len(), set.dropped().len()), (2, 0));
    assert!(refused("{\"text\": \"a\"}\n\n{\"text\": \"b\"}\n\n").contains("data.jsonl:2: a blank line"));
}

#[test]
fn what_is_no_json_says_what_it_is() {
    for (bytes, parts) in [
        (&b"question,answer\n1+1,2\n"[..], ["it looks like CSV", "JSONL, JSON and Parquet"]),
        (b"\xFF\xFE{\0\"\0", ["UTF-16 or binary", "iconv"]),
        (b"{\"prompt\": \"a\", \"answer\": NaN}\n", ["NaN is no JSON, null is", "column"]),
        (b"\x80\x81{}\n", ["not UTF-8", "was cut"]),
        (b"3\n", ["a row must be an object", "not a number"]),
        (b"{\"prompt\": \n", ["no JSON", "EOF"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.jsonl");
        std::fs::write(&path, bytes).unwrap();
        let error = Dataset::open(&[&path], &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("none of the first lines is a JSON object; the first: "), "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
    }
}

#[test]
fn bad_rows_dropped_are_counted() {
    let folder =
        folder(&[("data.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\"}\r\nnonsense\n{\"text\": \"c\"}")]);
    let options = ReadOptions { bad_rows: BadRows::Drop, ..ReadOptions::default() };
    let set = Dataset::open(&[folder.path().join("data.jsonl")], &options).unwrap();
    let texts: Vec<String> = set.iter().map(|r| r.unwrap().expert[0].content.clone()).collect();
    assert_eq!(texts, ["a", "b", "c"]);
    assert_eq!(set.row(2).unwrap().id, "data:5");
    let lines: Vec<u64> = set.dropped().iter().map(|d| d.line).collect();
    assert_eq!(lines, [2, 4]);
    assert!(set.description().contains("2 rows dropped, the first: "), "{}", set.description());
    assert!(set.row(3).unwrap_err().to_string().contains("row 3 of a data set of 3"));
}

/// A row written and read again is the same row, whatever it was read from.
#[test]
fn rows_are_written_as_they_are_read() {
    let lines = [
        r#"{"question": "q", "answer": "worked out at length\n#### 7", "level": 3}"#,
        r#"{"prompt": "p", "completion": " c"}"#,
        r#"{"text": "t"}"#,
        r#"{"prompt": [{"role": "user", "content": "q"}], "expert_completions": [], "solution": "s", "teacher_completions": [{"content": "t", "model": "m", "reward": 0.5}, "u"]}"#,
        r#"{"prompt": "q", "teacher_completions": [{"content": "t", "seed": 18446744073709551615, "verified": null, "by": {"host": "h"}}], "policy_completions": [{"content": "c"}]}"#,
        r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "r"}]}"#,
        r#"{"problem": "p", "answer": "12"}"#,
    ];
    for line in lines {
        let row = first(line);
        let written = serde_json::to_string(&row.to_json()).unwrap();
        assert_eq!(first(&written), row, "{line}\n{written}");
    }
}

/// What a completion says of itself is kept, and samples of the policy are nobody's demonstrations.
#[test]
fn provenance_is_kept_and_policy_completions_are_a_column() {
    let row = first(
        r#"{"prompt": "q", "teacher_completions": [{"model": "m", "content": "t", "seed": 3, "verified": true}], "policy_completions": [{"content": "c"}]}"#,
    );
    let teacher = &row.teachers[0];
    assert_eq!((teacher.model.as_deref(), teacher.reward), (Some("m"), None));
    assert_eq!(serde_json::to_string(&teacher.provenance).unwrap(), r#"{"seed":3,"verified":true}"#);
    assert!(row.expert.is_empty() && row.columns.contains_key("policy_completions"));
}

/// TRL's rewards read a `solution` column beside the conversation, and so does the verifier here.
#[test]
fn references_beside_conversations() {
    let user = r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]"#;
    for line in [
        format!(r#"{{"messages": {user}, "solution": "so\n#### 7"}}"#),
        format!(r#"{{"messages": {user}, "answer": 7}}"#),
        r#"{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "answer": "7"}"#.into(),
        r#"{"instruction": "q", "output": "a", "answer": "7"}"#.into(),
        r#"{"query": "q", "response": "a", "solution": "7"}"#.into(),
    ] {
        let row = first(&line);
        assert_eq!((row.gold.as_deref(), contents(&row)), (Some("7"), vec!["a"]), "{line}");
    }
    // What is no text is no reference.
    let row = first(&format!(r#"{{"messages": {user}, "answer": {{"x": 1}}}}"#));
    assert_eq!((row.gold.as_deref(), row.columns["answer"]["x"].as_i64()), (None, Some(1)));
}

/// A file of nothing but bad rows is no data set, even where they may be dropped.
#[test]
fn nothing_but_bad_rows() {
    let folder = folder(&[("data.jsonl", "{\"text\": \"\"}\n{\"text\": 3}\n")]);
    let options = ReadOptions { bad_rows: BadRows::Drop, ..ReadOptions::default() };
    let error = Dataset::open(&[folder.path().join("data.jsonl")], &options).unwrap_err().to_string();
    assert!(
        error.contains("all 2 rows are unusable") && error.contains("data.jsonl:1: column \"text\" is empty"),
        "{error}"
    );
}
