//! `--device`: what is said where there is a card, where there is none, and where there is no such device.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Run, command, fixture, gft};

const ROW: &str = "{\"input_ids\": [1, 2, 3, 4]}\n";

fn logprobs(flags: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    gft(dir.path(), &[&["logprobs", "--model", &fixture("qwen3")], flags].concat(), ROW)
}

/// Whether this machine has NVIDIA's driver; then the tests of its absence say nothing.
fn has_driver() -> bool {
    gft_cuda::driver::has_driver()
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

#[test]
fn a_card_that_is_asked_for_and_not_there_is_a_wrong_call() {
    if has_driver() {
        return;
    }
    for device in ["cuda", "cuda:1"] {
        let run = logprobs(&["--device", device]);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains("libcuda.so.1") && run.stdout.is_empty(), "{}", run.stderr);
    }
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
        return assert!(run.stderr.contains("no products of bf16 (AVX512_BF16 or AMX)"), "{}", run.stderr);
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

/// A folder with a library of the driver's name that finds one card, of this compute capability; its `cuInit` answers so.
fn with_driver(answer: u32, capability: (u32, u32)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("driver.c");
    let (major, minor) = capability;
    let text = format!(
        "int cuInit(unsigned flags) {{ return {answer}; }}
        int cuGetErrorName(int error, const char **text) {{ *text = \"CUDA_ERROR_UNKNOWN\"; return 0; }}
        int cuGetErrorString(int error, const char **text) {{ *text = \"unknown error\"; return 0; }}
        int cuDeviceGetCount(int *count) {{ *count = 1; return 0; }}
        int cuDeviceGet(int *device, int index) {{ *device = index; return 0; }}
        int cuDeviceGetName(char *name, int size, int device) {{ __builtin_strcpy(name, \"Card\"); return 0; }}
        int cuDeviceTotalMem_v2(unsigned long *bytes, int device) {{ *bytes = 8ul << 30; return 0; }}
        int cuDriverGetVersion(int *version) {{ *version = 12080; return 0; }}
        int cuDeviceGetAttribute(int *value, int which, int device) {{
            *value = which == 75 ? {major} : {minor};
            return 0;
        }}"
    );
    fs::write(&source, text).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).args([&dir.path().join("libcuda.so.1"), &source]);
    assert!(compiler.status().unwrap().success());
    fs::write(dir.path().join("rows.jsonl"), ROW).unwrap();
    dir
}

/// Runs with that driver alone: no other library of CUDA's is found.
fn beside(driver: &TempDir, args: &[&str]) -> Run {
    let mut command = command(driver.path(), args);
    command.env("LD_LIBRARY_PATH", driver.path());
    for name in ["GFT_CUDA_PATH", "CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX", "VIRTUAL_ENV"] {
        command.env_remove(name);
    }
    command.output().unwrap().into()
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
        let driver = with_driver(answer, capability);
        let auto = beside(&driver, &args).ok();
        assert_eq!(auto.stdout, cpu.stdout);
        assert!(auto.stderr.starts_with("note: computing on the processor: "), "{}", auto.stderr);
        assert!(auto.stderr.contains(why) && auto.stderr.lines().count() == 1, "{why}: {}", auto.stderr);
        assert_eq!(beside(&driver, &[&args[..], &["--quiet"]].concat()).ok().stderr, "");
        let asked = beside(&driver, &asking("cuda"));
        assert_eq!(asked.code, Some(2));
        assert!(asked.stderr.contains(why) && asked.stdout.is_empty(), "{why}: {}", asked.stderr);
        let doctor = beside(&driver, &["doctor"]);
        let line = doctor.stdout.lines().find(|line| line.contains(" gpu ")).unwrap();
        assert!(line.starts_with("warning") && line.contains(why), "{line}");
    }
    let driver = with_driver(0, (9, 0));
    let missing = beside(&driver, &asking("cuda")).stderr;
    assert!(missing.contains("nvidia-cuda-nvrtc") && missing.contains("GFT_CUDA_PATH"), "{missing}");
    let beyond = beside(&driver, &asking("cuda:1")).stderr;
    assert!(beyond.contains("there is no cuda:1; the driver finds 1 card(s)"), "{beyond}");
}
