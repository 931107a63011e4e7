//! Losses, gradients, advantages and schedules against PyTorch's autograd and transformers' schedulers.
//!
//! The oracle is `tests/golden/objective/make.py`: the formulas of the papers with `.detach()`, in float64.

#![allow(clippy::unwrap_used, clippy::panic)]

use gft_objective::{
    AdvantageConfig, Baseline, Boundary, BySource, Completion, CountedRows, Decay, Evaluation, Group,
    KeepGroups, KlEstimator, KlPenalty, Method, Parts, Rule, Scale, Schedule, Signal, Signs, Source, Step,
    TokenInputs, Treatment, Warmup, advantages, evaluate,
};
use serde_json::Value;

/// Relative tolerance of numbers that both sides compute in f64: a sum of some sixty terms, each a few
/// roundings of 1.1e-16 off, and terms of both signs that cancel by less than a factor of ten.
const F64_SUM: f64 = 1e-13;

/// Relative tolerance of a gradient that is rounded to f32 at the end: half a unit in the last place is 6e-8.
const F32_ROUNDING: f64 = 6.1e-8;

fn load(name: &str) -> Value {
    let path = format!("{}/../../tests/golden/objective/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

fn singles(rows: &Value) -> Vec<Vec<f32>> {
    list(rows).iter().map(|row| numbers(row).into_iter().map(|value| value as f32).collect()).collect()
}

/// The rows of the fixture: twelve completions in three groups of four.
struct Tokens {
    sources: Vec<Source>,
    rewards: Vec<Vec<Option<f64>>>,
    logprobs: Vec<Vec<f32>>,
    old_logprobs: Vec<Vec<f32>>,
    ref_logprobs: Vec<Vec<f32>>,
    entropy: Vec<Vec<f32>>,
    mask: Vec<Vec<bool>>,
    max_length: usize,
}

impl Tokens {
    fn load(content: &Value) -> Tokens {
        let tokens = &content["tokens"];
        let mask: Vec<Vec<bool>> = list(&tokens["mask"])
            .iter()
            .map(|row| list(row).iter().map(|value| value.as_bool().unwrap()).collect())
            .collect();
        // What a token that does not count holds must not matter: NaN there.
        let hidden = |name: &str| {
            let mut rows = singles(&tokens[name]);
            for (row, mask) in rows.iter_mut().zip(&mask) {
                for (value, counts) in row.iter_mut().zip(mask) {
                    if !counts {
                        *value = f32::NAN;
                    }
                }
            }
            rows
        };
        Tokens {
            sources: list(&tokens["sources"]).iter().map(|s| s.as_str().unwrap().parse().unwrap()).collect(),
            rewards: list(&tokens["rewards"])
                .iter()
                .map(|r| numbers(r).into_iter().map(Some).collect())
                .collect(),
            logprobs: hidden("logprobs"),
            old_logprobs: hidden("old_logprobs"),
            ref_logprobs: hidden("ref_logprobs"),
            entropy: hidden("entropy"),
            mask,
            max_length: tokens["max_length"].as_u64().unwrap() as usize,
        }
    }

    fn completion(&self, row: usize) -> Completion<'_> {
        Completion {
            source: self.sources[row],
            reward: self.rewards[row / 4][row % 4],
            inputs: TokenInputs {
                logprobs: &self.logprobs[row],
                old_logprobs: Some(&self.old_logprobs[row]),
                ref_logprobs: Some(&self.ref_logprobs[row]),
                entropy: Some(&self.entropy[row]),
                reference_kl: None,
                mask: Some(&self.mask[row]),
            },
            filtered: false,
        }
    }

    fn evaluate(&self, method: &Method) -> Evaluation {
        let rows: Vec<_> = (0..12).map(|row| self.completion(row)).collect();
        let groups: Vec<_> = rows.chunks(4).collect();
        evaluate(method, &Step { groups: &groups, max_length: Some(self.max_length) }).unwrap()
    }

    /// Compares loss and gradient with the case's.
    fn compare(&self, case: &Value, found: &Evaluation, name: &str) {
        let expected = number(&case["loss"]);
        let size = found.summary.total().loss.abs().max(expected.abs());
        assert!((found.loss - expected).abs() <= F64_SUM * size, "{name}: loss {} != {expected}", found.loss);
        let rows = found.groups.iter().flat_map(|group| &group.rows);
        for (index, (row, expected)) in rows.zip(list(&case["gradient"])).enumerate() {
            let counted: Vec<f32> =
                row.gradient.iter().zip(&self.mask[index]).filter(|x| *x.1).map(|x| *x.0).collect();
            let hidden = row.gradient.iter().zip(&self.mask[index]).filter(|x| !*x.1);
            assert!(hidden.clone().all(|x| x.0.to_bits() == 0), "{name}: a masked token has a gradient");
            let expected = numbers(expected);
            assert_eq!(counted.len(), expected.len());
            // With a KL term two seeds are rounded and added: a few roundings of the larger one.
            let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
            let slack = if case["kl"].is_string() { 3.0 * F32_ROUNDING * largest } else { 0.0 };
            for (token, (found, expected)) in counted.iter().zip(&expected).enumerate() {
                let distance = (f64::from(*found) - expected).abs();
                assert!(
                    distance <= F32_ROUNDING * expected.abs() + slack,
                    "{name}: gradient of token {token} in row {index} is {found}, expected {expected}"
                );
            }
        }
    }
}

fn rule(value: &Value) -> Rule {
    let get = |name: &str| number(&value[name]);
    match value["name"].as_str().unwrap() {
        "plain" => Rule::Plain,
        "dft" => Rule::Dft,
        "dcr" => Rule::Dcr { tau: get("tau"), boundary: Boundary::Below },
        "smooth-dcr" => Rule::SmoothDcr { tau: get("tau") },
        "ratio" => Rule::Ratio,
        "ratio-clip" => {
            Rule::RatioClip { eps_low: get("low"), eps_high: get("high"), dual_clip: value["dual"].as_f64() }
        }
        "psft" => Rule::Psft { eps_high: get("high") },
        "cispo" => Rule::Cispo { eps_max: get("bound") },
        "luffy" => Rule::Luffy { gamma: get("gamma") },
        "chord" => Rule::Chord,
        "idft" => Rule::Idft { beta: 1.0, low: 0.1, high: 2.0, lambda: get("lambda") },
        "eaft" => Rule::Eaft { alpha: get("alpha"), scale: 3.0 },
        other => panic!("unknown rule {other}"),
    }
}

/// The rule of a case on all rows, with the mixed group advantage or a constant.
fn one_rule(case: &Value) -> Method {
    let signal = case["constant"].as_f64().map_or(Signal::Group, Signal::Constant);
    let treatment = Treatment { signal, signs: Signs::Both, rule: rule(&case["rule"]), weight: 1.0 };
    let kl = case["kl"].as_str().map(|name| KlPenalty {
        beta: 0.3,
        estimator: name.trim_end_matches('+').parse::<KlEstimator>().unwrap(),
        straight_through: name.ends_with('+'),
    });
    Method {
        name: "golden",
        advantage: AdvantageConfig::default(),
        sources: BySource::from_fn(|_| Some(treatment)),
        normaliser: case["normaliser"].as_str().unwrap().parse().unwrap(),
        counted: CountedRows::All,
        parts: Parts::Joint,
        keep: KeepGroups::All,
        kl,
        reference_kl: 0.0,
        entropy_bonus: 0.0,
    }
}

#[test]
fn every_rule_and_normaliser_equals_autograd() {
    let content = load("losses.json");
    let tokens = Tokens::load(&content);
    let cases = list(&content["rules"]);
    assert_eq!(cases.len(), 54);
    for case in cases {
        let name = format!("{} {} {} {}", case["rule"], case["normaliser"], case["constant"], case["kl"]);
        tokens.compare(case, &tokens.evaluate(&one_rule(case)), &name);
    }
}

#[test]
fn every_method_equals_autograd() {
    let content = load("losses.json");
    let tokens = Tokens::load(&content);
    let cases = list(&content["methods"]);
    assert_eq!(cases.len(), 16);
    for case in cases {
        let name = case["method"].as_str().unwrap();
        tokens.compare(case, &tokens.evaluate(&Method::named(name).unwrap()), name);
    }
}

#[test]
fn advantages_equal_torch() {
    let content = load("losses.json");
    let tokens = Tokens::load(&content);
    let groups: Vec<_> = tokens
        .rewards
        .iter()
        .enumerate()
        .map(|(index, rewards)| Group { sources: &tokens.sources[4 * index..4 * index + 4], rewards })
        .collect();
    for case in list(&content["advantages"]) {
        let config = AdvantageConfig {
            baseline: match case["baseline"].as_str().unwrap() {
                "mixed" => Baseline::Mixed,
                "on_policy" => Baseline::OnPolicy,
                "leave_one_out" => Baseline::LeaveOneOut,
                other => panic!("unknown baseline {other}"),
            },
            scale: match case["scale"].as_str().unwrap() {
                "std" => Scale::Std,
                "batch_std" => Scale::BatchStd,
                "none" => Scale::None,
                other => panic!("unknown scale {other}"),
            },
            ddof: number(&case["ddof"]) as u8,
            eps: number(&case["eps"]),
            ..Default::default()
        };
        let found = advantages(&config, &groups).unwrap().into_iter().flat_map(|group| group.advantages);
        for (found, expected) in found.zip(numbers(&case["advantages"])) {
            assert!((found - expected).abs() <= F64_SUM, "{case}: {found} != {expected}");
        }
    }
}

#[test]
fn schedules_equal_transformers() {
    let content = load("schedules.json");
    let peak = number(&content["peak"]);
    let mut compared = 0;
    for case in list(&content["schedules"]) {
        let (warmup, total) = (case["warmup"].as_u64().unwrap(), case["total"].as_u64().unwrap());
        if let Some(ratio) = case["ratio"].as_f64() {
            assert_eq!(Warmup::Ratio(ratio).steps(total), warmup, "{case}");
            continue;
        }
        let kwargs = &case["kwargs"];
        let cycles = kwargs["num_cycles"].as_f64().unwrap_or(0.5);
        let decay = match case["name"].as_str().unwrap().parse().unwrap() {
            Decay::Cosine { .. } => Decay::Cosine { cycles },
            Decay::CosineWithMinLr { .. } => {
                let rate = kwargs["min_lr"].as_f64().map(|rate| rate / peak);
                let min_rate = kwargs["min_lr_rate"].as_f64().or(rate).unwrap();
                Decay::CosineWithMinLr { cycles, min_rate }
            }
            other => other,
        };
        let schedule = Schedule { decay, warmup: Warmup::Steps(warmup), total_steps: total };
        for (step, expected) in numbers(&case["rates"]).into_iter().enumerate() {
            let found = schedule.learning_rate(peak, step as u64);
            // 1e-15 of the peak: the cosines of two C libraries may differ in the last bit.
            assert!((found - expected).abs() <= 1e-15 * peak, "{case} at {step}: {found} != {expected}");
            compared += 1;
        }
    }
    assert_eq!(compared, 7 * (23 + 43 + 43));
}
