//! Completions that a policy could learn to write instead of an answer: none of them may be rewarded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking

use gft_verify::{ExtractOptions, Policy, grade, verify};

/// Golds of every kind, for answers that must equal none of them.
const GOLDS: [&str; 24] = [
    "2",
    "\\frac{1}{2}",
    "-3",
    "3.14",
    "50\\%",
    "90^\\circ",
    "1011_2",
    "2\\sqrt{3}",
    "x^2+1",
    "y = 2x - 3",
    "x = 5",
    "(1,2)",
    "\\{1,2,3\\}",
    "1, -2",
    "[0,\\infty)",
    "x > 3",
    "(-\\infty,2)\\cup(3,\\infty)",
    "\\begin{pmatrix}1\\\\2\\end{pmatrix}",
    "5\\text{ cm}",
    "\\$18.90",
    "3:2",
    "\\text{(B)}",
    "\\text{Yes}",
    "\\text{Evelyn}",
];

fn rewarded(completion: &str, gold: &str) -> bool {
    let options = ExtractOptions { last_number: true, ..ExtractOptions::default() };
    grade(completion, gold, &options, &Policy::lenient()).verdict.is_equal()
}

#[test]
fn what_says_nothing_is_no_answer() {
    let everything: String = (-200..200).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let letters = "A, B, C, D, E";
    let empty = [
        "",
        " ",
        "\\boxed{}",
        "\\boxed{ }",
        "$$",
        "\\boxed{?}",
        "\\boxed{\\ldots}",
        "\\boxed{x}",
        "\\boxed{\\text{answer}}",
        "\\boxed{\\text{the answer}}",
        "\\boxed{ans}",
        "\\boxed{n}",
        "\\boxed{\\infty}",
        "\\boxed{\\text{unknown}}",
        "\\boxed{\\text{any}}",
        "\\boxed{\\text{all of the above}}",
        "\\boxed{0/0}",
        "\\boxed{\\frac{0}{0}}",
        "\\boxed{\\frac{1}{0}}",
        "\\boxed{\\infty-\\infty}",
        "\\boxed{0^0}",
        "\\boxed{=}",
        "\\boxed{|}",
        "\\boxed{()}",
        "\\boxed{\\{\\}}",
        "\\boxed{[]}",
        "\\boxed{\\mathbb{R}}",
        "\\boxed{\\pm}",
        "\\boxed{\\boxed{}}",
        "\\boxed{NaN}",
        "\\boxed{null}",
        "\\boxed{*}",
        "\\boxed{.*}",
        everything.as_str(),
        letters,
    ];
    for completion in empty {
        for gold in GOLDS {
            assert!(!rewarded(completion, gold), "{completion:?} for {gold:?}");
            if completion != everything && completion != letters {
                assert!(
                    !rewarded(&format!("The answer is {completion}"), gold),
                    "phrase {completion:?} {gold:?}"
                );
            }
        }
    }
}

#[test]
fn hedges_are_not_rewarded() {
    for (completion, gold) in [
        ("\\boxed{1} or \\boxed{2}", "2"),
        ("\\boxed{1}, \\boxed{2}", "2"),
        ("\\boxed{2} or \\boxed{1}", "2"),
        ("\\boxed{1\\text{ or }2}", "2"),
        ("\\boxed{1,2,3,4}", "3"),
        ("\\boxed{1, 2, 3, 4}", "3"),
        ("\\boxed{\\{1,2,3\\}}", "2"),
        ("\\boxed{2\\text{ (or }3)}", "2"),
        ("\\boxed{2 (or 3)}", "3"),
        ("\\boxed{2 \\pm 1}", "3"),
        ("\\boxed{\\pm 2}", "2"),
        ("\\boxed{[1,10]}", "5"),
        ("\\boxed{1 < x < 10}", "5"),
        ("\\boxed{x > 0}", "5"),
        ("\\boxed{x \\ne 4}", "5"),
        ("\\boxed{3 = 5}", "5"),
        ("\\boxed{3 = 5}", "3"),
        ("\\boxed{1 = 2 = 5}", "5"),
        ("\\boxed{x = 3 = 5}", "5"),
        ("\\boxed{x = 3, x = 5}", "5"),
        ("\\boxed{x = 3 \\text{ or } x = 5}", "x = 5"),
        ("\\boxed{(1,2), (2,1)}", "(1,2)"),
        ("\\boxed{A, B}", "B"),
        ("\\boxed{\\text{A or B}}", "\\text{B}"),
        ("\\boxed{ABCD}", "B"),
        ("\\boxed{(A)(B)(C)}", "\\text{(B)}"),
        ("\\boxed{\\text{yes and no}}", "\\text{yes}"),
        ("\\boxed{\\text{yes or no}}", "\\text{yes}"),
        ("\\boxed{\\text{not Evelyn}}", "Evelyn"),
        ("\\boxed{\\text{Evelyn or Carla}}", "Evelyn"),
        ("\\boxed{\\text{not }5}", "5"),
        ("\\boxed{5x}", "5"),
        ("\\boxed{5y + 0}", "5"),
        ("\\boxed{5 + 0i + x}", "5"),
        ("\\boxed{500}", "5"),
        ("\\boxed{0.05}", "5"),
        ("\\boxed{5.0001}", "5"),
        ("\\boxed{(-\\infty, \\infty)}", "[0, 1]"),
        ("\\boxed{(-\\infty,2)\\cup(3,\\infty)\\cup(2,3)}", "(-\\infty,2)\\cup(3,\\infty)"),
        ("\\boxed{f(x) = c}", "f(x) = 0"),
        ("\\boxed{f(x)}", "2x"),
        ("\\boxed{\\text{the value of }x}", "5"),
        ("The answer is 4 or 5.", "5"),
        ("#### 4, 5", "5"),
        ("A: 4 or 5", "5"),
    ] {
        assert!(!rewarded(completion, gold), "{completion:?} for {gold:?}");
    }
}

#[test]
fn the_last_box_counts_and_an_open_box_does_not() {
    assert!(rewarded("\\boxed{1} was wrong. So it is\n\n\\boxed{2}", "2"));
    assert!(!rewarded("\\boxed{2} was wrong. So it is\n\n\\boxed{1}", "2"));
    let options = ExtractOptions::default();
    assert!(!grade("\\boxed{2", "2", &options, &Policy::lenient()).verdict.is_equal());
    // The question repeated with its numbers is no answer to it.
    assert!(!rewarded("What is the largest prime below 2 + 9?", "7"));
}

#[test]
fn equal_only_where_the_sides_are_equal() {
    for (gold, answer) in [
        ("|x-3|", "3-x"),
        ("|x|", "x"),
        ("\\sqrt{x^2}", "-x"),
        ("f(n)=n, g(n)=1", "f(n)=1, g(n)=n"),
        ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{vmatrix}1&2\\\\3&4\\end{vmatrix}"),
        ("\\text{July 4}", "4"),
        ("f(x) = 2x", "f(y) = 2x"),
        ("\\frac{\\pi}{4}+k\\pi", "\\frac{\\pi}{4}+2n\\pi"),
        ("6\\text{ h}", "6\\text{ m}"),
        ("6\\text{ hours}", "6 m"),
        ("x^2 + C", "x^2 + 2c"),
        ("x>2", "x>2, x \\ne 3"),
        ("(2,\\infty)", "x>2, x \\ne 3"),
    ] {
        let verdict = verify(gold, answer, &Policy::lenient());
        assert!(!verdict.is_equal(), "{gold:?} {answer:?}: {verdict}");
    }
}
