//! The styles in which a solution can be written.

use crate::totals::Totals;

/// One day of a solution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub day: &'static str,
    pub before: i64,
    pub change: i64,
    pub after: i64,
}

/// How a solution of the target family is written. Each ends with the answer behind `####`, as GSM8K's do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Style {
    /// The answer alone.
    Direct,
    /// The totals, as in `mon 26 tue 21`.
    Run,
    /// Equations, as in `mon 23 + 3 = 26`.
    Equations,
    /// Words, as in `mon adding 3 gives 26`.
    Words,
    /// The expert's, as in `t mon up 3 now 26`: right where it is trained, and hardly known to the base.
    Expert,
}

impl Style {
    /// Every style.
    pub const ALL: [Style; 5] = [Style::Direct, Style::Run, Style::Equations, Style::Words, Style::Expert];

    /// Its name in data files.
    pub fn name(self) -> &'static str {
        match self {
            Style::Direct => "direct",
            Style::Run => "run",
            Style::Equations => "equations",
            Style::Words => "words",
            Style::Expert => "expert",
        }
    }

    /// The solution that goes through `steps`.
    pub(crate) fn write(self, problem: &Totals, steps: &[Step]) -> String {
        let answer = steps.last().map_or(problem.start, |step| step.after);
        let mut text = match self {
            Style::Direct => return format!("#### {answer}"),
            Style::Run | Style::Equations => String::new(),
            Style::Words => format!("begin with {} ", problem.start),
            Style::Expert => format!("let t be {} | ", problem.start),
        };
        for Step { day, before, change, after } in steps {
            let (size, up) = (change.abs(), *change > 0);
            text.push_str(&match self {
                Style::Direct => String::new(),
                Style::Run => format!("{day} {after} "),
                Style::Equations => {
                    format!("{day} {before} {} {size} = {after} ; ", if up { "+" } else { "-" })
                }
                Style::Words if up => format!("{day} adding {size} gives {after} "),
                Style::Words => format!("{day} taking {size} leaves {after} "),
                Style::Expert => format!("t {day} {} {size} now {after} | ", if up { "up" } else { "down" }),
            });
        }
        text.push_str(match self {
            Style::Direct | Style::Equations => "",
            Style::Run => ". ",
            Style::Words => "so ",
            Style::Expert => "hence ",
        });
        text + &format!("#### {answer}")
    }

    /// The style of a solution, by its first words.
    pub fn of(text: &str) -> Option<Style> {
        let words: Vec<&str> = text.split_whitespace().take(3).collect();
        match words.as_slice() {
            ["####", ..] => Some(Style::Direct),
            ["let", ..] => Some(Style::Expert),
            ["begin", ..] => Some(Style::Words),
            [_, _, "+" | "-"] => Some(Style::Equations),
            [_, number, _] if number.parse::<i64>().is_ok() => Some(Style::Run),
            _ => None,
        }
    }
}
