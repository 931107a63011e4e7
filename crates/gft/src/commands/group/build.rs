//! `gft group build`: asks what the cache lacks, then writes group rows from it.

use std::fs::{self, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args as ClapArgs;
use gft_data::{Dataset, ReadOptions};
use gft_report::Progress;
use gft_reward::Verifier;
use gft_rollout::teacher::{
    AskEnded, Assembled, Bound, Budget, Cache, Census, Keep, Panel, Tally, TeacherError,
};
use rayon::prelude::*;

use super::fill::Filling;
use super::panel::{Asking, Means, Voice};
use super::spec::{self, Spec};
use super::summary::{Plan, Source, Summary};
use crate::columns::{BadRowsArg, ColumnArgs};
use crate::device::DeviceArgs;
use crate::failure::Failure;
use crate::terminal::Verbosity;
use crate::{interrupt, output, terminal};

/// Arguments of `gft group build`.
#[derive(ClapArgs)]
#[command(
    after_help = "A teacher is NAME, asked at --url, or a model folder; behind it options of its own, separated by commas: \
                  name, url, key-env, n, temperature, top-p, max-tokens, seed, system, instruction, price. Example: \
                  --teacher 'qwen-72b,url=http://host:8000/v1,n=4,temperature=0.7' --teacher ./my-model\n\
                  Every answer is kept in the cache under the hash of its question before anything is done with it: \
                  Ctrl-C or a crash loses nothing, and the same command asks only for what is missing. Seeds, \
                  temperatures and texts belong to the question: another one is asked anew.\n\
                  Left out and counted: answers without text, answers cut at --max-tokens, and texts that the group \
                  has already, from its expert or any teacher (--keep-repeats keeps these). A row without all its answers is left out.\n\
                  Each completion says where it comes from and, as `verified`, what the verifier says of it (null \
                  where there is no reference answer). Training grades for itself, by its own reward_funcs. Samples \
                  of the policy become the column policy_completions, which training does not learn from."
)]
pub struct Args {
    /// Data files or folders.
    #[arg(required = true, value_name = "DATA")]
    data: Vec<PathBuf>,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    bad_rows: BadRowsArg,
    /// A teacher: a model's name at an endpoint, or a model folder, with options; may be given several times.
    #[arg(long, value_name = "NAME|DIR[,...]", required_unless_present = "policy")]
    teacher: Vec<Spec>,
    /// Model folder of the policy, whose samples are added as policy_completions; options as for a teacher.
    #[arg(long, value_name = "DIR[,...]")]
    policy: Option<Spec>,
    /// Samples of the policy for each prompt.
    #[arg(long, value_name = "N", default_value = "4", value_parser = spec::positive)]
    policy_n: u32,
    /// The file of group rows to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
    /// Folder of the answers [default: the output's name with .cache behind it].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The first N rows only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Keep answers that were cut at --max-tokens.
    #[arg(long)]
    keep_truncated: bool,
    /// Keep right answers alone.
    #[arg(long)]
    only_right: bool,
    /// Keep answers whose text the group has already: what is said often is then learned as often.
    #[arg(long)]
    keep_repeats: bool,
    /// Let the last number of a completion count as its answer where it marks none.
    #[arg(long)]
    last_number: bool,
    /// Ask for nothing: say how many requests there would be, and their tokens and cost at most.
    #[arg(long)]
    dry_run: bool,
    /// A summary as JSON on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    asking: Asking,
    /// Tokens that all requests together may cost; a request is sent only if its worst case fits.
    #[arg(long, value_name = "N", help_heading = "Asking", value_parser = clap::value_parser!(u64).range(1..))]
    max_total_tokens: Option<u64>,
    /// Money that all requests together may cost, in the unit of the prices.
    #[arg(long, value_name = "X", help_heading = "Asking", value_parser = spec::above_zero)]
    max_cost: Option<f64>,
    /// Write the rows that are complete when a bound is reached, instead of stopping with what is in the cache.
    #[arg(long, help_heading = "Asking")]
    partial: bool,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Rows that are graded and written together.
const PIECE: u64 = 256;

/// Runs `gft group build`.
pub fn run(args: Args) -> Result<(), Failure> {
    let stop = interrupt::stop_flag()?;
    if args.output.exists() && !args.force && !args.dry_run {
        return Err(Failure::usage(format!(
            "{}: the file is there already; give another name, or --force to write over it",
            args.output.display()
        )));
    }
    let read = ReadOptions { bad_rows: args.bad_rows.what(), ..args.columns.read_options() };
    let data = Dataset::open(&args.data, &read)?;
    args.verbosity.detail(&data.description());
    args.verbosity.dropped(&data);
    let voices = voices(&args)?;
    for voice in &voices {
        args.verbosity.detail(&voice.description());
    }
    let (cache, _temporary) = open_cache(&args)?;
    let rows = args.limit.unwrap_or(u64::MAX).min(data.len());
    if args.dry_run {
        let censuses: Vec<Census> =
            voices.iter().map(|voice| voice.who.census(&data, rows, &cache)).collect::<Result<_, _>>()?;
        let plan = Plan::new(&voices, &censuses, rows, cache_folder(&args));
        if args.json {
            return output::json(&plan);
        }
        output::write(&plan.in_words());
        return Ok(());
    }
    let build = Build { args: &args, data: &data, rows, voices: &voices, cache: &cache, stop: &stop };
    let summary = build.run()?;
    if args.json {
        output::json(&summary)?;
    }
    if !args.verbosity.quiet {
        eprint!("{}", summary.in_words());
    }
    Ok(())
}

/// Teachers, then the policy.
fn voices(args: &Args) -> Result<Vec<Voice>, Failure> {
    let mut voices: Vec<Voice> =
        args.teacher.iter().map(|spec| args.asking.teacher(spec)).collect::<Result<_, _>>()?;
    if let Some(spec) = &args.policy {
        voices.push(args.asking.policy(spec, args.policy_n as usize)?);
    }
    let priced = voices.iter().any(|voice| voice.price() != Default::default());
    if args.max_cost.is_some() && !priced {
        return Err(Failure::usage(
            "--max-cost needs prices: give --price PROMPT/ANSWER, or price= of a teacher",
        ));
    }
    Ok(voices)
}

fn cache_folder(args: &Args) -> PathBuf {
    args.cache.clone().unwrap_or_else(|| {
        let mut name = args.output.clone().into_os_string();
        name.push(".cache");
        name.into()
    })
}

/// The cache. One that is not there is not made for a dry run.
fn open_cache(args: &Args) -> Result<(Cache, Option<tempfile::TempDir>), Failure> {
    let folder = cache_folder(args);
    if args.dry_run && !folder.exists() {
        let empty =
            tempfile::tempdir().map_err(|error| Failure::Run(format!("no temporary folder: {error}")))?;
        return Ok((Cache::open(empty.path())?, Some(empty)));
    }
    Ok((Cache::open(&folder)?, None))
}

struct Build<'a> {
    args: &'a Args,
    data: &'a Dataset,
    rows: u64,
    voices: &'a [Voice],
    cache: &'a Cache,
    stop: &'a AtomicBool,
}

impl Build<'_> {
    fn run(&self) -> Result<Summary, Failure> {
        let bound = Bound { tokens: self.args.max_total_tokens, money: self.args.max_cost };
        let budget = Budget::new(bound);
        let mut summary = Summary::new(&self.args.output, self.cache.folder(), self.rows);
        let (data, cache, stop) = (self.data, self.cache, self.stop);
        let filling = Filling {
            data,
            cache,
            budget: &budget,
            stop,
            device: self.args.device,
            verbosity: self.args.verbosity,
        };
        for (at, voice) in self.voices.iter().enumerate() {
            // Looked for now: a policy that is also a teacher has answered some of its questions already.
            let census = &voice.who.census(data, self.rows, cache)?;
            let policy = self.args.policy.is_some() && at + 1 == self.voices.len();
            let (tally, ended) = filling.fill(voice, census).map_err(|failure| self.kept(failure))?;
            self.failures(&mut summary, voice, census, &tally)?;
            summary.sources.push(Source::new(&voice.who, policy, census, tally));
            if ended == AskEnded::Bounded {
                summary.bounded = true;
            }
        }
        summary.spent = budget.spent();
        if summary.bounded && !self.args.partial {
            return Err(Failure::Run(format!(
                "the bound on tokens or cost is reached and answers are missing; what was answered is kept in {}: raise \
                 the bound and go on with the same command, or write the complete rows with --partial",
                self.cache.folder().display()
            )));
        }
        self.write(&mut summary)?;
        Ok(summary)
    }

    /// A failure, with word of what is kept.
    fn kept(&self, failure: Failure) -> Failure {
        if matches!(failure, Failure::Interrupted) {
            let cache = self.cache.folder().display();
            terminal::say(&format!("interrupted; the same command goes on from {cache}"));
        }
        failure
    }

    fn failures(
        &self,
        summary: &mut Summary,
        voice: &Voice,
        census: &Census,
        tally: &Tally,
    ) -> Result<(), Failure> {
        for failed in &tally.failures {
            let index = census.lacking.get(failed.index as usize).copied().unwrap_or(failed.index);
            let why = match &voice.means {
                Means::Endpoint(endpoint) => format!("{}: {}", endpoint.url(), failed.why),
                Means::Folder(..) => failed.why.clone(),
            };
            summary.fail(&self.data.row(index)?.id, &voice.who.name, &why);
        }
        Ok(())
    }

    /// Grades and writes all rows, under the output's name only when all is written.
    fn write(&self, summary: &mut Summary) -> Result<(), Failure> {
        let policy = self.args.policy.is_some();
        let mut teachers: Vec<_> = self.voices.iter().map(|voice| voice.who.clone()).collect();
        let policy = if policy { teachers.pop() } else { None };
        let panel = Panel { teachers, policy };
        let mut verifier = Verifier::default();
        verifier.extract.last_number = self.args.last_number;
        let keep = Keep {
            truncated: self.args.keep_truncated,
            only_right: self.args.only_right,
            repeats: self.args.keep_repeats,
        };
        let out = &self.args.output;
        let failed =
            |error: std::io::Error| Failure::Run(format!("{}: cannot write: {error}", out.display()));
        let mut file = BufWriter::new(partial(out).map_err(failed)?);
        let mut progress = Progress::new("grading", self.args.verbosity.quiet);
        for start in (0..self.rows).step_by(PIECE as usize) {
            if self.stop.load(Ordering::Relaxed) {
                progress.clear();
                return Err(self.kept(Failure::Interrupted));
            }
            let assembled: Vec<Assembled> = (start..(start + PIECE).min(self.rows))
                .into_par_iter()
                .map(|index| panel.assemble(self.data.row(index)?, self.cache, &verifier, keep))
                .collect::<Result<_, TeacherError>>()?;
            for found in assembled {
                if let Some(row) = summary.count(found) {
                    serde_json::to_writer(&mut file, &row.to_json()).map_err(|error| failed(error.into()))?;
                    file.write_all(b"\n").map_err(failed)?;
                }
            }
            progress.count(start, self.rows);
        }
        progress.clear();
        if summary.groups == 0 {
            return Err(summary.nothing());
        }
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(out).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// A file beside the output that may be renamed to it, readable as a new file is.
fn partial(out: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent)?;
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!(".{name}.partial-");
    tempfile::Builder::new().prefix(&prefix).permissions(Permissions::from_mode(0o666)).tempfile_in(parent)
}
