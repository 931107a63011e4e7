//! What users get wrong, and what they are told: the setting or file, the reason, and what to do; exit codes 2 and 3.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod world;

use std::path::Path;

use world::{gft, gsm8k, gsm8k_model, said};

/// Runs `gft train` with a configuration and flags and returns its exit code and message.
fn refuse(config: &Path, text: &str, flags: &[&str]) -> (i32, String) {
    std::fs::write(config, text).unwrap();
    let config = config.display().to_string();
    let output = gft(&[["train", &config].as_slice(), flags].concat());
    (output.status.code().unwrap_or(-1), said(&output))
}

#[test]
fn mistakes_are_named_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let data = gsm8k().display().to_string();
    let config = root.path().join("config.toml");
    let out = root.path().join("run").display().to_string();
    let empty = root.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let empty = empty.display().to_string();
    let rows = |name: &str, text: &str| {
        let path = root.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let no_answer = rows("no-answer.jsonl", "{\"prompt\": \"How many?\", \"solution\": null}\n");
    let no_text = rows("no-text.jsonl", "{\"prompt\": \"How many?\", \"expert_completions\": [\" \"]}\n");
    let broken =
        rows("broken.jsonl", "{\"question\": \"1 + 1?\", \"answer\": \"#### 2\"}\n{\"question\": \n");
    let preferences =
        rows("pairs.jsonl", "{\"prompt\": \"1 + 1?\", \"chosen\": \"2\", \"rejected\": \"3\"}\n");
    let nan = rows("strange.jsonl", "{\"a\": 1}\n");
    let none = rows("none.jsonl", "");
    let base = ["--model", &model, "--data", &data, "--output-dir", &out];
    // (configuration, flags beside the base, exit code, parts of the message)
    let cases: &[(&str, &[&str], i32, &[&str])] = &[
        ("learning_rat = 1e-4", &[], 2, &["`learning_rat`", "did you mean `learning_rate`"]),
        ("[actor_rollout_ref.actor]\nclip_rato = 0.2", &[], 2, &["did you mean", "clip_ratio"]),
        ("learning_rate = \"fast\"", &[], 2, &["`learning_rate`", "\"fast\"", "a number"]),
        ("max_steps = 1\n\"max_steps\" = 2", &[], 2, &["config.toml:2: duplicate key"]),
        ("lr = 1e-4\nlearning_rate = 1e-5", &[], 2, &["config.toml:2: `learning_rate`", "twice"]),
        ("method = \"gtf\"", &[], 2, &["config.toml:1: ", "`gtf`", "gft-paper"]),
        ("method = \"sft\"\ntau = 0.5", &[], 2, &["config.toml:2: `tau`", "no effect", "sft"]),
        ("method = \"gft\"\nmax_steps = 1", &["--tau", "7"], 2, &["error: tau = 7 is out of range"]),
        (
            "max_step = 1\nlearning_rate = \"fast\"\npacking = true",
            &[],
            2,
            &[
                "config.toml: 3 mistakes",
                "config.toml:1: ",
                "`max_steps`",
                "config.toml:2: ",
                "config.toml:3: `packing`",
            ],
        ),
        (
            "[[stages]]\nmethod = \"sft\"\n\n[[stages]]\nmethod = \"sft\"\nnum_generations = 4",
            &[],
            2,
            &["config.toml:6: num_generations = 4"],
        ),
        ("method = \"sft\"\nnum_generations = 4", &[], 2, &["num_generations = 4", "sft"]),
        ("method = \"grpo\"\nnum_generations = 1", &[], 2, &["a group of one", "raise num_generations"]),
        ("method = \"grpo\"\nnum_teachers = 2", &[], 2, &["num_teachers = 2", "grpo"]),
        ("tau = 1.5", &[], 2, &["tau = 1.5", "range"]),
        ("per_device_train_batch_size = 6", &[], 2, &["multiple", "num_generations = 4", "8"]),
        ("train_batch_size = 4\nper_device_train_batch_size = 8", &[], 2, &["contradicts", "2 prompts"]),
        ("lr_scheduler_type = \"constant\"\nwarmup_steps = 3", &[], 2, &["constant_with_warmup"]),
        ("temperature = 0", &[], 2, &["temperature = 0", "same"]),
        ("", &["--temperature", "nan"], 2, &["`temperature` = nan is not a number"]),
        ("top_p = 0", &[], 2, &["top_p = 0", "above 0 to 1"]),
        ("min_p = 1.5", &[], 2, &["min_p = 1.5", "0 to 1"]),
        ("lora_r = 8", &[], 2, &["`lora_r`", "use_peft = true"]),
        ("beta = 0.1\nmethod = \"sft\"", &[], 2, &["`beta`", "no own rows"]),
        ("kl_estimator = \"k3\"", &[], 2, &["`kl_estimator`", "beta is 0"]),
        ("[[stages]]\nmethod = \"sft\"\nseed = 3", &[], 2, &["`seed`", "above the first [[stages]]"]),
        ("reward_funcs = [\"verifer\"]", &[], 2, &["`verifer`", "verifier"]),
        (
            "reward_funcs = [\"verifier\"]\nreward_weights = [1, 2]",
            &[],
            2,
            &["2 reward weights", "1 rewards"],
        ),
        ("reward_funcs = [\"nowhere.py:score\"]", &[], 3, &["nowhere.py", "no such file"]),
        ("max_reward_error_frac = 10", &[], 2, &["max_reward_error_frac = 10", "0 to 1"]),
        ("reward_time_limit = 0", &[], 2, &["reward_time_limit", "above 0"]),
        ("max_length = 100000", &[], 2, &["max_length = 100000", "1024"]),
        ("truncation_mode = \"middle\"", &[], 2, &["`middle`", "keep-start"]),
        ("save_dtype = \"int4\"", &[], 2, &["save_dtype", "bfloat16"]),
        ("max_prompt_length = 2", &[], 3, &["none of the 10 rows", "prompt too long"]),
        ("max_steps = 0", &[], 2, &["no steps"]),
        (
            "method = \"sft-mix\"",
            &["--data", &preferences],
            3,
            &["pairs.jsonl: the column \"rejected\"", "sft-mix", "num_teachers = 0", "\"teachers=rejected\""],
        ),
        ("", &["--model", &empty], 3, &["empty: not a model folder", "it is empty"]),
        ("", &["--model", "/nowhere/at/all"], 3, &["/nowhere/at/all: no such folder"]),
        ("", &["--model", &broken], 3, &["broken.jsonl"]),
        ("", &["--data", "/nowhere.jsonl"], 3, &["/nowhere.jsonl"]),
        ("", &["--data", &no_answer], 3, &["no reference answer", "no-answer"]),
        ("method = \"sft\"", &["--data", &no_text], 3, &["empty completion"]),
        ("", &["--data", &broken], 3, &["broken.jsonl:2", "bad_rows"]),
        ("", &["--data", &none], 3, &["none.jsonl"]),
        (
            "",
            &["--data", "openai/gsm8k"],
            3,
            &["Hugging Face Hub", "hf download openai/gsm8k --repo-type dataset --local-dir gsm8k"],
        ),
        ("", &["--eval-data", "/nowhere/test.jsonl"], 3, &["/nowhere/test.jsonl"]),
        ("report_to = \"wandb\"", &[], 2, &["`wandb`", "tensorboard"]),
        ("log_completions = true\ncompletions_steps = 0", &[], 2, &["log_completions", "completions_steps"]),
        // A later stage is looked at before the first one runs.
        ("[[stages]]\nmethod = \"sft\"\n[[stages]]\nmax_prompt_length = 2", &[], 3, &["prompt too long"]),
        ("", &["--data", &nan], 3, &["strange.jsonl", "no known layout"]),
        ("columns = \"promt=prompt\"", &[], 2, &["unknown role \"promt\"", "did you mean prompt?"]),
        ("[columns]\nprompt = 3", &[], 2, &["`columns`"]),
        ("[columns]\nprompt = \"promt\"", &[], 3, &["\"promt\" as prompt", "did you mean \"prompt\"?"]),
        ("", &["--output-dir", "/proc/nowhere"], 1, &["/proc/nowhere"]),
    ];
    for (text, flags, code, parts) in cases {
        let mut all: Vec<&str> = Vec::new();
        for pair in base.chunks(2) {
            if !flags.contains(&pair[0]) {
                all.extend(pair);
            }
        }
        all.extend(*flags);
        let (found, message) = refuse(&config, text, &all);
        assert_eq!(found, *code, "{text} {flags:?}: {message}");
        for part in *parts {
            assert!(message.contains(part), "{text} {flags:?}: `{part}` is not in: {message}");
        }
        assert!(!message.contains("panicked"), "{message}");
    }
    for (missing, name) in [(0, "model_name_or_path"), (1, "dataset_name"), (2, "output_dir")] {
        let flags: Vec<&str> = base
            .chunks(2)
            .enumerate()
            .filter(|(at, _)| *at != missing)
            .flat_map(|(_, pair)| pair)
            .copied()
            .collect();
        let (code, message) = refuse(&config, "", &flags);
        assert!(code == 2 && message.contains(name), "{code} {message}");
    }
}

/// What a shell makes of `--data *.jsonl`, and flags of other trainers: all are answered, each for what it is.
#[test]
fn command_lines_of_other_trainers_are_answered() {
    for command in ["train", "plan"] {
        for (flags, parts) in [
            (&["--data", "a.jsonl", "b.jsonl"][..], &["b.jsonl: a data file", "--data a.jsonl,b.jsonl"][..]),
            (&["--data", "a.parquet", "b.parquet", "c.parquet"], &["b.parquet: a data file"]),
            (&["a.toml", "b.toml"], &["two configuration files, a.toml and b.toml"]),
            (&["--bf16", "--max-steps", "1"], &["error: --bf16: no flag of gft: ", "save_dtype"]),
            (
                &["--use_vllm", "True", "--deepspeed=zero3.json", "--lr", "1e-5", "--learning-rat", "3"],
                &[
                    "3 unknown flags",
                    "--use_vllm: no flag of gft: ",
                    "--deepspeed: no flag of gft: ",
                    "--learning-rat: no such flag; did you mean --learning-rate?",
                ],
            ),
        ] {
            let output = gft(&[[command].as_slice(), flags].concat());
            let said = said(&output);
            assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
            for part in parts {
                assert!(said.contains(part), "{flags:?}: `{part}` is not in: {said}");
            }
            assert!(!said.contains("tip:") && !said.contains("--lr"), "{said}");
        }
    }
    // Flags that are known keep their meaning.
    let known = ["--gradient_checkpointing", "--per_device_train_batch_size", "8", "--report_to", "none"];
    let output = gft(&[["plan"].as_slice(), &known, &["--model", "/nowhere"]].concat());
    assert!(said(&output).contains("/nowhere: no such folder"), "{}", said(&output));
    // Another mistake, and a command without settings, are clap's to say.
    let output = gft(&["diagnose", "--bf16"]);
    assert!(said(&output).contains("unexpected argument '--bf16'"), "{}", said(&output));
    let output = gft(&["train", "--seed"]);
    assert!(said(&output).contains("a value is required for '--seed"), "{}", said(&output));
}

/// `gft plan` shows what the method and the model decide, and that they do.
#[test]
fn the_plan_shows_what_the_method_decides() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let data = gsm8k().display().to_string();
    let plan = |more: &[&str]| {
        let output =
            gft(&[["plan", "--model", &model, "--data", &data, "--output-dir", "run"].as_slice(), more]
                .concat());
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        move |name: &str| -> String {
            let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
            line.unwrap_or_else(|| panic!("{name}\n{text}")).split_whitespace().collect::<Vec<_>>().join(" ")
        }
    };
    let paper = plan(&["--method", "gft"]);
    assert_eq!(paper("tau"), "tau 0.7 method gft-paper");
    assert_eq!(paper("demonstration_rule"), "demonstration_rule \"dcr\" method gft-paper");
    assert_eq!(paper("epsilon"), "epsilon - not used by gft-paper");
    assert_eq!(paper("weight_decay"), "weight_decay 0.0 default");
    assert_eq!(paper("max_length"), "max_length 1024 model");
    assert_eq!(paper("save_dtype"), "save_dtype \"float32\" model");
    let given = plan(&["--method", "gft", "--tau", "0.5", "--policy-rule", "ratio-clip"]);
    assert_eq!(given("tau"), "tau 0.5 flag");
    assert_eq!(given("epsilon"), "epsilon 0.2 default");
    assert_eq!(plan(&["--method", "sft"])("policy_rule"), "policy_rule - not used by sft");
}

/// Files given in parts are all read; where most demonstrations are left out, that stands apart, in the plan too.
#[test]
fn a_list_in_parts_is_one_list_and_lost_demonstrations_are_said() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let groups = gsm8k().display().to_string();
    let more = root.path().join("more.jsonl");
    std::fs::write(&more, "{\"question\": \"1 + 1?\", \"answer\": \"It is two.\\n#### 2\"}\n").unwrap();
    let more = more.display().to_string();
    let plan = |limit: &str| {
        let files = ["--data", &groups, "--data", &more];
        let rest =
            ["--model", &model, "--output-dir", "run", "--method", "gft", "--max-completion-length", limit];
        let output = gft(&[["plan"].as_slice(), &files, &rest].concat());
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let whole = plan("2000");
    // Of four teachers of a row three are taken.
    assert!(whole.contains("11 usable rows") && whole.matches("note:").count() == 1, "{whole}");
    assert!(whole.contains("30 of 40 teacher completions are used, 3 of a prompt an epoch"), "{whole}");
    let cut = plan("20");
    assert!(cut.contains("demonstrations left out") && cut.contains("note:"), "{cut}");
    assert!(cut.contains("raise max_completion_length"), "{cut}");
    // Demonstrations alone are a choice that a preset for own completions does not expect.
    let args = ["plan", "--model", &model, "--output-dir", "run", "--data", &groups];
    let alone = |own: &str| gft(&[&args[..], &["--method", "gft", "--num-generations", own]].concat()).stdout;
    let said = |own: &str| String::from_utf8(alone(own)).unwrap().contains("note: num_generations = 0");
    assert!(said("0") && !said("4"));
}
