//! What a build asked, kept and left out: as JSON, and as a reader wants it on a terminal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gft_data::Row;
use gft_rollout::teacher::{Assembled, Census, Counts, Price, Respondent, Spent, Tally, Usage};
use serde::Serialize;

use super::panel::{Means, Voice};
use crate::failure::Failure;

/// Failures that are listed.
const LISTED: usize = 10;

/// A prompt without a complete set of answers.
#[derive(Debug, Serialize)]
struct Failed {
    row: String,
    source: String,
    why: String,
}

/// One teacher, or the policy.
#[derive(Debug, Serialize)]
pub struct Source {
    name: String,
    /// `teacher` or `policy`.
    source: &'static str,
    /// Where it is: an endpoint's host, or a folder and the hash of what decides its answers.
    at: String,
    /// Answers that came now.
    answered: u64,
    /// Answers that the cache had.
    cached: u64,
    /// Prompts that failed.
    failed: u64,
    /// Troubles by kind, those that another try overcame included.
    troubles: BTreeMap<&'static str, u64>,
    /// Of the answers of complete groups.
    #[serde(flatten)]
    pub counts: Counts,
}

impl Source {
    /// Nothing assembled yet.
    pub fn new(who: &Respondent, policy: bool, census: &Census, tally: Tally) -> Self {
        Self {
            name: who.name.clone(),
            source: if policy { "policy" } else { "teacher" },
            at: who.origin.1.clone(),
            answered: tally.answered,
            cached: census.cached,
            failed: tally.failed,
            troubles: tally.troubles,
            counts: Counts::default(),
        }
    }
}

/// A whole build.
#[derive(Debug, Serialize)]
pub struct Summary {
    output: PathBuf,
    cache: PathBuf,
    /// Rows read.
    rows: u64,
    /// Group rows written.
    pub groups: u64,
    /// Rows left out: nothing in them to respond to.
    without_question: u64,
    /// Rows left out: an answer is missing.
    unanswered: u64,
    /// Groups whose prompt was a text to be continued and is a question now.
    became_questions: u64,
    /// Groups to which no teacher's answer is left.
    without_teacher: u64,
    experts: Counts,
    pub sources: Vec<Source>,
    failures: Vec<Failed>,
    /// A bound on tokens or cost was reached.
    pub bounded: bool,
    #[serde(serialize_with = "spent")]
    pub spent: Spent,
}

fn spent<S: serde::Serializer>(spent: &Spent, serializer: S) -> Result<S::Ok, S::Error> {
    let Spent { usage, money, unknown_tokens, unknown_money } = spent;
    let value = serde_json::json!({
        "prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens, "cost": money,
        "tokens_at_most_without_a_count": unknown_tokens, "cost_at_most_without_a_count": unknown_money,
    });
    value.serialize(serializer)
}

impl Summary {
    /// Nothing done yet.
    pub fn new(output: &Path, cache: &Path, rows: u64) -> Self {
        Self {
            output: output.to_owned(),
            cache: cache.to_owned(),
            rows,
            groups: 0,
            without_question: 0,
            unanswered: 0,
            became_questions: 0,
            without_teacher: 0,
            experts: Counts::default(),
            sources: Vec::new(),
            failures: Vec::new(),
            bounded: false,
            spent: Spent::default(),
        }
    }

    /// A prompt that brought nothing.
    pub fn fail(&mut self, row: &str, source: &str, why: &str) {
        if self.failures.len() < LISTED {
            self.failures.push(Failed {
                row: row.to_owned(),
                source: source.to_owned(),
                why: why.to_owned(),
            });
        }
    }

    /// Counts a row; the row if it is to be written.
    pub fn count(&mut self, found: Assembled) -> Option<Row> {
        match found {
            Assembled::NoQuestion => self.without_question += 1,
            Assembled::Unanswered(_) => self.unanswered += 1,
            Assembled::Group { row, became_question, experts, counts } => {
                self.groups += 1;
                self.became_questions += u64::from(became_question);
                self.without_teacher += u64::from(row.teachers.is_empty());
                self.experts.add(&experts);
                for (source, counts) in self.sources.iter_mut().zip(&counts) {
                    source.counts.add(counts);
                }
                return Some(*row);
            }
        }
        None
    }

    /// Why there is nothing to write.
    pub fn nothing(&self) -> Failure {
        let first = self.failures.first();
        let why = first.map_or(String::new(), |f| format!("; the first: {}, {}: {}", f.source, f.row, f.why));
        let message = format!(
            "no group is complete: {} rows without all answers, {} with nothing to respond to{why}",
            self.unanswered, self.without_question
        );
        if self.unanswered > 0 { Failure::Remote(message) } else { Failure::Data(message) }
    }

    /// For a terminal.
    pub fn in_words(&self) -> String {
        let mut text = format!("{}: {} groups of {} rows\n", self.output.display(), self.groups, self.rows);
        let width = self.sources.iter().map(|s| s.name.chars().count()).max().unwrap_or(0).clamp(8, 32);
        text.push_str(&format!(
            "  {:<width$}  {:>7} {:>7} {:>7} {:>7} {:>6} {:>5} {:>5} {:>6}  right\n",
            "source", "asked", "cached", "failed", "answers", "empty", "cut", "same", "kept"
        ));
        let mut line =
            |name: &str, asked: [String; 3], counts: &Counts| {
                let [asked, cached, failed] = asked;
                text.push_str(&format!(
                "  {name:<width$}  {asked:>7} {cached:>7} {failed:>7} {:>7} {:>6} {:>5} {:>5} {:>6}  {}\n",
                counts.answers, counts.empty, counts.truncated, counts.duplicate, counts.kept, right(counts)
            ));
            };
        if self.experts.answers > 0 {
            line("expert", ["-", "-", "-"].map(str::to_owned), &self.experts);
        }
        for source in &self.sources {
            let name = if source.source == "policy" {
                format!("{} (policy)", source.name)
            } else {
                source.name.clone()
            };
            line(
                &name,
                [source.answered, source.cached, source.failed].map(|n| n.to_string()),
                &source.counts,
            );
        }
        text.push_str(&self.notes());
        text
    }

    fn notes(&self) -> String {
        let mut text = String::new();
        for source in self.sources.iter().filter(|source| !source.troubles.is_empty()) {
            let troubles: Vec<String> =
                source.troubles.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
            text.push_str(&format!("  {}: troubles on the way: {}\n", source.name, troubles.join(", ")));
        }
        let dropped: u64 = self.sources.iter().map(|source| source.counts.not_right).sum();
        let repeats: u64 = self.sources.iter().map(|source| source.counts.duplicate).sum();
        for (count, what) in [
            (
                repeats,
                "answers dropped whose text the group has already; right ones repeat each other more often than wrong ones \
                 (--keep-repeats keeps them)",
            ),
            (dropped, "answers dropped that are not right (--only-right)"),
            (self.without_teacher, "groups without a teacher's answer"),
            (
                self.became_questions,
                "prompts were texts to be continued and are questions now, as teachers were asked them",
            ),
            (self.without_question, "rows left out with nothing to respond to"),
            (self.unanswered, "rows left out for want of an answer"),
        ] {
            if count > 0 {
                text.push_str(&format!("  {count} {what}\n"));
            }
        }
        for Failed { row, source, why } in &self.failures {
            text.push_str(&format!("    {source}, {row}: {why}\n"));
        }
        if self.bounded {
            text.push_str("  the bound on tokens or cost was reached: the rest was not asked\n");
        }
        let Spent { usage, money, unknown_tokens, unknown_money } = &self.spent;
        if usage.completion_tokens + unknown_tokens > 0 {
            let cost = if *money > 0.0 { format!(", cost {money:.4}") } else { String::new() };
            text.push_str(&format!(
                "  tokens as servers count them: {} of prompts, {} of answers{cost}\n",
                usage.prompt_tokens, usage.completion_tokens
            ));
        }
        if *unknown_tokens > 0 {
            let cost =
                if *unknown_money > 0.0 { format!(", cost {unknown_money:.4}") } else { String::new() };
            text.push_str(&format!("  requests without a count: at most {unknown_tokens} tokens{cost}\n"));
        }
        text
    }
}

/// The share of right answers, and that among the kept ones where others were left out.
fn right(counts: &Counts) -> String {
    let graded = counts.right + counts.wrong;
    let kept = counts.kept_right + counts.kept_wrong;
    let left = match counts.unscorable {
        0 => String::new(),
        n => format!(", {n} without a verdict"),
    };
    if graded == 0 {
        return format!("-{left}");
    }
    let share = |right: u64, of: u64| format!("{:.1} % of {of}", 100.0 * right as f64 / of as f64);
    let kept = match kept {
        0 => String::new(),
        kept if kept == graded => String::new(),
        kept => format!("; of the kept {}", share(counts.kept_right, kept)),
    };
    format!("{}{left}{kept}", share(counts.right, graded))
}

/// What a build would ask.
#[derive(Debug, Serialize)]
pub struct Plan {
    rows: u64,
    cache: PathBuf,
    sources: Vec<Planned>,
    tokens_at_most: u64,
    cost_at_most: f64,
}

#[derive(Debug, Serialize)]
struct Planned {
    name: String,
    at: String,
    local: bool,
    /// Requests if the server gives all answers of a prompt at once.
    requests: u64,
    /// Requests if it gives one at a time.
    requests_one_by_one: u64,
    cached: u64,
    without_question: u64,
    repeated_questions: u64,
    prompt_tokens_at_most: u64,
    answer_tokens_at_most: u64,
    cost_at_most: Option<f64>,
}

impl Plan {
    /// From what is missing.
    pub fn new(voices: &[Voice], censuses: &[Census], rows: u64, cache: PathBuf) -> Self {
        let sources: Vec<Planned> = voices
            .iter()
            .zip(censuses)
            .map(|(voice, census)| {
                let Usage { prompt_tokens, completion_tokens } = census.at_most;
                let price = voice.price();
                Planned {
                    name: voice.who.name.clone(),
                    at: voice.who.origin.1.clone(),
                    local: matches!(voice.means, Means::Folder(..)),
                    requests: census.lacking.len() as u64,
                    requests_one_by_one: census.missing,
                    cached: census.cached,
                    without_question: census.without_question,
                    repeated_questions: census.repeated,
                    prompt_tokens_at_most: prompt_tokens,
                    answer_tokens_at_most: completion_tokens,
                    cost_at_most: (price != Price::default()).then(|| price.of(census.at_most)),
                }
            })
            .collect();
        let remote = || sources.iter().filter(|source| !source.local);
        let tokens_at_most = remote().map(|s| s.prompt_tokens_at_most + s.answer_tokens_at_most).sum();
        let cost_at_most = remote().filter_map(|s| s.cost_at_most).sum();
        Self { rows, cache, sources, tokens_at_most, cost_at_most }
    }

    /// For a terminal.
    pub fn in_words(&self) -> String {
        let mut text = format!("{} rows, cache {}; nothing is asked now\n", self.rows, self.cache.display());
        for source in &self.sources {
            let asks = match (source.local, source.requests, source.requests_one_by_one) {
                (true, prompts, answers) => format!("{answers} answers to {prompts} prompts are drawn here"),
                (false, a, b) if a == b => format!("{a} requests"),
                (false, a, b) => format!("{a} requests ({b} if the server gives one answer at a time)"),
            };
            text.push_str(&format!(
                "  {} ({}): {asks}, {} answers cached",
                source.name, source.at, source.cached
            ));
            if !source.local {
                text.push_str(&format!(
                    "; at most {} tokens of prompts and {} of answers",
                    source.prompt_tokens_at_most, source.answer_tokens_at_most
                ));
            }
            match source.cost_at_most {
                Some(cost) => text.push_str(&format!(", cost at most {cost:.4}\n")),
                None => text.push('\n'),
            }
            for (count, what) in [
                (source.without_question, "rows have nothing to respond to"),
                (source.repeated_questions, "rows ask what an earlier one asks"),
            ] {
                if count > 0 {
                    text.push_str(&format!("    {count} {what}\n"));
                }
            }
        }
        text
    }
}
