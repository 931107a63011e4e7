//! `gft report` and `gft compare` on real runs: the page's structure, and the page in a browser where there is one.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use world::{gft, gft_ok, gsm8k, gsm8k_model, lines, said};

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A short run of GFT, evaluated; one own completion is replaced by text that would do harm if it were markup.
fn run(root: &Path, name: &str, method: &str) -> PathBuf {
    let (model, data, run) = (root.join("model"), gsm8k(), root.join(name));
    if !model.is_dir() {
        gsm8k_model(root);
    }
    let mut args = vec!["train", "--method", method, "--model", path(&model), "--data", path(&data)];
    args.extend(["--eval-dataset", path(&data), "--eval-rows", "2", "--eval-on-start", "--max-steps", "3"]);
    args.extend([
        "--train-batch-size",
        "2",
        "--max-completion-length",
        "12",
        "--truncation-mode",
        "keep_start",
    ]);
    args.extend(["--completions-steps", "1", "--output-dir", path(&run), "--quiet"]);
    gft_ok(&args);
    let mut args = vec!["eval", path(&data), "--model", path(&run), "--limit", "3", "-n", "2"];
    args.extend(["--max-new-tokens", "6", "--quiet"]);
    gft_ok(&args);
    run
}

const HOSTILE: &str = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>";

fn poison(run: &Path) {
    let file = run.join("completions/3.jsonl");
    let mut rows = lines(&file);
    for row in &mut rows {
        row["input"] = HOSTILE.into();
        row["output"] = HOSTILE.into();
        row["author"] = HOSTILE.into();
        row.as_object_mut().unwrap().remove("token_ids");
    }
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(file, text).unwrap();
}

/// The data that a page embeds.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// What a browser makes of a page: its document after all scripts, which must have said nothing on the console.
fn in_browser(page: &Path) -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let browser = folders.iter().flat_map(|f| names.map(|name| f.join(name))).find(|file| file.is_file())?;
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
        ])
        .args(["--v=0", "--window-size=1000,900", "--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("CONSOLE"), "{said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Uses the page as a reader would and notes what happens as attributes of the body.
const READER: &str = "<script>
{ const note = (name, value) => { document.body.dataset[name] = value; };
  const first = document.querySelector('.panel svg'), box = first.getBoundingClientRect();
  const at = (part) => ({ clientX: box.left + part * box.width, clientY: box.top + 20, buttons: 1 });
  first.dispatchEvent(new PointerEvent('pointermove', at(0.5)));
  note('hover', document.querySelectorAll('.cross').length === document.querySelectorAll('.panel').length
    && document.querySelector('.legend').textContent.includes(' at '));
  first.dispatchEvent(new PointerEvent('pointerdown', at(0.3)));
  first.dispatchEvent(new PointerEvent('pointermove', at(0.8)));
  note('brush', document.querySelectorAll('.brush').length);
  first.dispatchEvent(new PointerEvent('pointerup', at(0.8)));
  note('zoomed', !document.getElementById('reset').hidden);
  document.getElementById('reset').click();
  note('back', document.getElementById('reset').hidden);
  const smooth = document.getElementById('smooth');
  smooth.value = 0.6; smooth.dispatchEvent(new Event('input'));
  note('smooth', document.querySelectorAll('.raw').length > 0);
  const [step, how] = document.querySelectorAll('#groups-list select');
  step.value = 0; step.dispatchEvent(new Event('change'));
  const red = document.querySelector('.text span').style.background;
  how.value = 'coefficient'; how.dispatchEvent(new Event('change'));
  note('tinted', red.includes('224') && document.querySelector('.text span').style.background !== red);
  step.value = 2; step.dispatchEvent(new Event('change'));
}</script>";

#[test]
fn a_page_that_a_browser_draws() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), "run", "gft");
    poison(&run);
    let made = gft_ok(&["report", path(&run)]);
    let file = run.join("report.html");
    assert_eq!(String::from_utf8_lossy(&made.stdout).trim(), path(&file));
    let page = fs::read_to_string(&file).unwrap();
    // One file: nothing is fetched, and nothing that a model wrote is markup.
    for outside in ["http://", "https://", "src=\"", "<link", "@import"] {
        let own = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!own.replace("src=\\\"", "").contains(outside), "{outside}");
    }
    assert!(!page.contains("<img") && page.matches("</script>").count() == 2);
    // A run that went well has nothing under Failures: the line of its end is no step.
    let failures =
        page.split_once("<section id=\"failures\">").unwrap().1.split_once("</section>").unwrap().0;
    assert!(!failures.contains("loss that is not finite"), "{failures}");
    let data = data(&page);
    let titles: Vec<&str> =
        data["panels"].as_array().unwrap().iter().map(|panel| panel["title"].as_str().unwrap()).collect();
    for title in
        ["Loss", "Reward by source", "Entropy, nats", "Gradient norm, before clipping", "Held-out accuracy"]
    {
        assert!(titles.contains(&title), "{titles:?}");
    }
    assert_eq!(data["panels"][0]["curves"][0]["points"].as_array().unwrap().len(), 3);
    assert_eq!(data["heats"].as_array().unwrap().len(), 2);
    // Every response of a group, its tokens with probability and coefficient.
    let group = &data["groups"][0]["groups"][0];
    let rollouts = group["rollouts"].as_array().unwrap();
    let sources: Vec<&str> = rollouts.iter().map(|rollout| rollout["source"].as_str().unwrap()).collect();
    assert!(["expert", "teacher", "policy"].iter().all(|source| sources.contains(source)), "{sources:?}");
    let trained = rollouts.iter().find(|rollout| rollout["logprobs"][0].is_number()).unwrap();
    let (pieces, coefficients) = (&trained["pieces"], &trained["coefficients"]);
    assert_eq!(pieces.as_array().unwrap().len(), coefficients.as_array().unwrap().len());
    let (logprob, coefficient) =
        (trained["logprobs"][0].as_f64().unwrap(), coefficients[0].as_f64().unwrap());
    let (p, tau) = (logprob.exp(), 0.7);
    // DCR; both numbers have four decimals.
    assert!((coefficient - if p < tau { p } else { 1.0 }).abs() < 2e-4, "{p} {coefficient}");
    for text in ["max_completion_length", "gft train ", "id=\"evaluations\"", "pass@2", "Trained by gft"] {
        assert!(page.contains(text), "{text}");
    }
    // Opened and used.
    let used = run.join("used.html");
    fs::write(&used, page.replace("</body>", &format!("{READER}</body>"))).unwrap();
    let Some(document) = in_browser(&used) else { return };
    for fact in [
        "drawn=\"yes\"",
        "hover=\"true\"",
        "brush=\"1\"",
        "zoomed=\"true\"",
        "back=\"true\"",
        "smooth=\"true\"",
        "tinted=\"true\"",
    ] {
        assert!(document.contains(&format!("data-{fact}")), "{fact}");
    }
    assert!(document.matches("<figure class=\"panel\"").count() == titles.len());
    assert!(document.matches("<polyline").count() >= titles.len());
    assert!(document.contains("&lt;img src=x onerror=alert(1)&gt;") && !document.contains("<img"));
    assert!(!document.contains("<title>owned"));
}

#[test]
fn runs_laid_over_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (run(dir.path(), "a", "sft"), run(dir.path(), "b", "gft"));
    let file = dir.path().join("both.html");
    gft_ok(&["compare", path(&first), path(&second), "--output", path(&file)]);
    let page = fs::read_to_string(&file).unwrap();
    let data = data(&page);
    let labels: Vec<&str> = data["panels"][0]["curves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|curve| curve["label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["a", "b"]);
    assert!(
        page.contains("What differs between the runs") && page.contains("<td>sft</td><td>gft-paper</td>")
    );
    if let Some(document) = in_browser(&file) {
        assert!(document.contains("data-drawn=\"yes\""));
    }
    // Refusals.
    for (args, code, says) in [
        (vec!["report", path(dir.path())], 3, "not a run"),
        (vec!["compare", path(&first)], 2, "required"),
        (vec!["report", path(&first), path(&second), "-o", "x.html"], 2, "gft compare"),
    ] {
        let output = gft(&args);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(says), "{}", said(&output));
    }
}
