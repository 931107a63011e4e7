//! `gft study`: runs the experiments of a table, one line per finished run, and writes their tables into a document.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use gft_study::{
    Error, Heard, Job, Outcome, Probe, ProbeOptions, Results, Table, Trained, figures, report, train,
};

use crate::failure::Failure;
use crate::terminal::Verbosity;
use crate::{interrupt, output};
use gft_report::Progress;
use gft_train::config::list_of_paths;

/// Arguments of `gft study`.
#[derive(ClapArgs)]
pub struct Args {
    /// Tables of experiments (TOML), as in recipes/study; none to write the document alone.
    tables: Vec<PathBuf>,
    /// The file of results, one JSON line per finished run; runs that are in it are not run again.
    #[arg(long, value_name = "FILE", default_value = "recipes/study/results.jsonl")]
    results: PathBuf,
    /// A document whose blocks `<!-- study NAME --> ... <!-- end -->` get the tables of the results.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Draw the figures of all studies of the results into this folder (SVG).
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
    /// Runs at most.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Problems that models are measured on.
    #[arg(long, value_name = "N", default_value_t = 256)]
    problems: usize,
    /// Completions of each.
    #[arg(long, value_name = "N", default_value_t = 16)]
    samples: usize,
    /// List the runs that are still to be made, and stop.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs `gft study`.
pub fn run(args: Args) -> Result<(), Failure> {
    interrupt::install()?;
    let mut results = Results::open(&args.results)?;
    let mut left = args.limit.unwrap_or(usize::MAX);
    for path in &args.tables {
        let table = Table::read(path)?;
        let jobs: Vec<Job> = table.jobs().into_iter().filter(|job| !results.has(job)).take(left).collect();
        left -= jobs.len();
        if args.list {
            jobs.iter().for_each(|job| output::write(&format!("{}\n", named(job))));
        } else if !jobs.is_empty() {
            run_jobs(&args, &table, &jobs, &mut results)?;
        }
    }
    if let Some(path) = &args.document {
        let failed = |error| Failure::Run(format!("{}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(failed)?;
        fs::write(path, report(&text, &results.outcomes)).map_err(failed)?;
    }
    if let Some(folder) = &args.figures {
        draw(folder, &results.outcomes)?;
    }
    Ok(())
}

fn draw(folder: &Path, outcomes: &[Outcome]) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |error| Failure::Run(format!("{}: cannot write: {error}", path.display()))
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let studies: BTreeSet<&str> = outcomes.iter().map(|outcome| outcome.job.study.as_str()).collect();
    for (name, figure) in studies.into_iter().flat_map(|study| figures(study, outcomes)) {
        let path = folder.join(format!("{name}.svg"));
        if let Some(svg) = figure.svg() {
            fs::write(&path, svg).map_err(failed(&path))?;
        }
    }
    Ok(())
}

fn run_jobs(args: &Args, table: &Table, jobs: &[Job], results: &mut Results) -> Result<(), Failure> {
    let data = |name: &str| table.data.join(name);
    let options = ProbeOptions { problems: args.problems, samples: args.samples, ..ProbeOptions::default() };
    let probe = Probe::new(&table.base, &data(&table.problems), &data(&table.others), options)?;
    for (at, job) in jobs.iter().enumerate() {
        args.verbosity.note(&format!("run {} of {}: {}", at + 1, jobs.len(), named(job)));
        interrupt::arm();
        let outcome = one(table, job, &probe, args.verbosity.quiet);
        interrupt::disarm();
        match outcome {
            // Learning rates that break a model are a result too, but one that only its absence can tell.
            Err(Error::Train(error @ gft_train::Error::Aborted { .. })) => {
                args.verbosity.note(&format!("{}: {error}", named(job)));
            }
            other => results.push(other?)?,
        }
    }
    Ok(())
}

fn named(job: &Job) -> String {
    let chosen: Vec<String> = job.chosen.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    format!("{} {}{} seed={}", job.study, job.experiment, chosen.concat(), job.seed)
}

/// Trains and measures; the run's folder is not kept.
fn one(table: &Table, job: &Job, probe: &Probe, quiet: bool) -> gft_study::Result<Outcome> {
    let room = tempfile::tempdir().map_err(gft_train::Error::io(Path::new("."), "make a folder"))?;
    let path = |path: PathBuf| path.display().to_string();
    let mut place: Vec<(String, String)> = vec![
        ("model_name_or_path".into(), path(table.base.clone())),
        ("dataset_name".into(), list_of_paths(&[table.data.join(&job.rows)])),
        ("output_dir".into(), path(room.path().join("run"))),
        ("completions_steps".into(), "0".into()),
        ("save_steps".into(), "0".into()),
        ("seed".into(), job.seed.to_string()),
    ];
    if job.settings.contains_key("eval_steps") {
        place.push(("eval_dataset".into(), list_of_paths(&[table.data.join(&table.problems)])));
    }
    let mut progress = Progress::new("training", quiet);
    let mut step = |at: Heard| {
        let fraction = at.step as f64 / at.last.max(1) as f64;
        progress.update(fraction, at.tokens as usize, || format!("step {} of {}", at.step, at.last));
    };
    let trained = train(&job.resolve(&place)?, &mut step, &interrupt::asked)?;
    let measured = probe.measure(&trained.folder, &interrupt::asked)?;
    let Trained { steps, tokens, seconds, curve, .. } = trained;
    Ok(Outcome { key: job.key(), job: job.clone(), steps, tokens, seconds, curve, measured })
}
