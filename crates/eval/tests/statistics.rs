//! The statistics against brute force and NumPy (tests/golden/eval/make.py).

#![allow(clippy::unwrap_used)] // test helpers stand outside of #[test] functions

use gft_eval::stats::{Bootstrap, Votes, majority_at_k, pass_at_k};
use serde_json::Value;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/eval/statistics.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap()
}

fn whole(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// Products and sums of at most a dozen terms near 1.
const ROUNDING: f64 = 1e-13;

#[test]
fn pass_at_k_counts_all_subsets() {
    let golden = golden();
    let cases = list(&golden, "pass_at_k");
    assert!(cases.len() > 200);
    for case in cases {
        let found = pass_at_k(whole(&case[0]), whole(&case[1]), whole(&case[2])).unwrap();
        assert!((found - case[3].as_f64().unwrap()).abs() < ROUNDING, "{case}: {found}");
    }
}

#[test]
fn majority_at_k_counts_all_subsets() {
    let golden = golden();
    let cases = list(&golden, "majority_at_k");
    assert!(cases.len() > 40);
    for case in cases {
        let wrong = case[1].as_array().unwrap().iter().map(whole).collect();
        let votes = Votes { right: whole(&case[0]), wrong, silent: whole(&case[2]) };
        let found = majority_at_k(&votes, whole(&case[3])).unwrap();
        assert!((found - case[4].as_f64().unwrap()).abs() < ROUNDING, "{case}: {found}");
    }
}

#[test]
fn intervals_are_numpys() {
    for case in list(&golden(), "intervals") {
        let values: Vec<f64> = list(case, "values").iter().map(|x| x.as_f64().unwrap()).collect();
        let number = |name: &str, i: usize| case[name][i].as_f64().unwrap();
        let same = Bootstrap { resamples: 1000, seed: 3, ..Bootstrap::default() }.mean(&values).unwrap();
        assert!((same.low - number("same_stream", 0)).abs() < ROUNDING, "{same:?}");
        assert!((same.high - number("same_stream", 1)).abs() < ROUNDING, "{same:?}");
        let error = case["standard_error"].as_f64().unwrap();
        assert!((same.standard_error - error).abs() < ROUNDING);
        // A 2.5 % quantile of B means varies by sqrt(.025 * .975 / B) / density, about 2.7 standard errors of the mean
        // over sqrt(B): .027 at B = 10,000. Four of that, and the grid on which means of few values lie.
        let found = Bootstrap::default().mean(&values).unwrap();
        let allowed = 4.0 * 0.027 * error + case["grid"].as_f64().unwrap();
        assert!((found.low - number("many_draws", 0)).abs() < allowed, "{found:?}");
        assert!((found.high - number("many_draws", 1)).abs() < allowed, "{found:?}");
    }
}
