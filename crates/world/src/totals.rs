//! The target family: what somebody has after a number of days.
//!
//! Every day has a label, in the prompt as in the solution, so that a small model can find the next operand by its
//! content instead of counting.

use crate::dice::Dice;
use crate::style::Step;
use crate::words::{DAYS, NAMES};

/// Totals stay within this range at every step.
const TOTALS: std::ops::RangeInclusive<i64> = 1..=55;

/// One problem of the target family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Who has something.
    name: &'static str,
    /// How much at the start, 5 to 45.
    pub(crate) start: i64,
    /// What each day changes, 1 to 9 either way.
    changes: Vec<i64>,
}

impl Totals {
    /// A problem of `days` days, at most [`DAYS`] many.
    pub(crate) fn draw(dice: &mut Dice, days: usize) -> Self {
        let name = dice.pick(&NAMES);
        let start = dice.between(5, 45);
        let mut total = start;
        let changes = (0..days.min(DAYS.len()))
            .map(|_| {
                let size = dice.between(1, 9);
                let up = dice.chance(0.5);
                let change = if up { size } else { -size };
                let change = if TOTALS.contains(&(total + change)) { change } else { -change };
                total += change;
                change
            })
            .collect();
        Self { name, start, changes }
    }

    /// The question.
    pub fn prompt(&self) -> String {
        let mut text = format!("{} has {}", self.name, self.start);
        for (day, change) in DAYS.iter().zip(&self.changes) {
            let verb = if *change > 0 { "gets" } else { "loses" };
            text.push_str(&format!(" {day} {verb} {}", change.abs()));
        }
        text.push_str(" how many ?");
        text
    }

    /// The right answer.
    pub fn answer(&self) -> i64 {
        self.start + self.changes.iter().sum::<i64>()
    }

    /// The days of a solution; a step slips with probability `slip`, by 1, 2 or 10, and the error is carried on.
    pub(crate) fn work(&self, dice: &mut Dice, slip: f64) -> Vec<Step> {
        let mut total = self.start;
        let step = |(day, change): (&&'static str, &i64)| {
            let before = total;
            total += change;
            if dice.chance(slip) {
                total = slipped(dice, total);
            }
            Step { day, before, change: *change, after: total }
        };
        DAYS.iter().zip(&self.changes).map(step).collect()
    }

    /// The days of a solution that ends with a wrong answer: exactly one step slips.
    pub(crate) fn wrong_work(&self, dice: &mut Dice) -> Vec<Step> {
        let place = dice.between(0, self.changes.len() as i64 - 1) as usize;
        let mut steps = self.work(dice, 0.0);
        let right = steps[place].after;
        let off = slipped(dice, right) - right;
        // The error moves every later total; where that leaves the numbers that exist, it goes the other way.
        let fits =
            |off: i64| steps[place..].iter().all(|step| crate::words::NUMBERS.contains(&(step.after + off)));
        let off = [off, -off, off.signum(), -off.signum()].into_iter().find(|off| fits(*off)).unwrap_or(1);
        for (at, step) in steps.iter_mut().enumerate().skip(place) {
            step.before += if at > place { off } else { 0 };
            step.after += off;
        }
        steps
    }
}

/// A number that is off by 1, 2 or 10 and still has a word.
fn slipped(dice: &mut Dice, total: i64) -> i64 {
    let off = dice.pick(&[1, -1, 2, -2, 10, -10]);
    if crate::words::NUMBERS.contains(&(total + off)) { total + off } else { total - off }
}
