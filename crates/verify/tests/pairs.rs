//! The labelled pairs: every verdict is the label, in both directions, within the work allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking

use gft_verify::{Outcome, Policy, verify};

type Pairs = Vec<(String, String, bool)>;

/// The pairs tuned on, and those of the sets that were run blind first.
fn pairs() -> Result<Pairs, Box<dyn std::error::Error>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/verify");
    let mut pairs = Pairs::new();
    for name in ["pairs", "blind/1", "blind/2", "blind/3", "blind/4", "blind/5", "blind/9", "mended"] {
        for line in std::fs::read_to_string(format!("{folder}/{name}.jsonl"))?.lines() {
            let row: serde_json::Value = serde_json::from_str(line)?;
            let field = |k: &str| row[k].as_str().map(str::to_string).ok_or(format!("no {k} in {line}"));
            pairs.push((field("gold")?, field("answer")?, row["equal"].as_bool().ok_or("no label")?));
        }
    }
    Ok(pairs)
}

#[test]
fn every_pair_gets_its_label() {
    let policy = Policy::lenient();
    let all = pairs().unwrap();
    assert!(all.len() > 15_000, "the fixture is cut short: {} pairs", all.len());
    let wrong: Vec<String> = all
        .iter()
        .filter_map(|(gold, answer, equal)| {
            let verdict = verify(gold, answer, &policy);
            (verdict.is_equal() != *equal).then(|| format!("{gold:?} {answer:?}: label {equal}, {verdict}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn verdicts_are_symmetric_and_golds_equal_themselves() {
    for policy in [Policy::lenient(), Policy::strict()] {
        for (gold, answer, _) in pairs().unwrap() {
            let (there, back) = (verify(&gold, &answer, &policy), verify(&answer, &gold, &policy));
            assert_eq!(there.outcome, back.outcome, "{gold:?} {answer:?}");
            for side in [&gold, &answer] {
                assert!(verify(side, side, &policy).is_equal(), "{side:?} is not itself");
                // The same answer before a space of mathematics takes the long way and must arrive too.
                let spaced = format!("{side}\\,");
                let own = verify(side, &spaced, &policy);
                assert!(own.is_equal(), "{side:?} {spaced:?}: {own}");
            }
        }
    }
}

#[test]
fn strict_refuses_what_rests_on_a_convention() {
    for (gold, answer) in [
        ("5 cm", "5"),
        ("50\\%", "50"),
        ("x=5", "5"),
        ("1,2", "2,1"),
        ("\\{1,2\\}", "1,2"),
        ("x>3", "(3,\\infty)"),
        ("\\frac{1}{3}", "0.3333333"),
    ] {
        assert!(verify(gold, answer, &Policy::lenient()).is_equal(), "{gold} {answer}");
        assert_eq!(verify(gold, answer, &Policy::strict()).outcome, Outcome::NotEqual, "{gold} {answer}");
    }
    for (gold, answer) in
        [("50\\%", "1/2"), ("\\frac12", "0.5"), ("2\\sqrt2", "\\sqrt8"), ("\\{1,2\\}", "\\{2,1\\}")]
    {
        assert!(verify(gold, answer, &Policy::strict()).is_equal(), "{gold} {answer}");
    }
}
