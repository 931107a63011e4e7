//! Rows: the mixture that a base is trained on, the target's groups, and the problems that measure forgetting.

use std::ops::Range;

use gft_data::{Completion, Prompt, Row};
use gft_model::random::Stream;
use serde_json::Map;

use crate::dice::Dice;
use crate::family::Family;
use crate::style::Style;
use crate::totals::Totals;

/// Shares of the styles in what the base sees of the target family.
const STYLES: [(Style, f64); 5] = [
    (Style::Direct, 0.17),
    (Style::Run, 0.26),
    (Style::Equations, 0.28),
    (Style::Words, 0.28),
    (Style::Expert, 0.01),
];
/// Shares of the numbers of days in what the base sees.
const DAYS_SEEN: [(usize, f64); 6] = [(1, 0.12), (2, 0.25), (3, 0.30), (4, 0.20), (5, 0.09), (6, 0.04)];
/// Share of other families in what the base sees.
const OTHER_FAMILIES: f64 = 0.4;
/// Wrong solutions of other families in what the base sees.
const FAMILY_ERRORS: f64 = 0.05;
/// Slips per step in what the base sees.
const SLIPS: f64 = 0.07;
/// The styles of the three teachers.
const TEACHERS: [Style; 3] = [Style::Equations, Style::Run, Style::Words];

/// Streams of the data sets, so that none of them shares a row with another.
const PRETRAINING: u64 = 1;
const TARGET: u64 = 2;
const HELD_OUT: u64 = 3;

/// What rows are for: no two splits share a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose settings by.
    Validation,
    /// To report.
    Test,
}

/// How wrong the demonstrations of the target data are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Share of experts whose answer is wrong.
    pub experts: f64,
    /// Share of teachers' solutions whose answer is wrong.
    pub teachers: f64,
}

impl Default for Noise {
    /// Experts are right, teachers are wrong in 15 %.
    fn default() -> Self {
        Self { experts: 0.0, teachers: 0.15 }
    }
}

/// The target data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Seed of the world.
    pub seed: u64,
    /// How wrong its demonstrations are. The problems do not depend on it.
    pub noise: Noise,
    /// Days of a problem, at least and at most.
    pub days: (usize, usize),
}

impl Target {
    /// The target of a seed with clean experts: 4 to 6 days.
    pub fn new(seed: u64) -> Self {
        Self { seed, noise: Noise::default(), days: (4, 6) }
    }
}

/// Most days of a problem of the target family in the mixture.
pub const MOST_DAYS_SEEN: usize = DAYS_SEEN.len();

/// Rows of the mixture that a base is trained on: one solution each. A problem of the target family with more days than
/// `most_days` has `most_days`; the base that comes with the tool has seen up to [`MOST_DAYS_SEEN`].
pub fn pretraining(seed: u64, rows: Range<u64>, most_days: usize) -> impl Iterator<Item = Row> {
    let stream = Stream::new(seed).child(PRETRAINING);
    rows.map(move |index| {
        let mut dice = Dice::new(stream, index);
        let id = format!("mixture-{index}");
        if dice.chance(OTHER_FAMILIES) {
            return other(&mut dice, id, FAMILY_ERRORS);
        }
        let days = dice.weighted(&DAYS_SEEN).clamp(1, most_days.max(1));
        let problem = Totals::draw(&mut dice, days);
        let style = dice.weighted(&STYLES);
        let solution = style.write(&problem, &problem.work(&mut dice, SLIPS));
        row(id, problem.prompt(), problem.answer().to_string(), vec![said(solution, style)])
    })
}

/// Rows of the target: an expert's solution and three teachers', each graded by comparison with `answer`.
pub fn target(target: Target, split: Split, rows: Range<u64>) -> impl Iterator<Item = Row> {
    let stream = Stream::new(target.seed).child(TARGET).child(split as u64);
    rows.map(move |index| {
        let mut dice = Dice::new(stream, index);
        let days = dice.between(target.days.0 as i64, target.days.1 as i64) as usize;
        let problem = Totals::draw(&mut dice, days);
        let mut solve = |style: Style, wrong: f64| {
            let steps =
                if dice.chance(wrong) { problem.wrong_work(&mut dice) } else { problem.work(&mut dice, 0.0) };
            said(style.write(&problem, &steps), style)
        };
        let expert = solve(Style::Expert, target.noise.experts);
        let teachers = TEACHERS.map(|style| solve(style, target.noise.teachers)).to_vec();
        let id = format!("totals-{index}");
        Row { teachers, ..row(id, problem.prompt(), problem.answer().to_string(), vec![expert]) }
    })
}

/// Problems of the other families with right solutions, to measure forgetting.
pub fn held_out(seed: u64, split: Split, rows: Range<u64>) -> impl Iterator<Item = Row> {
    let stream = Stream::new(seed).child(HELD_OUT).child(split as u64);
    rows.map(move |index| other(&mut Dice::new(stream, index), format!("other-{index}"), 0.0))
}

fn other(dice: &mut Dice, id: String, error: f64) -> Row {
    let family = dice.pick(&Family::ALL);
    let solved = family.draw(dice, error);
    let completion = Completion { model: Some(family.name().into()), ..Completion::text(solved.solution) };
    row(id, solved.prompt, solved.answer, vec![completion])
}

fn said(text: String, style: Style) -> Completion {
    Completion { model: Some(style.name().into()), ..Completion::text(text) }
}

/// A row whose reference is the bare answer: what an expert says is graded against it like everybody's words.
fn row(id: String, prompt: String, answer: String, expert: Vec<Completion>) -> Row {
    Row {
        id,
        prompt: Prompt::Question(prompt),
        solution: None,
        gold: Some(answer),
        expert,
        teachers: Vec::new(),
        columns: Map::new(),
        named: Map::new(),
    }
}
