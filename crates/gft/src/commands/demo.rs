//! `gft demo`: what SFT and GFT do to a small model, measured on this machine.

mod words;

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use gft_study::{Heard, Measured, Probe, ProbeOptions, train};
use gft_train::config::{list_of_paths, load};
use serde::Serialize;
use serde_json::json;

use super::init::{World, write_demo};
use crate::failure::Failure;
use crate::terminal::Verbosity;
use crate::{interrupt, output};
use gft_report::Progress;

/// Arguments of `gft demo`.
#[derive(ClapArgs)]
pub struct Args {
    /// The folder with the demo; written if it is not there.
    #[arg(long, value_name = "FOLDER", default_value = "demo")]
    dir: PathBuf,
    #[command(flatten)]
    world: World,
    /// Completions of each problem.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    samples: u16,
    /// Steps of each run [default: one pass over the data].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_steps: Option<u32>,
    /// Seed of the runs.
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// The measurements as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// One model of the demo.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Its name in the table.
    pub name: &'static str,
    /// Whether half of its experts were wrong.
    pub wrong_experts: bool,
    /// Its folder.
    pub folder: PathBuf,
    /// Seconds of training.
    pub seconds: f64,
    /// What was measured.
    pub measured: Measured,
}

/// Runs `gft demo`.
pub fn run(args: Args) -> Result<(), Failure> {
    interrupt::install()?;
    if !args.dir.join("base").exists() {
        write_demo(&args.dir, &args.world)?;
        args.verbosity.note(&format!("{}: data, base model and recipes written", args.dir.display()));
    }
    let data = args.dir.join("data");
    let options = ProbeOptions { samples: usize::from(args.samples), ..ProbeOptions::default() };
    let base = args.dir.join("base");
    let probe = Probe::new(&base, &data.join("test.jsonl"), &data.join("others.jsonl"), options)?;
    interrupt::arm();
    let lines = lines(&args, &probe, base);
    interrupt::disarm();
    let lines = lines?;
    let report = args.dir.join("report.json");
    let text = format!("{:#}\n", json!(lines));
    std::fs::write(&report, text)
        .map_err(|error| Failure::Run(format!("{}: cannot write: {error}", report.display())))?;
    if args.json {
        return output::json(&lines);
    }
    output::write(&words::table(&lines));
    output::write(&words::told(&lines));
    output::write(&words::next(&args.dir));
    Ok(())
}

/// Trains and measures: the base, then SFT and GFT, on right experts and on half wrong ones.
fn lines(args: &Args, probe: &Probe, base: PathBuf) -> Result<Vec<Line>, Failure> {
    let measured = measure(args, probe, "base", &base)?;
    let mut lines = vec![Line { name: "base", wrong_experts: false, folder: base, seconds: 0.0, measured }];
    for wrong_experts in [false, true] {
        for (name, recipe) in [("SFT", "sft"), ("GFT", "gft")] {
            let (folder, seconds) = fine_tune(args, recipe, wrong_experts)?;
            let measured = measure(args, probe, name, &folder)?;
            lines.push(Line { name, wrong_experts, folder, seconds, measured });
        }
    }
    Ok(lines)
}

fn measure(args: &Args, probe: &Probe, name: &str, folder: &Path) -> Result<Measured, Failure> {
    args.verbosity.note(&format!("measuring {name} ({})", folder.display()));
    Ok(probe.measure(folder, &interrupt::asked)?)
}

/// Trains by the demo's recipe. Returns the model's folder and the seconds it took.
fn fine_tune(args: &Args, recipe: &str, wrong_experts: bool) -> Result<(PathBuf, f64), Failure> {
    let name = if wrong_experts { format!("{recipe}-wrong") } else { recipe.to_owned() };
    let folder = args.dir.join("runs").join(&name);
    if folder.exists() {
        // A run of an earlier demo: its numbers would be those of other settings.
        args.verbosity.note(&format!("{}: the run of an earlier demo is removed", folder.display()));
        std::fs::remove_dir_all(&folder)
            .map_err(|error| Failure::Run(format!("{}: cannot remove: {error}", folder.display())))?;
    }
    let rows = args.dir.join("data").join(if wrong_experts { "train-wrong.jsonl" } else { "train.jsonl" });
    let mut settings = vec![
        ("dataset_name".to_owned(), list_of_paths(&[rows])),
        ("output_dir".to_owned(), folder.display().to_string()),
        ("seed".to_owned(), args.seed.to_string()),
    ];
    settings.extend(args.max_steps.map(|steps| ("max_steps".to_owned(), steps.to_string())));
    args.verbosity.note(&format!("training {name}"));
    let mut progress = Progress::new("training", args.verbosity.quiet);
    let mut step = |at: Heard| {
        let fraction = at.step as f64 / at.last.max(1) as f64;
        progress.update(fraction, at.tokens as usize, || format!("{name} step {} of {}", at.step, at.last));
    };
    let config = args.dir.join(format!("{recipe}.toml"));
    let flags = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let trained = train(&load(Some(&config), flags)?, &mut step, &interrupt::asked)?;
    Ok((trained.folder, trained.seconds))
}
