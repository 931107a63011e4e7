//! `gft verify` as a user runs it: rows through a pipe, and one pair.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    fn rows(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn verify(args: &[&str], input: &str) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gft"));
    command.arg("verify").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A process that stops before it has read everything closes the pipe; its own message is what counts.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn rows_come_back_with_verdicts() {
    let input = [
        json!({"id": 7, "gold": "1/2", "prediction": "0.5", "reward": "old"}),
        json!({"gold": "1/2", "prediction": "50"}),
        json!({"gold": 18, "prediction": 18.0}),
        json!({"gold": "3", "prediction": ""}),
        json!({"gold": "\\left( 3 +", "prediction": "3"}),
    ];
    let input: String = input.iter().map(|row| format!("{row}\n")).collect();
    let run = verify(&[], &input);
    let rows = run.rows();
    let verdicts: Vec<_> =
        rows.iter().map(|row| (row["verdict"].as_str().unwrap(), &row["reward"])).collect();
    let (one, zero) = (&json!(1.0), &json!(0.0));
    let expected =
        [("equal", one), ("not_equal", zero), ("equal", one), ("unparsed", zero), ("unparsed", &Value::Null)];
    assert_eq!(verdicts, expected);
    let keys: Vec<_> = rows[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "gold", "prediction", "verdict", "reward", "how"]);
    assert_eq!(rows[0]["how"]["certainty"], "proof");
    assert_eq!(rows[0]["how"]["rule"], "rational");
    for part in ["5 rows: 2 equal (0 probable), 1 not equal, 2 unparsed", "accuracy 50.00 % of 4", "rows/s"] {
        assert!(run.stderr.contains(part), "{part}\n{}", run.stderr);
    }
    assert_eq!(verify(&["--quiet"], &input).stderr, "");
}

#[test]
fn completions_are_searched_for_their_answer() {
    let input =
        [json!({"a": "18", "text": "so 9 and \\boxed{18}. Good"}), json!({"a": "18", "text": "so it is 18"})];
    let input: String = input.iter().map(|row| format!("{row}\n")).collect();
    let args = ["--gold-field", "a", "--prediction-field", "text", "--extract"];
    let rows = verify(&args, &input).rows();
    assert_eq!(rows[0]["how"]["extracted"], "18");
    assert_eq!(rows[0]["how"]["source"], "boxed");
    assert_eq!((&rows[1]["verdict"], &rows[1]["reward"]), (&json!("unparsed"), &json!(0.0)));
    assert_eq!(rows[1]["how"]["extracted"], Value::Null);
    let rows = verify(&[&args[..], &["--last-number"]].concat(), &input).rows();
    assert_eq!((&rows[1]["reward"], &rows[1]["how"]["source"]), (&json!(1.0), &json!("last_number")));
}

#[test]
fn presets_differ_by_conventions() {
    let input = r#"{"gold": "5 cm", "prediction": "5"}"#;
    let lenient = verify(&["--preset", "lenient"], input).rows();
    assert_eq!(lenient[0]["verdict"], "equal");
    assert_eq!(lenient[0]["how"]["conventions"], json!(["unit_omitted"]));
    assert_ne!(verify(&["--preset", "strict"], input).rows()[0]["verdict"], "equal");
}

#[test]
fn bad_rows_are_named_before_anything_is_written() {
    let good = r#"{"gold": "1", "prediction": "1"}"#;
    let cases = [
        (r#"{"gold": "1"}"#, "no column `prediction`; there is gold; --prediction-field"),
        (r#"{"gold": ["1"], "prediction": "1"}"#, "`gold` must be text or a number, not a list"),
        (r#"{"gold": " ", "prediction": "1"}"#, "`gold` is empty"),
        ("{\"gold\": ", "incomplete JSON"),
    ];
    for (bad, message) in cases {
        let run = verify(&[], &format!("{good}\n\n{bad}\n"));
        assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""), "{bad}");
        assert!(run.stderr.contains("stdin:3: ") && run.stderr.contains(message), "{}", run.stderr);
    }
    let run = verify(&[], "");
    assert_eq!(run.code, Some(3));
}

#[test]
fn a_pair_is_explained() {
    let run = verify(&["1/2", "\\dfrac{1}{2}"], "");
    assert_eq!(run.code, Some(0));
    assert!(run.stdout.starts_with("equal\n"), "{}", run.stdout);
    for part in
        ["reference   1/2  (number)", "answer      \\dfrac{1}{2}  (number)", "the same form, which proves it"]
    {
        assert!(run.stdout.contains(part), "{part}\n{}", run.stdout);
    }
    let run = verify(&["12 km", "12"], "");
    assert!(run.stdout.contains("allowing    a unit on one side only"), "{}", run.stdout);
    assert!(verify(&["1", "2"], "").stdout.starts_with("not equal\n"));
    let run = verify(&["--extract", "4", "I say \\boxed{4}"], "");
    assert!(run.stdout.contains("taken from  the last box"), "{}", run.stdout);
}

#[test]
fn a_pair_as_json_and_with_signs() {
    for args in [["--json", "-1/2", "-0.5"], ["-1/2", "-0.5", "--json"]] {
        let rows = verify(&args, "").rows();
        assert_eq!((&rows[0]["gold"], &rows[0]["verdict"]), (&json!("-1/2"), &json!("equal")), "{args:?}");
    }
    let run = verify(&["-\\frac12", "\\frac12"], "");
    assert!(run.stdout.starts_with("not equal\n"), "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_file_of_rows_and_one_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rows.jsonl");
    std::fs::write(&file, "{\"gold\": \"x+1\", \"prediction\": \"1+x\"}\n").unwrap();
    let rows = verify(&[file.to_str().unwrap()], "").rows();
    assert_eq!(rows[0]["verdict"], "equal");
    let run = verify(&["1/2"], "");
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("no such file of rows"), "{}", run.stderr);
}
