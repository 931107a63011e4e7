//! Units of measure: known units with their conversion factors, and counted things ("apples") by their stem.

use std::borrow::Cow;

use crate::expr::Arena;
use crate::lex::{Tok, Token};
use crate::literal::Value;
use crate::rational::Rat;
use crate::symbols;
use crate::work::{Bounded, Stop, Work};

/// A product of powers of base units, times a factor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unit {
    /// Base units with their powers, sorted by name, no zero powers.
    pub(crate) dims: Vec<(String, i64)>,
    pub(crate) factor: Rat,
    /// All base units are from the table.
    pub(crate) known: bool,
    /// Power of "square units" (2) and "cubic units" (3), else 0.
    pub(crate) measure: i64,
}

/// Base unit, numerator and denominator of the factor, and power of a known unit.
type Known = (&'static str, i64, i64, i64);

fn known_symbol(symbol: &str) -> Option<Known> {
    Some(match symbol {
        "m" => ("m", 1, 1, 1),
        "g" => ("g", 1, 1, 1),
        "s" => ("s", 1, 1, 1),
        "h" => ("s", 3600, 1, 1),
        "L" | "l" => ("L", 1, 1, 1),
        "J" => ("J", 1, 1, 1),
        "N" => ("N", 1, 1, 1),
        "W" => ("W", 1, 1, 1),
        "V" => ("V", 1, 1, 1),
        "A" => ("A", 1, 1, 1),
        "K" => ("K", 1, 1, 1),
        "C" => ("degC", 1, 1, 1),
        "F" => ("degF", 1, 1, 1),
        "AA" | "\\AA" => ("angstrom", 1, 1, 1),
        _ => return None,
    })
}

fn known_word(word: &str) -> Option<Known> {
    Some(match word {
        "mm" | "millimeter" | "millimetre" => ("m", 1, 1000, 1),
        "cm" | "centimeter" | "centimetre" => ("m", 1, 100, 1),
        "dm" | "decimeter" => ("m", 1, 10, 1),
        "meter" | "metre" => ("m", 1, 1, 1),
        "km" | "kilometer" | "kilometre" => ("m", 1000, 1, 1),
        "in" | "inch" => ("m", 127, 5000, 1),
        "ft" | "foot" => ("m", 381, 1250, 1),
        "yd" | "yard" => ("m", 1143, 1250, 1),
        "mi" | "mile" => ("m", 201_168, 125, 1),
        "mg" | "milligram" => ("g", 1, 1000, 1),
        "gram" => ("g", 1, 1, 1),
        "kg" | "kilogram" => ("g", 1000, 1, 1),
        "lb" | "pound" => ("lb", 1, 1, 1),
        "oz" | "ounce" => ("oz", 1, 1, 1),
        "ton" => ("ton", 1, 1, 1),
        "ms" | "millisecond" => ("s", 1, 1000, 1),
        "sec" | "second" => ("s", 1, 1, 1),
        "min" | "minute" => ("s", 60, 1, 1),
        "hr" | "hour" => ("s", 3600, 1, 1),
        "day" => ("s", 86_400, 1, 1),
        "week" => ("s", 604_800, 1, 1),
        "month" => ("month", 1, 1, 1),
        "year" | "yr" => ("month", 12, 1, 1),
        "dollar" | "usd" | "buck" => ("dollar", 1, 1, 1),
        "cent" | "\u{a2}" => ("dollar", 1, 100, 1),
        "euro" | "eur" | "\u{20ac}" => ("euro", 1, 1, 1),
        "\u{a3}" => ("pound sterling", 1, 1, 1),
        "ml" | "milliliter" | "millilitre" => ("L", 1, 1000, 1),
        "liter" | "litre" => ("L", 1, 1, 1),
        "gallon" | "gal" => ("gallon", 1, 1, 1),
        "quart" => ("gallon", 1, 4, 1),
        "cup" => ("cup", 1, 1, 1),
        "joule" => ("J", 1, 1, 1),
        "kj" => ("J", 1000, 1, 1),
        "erg" => ("erg", 1, 1, 1),
        "newton" => ("N", 1, 1, 1),
        "watt" => ("W", 1, 1, 1),
        "kw" => ("W", 1000, 1, 1),
        "volt" => ("V", 1, 1, 1),
        "hz" | "hertz" => ("Hz", 1, 1, 1),
        "pa" => ("Pa", 1, 1, 1),
        "kpa" => ("Pa", 1000, 1, 1),
        "kelvin" => ("K", 1, 1, 1),
        "angstrom" => ("angstrom", 1, 1, 1),
        _ => return None,
    })
}

/// A unit behind a metric prefix, with the prefix's power of ten.
fn prefixed(symbol: &str, stem: &str) -> Option<(Known, i64)> {
    const WORDS: [(&str, i64); 9] = [
        ("nano", -9),
        ("micro", -6),
        ("milli", -3),
        ("centi", -2),
        ("deci", -1),
        ("kilo", 3),
        ("mega", 6),
        ("giga", 9),
        ("pico", -12),
    ];
    const SYMBOLS: [(&str, i64); 10] = [
        ("\u{b5}", -6),
        ("\u{3bc}", -6),
        ("n", -9),
        ("m", -3),
        ("c", -2),
        ("d", -1),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("p", -12),
    ];
    for (name, exponent) in WORDS {
        if let Some(rest) = stem.strip_prefix(name)
            && rest.len() > 3
            && let Some(unit) = known_word(rest)
        {
            return Some((unit, exponent));
        }
    }
    let (prefix, exponent) = SYMBOLS.iter().find(|(prefix, _)| symbol.starts_with(prefix))?;
    let rest = &symbol[prefix.len()..];
    let unit = match rest {
        "Hz" => known_word("hz"),
        "Pa" => known_word("pa"),
        "C" | "F" => None,
        _ => known_symbol(rest),
    };
    unit.map(|unit| (unit, *exponent))
}

/// The unit that letters with their powers spell, if all of them are known: `m s^{-1}`, or joined, `k W`.
pub(crate) fn of_letters(letters: &[(u32, i64)], work: &mut Work) -> Bounded<Option<Unit>> {
    let mut names: Vec<(String, i64)> = Vec::with_capacity(letters.len());
    let mut micro = false;
    for (symbol, power) in letters {
        if *symbol == symbols::MU && !micro {
            micro = true;
            continue;
        }
        let Some(letter) = symbols::latin(*symbol) else { return Ok(None) };
        let letter = char::from(letter);
        names.push((if micro { format!("\u{b5}{letter}") } else { letter.to_string() }, *power));
        micro = false;
    }
    let joined: String = names.iter().map(|n| n.0.as_str()).collect();
    let whole = names.last().map(|last| vec![(joined, last.1)]).unwrap_or_default();
    let apart = names.iter().rev().skip(1).all(|n| n.1 == 1);
    for candidate in [names, if apart { whole } else { Vec::new() }] {
        let mut unit = Unit::none();
        for (name, power) in &candidate {
            unit.multiply(name, *power, work)?;
        }
        if unit.known && !candidate.is_empty() {
            return Ok(Some(unit));
        }
    }
    Ok(None)
}

/// Words that say nothing about what is counted.
fn filler(word: &str) -> bool {
    matches!(
        word,
        "of" | "the"
            | "a"
            | "an"
            | "is"
            | "are"
            | "unit"
            | "total"
            | "each"
            | "approximately"
            | "about"
            | "exactly"
            | "long"
            | "wide"
            | "tall"
            | "high"
            | "old"
            | "only"
            | "left"
            | "remaining"
            | "in"
            | "there"
            | "respectively"
            | "radian"
            | "rad"
            | "square"
            | "cubic"
            | "sq"
            | "cu"
            | "different"
            | "distinct"
            | "possible"
            | "whole"
            | "value"
            | "solution"
            | "way"
            | "more"
            | "away"
            | "apart"
            | "ago"
            | "altogether"
            | "all"
    )
}

/// Singular, lower case.
pub(crate) fn stem(word: &str) -> String {
    let w: String = word.chars().filter(|c| *c != '.').collect::<String>().to_lowercase();
    let cut = |n: usize| w[..w.len() - n].to_string();
    if w == "feet" {
        return "foot".into();
    }
    if ["ches", "shes", "xes", "sses"].iter().any(|e| w.ends_with(e)) {
        return cut(2);
    }
    if w.ends_with("ies") && w.len() > 4 {
        return cut(3) + "y";
    }
    if w.ends_with('s') && !w.ends_with("ss") && w.len() > 2 && w != "hours'" {
        return cut(1);
    }
    w
}

impl Unit {
    /// The dollar.
    pub(crate) fn dollar() -> Unit {
        Unit { dims: vec![("dollar".into(), 1)], factor: Rat::ONE, known: true, measure: 0 }
    }

    pub(crate) fn none() -> Unit {
        Unit { dims: Vec::new(), factor: Rat::ONE, known: true, measure: 0 }
    }

    /// Says nothing: equal to a bare number.
    pub(crate) fn is_none(&self) -> bool {
        self.dims.is_empty() && self.factor.is_one() && self.measure == 0
    }

    fn multiply(&mut self, word: &str, power: i64, work: &mut Work) -> Bounded<()> {
        let stemmed = stem(word);
        let known = known_symbol(word).or_else(|| known_word(&stemmed)).or_else(|| {
            let lower = word.to_lowercase();
            known_word(&lower)
        });
        let (known, exponent) = match known {
            Some(unit) => (Some(unit), 0),
            None => match prefixed(word, &stemmed) {
                Some((unit, exponent)) => (Some(unit), exponent),
                None => (None, 0),
            },
        };
        let (name, power) = match known {
            Some((base, num, den, p)) => {
                let prefix = Rat::int(10).pow(exponent, work)?;
                let factor = Rat::int(num).div(&Rat::int(den), work)?.mul(&prefix, work)?.pow(power, work)?;
                self.factor = self.factor.mul(&factor, work)?;
                (base.to_string(), power * p)
            }
            None => {
                self.known = false;
                (stemmed, power)
            }
        };
        match self.dims.iter().position(|d| d.0 == name) {
            Some(i) => self.dims[i].1 += power,
            None => self.dims.push((name, power)),
        }
        self.dims.retain(|d| d.1 != 0);
        self.dims.sort();
        Ok(())
    }
}

/// Reads the tokens behind a number as a unit.
pub(crate) fn parse(src: &[u8], tokens: &[Token], arena: &Arena, work: &mut Work) -> Bounded<Unit> {
    let mut unit = Unit::none();
    let (mut sign, mut next_power) = (1i64, 1i64);
    let mut micro = false;
    let mut at = 0;
    if tokens.len() > 40 {
        return Err(Stop::Inapplicable);
    }
    while let Some(token) = tokens.get(at) {
        at += 1;
        work.charge(4)?;
        let text = std::str::from_utf8(&src[token.start as usize..token.end as usize]).unwrap_or("");
        match token.tok {
            Tok::Slash => sign = -1,
            // The denominator of a fraction of words.
            Tok::RBrace if tokens.get(at).is_some_and(|t| t.tok == Tok::LBrace) => sign = -1,
            Tok::Frac => {}
            Tok::Var(symbols::MU) => micro = true,
            Tok::Word | Tok::Var(_) | Tok::Func(_) => {
                let word = stem(text);
                match word.as_str() {
                    "per" => sign = -1,
                    "square" | "sq" => next_power = 2,
                    "cubic" | "cu" => next_power = 3,
                    _ if filler(&word)
                        && !(word == "in" && tokens.get(at).is_none_or(|t| t.tok != Tok::Word)) =>
                    {
                        let (power, used) = power_after(&tokens[at..], arena);
                        at += used;
                        // "square units", "units^2"; "units" alone says nothing.
                        if word == "unit" {
                            let power = power.max(next_power);
                            unit.measure = if power > 1 { power } else { 0 };
                            next_power = 1;
                        }
                    }
                    "squared" | "cubed" => {}
                    "mph" => {
                        unit.multiply("mile", 1, work)?;
                        unit.multiply("hour", -1, work)?;
                    }
                    "kph" => {
                        unit.multiply("km", 1, work)?;
                        unit.multiply("hour", -1, work)?;
                    }
                    _ => {
                        let (mut power, used) = power_after(&tokens[at..], arena);
                        at += used;
                        if let Some(t) = tokens.get(at)
                            && t.tok == Tok::Word
                        {
                            match &src[t.start as usize..t.end as usize] {
                                b"squared" => power = 2,
                                b"cubed" => power = 3,
                                _ => {}
                            }
                        }
                        let name =
                            if micro { Cow::Owned(format!("\u{b5}{text}")) } else { Cow::Borrowed(text) };
                        unit.multiply(&name, sign * power * next_power, work)?;
                        micro = false;
                        (sign, next_power) = (1, 1);
                    }
                }
            }
            Tok::Currency => unit.multiply("dollar", sign, work)?,
            Tok::Open(_) | Tok::Close(_) | Tok::Times | Tok::LBrace | Tok::RBrace | Tok::Degree => {}
            Tok::Minus => {}
            Tok::Caret => {
                // A power of a filler or of a closing bracket.
                let (_, used) = power_after(&tokens[at - 1..], arena);
                at += used.saturating_sub(1);
            }
            _ => return Err(Stop::Inapplicable),
        }
    }
    Ok(unit)
}

/// Power written behind a unit, and the tokens it takes.
fn power_after(tokens: &[Token], arena: &Arena) -> (i64, usize) {
    if tokens.first().map(|t| t.tok) != Some(Tok::Caret) {
        return (1, 0);
    }
    let mut used = 1;
    let (mut sign, mut power) = (1, 1);
    let braced = tokens.get(1).map(|t| t.tok) == Some(Tok::LBrace);
    used += usize::from(braced);
    while let Some(t) = tokens.get(used) {
        match t.tok {
            Tok::Minus => sign = -1,
            Tok::Num(i) => {
                if let Value::Exact(r) = &arena.literal(i).value {
                    power = r.as_i64().filter(|p| (1..=9).contains(p)).unwrap_or(1);
                }
                if !braced {
                    used += 1;
                    break;
                }
            }
            Tok::RBrace if braced => {
                used += 1;
                break;
            }
            _ if !braced => break,
            _ => {}
        }
        used += 1;
    }
    (sign * power, used)
}
