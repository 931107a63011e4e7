//! A verdict in words: what each side was read as, what decided, and what the answer rests on.

use gft_verify::{Certainty, Convention, Kind, Outcome, Rule, Source, Verdict};

/// The outcome as one word for rows.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Equal(_) => "equal",
        Outcome::NotEqual => "not_equal",
        Outcome::Unparsed => "unparsed",
        Outcome::Budget => "budget",
    }
}

/// How sure an equality is; `None` where nothing is equal.
pub fn certainty(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Equal(Certainty::Proof) => Some("proof"),
        Outcome::Equal(Certainty::Probable) => Some("probable"),
        _ => None,
    }
}

/// The name of a variant in snake case.
pub fn snake(variant: &impl std::fmt::Debug) -> String {
    let mut text = String::new();
    for (at, c) in format!("{variant:?}").chars().enumerate() {
        if c.is_uppercase() && at > 0 {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    text
}

/// Several lines for a reader.
pub fn explain(gold: &str, answer: &str, source: Option<Source>, verdict: &Verdict) -> String {
    let headline = match verdict.outcome {
        Outcome::Equal(_) => "equal",
        Outcome::NotEqual => "not equal",
        Outcome::Unparsed => "unparsed: a side is empty, or mathematics that cannot be read",
        Outcome::Budget => "no verdict: the work allowed was spent first",
    };
    let identical = verdict.how.rule == Rule::Identical;
    let side = |text: &str, read: Kind| match identical {
        true => one_line(text),
        false => format!("{}  ({})", one_line(text), kind(read)),
    };
    let mut lines = vec![headline.to_owned()];
    lines.push(format!("  reference   {}", side(gold, verdict.how.gold)));
    lines.push(format!("  answer      {}", side(answer, verdict.how.answer)));
    if let Some(source) = source {
        lines.push(format!("  taken from  {}", place(source)));
    }
    let sure = match verdict.outcome {
        Outcome::Equal(Certainty::Proof) => ", which proves it",
        Outcome::Equal(Certainty::Probable) => ", which makes it probable",
        _ => "",
    };
    lines.push(format!("  decided by  {}{sure}", rule(verdict.how.rule)));
    for allowed in verdict.how.conventions.iter() {
        lines.push(format!("  allowing    {}", convention(allowed)));
    }
    lines.push(format!("  work        {} units", verdict.work));
    lines.join("\n") + "\n"
}

/// Text on one line, cut where it is long.
fn one_line(text: &str) -> String {
    const MOST: usize = 100;
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST).collect();
    if flat.is_empty() {
        "(nothing)".into()
    } else if text.chars().nth(MOST).is_some() {
        flat + " ..."
    } else {
        flat
    }
}

fn place(source: Source) -> &'static str {
    match source {
        Source::Boxed => "the last box",
        Source::Phrase => "a final-answer phrase",
        Source::Marker => "a final-answer marker",
        Source::LastNumber => "the last number of the text",
    }
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Nothing => "nothing".into(),
        Kind::Unread => "not read".into(),
        other => snake(&other).replace('_', " "),
    }
}

fn rule(rule: Rule) -> &'static str {
    match rule {
        Rule::Identical => "the same text",
        Rule::SameForm => "the same form",
        Rule::Rational => "arithmetic of rational numbers",
        Rule::Exact => "exact arithmetic with roots, constants and variables",
        Rule::FiniteField => "values at points of a finite field",
        Rule::Numeric => "values in intervals at pseudo-random points",
        Rule::Items => "the items, one by one",
        Rule::Proportional => "a factor between the two",
        Rule::Text => "comparison of text or letters",
        Rule::Kinds => "the kinds, which do not compare",
        _ => "nothing",
    }
}

fn convention(convention: Convention) -> &'static str {
    match convention {
        Convention::UnitOmitted => "a unit on one side only",
        Convention::PercentOmitted => "a percent sign on one side only",
        Convention::DegreesOmitted => "a degree sign on one side only",
        Convention::BaseOmitted => "a base on one side only",
        Convention::LabelOmitted => "a name on one side only, such as x =",
        Convention::DecimalRounded => "a decimal that is rounded",
        Convention::ListOrder => "another order of the list",
        Convention::SetAsList => "a set and a bare list",
        Convention::TupleAsList => "a tuple and a bare list",
        Convention::IntervalAsInequality => "an interval and an inequality",
        Convention::SingletonAsElement => "a set of one and its element",
        Convention::VectorAsTuple => "a vector and a tuple",
        Convention::TextCase => "another case of letters",
        Convention::ChoiceContent => "a choice letter with or without what it says",
        Convention::RatioAsQuotient => "a ratio and its quotient",
        Convention::MeridiemOmitted => "a time without a.m. or p.m.",
        _ => "a convention",
    }
}
