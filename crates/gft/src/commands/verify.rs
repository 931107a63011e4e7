//! `gft verify`: compares answers with reference answers, for rows of JSON or for one pair.

mod words;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args as ClapArgs, ValueEnum};
use gft_reward::{Score, Verifier};
use gft_verify::{ExtractOptions, Grade, Outcome, Policy, Source, grade, verify};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::rows::{self, InputRow};
use crate::terminal::Verbosity;
use crate::{interrupt, output};
use gft_report::Progress;

const EXAMPLE: &str = r#"{"gold": "1/2", "prediction": "0.5"}"#;
/// Rows that are verified before any of them is written.
const CHUNK: usize = 4096;

/// Arguments of `gft verify`.
#[derive(ClapArgs)]
#[command(
    after_help = "Rows come back with `verdict` (equal, not_equal, unparsed, budget), `reward` (1, 0, or null where \
                  there is no verdict) and `how`.\n\
                  Two answers instead of rows are compared and explained: gft verify '1/2' '\\dfrac{1}{2}'\n\
                  The exit code is 0 whatever the verdict is: `verdict` of --json tells a script."
)]
pub struct Args {
    /// A file of rows, one JSON object a line [default: standard input]; or a reference answer.
    #[arg(value_name = "ROWS | GOLD", allow_hyphen_values = true)]
    first: Option<String>,
    /// The answer to compare with that reference answer.
    #[arg(value_name = "PREDICTION", allow_hyphen_values = true)]
    second: Option<String>,
    /// Column with the reference answer.
    #[arg(long, value_name = "NAME", default_value = "gold")]
    gold_field: String,
    /// Column with the answer, or with `--extract` the completion.
    #[arg(long, value_name = "NAME", default_value = "prediction")]
    prediction_field: String,
    /// The prediction is a whole completion: take the final answer out of it.
    #[arg(long)]
    extract: bool,
    /// With `--extract`, take the last number where no answer is announced.
    #[arg(long, requires = "extract")]
    last_number: bool,
    /// What counts as equal: mathematical identity, or also what graders of competition answers accept.
    #[arg(long, value_enum, default_value = "lenient")]
    preset: Preset,
    /// Print the comparison of two answers as JSON; rows always are.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// Mathematical identity only.
    Strict,
    /// Units, labels, percent signs, order of lists and the like may differ.
    Lenient,
}

/// A verdict as rows carry it.
#[derive(Serialize)]
struct How {
    rule: String,
    certainty: Option<&'static str>,
    gold_kind: String,
    prediction_kind: String,
    conventions: Vec<String>,
    work: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    extracted: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

#[derive(Serialize)]
struct Out<'a> {
    #[serde(flatten)]
    row: &'a Map<String, Value>,
    verdict: &'static str,
    reward: Option<f64>,
    how: How,
}

/// A row with its two texts.
struct Pair {
    object: Map<String, Value>,
    gold: String,
    prediction: String,
}

/// How predictions are judged.
struct Judge {
    verifier: Verifier,
    extract: bool,
}

impl Judge {
    fn new(args: &Args) -> Self {
        let policy = match args.preset {
            Preset::Strict => Policy::strict(),
            Preset::Lenient => Policy::lenient(),
        };
        let extract = ExtractOptions { last_number: args.last_number, ..ExtractOptions::default() };
        Self { verifier: Verifier { extract, policy, ..Verifier::default() }, extract: args.extract }
    }

    fn grade(&self, gold: &str, prediction: &str) -> Grade {
        match self.extract {
            true => grade(prediction, gold, &self.verifier.extract, &self.verifier.policy),
            false => Grade { extracted: None, verdict: verify(gold, prediction, &self.verifier.policy) },
        }
    }

    /// The reward that training would give; `None` where there is no verdict.
    fn reward(&self, grade: &Grade, prediction: &str) -> Option<f64> {
        let answered = if self.extract { grade.extracted.is_some() } else { !prediction.trim().is_empty() };
        match Verifier::score_of(&grade.verdict, answered) {
            Score::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The answer that was compared, and where it stood.
    fn answer(&self, grade: &Grade, prediction: &str) -> (Option<String>, Option<Source>) {
        match (&grade.extracted, self.extract) {
            (Some(found), _) => (Some(found.text(prediction).into_owned()), Some(found.how)),
            (None, true) => (None, None),
            (None, false) => (Some(prediction.to_owned()), None),
        }
    }

    fn how(&self, grade: &Grade, prediction: &str) -> How {
        let (answer, source) = self.answer(grade, prediction);
        let how = &grade.verdict.how;
        How {
            rule: words::snake(&how.rule),
            certainty: words::certainty(grade.verdict.outcome),
            gold_kind: words::snake(&how.gold),
            prediction_kind: words::snake(&how.answer),
            conventions: how.conventions.iter().map(|allowed| words::snake(&allowed)).collect(),
            work: grade.verdict.work,
            extracted: self.extract.then_some(answer),
            source: source.map(|source| words::snake(&source)),
        }
    }
}

/// How many rows went which way.
#[derive(Default)]
struct Counts {
    rows: usize,
    equal: usize,
    probable: usize,
    not_equal: usize,
    unparsed: usize,
    budget: usize,
    scored: usize,
}

impl Counts {
    fn add(&mut self, outcome: Outcome, reward: Option<f64>) {
        self.rows += 1;
        self.scored += usize::from(reward.is_some());
        self.probable += usize::from(words::certainty(outcome) == Some("probable"));
        *match outcome {
            Outcome::Equal(_) => &mut self.equal,
            Outcome::NotEqual => &mut self.not_equal,
            Outcome::Unparsed => &mut self.unparsed,
            Outcome::Budget => &mut self.budget,
        } += 1;
    }

    fn line(&self, seconds: f64) -> String {
        let accuracy = match self.scored {
            0 => "no row has a verdict".into(),
            scored => {
                let share = 100.0 * self.equal as f64 / scored as f64;
                format!("accuracy {share:.2} % of {scored} with a verdict")
            }
        };
        format!(
            "{} rows: {} equal ({} probable), {} not equal, {} unparsed, {} out of budget; {accuracy}; {:.0} rows/s",
            self.rows,
            self.equal,
            self.probable,
            self.not_equal,
            self.unparsed,
            self.budget,
            self.rows as f64 / seconds.max(1e-9),
        )
    }
}

/// Runs `gft verify`.
pub fn run(args: Args) -> Result<(), Failure> {
    interrupt::install()?;
    let judge = Judge::new(&args);
    match (&args.first, &args.second) {
        (Some(gold), Some(prediction)) => pair(&judge, gold, prediction, args.json),
        (Some(file), None) => {
            let path = PathBuf::from(file);
            if file != "-" && !path.exists() {
                return Err(Failure::data(format!(
                    "{file}: no such file of rows; to compare two answers give both: gft verify '1/2' '0.5'"
                )));
            }
            verify_rows(&args, &judge, Some(&path))
        }
        (None, _) => verify_rows(&args, &judge, None),
    }
}

/// Compares one pair and says why.
fn pair(judge: &Judge, gold: &str, prediction: &str, json: bool) -> Result<(), Failure> {
    let grade = judge.grade(gold, prediction);
    if json {
        let entries = [("gold", gold), ("prediction", prediction)];
        let row = entries.into_iter().map(|(key, text)| (key.to_owned(), Value::from(text))).collect();
        return output::json(&Out {
            row: &row,
            verdict: words::outcome(grade.verdict.outcome),
            reward: judge.reward(&grade, prediction),
            how: judge.how(&grade, prediction),
        });
    }
    let (answer, source) = judge.answer(&grade, prediction);
    output::text(&words::explain(gold, answer.as_deref().unwrap_or_default(), source, &grade.verdict));
    Ok(())
}

/// Verifies rows and writes them back in their order.
fn verify_rows(args: &Args, judge: &Judge, path: Option<&Path>) -> Result<(), Failure> {
    let inputs = rows::read(path, EXAMPLE)?;
    let pairs = inputs.into_iter().map(|row| read_pair(args, row)).collect::<Result<Vec<_>, _>>()?;
    let mut progress = Progress::new("verify", args.verbosity.quiet);
    let mut counts = Counts::default();
    let mut seconds = 0.0;
    for chunk in pairs.chunks(CHUNK) {
        let start = Instant::now();
        let grades: Vec<Grade> =
            chunk.par_iter().map(|pair| judge.grade(&pair.gold, &pair.prediction)).collect();
        seconds += start.elapsed().as_secs_f64();
        progress.clear();
        for (pair, grade) in chunk.iter().zip(&grades) {
            let reward = judge.reward(grade, &pair.prediction);
            counts.add(grade.verdict.outcome, reward);
            output::json(&Out {
                row: &pair.object,
                verdict: words::outcome(grade.verdict.outcome),
                reward,
                how: judge.how(grade, &pair.prediction),
            })?;
        }
        let done = counts.rows;
        progress.update(done as f64 / pairs.len() as f64, done, || format!("{done}/{} rows", pairs.len()));
    }
    progress.clear();
    args.verbosity.note(&counts.line(seconds));
    Ok(())
}

/// Takes the two texts out of a row, before anything is computed, so that a bad one is found at once.
fn read_pair(args: &Args, mut row: InputRow) -> Result<Pair, Failure> {
    let gold = field(&row, &args.gold_field, "--gold-field")?;
    let prediction = field(&row, &args.prediction_field, "--prediction-field")?;
    if gold.trim().is_empty() {
        return Err(row.failure(&format!("`{}` is empty: there is nothing to compare with", args.gold_field)));
    }
    for key in ["verdict", "reward", "how"] {
        row.object.shift_remove(key);
    }
    Ok(Pair { object: row.object, gold, prediction })
}

fn field(row: &InputRow, name: &str, flag: &str) -> Result<String, Failure> {
    match row.object.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(other) => {
            Err(row.failure(&format!("`{name}` must be text or a number, not {}", rows::kind(other))))
        }
        None => Err(row.failure(&format!("no column `{name}`; there is {}; {flag} names it", row.keys()))),
    }
}
