//! Every command of the README runs, in its order, on the files that it speaks of; only sizes are made smaller.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../../../README.md");

/// What makes a command small enough for a test; later flags count.
const SMALLER: &[(&str, &str)] = &[
    ("train", "--max-steps 2 --max-completion-length 24 --truncation-mode keep_start"),
    ("plan", "--max-steps 2 --max-completion-length 24 --truncation-mode keep_start"),
    ("generate", "--max-new-tokens 4"),
    ("eval", "--limit 2 --max-new-tokens 4 --drift-prompts 2"),
    (
        "diagnose",
        "--rows 4 --gradient-tokens 2 --prompts 2 -n 2 --max-new-tokens 8 --sft-steps 1 --sft-batch 2",
    ),
    ("bench", "--runs 1 --warmup 0 --batch 1 --seq 32"),
    // The endpoint is not there; what would be asked of it is said all the same.
    ("group build", "--dry-run"),
];

/// Commands that build, need a card, or are cut short in the README, and where they are tested.
const ELSEWHERE: &[(&str, &str)] = &[
    ("cargo run --release --locked -p gft -- demo", "demo.rs, and below"),
    ("cargo test --workspace --locked", "this"),
    ("recipes/quickstart.sh", "recipes.rs has what it runs"),
    (
        "gft train --method gft --model sft --data groups.jsonl --output-dir run --device cuda",
        "cli/device.rs",
    ),
    ("gft group build ... --dry-run", "group/build.rs"),
];

/// The lines of the README's shell blocks without their comments.
fn commands() -> Vec<&'static str> {
    let blocks = README.split("```").enumerate().filter(|(index, _)| index % 2 == 1);
    let shell = blocks.filter_map(|(_, block)| block.strip_prefix("sh\n"));
    shell.flat_map(str::lines).map(|line| line.split("  #").next().unwrap().trim()).collect()
}

/// The files that the README's commands speak of.
fn files(folder: &Path) {
    let rows = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data/rows");
    let copy = |from: &str, to: &str| fs::copy(rows.join(from), folder.join(to)).unwrap();
    copy("gsm8k-train-20.jsonl", "train.jsonl");
    copy("gsm8k-train-20.jsonl", "gsm8k-test.jsonl");
    copy("gsm8k-groups-10.jsonl", "groups.jsonl");
    copy("messages-zstd.parquet", "chats.parquet");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("aime24.jsonl", "{\"question\": \"What is 3 times 11?\", \"answer\": \"33\"}\n");
    write("rows.jsonl", "{\"prompt\": \"What is 1 + 1?\", \"completion\": \" 2\"}\n");
    write(
        "batches.jsonl",
        "{\"groups\": [{\"responses\": [{\"source\": \"expert\", \"reward\": 1.0, \"logprobs\": [-0.5, -2.9]}, \
         {\"source\": \"policy\", \"reward\": 0.0, \"logprobs\": [-0.5]}]}]}\n",
    );
    fs::create_dir(folder.join("hf-export")).unwrap();
    write(
        "hf-export/part.jsonl",
        "{\"Problem\": \"What is 2 + 2?\", \"Work\": \"2 and 2 are 4\\n#### 4\"}\n",
    );
    fs::create_dir(folder.join("bin")).unwrap();
    let cases = SMALLER.iter().map(|(name, flags)| format!("  '{name}') set -- \"$@\" {flags};;\n"));
    let script = format!(
        "#!/bin/sh\ncommand=$1\n[ \"$1\" = group ] && command=\"$1 $2\"\ncase $command in\n{}esac\nexec '{}' \"$@\"\n",
        cases.collect::<String>(),
        env!("CARGO_BIN_EXE_gft"),
    );
    write("bin/gft", &script);
    fs::set_permissions(folder.join("bin/gft"), fs::Permissions::from_mode(0o755)).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn every_command_runs() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    files(folder);
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap());
    let commands = commands();
    for (elsewhere, _) in ELSEWHERE {
        assert!(commands.contains(elsewhere), "{elsewhere} is no command of the README any more");
    }
    let mut ran = 0;
    for command in commands {
        if ELSEWHERE.iter().any(|(elsewhere, _)| *elsewhere == command) {
            continue;
        }
        // A run begins in a folder of its own; models of other names are the one that is here.
        if command.starts_with("gft train") && !command.contains("--resume") && folder.join("run").exists() {
            fs::remove_dir_all(folder.join("run")).unwrap();
        }
        for (name, source) in [("Qwen2.5-0.5B", "base"), ("my-model", "base"), ("other-run", "run")] {
            if command.contains(name) && !folder.join(name).exists() {
                copy_folder(&folder.join(source), &folder.join(name));
            }
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(folder).env("PATH", &path).env("NO_COLOR", "1");
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{said}");
        ran += 1;
    }
    assert!(ran >= 25, "{ran} commands were found in the README");
}

#[test]
fn the_demo_prints_what_the_readme_shows_but_for_its_numbers() {
    let root = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_gft"));
    demo.args(["demo", "--rows", "64", "--problems", "8", "--samples", "2", "--max-steps", "2"]);
    let output = demo.current_dir(root.path()).env("NO_COLOR", "1").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let shown = README.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    // Words without what stands in brackets, numbers, and the sentences that hang on them.
    let outline = |text: &str| -> Vec<String> {
        let head = text.trim_start().lines().take_while(|line| !line.trim().is_empty()).map(|line| {
            let named = |word: &&str| word.chars().all(|c| c.is_alphabetic() || "/:,%".contains(c));
            line.split_whitespace().filter(named).filter(|word| *word != "%").collect::<Vec<_>>().join(" ")
        });
        let tail = text.lines().skip_while(|line| *line != "Try next:").map(|line| line.trim().to_owned());
        head.chain(tail).collect()
    };
    assert!(outline(shown).len() >= 11, "{:?}", outline(shown));
    assert_eq!(outline(&printed), outline(shown));
}
