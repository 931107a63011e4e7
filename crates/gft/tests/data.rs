//! `gft data inspect`, `gft data convert`, and the column map on every command that reads data.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod world;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use world::{gft, gft_ok, gsm8k, gsm8k_model, lines, said};

fn out(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn file(folder: &Path, name: &str, rows: &[Value]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    path.display().to_string()
}

#[test]
fn inspect_shows_what_training_will_read() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let data = gsm8k().display().to_string();
    let limits = ["--max-prompt-length", "180", "--max-completion-length", "60"];
    let args = [&["data", "inspect", &data, "--model", &model, "--examples", "1"][..], &limits].concat();
    let page = out(&gft_ok(&args));
    for part in [
        "layout         groups (prompt, solution, teacher_completions)",
        "gold answers     10 from a last line \"A:\"; 0 rows without",
        "completions      10 expert, 40 teacher; 0 rows without any",
        "limits           max_prompt_length 180, max_completion_length 60",
        "learned          ",
        "with prompt  ",
        "█",
        "context ⟦learned⟧ ⟨not learned⟩; tokens parted by │",
        "row 0 (gsm8k-test-0000), gold \"18\"",
        "teacher 6b_finetuning",
    ] {
        assert!(page.contains(part), "`{part}` is not in:\n{page}");
    }
    let report_lines = page.lines().skip(1).take_while(|line| !line.starts_with("context"));
    let widest = report_lines.map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{widest:?}\n{page}");
    assert!(!page.contains('\u{1b}'));

    let json = gft_ok(&[&args[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&report["rows"], &report["gold"]["a last line \"A:\""], &report["unit"]),
        (&json!(10), &json!(10), &json!("tokens"))
    );
    assert_eq!(report["files"][0]["columns"][0], json!(["prompt", "prompt"]));
    assert!(
        report["completions_cut"].as_u64().unwrap() > 0 && report["experts"]["max"].as_u64().unwrap() > 60
    );
    let tokens = report["examples"][0]["completions"][0]["tokens"].as_array().unwrap();
    let roles: Vec<&str> = tokens.iter().map(|token| token["role"].as_str().unwrap()).collect();
    let context = roles.iter().take_while(|role| **role == "context").count();
    assert!(context > 10 && roles[context..].iter().all(|role| *role == "supervised"), "{roles:?}");
    assert_eq!(roles.len() - context, 60, "cut at the limit");
}

#[test]
fn inspect_without_a_model_counts_characters() {
    let data = gsm8k().display().to_string();
    let page = out(&gft_ok(&["data", "inspect", &data, "--examples", "1"]));
    assert!(
        page.contains("give --model DIR")
            && page.contains("characters")
            && page.contains("teacher 6b_finetuning")
    );
}

#[test]
fn data_that_cannot_be_used_is_exit_3_with_the_mend() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let good = json!({"question": "1 + 1?", "answer": "It is two.\n#### 2"});
    let bad = file(
        root.path(),
        "bad.jsonl",
        &[good.clone(), json!({"question": 3, "answer": "x"}), json!({"answer": "x"})],
    );
    let alone = file(root.path(), "alone.jsonl", &[json!({"prompt": "q"})]);
    let strange = file(root.path(), "strange.jsonl", &[json!({"Problem": "q", "Reply": "a\n#### 1"})]);
    let fine = file(root.path(), "fine.jsonl", std::slice::from_ref(&good));
    let twice = file(root.path(), "twice.jsonl", &[json!({"messages": [{"role": "user", "content": "a"}]})]);
    let template = root.path().join("broken.jinja");
    std::fs::write(&template, "{{ raise_exception('no') if messages|length == 1 }}{% for m in messages %}{{ m.content }}{% endfor %}").unwrap();
    let template = template.display().to_string();
    for (args, parts) in [
        (vec![bad.as_str()], &["2 of 3 rows cannot be used", "bad.jsonl:2", "--bad-rows drop"][..]),
        (vec![&alone], &["prompts alone", "--columns solution=NAME"]),
        (vec![&strange], &["no known layout", "Problem, Reply", "--columns prompt=NAME"]),
        (vec![&strange, "--columns", "prompt=problem"], &["did you mean \"Problem\"?", "strange.jsonl"]),
        (
            vec![&fine, "--model", &model, "--max-prompt-length", "1"],
            &["every prompt is too long", "--max-prompt-length"],
        ),
        (vec![&fine, "--model", "/nowhere/at/all"], &["no such folder"]),
        (vec![&twice, "--model", &model, "--chat-template", &template], &["cannot be encoded", "twice:1"]),
        (vec!["/nowhere.jsonl"], &["/nowhere.jsonl"]),
        (
            vec!["openai/gsm8k"],
            &["openai/gsm8k: no such file", "Hugging Face Hub", "hf download openai/gsm8k"],
        ),
    ] {
        let output = gft(&[&["data", "inspect"][..], &args].concat());
        let message = said(&output);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{args:?}: {message}");
    }
    let page = out(&gft_ok(&["data", "inspect", &bad, "--bad-rows", "drop"]));
    assert!(
        page.contains("1, and 2 left out") && page.contains("bad.jsonl:3: column \"question\" is missing"),
        "{page}"
    );
    let many: Vec<Value> = (0..9).map(|_| json!({"answer": "x"})).chain([good]).collect();
    let many = file(root.path(), "many.jsonl", &many);
    let page = out(&gft_ok(&["data", "inspect", &many, "--bad-rows", "drop"]));
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains("left out 9 x ") && page.contains("many.jsonl:1: column"), "{page}");
    assert!(page.contains("many.jsonl:2 ") && page.contains("many.jsonl:5 ..."), "{page}");
    let page = out(&gft_ok(&["data", "inspect", &strange, "--columns", "prompt=Problem,solution=Reply"]));
    assert!(page.contains("columns as mapped, with --columns") && page.contains("1 from ####"), "{page}");
}

#[test]
fn convert_writes_whole_files_and_says_what_it_left_out() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).display().to_string();
    let data = gsm8k().display().to_string();
    let verl = path("train.parquet");
    let convert = |args: &[&str]| gft(&[&["data", "convert"][..], args].concat());
    let refused = convert(&[&data, "-o", &verl, "--to", "verl"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(
        said(&refused).contains("teacher completions") && said(&refused).contains("--lossy"),
        "{}",
        said(&refused)
    );
    assert!(!PathBuf::from(&verl).exists());
    let done = convert(&[&data, "-o", &verl, "--to", "verl", "--lossy", "--data-source", "openai/gsm8k"]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(
        out(&done).contains("10 rows, verl, Parquet\nnot in it: teacher completions (10 rows"),
        "{}",
        out(&done)
    );

    let group = path("group.jsonl.gz");
    let done = convert(&[&verl, "-o", &group, "--to", "group", "--json"]);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        (&report["rows"], &report["lost"], &report["format"]),
        (&json!(10), &json!([]), &json!("JSONL, gzip"))
    );

    let again = convert(&[&verl, "-o", &group, "--to", "group"]);
    assert!(
        again.status.code() == Some(2) && said(&again).contains("--force writes over it"),
        "{}",
        said(&again)
    );
    assert!(convert(&[&verl, "-o", &group, "--to", "messages", "--force"]).status.success());
    let wrong = convert(&[&verl, "-o", &group, "--to", "excel"]);
    assert!(wrong.status.code() == Some(2) && said(&wrong).contains("problem-solution"), "{}", said(&wrong));
}

/// One file whose columns no layout knows, through every command that reads data.
#[test]
fn the_column_map_works_everywhere() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let rows: Vec<Value> =
        lines(&gsm8k()).iter().map(|row| json!({"Ask": row["prompt"], "Work": row["solution"]})).collect();
    let data = file(root.path(), "strange.jsonl", &rows);
    let path = |name: &str| root.path().join(name).display().to_string();
    let map = ["--columns", "prompt=Ask,solution=Work"];

    let to = path("known.jsonl");
    gft_ok(&[&["data", "convert", &data, "-o", &to, "--to", "question-answer"][..], &map].concat());
    assert_eq!(lines(Path::new(&to))[0]["question"], rows[0]["Ask"]);

    let plan = ["plan", "--method", "sft", "--model", &model, "--data", &data, "--output-dir", "x", "--json"];
    let report: Value = serde_json::from_slice(&gft_ok(&[&plan[..], &map].concat()).stdout).unwrap();
    assert!(report.to_string().contains("prompt=Ask"), "{report}");
    let config = path("map.toml");
    std::fs::write(&config, "[columns]\nprompt = \"Ask\"\nsolution = \"Work\"\n").unwrap();
    gft_ok(&[&["plan", &config][..], &plan[1..]].concat());

    let few = ["--limit", "2", "--max-new-tokens", "4", "--quiet"];
    gft_ok(&[&["eval", &data, "--model", &model, "--output-dir", &path("eval")][..], &few, &map].concat());
    let short = [
        "--rows",
        "4",
        "--gradient-tokens",
        "0",
        "--prompts",
        "2",
        "-n",
        "2",
        "--max-new-tokens",
        "4",
        "--sft-steps",
        "1",
    ];
    gft_ok(&[&["diagnose", "--model", &model, "--data", &data, "--quiet"][..], &short, &map].concat());
    let generated =
        gft_ok(&["generate", "--model", &model, &data, "--max-new-tokens", "2", "--columns", "prompt=Ask"]);
    assert_eq!(out(&generated).lines().count(), 10);
    gft_ok(&["logprobs", "--model", &model, &data, "--columns", "prompt=Ask,expert=Work"]);

    let wrong = ["--columns", "prompt=Ast"];
    for (args, code) in [
        (&["data", "inspect", &data][..], 3),
        (&["data", "convert", &data, "-o", &to, "--to", "messages", "--force"], 3),
        (&plan, 3),
        (&["eval", &data, "--model", &model], 3),
        (&["diagnose", "--model", &model, "--data", &data], 3),
        (&["generate", "--model", &model, &data], 3),
        (&["logprobs", "--model", &model, &data], 3),
    ] {
        let output = gft(&[args, &wrong].concat());
        let message = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
        assert!(
            message.contains("the columns are Ask, Work") && message.contains("did you mean \"Ask\"?"),
            "{args:?}: {message}"
        );
        let output = gft(&[args, &["--columns", "promt=Ask"]].concat());
        assert!(
            output.status.code() == Some(2) && said(&output).contains("did you mean prompt?"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn prompts_continued_as_they_stand_are_said_by_every_command() {
    const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path());
    std::fs::write(model.join("chat_template.jinja"), TEMPLATE).unwrap();
    let (model, run) = (model.display().to_string(), root.path().join("run").display().to_string());
    let texts: Vec<Value> =
        (1..9).map(|n| json!({"prompt": format!("{n}+1="), "completion": (n + 1).to_string()})).collect();
    let questions: Vec<Value> =
        (1..4).map(|n| json!({"prompt": format!("{n}+1="), "answer": (n + 1).to_string()})).collect();
    let (texts, questions) =
        (file(root.path(), "texts.jsonl", &texts), file(root.path(), "questions.jsonl", &questions));
    let note =
        "the prompts of 8 of 8 rows are texts that are continued as they stand, without the chat template";
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let inspect = ["data", "inspect", &texts, "--model", &model];
    assert!(flat(&out(&gft_ok(&inspect))).contains(note), "{}", out(&gft_ok(&inspect)));
    let chosen = flat(&out(&gft_ok(&[&inspect[..], &["--presentation", "chat"]].concat())));
    assert!(!chosen.contains("continued"), "{chosen}");

    let train = ["train", "--method", "sft", "--model", &model, "--data", &texts, "--max-steps", "1"];
    let told = said(&gft_ok(&[&train[..], &["--output-dir", &run]].concat()));
    assert!(told.contains(note) && told.contains("gft generate --model"), "{told}");
    assert!(
        told.contains("--presentation verbatim --prompt") && !told.contains("gft chat --model"),
        "{told}"
    );
    let eval = ["eval", &questions, "--model", &run, "--max-new-tokens", "2"];
    let told = said(&gft_ok(&eval));
    assert!(told.contains("--prompt-style verbatim asks as was trained"), "{told}");
    for quiet in [["--prompt-style", "verbatim"], ["--prompt-style", "chat"]] {
        let told = said(&gft_ok(&[&eval[..], &quiet].concat()));
        assert!(!told.contains("as was trained"), "{told}");
    }
    let generate = ["generate", "--model", &run, "--prompt", "1+1=", "--max-new-tokens", "2"];
    assert!(said(&gft_ok(&generate)).contains("--presentation verbatim asks as was trained"));
    let verbatim = said(&gft_ok(&[&generate[..], &["--presentation", "verbatim"]].concat()));
    assert!(!verbatim.contains("as was trained"), "{verbatim}");

    // Trained as questions are put, nothing is to be said.
    let other = root.path().join("other").display().to_string();
    let told = said(&gft_ok(&[&train[..], &["--output-dir", &other, "--presentation", "chat"]].concat()));
    assert!(!told.contains("continued as they stand") && told.contains("gft chat --model"), "{told}");
    let told = said(&gft_ok(&["eval", &questions, "--model", &other, "--max-new-tokens", "2"]));
    assert!(!told.contains("as was trained"), "{told}");
}
