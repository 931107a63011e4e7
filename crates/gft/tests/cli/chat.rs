//! A chat through a pipe: one line, one turn.

use crate::process::{gft, with_model};

const ARGS: [&str; 7] = ["chat", "--model", "m", "--max-new-tokens", "12", "--ignore-eos", "--seed=1"];

#[test]
fn each_line_is_a_turn_and_the_conversation_is_kept() {
    let dir = with_model(&["--chat-template", "chatml"]);
    let chat = |input: &str, more: &[&str]| gft(dir.path(), &[&ARGS[..], more].concat(), input).ok();
    let one = chat("hello\n", &[]);
    assert!(!one.stdout.is_empty() && one.stdout.ends_with('\n'));
    // The fixed number of tokens is said to be what ended it.
    assert_eq!(one.stderr, "[cut at --max-new-tokens]\n");
    let two = chat("hello\nhello\n", &[]);
    assert!(two.stdout.starts_with(&one.stdout));
    assert!(two.stdout.len() > one.stdout.len());
    // After a reset the second turn is the first again.
    let greedy = ["--temperature", "0"];
    let reset = chat("hello\n/reset\nhello\n", &greedy);
    assert_eq!(reset.stdout, chat("hello\n", &greedy).stdout.repeat(2));
    assert!(reset.stderr.contains("anew"));
    assert_eq!(chat("hello\n/exit\nhello\n", &[]).stdout, one.stdout);
    assert!(chat("/rest\n", &[]).stderr.contains("unknown command /rest"));
}

/// The length of the conversation shows what is in it.
#[test]
fn a_conversation_that_grows_too_long_is_an_error_in_a_script() {
    let dir = with_model(&["--chat-template", "chatml"]);
    let chat = |input: &str, more: &[&str]| gft(dir.path(), &[&ARGS[..], more].concat(), input);
    let run = chat(&"hello\n".repeat(9), &[]);
    assert_eq!(run.code, Some(3));
    assert!(
        run.stderr.contains("the model takes 128 with the answer (/reset begins anew)"),
        "{}",
        run.stderr
    );
    chat(&"hello\n/reset\n".repeat(9), &[]).ok();
    let system = "word ".repeat(60);
    let run = chat("hello\n", &["--system", &system]);
    assert_eq!(run.code, Some(3));
    chat("hello\n", &["--system", "word"]).ok();
}

#[test]
fn an_answer_that_reaches_the_end_of_the_context_says_so() {
    let dir = with_model(&[]);
    let run = gft(dir.path(), &["chat", "--model", "m", "--ignore-eos"], "hello\n").ok();
    assert!(run.stderr.contains("no chat template"), "{}", run.stderr);
    assert!(run.stderr.contains("[cut at the model's longest sequence"), "{}", run.stderr);
}
