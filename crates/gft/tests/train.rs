//! Runs of the real binary on real rows: what they leave, and that they go on bit for bit after a stop.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod world;

use std::fs;
use std::path::Path;

use world::{gft, gft_ok, gsm8k, gsm8k_model, lines, said, steps};

/// Flags that make a run small.
fn small<'a>(model: &'a str, data: &'a str, run: &'a str, method: &'a str) -> Vec<&'a str> {
    vec![
        "train",
        "--model",
        model,
        "--data",
        data,
        "--output-dir",
        run,
        "--method",
        method,
        "--max-completion-length",
        "24",
        "--truncation-mode",
        "keep_start",
        "--train-batch-size",
        "2",
        "--lr",
        "1e-3",
        "--logging-steps",
        "1",
    ]
}

#[test]
fn a_gft_run_leaves_what_it_promises() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path());
    let run = root.path().join("run");
    let (model, data, out) =
        (model.display().to_string(), gsm8k().display().to_string(), run.display().to_string());
    let mut args = small(&model, &data, &out, "gft");
    args.extend([
        "--max-steps",
        "2",
        "--completions-steps",
        "1",
        "--eval-dataset",
        &data,
        "--eval-rows",
        "3",
    ]);
    let output = gft_ok(&args);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), out);
    let said = said(&output);
    for part in ["10 rows", "1 expert + 3 teacher + 4 own", "step 2/2", "loss", "tok/s", "done: 2 steps"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(said.lines().all(|line| line.chars().count() < 120 || line.starts_with("model ")), "{said}");
    for file in ["config.toml", "metrics.jsonl", "config.json", "model.safetensors", "tokenizer.json"] {
        assert!(run.join(file).is_file(), "{file}");
        let checkpoint = run.join("checkpoint-2");
        if file.contains('.') && !["config.toml", "metrics.jsonl"].contains(&file) {
            assert!(checkpoint.join(file).is_file(), "checkpoint {file}");
        }
    }
    for file in ["optimizer.safetensors", "trainer_state.json", "run_state.json"] {
        assert!(run.join("checkpoint-2").join(file).is_file(), "{file}");
    }
    let metrics = steps(&run);
    assert_eq!(metrics.len(), 2);
    for key in
        ["loss", "grad_norm", "learning_rate", "reward", "frac_reward_zero_std", "entropy", "num_tokens"]
    {
        assert!(metrics[0][key].is_number(), "{key}: {}", metrics[0]);
    }
    for key in ["gft/frac_self", "gft/adv_mean/expert", "gft/rectified_frac", "completions/clipped_ratio"] {
        assert!(metrics[0][key].is_number(), "{key}: {}", metrics[0]);
    }
    // What dashboards read, at the end too.
    let state: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(run.join("trainer_state.json")).unwrap()).unwrap();
    let history = state["log_history"].as_array().unwrap();
    let last = history.last().unwrap();
    for key in ["train_runtime", "train_samples_per_second", "train_loss", "total_flos"] {
        assert!(last[key].as_f64().unwrap() != 0.0, "{key}: {last}");
    }
    assert!(history.iter().any(|line| line["eval_loss"].is_number()), "{state}");
    assert_eq!((&state["global_step"], &state["max_steps"]), (&2.into(), &2.into()));
    let completions = lines(&run.join("completions/1.jsonl"));
    assert_eq!(completions.len(), 2 * 8);
    let sources: Vec<&str> = completions[..8].iter().map(|line| line["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["expert", "teacher", "teacher", "teacher", "policy", "policy", "policy", "policy"]);
    assert!(completions.iter().any(|line| line["score"] == 1.0 && line["source"] == "expert"));
    // The model that is left can be trained on again, and the resolved configuration gives the same run.
    let config = run.join("config.toml").display().to_string();
    let again = root.path().join("again").display().to_string();
    gft_ok(&["train", &config, "--output-dir", &again]);
    assert_same_run(&run, Path::new(&again), 2);
    // A run that starts from a run's folder keeps its own metrics.
    let next = root.path().join("next");
    let next_out = next.display().to_string();
    let mut args = small(&out, &data, &next_out, "sft");
    args.extend(["--max-steps", "1"]);
    gft_ok(&args);
    assert_eq!(steps(&next).len(), 1);
    assert!(fs::read_to_string(next.join("config.toml")).unwrap().contains("method = \"sft\""));
}

/// Ratios and log-probabilities are of the whole distribution: where draws are not, that is said.
#[test]
fn a_cut_distribution_of_draws_is_said() {
    let root = tempfile::tempdir().unwrap();
    let (model, data) = (gsm8k_model(root.path()).display().to_string(), gsm8k().display().to_string());
    for (method, more, noted) in [
        ("grpo", &["--top-p", "0.9", "--top-k", "5"][..], true),
        ("grpo", &["--temperature", "0.7"], false),
        ("sft", &["--top-p", "0.9"], false),
    ] {
        let run = root.path().join(format!("{method} {noted}")).display().to_string();
        let mut args = small(&model, &data, &run, method);
        args.extend(["--max-steps", "1"]);
        args.extend(more);
        let said = said(&gft_ok(&args));
        let note = "top_p, top_k: own completions are drawn from a changed distribution";
        assert_eq!(said.contains(note), noted, "{method} {more:?}\n{said}");
    }
}

fn assert_same_run(a: &Path, b: &Path, expected: usize) {
    let numbers = |run: &Path| -> Vec<(String, String, String)> {
        let line = |line: serde_json::Value| {
            (line["step"].to_string(), line["loss"].to_string(), line["grad_norm"].to_string())
        };
        steps(run).into_iter().map(line).collect()
    };
    // Shortest round-trip decimals: equal texts are equal bits.
    assert_eq!(numbers(a), numbers(b));
    assert_eq!(numbers(a).len(), expected);
    let weights = |run: &Path| fs::read(run.join("model.safetensors")).unwrap();
    assert!(weights(a) == weights(b), "weights differ");
}

/// T1: 20 steps straight against 10, a new process, and 10.
#[test]
fn resume_is_bit_exact() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let data = gsm8k().display().to_string();
    for (method, updates) in [("sft", "1"), ("gft", "1"), ("gft-stable", "2"), ("grpo", "1")] {
        let straight = root.path().join(format!("{method}-straight"));
        let stopped = root.path().join(format!("{method}-stopped"));
        let (a, b) = (straight.display().to_string(), stopped.display().to_string());
        let more = ["--max-steps", "20", "--max-completion-length", "12", "--lr-scheduler-type", "linear"];
        // Rewards that an untrained model can have: GRPO alone on right answers would see none.
        let format = ["--reward-funcs", "verifier,soft_overlong", "--overlong-buffer", "12"];
        let mut args = small(&model, &data, &a, method);
        args.truncate(9);
        args.extend(["--truncation-mode", "keep_start", "--train-batch-size", "2", "--lr", "1e-3"]);
        args.extend(more);
        args.extend(["--updates-per-batch", updates]);
        if method != "sft" {
            args.extend(format);
        }
        gft_ok(&args);
        args[6] = &b;
        let mut first = args.clone();
        first.extend(["--stop-after-steps", "10"]);
        gft_ok(&first);
        assert_eq!(steps(&stopped).len(), 10);
        args.push("--resume");
        gft_ok(&args);
        assert_same_run(&straight, &stopped, 20);
        let losses = steps(&straight);
        assert!(
            losses.iter().any(|line| line["grad_norm"].as_f64().unwrap() > 0.0),
            "{method} learned nothing"
        );
    }
}

/// A finished run goes on with more steps where the learning rate does not depend on how many there are: it is then the run
/// that it would have been with them, with one end.
#[test]
fn a_longer_run_is_the_run_that_was_begun() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let data = gsm8k().display().to_string();
    let run = |name: &str| root.path().join(name);
    let args = |name: &str, more: &[&str]| -> Vec<String> {
        let out = run(name).display().to_string();
        let args = small(&model, &data, &out, "sft");
        args.iter().chain(more).map(ToString::to_string).collect()
    };
    let call = |args: &[String]| gft(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let ok = |args: &[String]| {
        let output = call(args);
        assert!(output.status.success(), "{args:?}\n{}", said(&output));
        said(&output)
    };
    let constant = ["--lr-scheduler-type", "constant"];
    let steps_of =
        |n: &'static str, more: &[&'static str]| [constant.as_slice(), &["--max-steps", n], more].concat();
    ok(&args("straight", &steps_of("6", &[])));
    ok(&args("longer", &steps_of("3", &[])));
    let heard = ok(&args("longer", &steps_of("6", &["--resume"])));
    assert!(heard.contains("max_steps was 3, is 6") && heard.contains("step 6/6"), "{heard}");
    assert_same_run(&run("straight"), &run("longer"), 6);
    let ends = |name: &str| {
        let lines = lines(&run(name).join("metrics.jsonl")).into_iter();
        lines
            .filter(|line| line.get("train_runtime").is_some())
            .map(|line| line["step"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ends("longer"), [6]);
    // Epochs: 10 rows in batches of 4 end with a batch of 2, and the second epoch begins behind it.
    let epochs = |n: &'static str, more: &[&'static str]| {
        [constant.as_slice(), &["--train-batch-size", "4", "--num-train-epochs", n], more].concat()
    };
    ok(&args("epochs", &epochs("1", &[])));
    ok(&args("epochs", &epochs("2", &["--resume"])));
    let seen: Vec<f64> = steps(&run("epochs")).iter().map(|line| line["epoch"].as_f64().unwrap()).collect();
    assert_eq!(seen, [0.4, 0.8, 1.0, 1.4, 1.8, 2.0]);
    // Fewer steps than are made, and a schedule over the length, are refused with the way on.
    let output = call(&args("longer", &steps_of("2", &["--resume"])));
    assert!(said(&output).contains("6 steps are made already"), "{}", said(&output));
    ok(&args("linear", &["--max-steps", "2"]));
    let output = call(&args("linear", &["--max-steps", "4", "--resume"]));
    let message = said(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let folder = format!("--model-name-or-path {}", run("linear").display());
    for part in ["max_steps was 2, is 4", "lr_scheduler_type = linear", &folder, "another --output-dir"] {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert_eq!(steps(&run("linear")).len(), 2);
    let config = fs::read_to_string(run("linear").join("config.toml")).unwrap();
    assert!(config.contains("max_steps = 2"), "what is refused changes nothing: {config}");
}

/// There must be something to resume, unless the user says otherwise.
#[test]
fn resume_without_a_checkpoint_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let data = gsm8k().display().to_string();
    let path = |name: &str| root.path().join(name).display().to_string();
    let (run, typo, other) = (path("run-one"), path("run-oen"), path("elsewhere"));
    let call = |out: &str, more: &[&str]| {
        gft(&[small(&model, &data, out, "sft").as_slice(), &["--max-steps", "1"], more].concat())
    };
    assert!(call(&run, &[]).status.success());
    let checkpoint = format!("{run}/checkpoint-1");
    for (out, more, parts) in [
        (&typo, &["--resume"][..], &["no such folder", "did you mean", "run-one?", "--resume auto"][..]),
        (&other, &["--resume"], &["no such folder, so there is nothing to resume. To begin"]),
        (&path("model"), &["--resume"], &["no checkpoint in this folder"]),
        (&run, &["--resume", &other], &["elsewhere: no such folder"]),
        (&run, &["--resume", &run], &["the folder of a run", &checkpoint]),
        (&run, &["--resume", &data], &["a file", "a configuration stands before it"]),
    ] {
        let output = call(out, more);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", said(&output));
        for part in parts {
            assert!(said(&output).contains(part), "{more:?}: `{part}` is not in: {}", said(&output));
        }
        assert!(!Path::new(&other).exists());
    }
    let output = call(&other, &["--resume", "auto"]);
    assert!(output.status.success() && said(&output).contains("begins at its start"), "{}", said(&output));
    let output = call(&other, &["--resume", "auto"]);
    assert!(output.status.success() && !said(&output).contains("begins at its start"), "{}", said(&output));
    assert!(call(&run, &["--resume", &checkpoint]).status.success());
}

/// A model that is saved in bfloat16 goes on from its f32 weights, not from the rounded ones.
#[test]
fn resume_keeps_the_master_weights_of_a_rounded_model() {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("model");
    let size = world::model::Size { dtype: gft_model::Dtype::Bf16, ..world::model::TINY };
    world::model::make_model(&model, &world::model::texts(), size, 3);
    let (model, data) = (model.display().to_string(), gsm8k().display().to_string());
    let (straight, stopped) = (root.path().join("straight"), root.path().join("stopped"));
    let (a, b) = (straight.display().to_string(), stopped.display().to_string());
    // Steps this small are lost when weights are rounded to eight bits.
    let more = ["--max-steps", "6", "--learning-rate", "1e-5", "--lr-scheduler-type", "constant"];
    let args = |out| {
        let mut args = small(&model, &data, out, "sft");
        args.truncate(args.len() - 4);
        args.extend(more);
        args
    };
    gft_ok(&args(&a));
    gft_ok(&[args(&b), vec!["--stop-after-steps", "3"]].concat());
    gft_ok(&[args(&b), vec!["--resume"]].concat());
    assert_same_run(&straight, &stopped, 6);
}

/// A changed setting is not continued silently, and a damaged checkpoint is not used.
#[test]
fn resume_refuses_what_would_be_another_run() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let data = gsm8k().display().to_string();
    let run = root.path().join("run");
    let out = run.display().to_string();
    let args = small(&model, &data, &out, "sft");
    let with = |more: &[&'static str]| [args.clone(), more.to_vec()].concat();
    gft_ok(&with(&["--max-steps", "6", "--save-steps", "2", "--stop-after-steps", "4"]));
    let output = gft(&with(&["--max-steps", "6", "--resume", "--seed", "7"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("seed was 42, is 7"), "{}", said(&output));
    // One bit of the newest checkpoint's moments: the one before it is used, and that is said.
    let moments = run.join("checkpoint-4/optimizer.safetensors");
    let mut bytes = fs::read(&moments).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&moments, bytes).unwrap();
    let output = gft_ok(&with(&["--max-steps", "6", "--resume"]));
    let said = said(&output);
    assert!(
        said.contains("checkpoint of step 4 is not used") && said.contains("optimizer.safetensors"),
        "{said}"
    );
    assert!(said.contains("resumed at step 2"), "{said}");
    assert_eq!(steps(&run).len(), 6);
    // Steps 3 and 4 were made twice; TensorBoard's files have them once, as metrics.jsonl does.
    let mut losses = 0;
    for entry in fs::read_dir(&run).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents.") {
            losses += fs::read(path).unwrap().windows(10).filter(|bytes| bytes == b"train/loss").count();
        }
    }
    assert_eq!(losses, 6);
}

/// Files that cannot be written beyond a size, as on a full disk: an error with the path, and what was saved stays.
#[test]
fn a_full_disk_loses_nothing_that_was_saved() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let data = gsm8k().display().to_string();
    let run = root.path().join("run");
    let out = run.display().to_string();
    let args = small(&model, &data, &out, "sft");
    let with = |more: &[&'static str]| [args.clone(), more.to_vec()].concat();
    gft_ok(&with(&["--max-steps", "4", "--stop-after-steps", "2"]));
    let before = fs::read(run.join("checkpoint-2/model.safetensors")).unwrap();
    // The shell's limit is in blocks of 512 or 1024 bytes; the weights are larger than either reading of it.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -f 200; trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_gft")]);
    let output = command.args(with(&["--max-steps", "4", "--resume"])).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("model.safetensors"), "{}", said(&output));
    assert!(!run.join("checkpoint-4").exists());
    assert!(fs::read(run.join("checkpoint-2/model.safetensors")).unwrap() == before);
    gft_ok(&with(&["--max-steps", "4", "--resume"]));
    assert_eq!(steps(&run).len(), 4);
}

#[test]
fn a_folder_with_a_run_is_not_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let data = gsm8k().display().to_string();
    let out = root.path().join("run").display().to_string();
    let mut args = small(&model, &data, &out, "sft");
    args.extend(["--max-steps", "1"]);
    gft_ok(&args);
    let output = gft(&args);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--resume"), "{}", said(&output));
}
