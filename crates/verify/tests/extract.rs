//! Where answers are found in completions, and what is found there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking

use gft_verify::{ExtractOptions, Outcome, Policy, Source, extract, grade};

fn found(text: &str) -> Option<(String, Source)> {
    let options = ExtractOptions { last_number: true, ..ExtractOptions::default() };
    extract(text, &options).map(|e| (e.text(text).into_owned(), e.how))
}

#[test]
fn boxes() {
    for (text, answer) in [
        ("so \\boxed{5}.", "5"),
        ("so $\\boxed{\\frac{1}{2}}$", "\\frac{1}{2}"),
        ("\\boxed{1} then, after a long computation, \\boxed{2}", "2"),
        ("x is \\boxed{1} and y is wrong.\n\nThus \\boxed{3}", "3"),
        ("\\boxed{1}, \\boxed{2}", "1, 2"),
        ("$\\boxed{1}$ and $\\boxed{2}$", "1, 2"),
        ("The roots are $x=\\boxed{-1}$ and $x = \\boxed{4}$.", "-1, 4"),
        ("$x_1=\\boxed{2}$, $x_2=\\boxed{3}$", "2, 3"),
        ("$x=\\boxed{2}=\\boxed{4/2}$", "4/2"),
        ("$2+3=\\boxed{5}$, so $x=\\boxed{6}$", "6"),
        ("\\boxed{2} but then \\boxed{3", "2"),
        ("\\fbox{7}", "7"),
        ("\\boxed {8}", "8"),
        ("\\boxed 9$", "9"),
        ("\\boxed{\\boxed{4}}", "\\boxed{4}"),
        ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
        ("\\boxed{ \\text{(C)} }", "\\text{(C)}"),
        ("The answer is 3. \\boxed{4}", "4"),
        ("\\boxed{é√}", "é√"),
    ] {
        assert_eq!(found(text), Some((answer.to_string(), Source::Boxed)), "{text}");
    }
}

#[test]
fn phrases() {
    for (text, answer) in [
        ("Final Answer: The final answer is $\\frac12$. I hope it is correct.", "$\\frac12$"),
        ("The answer is 3.5.", "3.5"),
        ("The answer is: 18\nThank you", "18"),
        ("**Answer:** 42", "42"),
        ("Answer: $x = 5$", "$x = 5$"),
        ("Hence ans 12", "12"),
        ("The correct option is A.", "A"),
        ("So the correct choice is: (B)", "(B)"),
        ("He has 3 left.\nA: 18", "18"),
        ("A: 1,080", "1,080"),
        ("first the answer is 3, no: the answer is 4", "4"),
    ] {
        assert_eq!(found(text), Some((answer.to_string(), Source::Phrase)), "{text}");
    }
}

#[test]
fn marks_and_last_numbers() {
    assert_eq!(found("16 - 3 = 13\n#### 1,080"), Some(("1,080".into(), Source::Marker)));
    for (text, answer) in [
        ("we get 3 and then 4.5 apples", "4.5"),
        ("it fell to -3", "-3"),
        ("from 2-3", "3"),
        ("costs $1,000.50 now.", "1,000.50"),
        ("a share of 50%", "50%"),
        ("that is 3/4 of it", "3/4"),
        (".5", ".5"),
    ] {
        assert_eq!(found(text), Some((answer.to_string(), Source::LastNumber)), "{text}");
    }
    assert_eq!(found("no number here"), None);
    assert_eq!(extract("only 5", &ExtractOptions::default()), None);
    assert_eq!(found(""), None);
}

#[test]
fn sources_can_be_refused() {
    let none = ExtractOptions { boxed: false, phrase: false, marker: false, last_number: false, window: 100 };
    assert_eq!(extract("\\boxed{1} the answer is 2 #### 3", &none), None);
    let marker = ExtractOptions { marker: true, ..none.clone() };
    let text = "\\boxed{1} the answer is 2 #### 3";
    assert_eq!(extract(text, &marker).map(|e| e.text(text).into_owned()), Some("3".into()));
    // Only the end of the text is read, cut at a character.
    let text = format!("\\boxed{{1}}{}", "é".repeat(100));
    assert_eq!(extract(&text, &ExtractOptions { boxed: true, window: 51, ..none }), None);
}

#[test]
fn grading() {
    let options = ExtractOptions::default();
    let policy = Policy::lenient();
    let graded = grade("Adding, $\\boxed{2} \\text{ and } \\boxed{-1}$", "\\{-1,2\\}", &options, &policy);
    assert!(graded.verdict.is_equal(), "{}", graded.verdict);
    let graded = grade("I do not know", "5", &options, &policy);
    assert_eq!((graded.extracted, graded.verdict.outcome), (None, Outcome::Unparsed));
    assert!(!grade("\\boxed{500}", "5", &options, &policy).verdict.is_equal());
    assert!(!grade("\\boxed{}", "5", &options, &policy).verdict.is_equal());
}

/// Excerpts of GSM8K: expert solutions grade as right; model solutions by the number behind `A:`.
#[test]
fn gsm8k_excerpts() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/verify/gsm8k.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut right, mut wrong) = (0, 0);
    for line in text.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let (completion, gold) = (row["completion"].as_str().unwrap(), row["gold"].as_str().unwrap());
        let graded = grade(completion, gold, &ExtractOptions::default(), &Policy::lenient());
        assert_eq!(
            graded.verdict.is_equal(),
            row["equal"].as_bool().unwrap(),
            "{completion}: {}",
            graded.verdict
        );
        *(if graded.verdict.is_equal() { &mut right } else { &mut wrong }) += 1;
    }
    assert!(right >= 40 && wrong >= 20, "{right} right, {wrong} wrong");
}
