//! `gft group stats`: what is in files of groups.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use gft_data::{Dataset, ReadOptions};
use gft_eval::Grader;
use gft_eval::groups::{GroupStats, Kind, Signal, SourceStats};
use gft_report::{COLUMNS, Progress, sample_table};
use serde::Serialize;

use crate::columns::{BadRowsArg, ColumnArgs};
use crate::failure::Failure;
use crate::terminal::Verbosity;
use crate::{interrupt, output, prompts};

/// Arguments of `gft group stats`.
#[derive(ClapArgs)]
#[command(
    after_help = "All completions are graded again by the verifier, whatever the file says of them; `said otherwise` \
                  counts those of which the file says something else. Answers that are equal to the verifier are one \
                  answer. A group teaches by comparison only if it has right and wrong completions."
)]
pub struct Args {
    /// Files of groups, or any data files with completions.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    bad_rows: BadRowsArg,
    /// Count lengths in tokens of this model folder's tokenizer instead of characters.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Let the last number of a completion count as its answer where it marks none.
    #[arg(long)]
    last_number: bool,
    /// Rejected experts that are shown.
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
    /// The numbers as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

#[derive(Serialize)]
struct Out<'a> {
    files: Vec<String>,
    #[serde(flatten)]
    stats: &'a GroupStats,
}

/// Runs `gft group stats`.
pub fn run(args: &Args) -> Result<(), Failure> {
    interrupt::install()?;
    let read = ReadOptions { bad_rows: args.bad_rows.what(), ..args.columns.read_options() };
    let data = Dataset::open(&args.files, &read)?;
    args.verbosity.detail(&data.description());
    args.verbosity.dropped(&data);
    let mut grader = Grader::default();
    grader.verifier.extract.last_number = args.last_number;
    let tokenizer = args.model.as_deref().map(prompts::tokenizer).transpose()?;
    let length = |text: &str| match &tokenizer {
        Some(tokenizer) => Ok(tokenizer.encode(text)?.len()),
        None => Ok(text.chars().count()),
    };
    let unit = if tokenizer.is_some() { "tokens" } else { "characters" };
    let mut progress = Progress::new("grading", args.verbosity.quiet);
    let total = data.len();
    let mut tick = |done: u64| progress.count(done, total);
    let stats = GroupStats::of(&data, &grader, &length, unit, args.examples, &mut tick)?;
    progress.clear();
    let files: Vec<String> = args.files.iter().map(|path| path.display().to_string()).collect();
    if args.json {
        return output::json(&Out { files, stats: &stats });
    }
    output::text(&page(&files.join(", "), &stats));
    Ok(())
}

fn page(files: &str, stats: &GroupStats) -> String {
    let mut text = format!("{files}: {} groups", stats.groups);
    if stats.without_gold > 0 {
        text.push_str(&format!(", {} without a reference answer", stats.without_gold));
    }
    text.push_str("\n\n");
    text.push_str(&sources(stats));
    text.push_str(&format!("\n  distinct answers of a whole group: {:.2}\n", stats.distinct_answers));
    text.push_str("\n  groups by rewards              mixed  all right  all wrong  fewer than two graded\n");
    let mut signal = |name: &str, signal: &Signal| {
        let Signal { mixed, all_right, all_wrong, too_few } = signal;
        text.push_str(&format!("  {name:<29} {mixed:>6} {all_right:>10} {all_wrong:>10} {too_few:>22}\n"));
    };
    signal("experts and teachers", &stats.demonstrations);
    if let Some(policy) = &stats.policy {
        signal("the policy's samples", policy);
        signal("all together", &stats.all);
    }
    let silent = stats.all.all_right + stats.all.all_wrong;
    if silent > 0 {
        let share = 100.0 * silent as f64 / stats.groups.max(1) as f64;
        text.push_str(&format!(
            "  {silent} groups ({share:.1} %) have no signal of their own: equal rewards give no advantage until the policy's \
             samples differ\n"
        ));
    }
    text.push_str("\n  groups by what they hold\n");
    let mut compositions: Vec<_> = stats.compositions.iter().collect();
    compositions.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
    for (name, count) in compositions {
        text.push_str(&format!("  {count:>8}  {name}\n"));
    }
    text.push_str(&rejected(stats));
    text
}

fn sources(stats: &GroupStats) -> String {
    let name = |source: &SourceStats| match source.kind {
        Kind::Policy if source.name != "policy" => format!("{} (policy)", source.name),
        Kind::Expert if source.name != "expert" => format!("{} (expert)", source.name),
        _ => source.name.clone(),
    };
    let width = stats.sources.iter().map(|s| name(s).chars().count()).max().unwrap_or(0).max(6);
    let ngrams = format!("{}-grams", stats.ngram);
    let mut text = format!(
        "  {:<width$}  {:>7} {:>6} {:>8} {:>10} {:>9} {:>28} {:>9} {:>8}\n",
        "source",
        "groups",
        "texts",
        "right",
        "no verdict",
        "unparsed",
        format!("{}: mean, median, max", stats.unit),
        "answers",
        ngrams
    );
    for source in &stats.sources {
        let percent = source.accuracy.map_or("-".into(), |x| format!("{:.1} %", 100.0 * x));
        let lengths = &source.lengths;
        text.push_str(&format!(
            "  {:<width$}  {:>7} {:>6} {:>8} {:>10} {:>9} {:>28} {:>9.2} {:>8}\n",
            name(source),
            source.groups,
            source.completions,
            percent,
            source.unscorable,
            source.unparsed,
            format!("{:.0}, {}, {}", lengths.mean, lengths.p50, lengths.max),
            source.distinct_answers,
            source.distinct_ngrams.map_or("-".into(), |x| format!("{x:.2}")),
        ));
    }
    text.push_str(
        "  answers: distinct final answers of a group; n-grams: distinct ones of all, within a group of several texts\n",
    );
    for source in stats.sources.iter().filter(|source| source.disagreeing > 0) {
        text.push_str(&format!(
            "  {}: the file says otherwise of {} of {} texts\n",
            name(source),
            source.disagreeing,
            source.completions
        ));
    }
    text
}

/// Characters of a rejected text that are shown: its end, where the answer stands.
const SHOWN: usize = 280;

fn rejected(stats: &GroupStats) -> String {
    if stats.rejected_experts == 0 {
        return String::new();
    }
    let mut text = format!("\n  experts that the verifier rejects: {}", stats.rejected_experts);
    if stats.rejected.is_empty() {
        text.push('\n');
        return text;
    }
    text.push_str(if stats.rejected.len() as u64 == stats.rejected_experts {
        "\n"
    } else {
        ", the first:\n"
    });
    let rows: Vec<Vec<String>> = stats
        .rejected
        .iter()
        .map(|found| {
            let answer = found.answer.clone().unwrap_or_else(|| "none".into());
            vec![found.row.clone(), short(&found.gold), short(&answer), end(&found.text)]
        })
        .collect();
    text.push_str(&sample_table(
        &["row", "reference", "its answer", "the end of its text"],
        &rows,
        COLUMNS,
        5,
    ));
    text
}

fn short(text: &str) -> String {
    match text.char_indices().nth(24) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}

fn end(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(SHOWN);
    let tail: String = text.chars().skip(skip).collect();
    if skip > 0 { format!("… {tail}") } else { tail }
}
