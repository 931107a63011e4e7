//! What `gft data inspect` prints for people, in 80 columns.

use gft_data::{DatasetReport, FileSummary, Lengths};
use gft_report::grouped;

/// The report as a page.
pub fn report(report: &DatasetReport) -> String {
    let mut page = String::new();
    for file in &report.files {
        page.push_str(&of_file(file));
    }
    if !report.left_out.is_empty() {
        let names: Vec<String> = report.left_out.iter().map(|path| path.display().to_string()).collect();
        page.push_str(&line("not read", &format!("other splits: {}", names.join(", "))));
    }
    page.push('\n');
    page.push_str(&rows(report));
    page.push_str(&tokens(report));
    page.extend(report.notes.iter().map(|note| line("note", note)));
    page.push('\n');
    page.push_str(&lengths(report));
    page
}

/// A label and a text beside it, wrapped.
pub fn line(label: &str, text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let used = lines.last().map_or(0, |line| line.chars().count());
        if used > 0 && used + 1 + word.chars().count() > 63 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    lines.iter().zip(labels).map(|(line, label)| format!("{label:<16} {line}\n")).collect()
}

fn of_file(file: &FileSummary) -> String {
    let mut text = format!("{}\n", file.path.display());
    let mapped = if file.mapped { ", with --columns" } else { "" };
    text.push_str(&line("  format", &format!("{}, {} rows", file.format, grouped(file.rows))));
    text.push_str(&line("  layout", &format!("{}{mapped}", file.layout)));
    let columns: Vec<String> = file.columns.iter().map(|(role, name)| format!("{role}={name}")).collect();
    text.push_str(&line("  columns", &columns.join(" ")));
    if !file.other_columns.is_empty() {
        text.push_str(&line("  for rewards", &file.other_columns.join(" ")));
    }
    let solutions = file.solutions;
    if solutions.references > 0 {
        let mut said = match solutions.learned {
            0 => "references only, bare answers: they are not learned".to_owned(),
            learned => format!(
                "{} learned as demonstrations; {} bare answers, references only",
                grouped(learned),
                grouped(solutions.references)
            ),
        };
        if solutions.several > 0 {
            let several = grouped(solutions.several);
            said.push_str(&format!("; {several} rows have several, of which the first is the gold answer"));
        }
        text.push_str(&line("  solutions", &said));
    }
    text
}

fn rows(report: &DatasetReport) -> String {
    let rows = report.rows;
    let mut text = line("rows", &format!("{}, and {} left out", grouped(rows), grouped(report.dropped)));
    for reason in report.drop_reasons.iter().take(5) {
        let mut places = reason.places.iter().map(|at| format!("{}:{}", at.path.display(), at.line));
        let first = places.next().unwrap_or_default();
        let said = format!("{} x {first}: {}", grouped(reason.count), reason.reason);
        text.push_str(&line("  left out", &said));
        let also: Vec<String> = places.collect();
        if !also.is_empty() {
            let more = if reason.count > 1 + also.len() as u64 { " ..." } else { "" };
            text.push_str(&line("    also", &format!("{}{more}", also.join(" "))));
        }
    }
    if report.drop_reasons.len() > 5 {
        text.push_str(&line(
            "  left out",
            &format!("{} more reasons: --json", report.drop_reasons.len() - 5),
        ));
    }
    let rules: Vec<String> =
        report.gold.iter().map(|(rule, n)| format!("{} from {rule}", grouped(*n))).collect();
    let found = if rules.is_empty() { "none".to_owned() } else { rules.join(", ") };
    text.push_str(&line("gold answers", &format!("{found}; {} rows without", grouped(report.without_gold))));
    if report.sampled < rows {
        text.push_str(&line(
            "looked at",
            &format!("the first {} rows for all below", grouped(report.sampled)),
        ));
    }
    text.push_str(&line(
        "duplicates",
        &format!(
            "{} prompts and {} whole rows that stood in an earlier row",
            counted(report.duplicate_prompts, report.sampled),
            counted(report.duplicate_rows, report.sampled)
        ),
    ));
    text.push_str(&line(
        "completions",
        &format!(
            "{} expert, {} teacher; {} rows without any",
            grouped(report.experts.count),
            grouped(report.teachers.count),
            grouped(report.without_completion)
        ),
    ));
    text
}

fn tokens(report: &DatasetReport) -> String {
    if report.unit != "tokens" {
        return line("tokens", "give --model DIR to see template, masks, and what the limits cut");
    }
    let mut text = match report.continued_prompts == report.sampled {
        false => line("template", &report.encoding),
        true => {
            line("template", &format!("none, prompts stand as they are; of questions: {}", report.encoding))
        }
    };
    let limits = &report.limits;
    let limits: Vec<String> = [
        ("max_prompt_length", limits.max_prompt_length),
        ("max_completion_length", limits.max_completion_length),
        ("max_length", limits.max_length),
    ]
    .into_iter()
    .filter_map(|(name, limit)| Some(format!("{name} {}", limit?)))
    .collect();
    let limits = if limits.is_empty() { "no limit is set".to_owned() } else { limits.join(", ") };
    text.push_str(&line("limits", &limits));
    let completions = report.experts.count + report.teachers.count;
    text.push_str(&line(
        "  beyond them",
        &format!(
            "{} prompts, whose rows are dropped; {} completions, dropped or with truncation_mode = keep_start cut",
            counted(report.prompts_too_long, report.sampled),
            counted(report.completions_cut, completions)
        ),
    ));
    text.push_str(&line(
        "learned",
        &format!(
            "{} tokens, {:.1} % of all within the limits",
            grouped(report.supervised_tokens),
            100.0 * report.supervised_fraction
        ),
    ));
    text.push_str(&line(
        "boundaries",
        &format!(
            "{} completions whose first token would merge with the prompt's last",
            counted(report.boundaries_merged, completions)
        ),
    ));
    text.push_str(&line(
        "special tokens",
        &format!(
            "{} rows have some in their own text, which become control tokens",
            counted(report.special_tokens_in_text, report.sampled)
        ),
    ));
    if report.failed > 0 {
        text.push_str(&line("failed", &format!("{} rows cannot be encoded", grouped(report.failed))));
        for failure in &report.failures {
            text.push_str(&line("", failure));
        }
    }
    text
}

/// A count with its share, where that says more.
fn counted(count: u64, of: u64) -> String {
    match (count, of) {
        (0, _) | (_, 0) => grouped(count),
        _ => format!("{} ({:.2} %)", grouped(count), 100.0 * count as f64 / of as f64),
    }
}

fn lengths(report: &DatasetReport) -> String {
    let kinds = [
        ("prompt", &report.prompts),
        ("expert", &report.experts),
        ("teacher", &report.teachers),
        ("with prompt", &report.totals),
    ];
    let kinds: Vec<_> = kinds.into_iter().filter(|(_, lengths)| lengths.count > 0).collect();
    let head = format!("{:<16}", report.unit);
    let names = ["count", "min", "mean", "median", "90 %", "99 %", "max"];
    let mut text = head + &names.map(|name| format!("{name:>9}")).concat() + "\n";
    for (name, l) in &kinds {
        let cells = [l.count, l.min, l.mean.round() as u64, l.p50, l.p90, l.p99, l.max];
        text.push_str(&format!("{name:<16}"));
        text.push_str(&cells.map(|cell| format!("{:>9}", grouped(cell))).concat());
        text.push('\n');
    }
    for (name, lengths) in kinds.iter().filter(|(_, lengths)| lengths.min < lengths.max) {
        text.push_str(&format!("\n{name}, {}\n{}", report.unit, histogram(lengths)));
    }
    text
}

/// Bars of eighths of a character.
fn histogram(lengths: &Lengths) -> String {
    const WIDTH: u64 = 40;
    let most = lengths.histogram.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    let mut text = String::new();
    for bin in &lengths.histogram {
        let eighths = (bin.count * WIDTH * 8).div_ceil(most);
        let mut bar = "█".repeat((eighths / 8) as usize);
        bar.extend(["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get((eighths % 8) as usize).copied());
        let range = format!("{}-{}", grouped(bin.from), grouped(bin.to - 1));
        let share = 100.0 * bin.count as f64 / lengths.count.max(1) as f64;
        let line = format!("{range:>15} {bar:<40} {:>9} {share:5.1} %", grouped(bin.count));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_fits_80_columns() {
        let lengths: Vec<u32> = (0..5000).map(|i| i * i % 7919).chain([4_000_000]).collect();
        let text = histogram(&Lengths::of(lengths));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.lines().count() <= 13 && text.contains('█'), "{text}");
        let counts = text
            .lines()
            .filter_map(|line| line.split_whitespace().rev().nth(2)?.replace(',', "").parse::<u64>().ok());
        assert_eq!(counts.sum::<u64>(), 5001, "{text}");
    }
}
