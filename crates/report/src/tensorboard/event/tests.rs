//! Events are, byte for byte, what TensorBoard's own libraries write (`tests/golden/report/make.py`).

use super::super::frame::record;
use super::*;

const GOLDEN: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/report/events.tfevents"));

/// The events of `make.py`.
fn events() -> Vec<Event> {
    let at = |second: u64| 1_700_000_000.5 + second as f64;
    let markdown = format!("**straße** \u{2264} 1\n\n{}", "long ".repeat(60));
    let cells = ["Prompt", "Completion", "Advantage", "2+2=", "", "-0.5"];
    let histogram = Histogram::of(&[0.0, 0.0, 0.5, 1.0]).unwrap();
    vec![
        Event::file_version(1_700_000_000.25),
        Event::scalars(at(1), 0, [("train/loss", 0.0), ("train/reward", -1.5)]),
        Event::scalars(at(2), 1, [("train/loss", f64::NAN), ("train/reward", 0.1)]),
        Event::scalars(at(3), 300, [("train/loss", f64::INFINITY)]),
        Event::scalars(at(4), 1 << 40, [("eval/loss", 1e-30)]),
        Event::text(at(5), 7, "notes", &[], &[&markdown]),
        Event::text(at(6), 7, "completions", &[2, 3], &cells),
        Event::histogram(at(7), 7, "gft/coef_hist", &histogram),
        Event::session_start(at(8), 301),
    ]
}

#[test]
fn bytes_are_those_of_tensorboards_own_writer() {
    let mut rest = GOLDEN;
    for (number, event) in events().iter().enumerate() {
        let ours = record(event.bytes());
        let (theirs, after) = rest.split_at(ours.len().min(rest.len()));
        assert_eq!(ours, theirs, "event {number}");
        rest = after;
    }
    assert!(rest.is_empty());
}

#[test]
fn every_value_has_its_bucket() {
    let of = |values: &[f64]| Histogram::of(values).unwrap();
    for values in [&[3.0][..], &[2.0; 9], &[-1.0, 1.0], &[f64::MIN, 0.0, f64::MAX], &[1e-300, 2e-300, -0.0]] {
        let histogram = of(values);
        assert_eq!(histogram.counts.iter().sum::<f64>(), values.len() as f64, "{values:?}");
        assert!(histogram.limits.iter().all(|limit| limit.is_finite()), "{values:?}");
        assert!(histogram.limits.is_sorted(), "{values:?}");
        assert_eq!(histogram.limits.last(), Some(&histogram.max));
    }
    let halves = of(&[0.0, 0.1, 0.9, 1.0]);
    assert_eq!(halves.counts.iter().take(15).sum::<f64>(), 2.0);
    for bad in [&[][..], &[1.0, f64::NAN], &[f64::INFINITY]] {
        assert_eq!(Histogram::of(bad), None);
    }
}
