//! `--device`: what is said where there is a card, where there is none, and where there is no such device.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::driver::{Driver, beside, has_driver};
use crate::process::{Run, fixture, gft, golden, with_model};

const ROW: &str = "{\"input_ids\": [1, 2, 3, 4]}\n";

fn logprobs(flags: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    gft(dir.path(), &[&["logprobs", "--model", &fixture("qwen3")], flags].concat(), ROW)
}

#[test]
fn without_a_driver_auto_is_the_processor_and_says_nothing() {
    if has_driver() {
        return;
    }
    let auto = logprobs(&["--device", "auto"]).ok();
    assert_eq!(auto.stderr, "");
    assert_eq!(auto.stdout, logprobs(&[]).ok().stdout);
    assert_eq!(auto.stdout, logprobs(&["--device", "auto", "--precision", "f32"]).ok().stdout);
}

/// What is missing, where it was looked for, and both ways on.
#[test]
fn a_card_that_is_asked_for_without_a_driver_is_a_wrong_call_and_says_how_to_mend_it() {
    if has_driver() {
        return;
    }
    let dir = with_model(&[]);
    let rows = golden("data/rows/gsm8k-groups-10.jsonl");
    let rows = rows.to_str().unwrap();
    let train = ["train", "--method", "sft", "--model", "m", "--data", rows, "--output-dir", "run"];
    let generate = ["generate", "--model", "m", "--max-new-tokens", "1"];
    for command in [&train[..], &generate, &["logprobs", "--model", "m"]] {
        for (device, name) in [("cuda", "--device cuda:0: "), ("cuda:1", "--device cuda:1: ")] {
            let run = gft(dir.path(), &[command, &["--device", device]].concat(), ROW);
            let said = run.stderr;
            assert!(run.code == Some(2) && run.stdout.is_empty(), "{command:?}: {said}");
            for part in [name, "no NVIDIA driver", "libcuda.so.1", "install the driver", "--device cpu"] {
                assert!(said.contains(part), "{command:?}: `{part}` is not in: {said}");
            }
        }
    }
    assert!(!dir.path().join("run").exists(), "a run was begun");
}

#[test]
fn a_device_that_there_is_not_names_those_that_there_are() {
    let run = logprobs(&["--device", "mps"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("auto, cpu, cuda and cuda:N"), "{}", run.stderr);
}

#[test]
fn products_of_bf16_are_those_of_a_processor_that_has_them() {
    let run = logprobs(&["--precision", "bf16"]);
    if gft_model::Cpu::with_bf16_products().is_none() {
        assert_eq!(run.code, Some(2));
        return assert!(run.stderr.contains(gft_model::Cpu::products_in_words()), "{}", run.stderr);
    }
    let logprobs = |run: Run| -> Vec<f64> {
        let row: serde_json::Value = serde_json::from_str(&run.ok().stdout).unwrap();
        row["logprobs"].as_array().unwrap().iter().skip(1).map(|x| x.as_f64().unwrap()).collect()
    };
    let (rounded, exact) = (logprobs(run), logprobs(self::logprobs(&["--precision", "f32"])));
    let furthest = rounded.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    // Operands are rounded by 2^-9 of themselves at most; logits here are of order 1.
    assert!(exact.len() == 3 && furthest > 1e-6 && furthest < 0.05, "{rounded:?} {exact:?}");
}

/// The folder of a driver, with `rows.jsonl`.
fn with_rows(driver: &Driver) -> TempDir {
    let dir = driver.installed();
    fs::write(dir.path().join("rows.jsonl"), ROW).unwrap();
    dir
}

#[test]
fn a_card_that_cannot_be_used_is_said_in_one_line_and_is_an_error_where_it_was_asked_for() {
    if has_driver() || Path::new("/usr/local/cuda").exists() {
        return;
    }
    let cpu = logprobs(&["--device", "cpu"]).ok();
    let model = fixture("qwen3");
    let args = ["logprobs", "--model", &model, "rows.jsonl", "--device", "auto"];
    let asking = |device: &'static str| [&args[..4], &["--device", device]].concat();
    for (answer, capability, why) in [
        (999, (9, 0), "CUDA_ERROR_UNKNOWN: unknown error"),
        (100, (9, 0), "the NVIDIA driver finds no card"),
        (0, (7, 5), "Card has compute capability 7.5; 8.0 (Ampere) or newer is needed"),
        (0, (9, 0), "NVRTC is missing"),
    ] {
        let driver = with_rows(&Driver { answer, capability, ..Driver::default() });
        let auto = beside(&driver, driver.path(), &args).ok();
        assert_eq!(auto.stdout, cpu.stdout);
        assert!(auto.stderr.starts_with("note: computing on the processor: "), "{}", auto.stderr);
        assert!(auto.stderr.contains(why) && auto.stderr.lines().count() == 1, "{why}: {}", auto.stderr);
        assert_eq!(beside(&driver, driver.path(), &[&args[..], &["--quiet"]].concat()).ok().stderr, "");
        let asked = beside(&driver, driver.path(), &asking("cuda"));
        assert_eq!(asked.code, Some(2));
        assert!(asked.stderr.contains(why) && asked.stdout.is_empty(), "{why}: {}", asked.stderr);
        assert!(asked.stderr.contains("--device cpu"), "{}", asked.stderr);
        let doctor = beside(&driver, driver.path(), &["doctor"]);
        let line = doctor.stdout.lines().find(|line| line.contains(" gpu ")).unwrap();
        assert!(line.starts_with("warning") && line.contains(why), "{line}");
    }
    let driver = with_rows(&Driver::default());
    let missing = beside(&driver, driver.path(), &asking("cuda")).stderr;
    assert!(
        missing.contains("nvidia-cuda-nvrtc-cu12 (pip)") && missing.contains("GFT_CUDA_PATH"),
        "{missing}"
    );
    let beyond = beside(&driver, driver.path(), &asking("cuda:1")).stderr;
    assert!(beyond.contains("there is no cuda:1; the driver finds 1 card(s)"), "{beyond}");
}
