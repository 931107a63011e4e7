//! Tokens drawn on the card against those that the CPU draws, for every setting and for rows at their limits.

use gft_model::Cpu;
use gft_model::device::{Buffer, Device, Draw, DrawRow, Sampling};

use crate::compare::{cuda, normal, put};
use crate::models::Random;

/// The smallest step between random numbers.
const STEP: f64 = 1.0 / (1u64 << 53) as f64;
/// Random numbers of the draws: the ends, and some between. Not 0, which the CPU gives the first token of any probability, be
/// it 1e-38, and the card the first of 2^-62.
const UNIFORMS: [f64; 5] = [STEP, 0.11, 0.5, 0.93, 1.0 - STEP];

/// A row of logits and the tokens that its penalty is for.
struct Case {
    what: &'static str,
    logits: Vec<f32>,
    seen: [Vec<u32>; 2],
}

fn case(what: &'static str, logits: Vec<f32>) -> Case {
    let vocab = logits.len() as u32;
    // Some of both lists, one of them three times, and none of a list.
    let seen = [vec![vocab / 2, 0, vocab / 2, vocab - 1], vec![vocab / 2, vocab / 3]];
    Case { what, logits, seen }
}

/// Rows of one vocabulary.
fn cases(random: &mut Random, vocab: usize) -> Vec<Case> {
    let draws = |random: &mut Random, size: f32| -> Vec<f32> {
        normal(random, vocab).into_iter().map(|z| size * z).collect()
    };
    let masked = |row: Vec<f32>, keep: &dyn Fn(usize) -> bool| -> Vec<f32> {
        row.into_iter().enumerate().map(|(i, z)| if keep(i) { z } else { f32::NEG_INFINITY }).collect()
    };
    let wide = draws(random, 3.0);
    let ties = draws(random, 2.0).into_iter().map(f32::round).collect();
    vec![
        case("wide", wide.clone()),
        Case { seen: [vec![0], Vec::new()], ..case("narrow", draws(random, 0.1)) },
        case("ties", ties),
        case("all equal", vec![-0.25; vocab]),
        case("both zeros", (0..vocab).map(|i| if i % 2 == 0 { -0.0 } else { 0.0 }).collect()),
        case("masked", masked(wide.clone(), &|i| i % 3 == 1)),
        case("one left", masked(wide.clone(), &|i| i == vocab - 1)),
        case("far apart", draws(random, 300.0)),
        // Their log-sum-exp is rounded to a multiple of 8: probabilities of 1 each.
        case("huge", wide.iter().map(|z| if *z > 0.0 { 1e8 } else { -1e8 }).collect()),
    ]
}

/// Draws from each row with each random number on a device.
fn draw<D: Device>(device: &D, sampling: &Sampling, cases: &[Case]) -> Vec<Draw> {
    let mut logits = Vec::new();
    let mut rows = Vec::new();
    for case in cases {
        for uniform in UNIFORMS {
            logits.extend_from_slice(&case.logits);
            rows.push(DrawRow { uniform, seen: [&case.seen[0], &case.seen[1]] });
        }
    }
    let mut placed = put(device, &logits);
    let draws = device.draw(sampling, &rows, placed.set());
    device.status().unwrap();
    draws
}

/// Whether two numbers are the same to rounding: of a log-sum-exp, which is off by a unit of itself, and a subtraction.
fn same(a: f32, b: f32, size: f32) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 2.0 * f32::EPSILON * size.max(b.abs())
}

fn compare(sampling: &Sampling, cases: &[Case]) {
    let (ours, expected) = (draw(&cuda(), sampling, cases), draw(&Cpu::new(), sampling, cases));
    assert_eq!(ours.len(), cases.len() * UNIFORMS.len());
    let temperature = if sampling.temperature == 0.0 { 1.0 } else { sampling.temperature };
    for (i, (a, b)) in ours.iter().zip(&expected).enumerate() {
        let (case, uniform) = (&cases[i / UNIFORMS.len()], UNIFORMS[i % UNIFORMS.len()]);
        let finite = case.logits.iter().filter(|z| z.is_finite());
        let size = finite.fold(8.0f32, |most, z| most.max(z.abs() / temperature));
        let right = a.token == b.token
            && same(a.logprob, b.logprob, size)
            && same(a.sampling_logprob, b.sampling_logprob, size);
        assert!(
            right,
            "{} of {}, {uniform}, {sampling:?}: {a:?}, expected {b:?}",
            case.what,
            case.logits.len()
        );
    }
}

/// The product of the settings, each with none and its limits.
fn settings() -> Vec<Sampling> {
    let mut all = Vec::new();
    for temperature in [0.0, 0.7] {
        for top_k in [0, 1, 7] {
            for top_p in [1.0, 0.8, 1e-30] {
                for min_p in [0.0, 0.1, 1.0] {
                    for repetition_penalty in [1.0, 1.3] {
                        all.push(Sampling { temperature, top_k, top_p, min_p, repetition_penalty });
                    }
                }
            }
        }
    }
    all
}

#[test]
fn every_setting_draws_what_the_cpu_draws() {
    let mut random = Random(31);
    let cases = cases(&mut random, 45);
    for sampling in settings() {
        // Greedy looks at no filter.
        let filtered = sampling.top_k > 0 || sampling.top_p < 1.0 || sampling.min_p > 0.0;
        if sampling.temperature > 0.0 || !filtered {
            compare(&sampling, &cases);
        }
    }
}

#[test]
fn vocabularies_around_the_digits_of_the_search_draw_what_the_cpu_draws() {
    let mut random = Random(32);
    let base = Sampling { temperature: 1.9, ..Sampling::default() };
    for vocab in [1, 2, 33, 2047, 2048, 2049, 4101] {
        let cases = cases(&mut random, vocab);
        for sampling in [
            base.clone(),
            Sampling::greedy(),
            Sampling { repetition_penalty: 0.8, ..base.clone() },
            Sampling { top_k: vocab - 1, ..base.clone() },
            Sampling { top_k: vocab / 2 + 1, top_p: 0.95, ..base.clone() },
            Sampling { top_k: vocab + 1, min_p: 1e-3, repetition_penalty: 2.0, ..base.clone() },
        ] {
            compare(&sampling, &cases);
        }
    }
}

#[test]
fn rows_without_a_distribution_have_no_numbers() {
    let mut random = Random(33);
    let row = normal(&mut random, 50);
    let with = |at: usize, z: f32| {
        let mut row = row.clone();
        row[at] = z;
        row
    };
    let cases = [
        case("masked", vec![f32::NEG_INFINITY; 50]),
        case("infinite", with(20, f32::INFINITY)),
        case("not a number", with(30, f32::NAN)),
    ];
    let base = Sampling::default();
    for sampling in [
        base.clone(),
        Sampling { top_k: 3, ..base.clone() },
        Sampling { top_p: 0.5, ..base.clone() },
        Sampling { min_p: 0.5, ..base.clone() },
    ] {
        compare(&sampling, &cases);
        assert!(draw(&cuda(), &sampling, &cases).iter().all(|draw| draw.logprob.is_nan()));
    }
}

#[test]
fn frequencies_through_all_filters_are_those_kept() {
    // Probabilities .0871, .6439, .2369, .0321 without a filter.
    let logits = [0.0f32, 2.0, 1.0, -1.0];
    let sampling = Sampling { top_k: 3, top_p: 0.9, min_p: 0.2, ..Sampling::default() };
    let count = 200;
    let rows: Vec<DrawRow<'_>> = (0..count)
        .map(|i| DrawRow { uniform: (f64::from(i) + 0.5) / f64::from(count), seen: [&[], &[]] })
        .collect();
    let device = cuda();
    let mut placed = put(&device, &logits.repeat(count as usize));
    let draws = device.draw(&sampling, &rows, placed.set());
    // Token 0 falls to min_p (.0871 / .6439 = .135): e^2 and e^1 are left.
    let first = 1.0 / (1.0 + (-1.0f64).exp());
    let found = draws.iter().filter(|draw| draw.token == 1).count() as f64 / f64::from(count);
    // Random numbers step by 1/200.
    assert!((found - first).abs() <= 0.005 && draws.iter().all(|draw| draw.token == 1 || draw.token == 2));
    // Likeliest first, whatever the ids.
    assert!(draws.is_sorted_by_key(|draw| draw.token));
}

#[test]
fn what_cannot_be_drawn_from_is_an_error() {
    let device = cuda();
    let mut logits = device.zeros(10);
    let sampling = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
    let draws = device.draw(&sampling, &[DrawRow { uniform: 0.0, seen: [&[10], &[]] }], logits.all_mut());
    assert!(device.status().unwrap_err().to_string().contains("token 10 of 10"));
    assert!(draws.len() == 1 && draws[0].logprob.is_nan());
}
