//! `gft report` and `gft compare`: runs as one HTML file.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use crate::failure::Failure;
use crate::output;

/// Arguments of `gft report`.
#[derive(ClapArgs)]
#[command(
    after_help = "The page needs nothing else: no network, no server. It shows curves, coefficients and \
                        probabilities over time, groups with their tokens, evaluations kept in the run's folder, failures \
                        and the command that repeats the run."
)]
pub struct Args {
    /// Folders of runs; a page for each.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// File to write, for one run [default: report.html in the run's folder].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Arguments of `gft compare`.
#[derive(ClapArgs)]
pub struct CompareArgs {
    /// Folders of runs to lay over each other.
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// File to write.
    #[arg(short, long, value_name = "FILE", default_value = "compare.html")]
    output: PathBuf,
}

/// Runs `gft report`.
pub fn run(args: Args) -> Result<(), Failure> {
    if args.output.is_some() && args.runs.len() > 1 {
        return Err(Failure::usage("--output is for one run; gft compare puts several on one page"));
    }
    for run in &args.runs {
        let output = args.output.clone().unwrap_or_else(|| run.join("report.html"));
        write(&[run], &output)?;
    }
    Ok(())
}

/// Runs `gft compare`.
pub fn run_compare(args: CompareArgs) -> Result<(), Failure> {
    let runs: Vec<&Path> = args.runs.iter().map(PathBuf::as_path).collect();
    write(&runs, &args.output)
}

fn write(runs: &[&Path], output: &Path) -> Result<(), Failure> {
    let page = gft_html::report(runs).map_err(|error| match error {
        gft_html::Error::Io { .. } => Failure::Run(error.to_string()),
        other => Failure::data(other.to_string()),
    })?;
    std::fs::write(output, page)
        .map_err(|error| Failure::Run(format!("{}: cannot write: {error}", output.display())))?;
    output::write(&format!("{}\n", output.display()));
    Ok(())
}
