//! The other families: what the base can do beside the target, and may forget.

use crate::dice::Dice;
use crate::words::NUMBERS;

/// A family of problems that fine-tuning never sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `what is 4 times 7 ?`, by repeated addition.
    Times,
    /// `solve 3 x + 4 = 19`.
    Equation,
    /// `sort 23 7 41`.
    Sort,
    /// `largest of 12 5 33 ?`, or the smallest.
    Extreme,
}

/// A problem as words, with its solution and answer.
pub(crate) struct Solved {
    pub prompt: String,
    pub solution: String,
    pub answer: String,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 4] = [Family::Times, Family::Equation, Family::Sort, Family::Extreme];

    /// Its name in data files.
    pub fn name(self) -> &'static str {
        match self {
            Family::Times => "times",
            Family::Equation => "equation",
            Family::Sort => "sort",
            Family::Extreme => "extreme",
        }
    }

    /// A problem; with probability `error` its solution ends with a wrong number.
    pub(crate) fn draw(self, dice: &mut Dice, error: f64) -> Solved {
        match self {
            Family::Times => times(dice, error),
            Family::Equation => equation(dice, error),
            Family::Sort => sort(dice, error),
            Family::Extreme => extreme(dice, error),
        }
    }
}

/// The number, or with probability `error` a neighbour of it.
fn blur(dice: &mut Dice, number: i64, error: f64) -> i64 {
    if !dice.chance(error) {
        return number;
    }
    let off = dice.pick(&[1, -1, 2, -2]);
    if NUMBERS.contains(&(number + off)) { number + off } else { number - off }
}

fn times(dice: &mut Dice, error: f64) -> Solved {
    let b = dice.between(2, 9);
    let a = dice.between(2, (56 / b).min(9));
    let partial: Vec<String> = (1..a).map(|n| (n * b).to_string()).collect();
    let last = blur(dice, a * b, error);
    Solved {
        prompt: format!("what is {a} times {b} ?"),
        solution: format!("{} {last} #### {last}", partial.join(" ")),
        answer: (a * b).to_string(),
    }
}

fn equation(dice: &mut Dice, error: f64) -> Solved {
    let a = dice.between(2, 5);
    let x = dice.between(1, 9);
    let b = dice.between(1, 9);
    let found = blur(dice, x, error);
    Solved {
        prompt: format!("solve {a} x + {b} = {}", a * x + b),
        solution: format!("{a} x = {} ; x = {found} #### {found}", a * x),
        answer: x.to_string(),
    }
}

/// Distinct numbers.
fn several(dice: &mut Dice, count: usize) -> Vec<i64> {
    let mut numbers: Vec<i64> = Vec::with_capacity(count);
    while numbers.len() < count {
        let number = dice.between(1, 60);
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    numbers
}

fn spaced(numbers: &[i64]) -> String {
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
}

/// The answer is a chain of `<`: an order that the verifier reads, where it would take a list as a set.
fn sort(dice: &mut Dice, error: f64) -> Solved {
    let count = dice.between(3, 4) as usize;
    let given = several(dice, count);
    let chain = |numbers: &[i64]| numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" < ");
    let mut sorted = given.clone();
    sorted.sort_unstable();
    let answer = chain(&sorted);
    if dice.chance(error) {
        let at = dice.between(0, count as i64 - 2) as usize;
        sorted.swap(at, at + 1);
    }
    Solved {
        prompt: format!("sort {}", spaced(&given)),
        solution: format!("#### {}", chain(&sorted)),
        answer,
    }
}

fn extreme(dice: &mut Dice, error: f64) -> Solved {
    let count = dice.between(3, 5) as usize;
    let given = several(dice, count);
    let largest = dice.chance(0.5);
    // The best so far, number by number.
    let best: Vec<i64> = given
        .iter()
        .scan(None, |best: &mut Option<i64>, number| {
            let next = best.map_or(*number, |b| if largest { b.max(*number) } else { b.min(*number) });
            *best = Some(next);
            Some(next)
        })
        .collect();
    let answer = best.last().copied().unwrap_or_default();
    let said = if dice.chance(error) { dice.pick(&given) } else { answer };
    Solved {
        prompt: format!("{} of {} ?", if largest { "largest" } else { "smallest" }, spaced(&given)),
        solution: format!("keep {} #### {said}", spaced(&best)),
        answer: answer.to_string(),
    }
}
