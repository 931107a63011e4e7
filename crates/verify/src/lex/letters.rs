//! Runs of letters to tokens: function names, words, number words, products of variables.

use super::{Lexer, Tok};
use crate::literal::Literal;
use crate::symbols;
use crate::words::{self, Role};

impl Lexer<'_> {
    /// A run of ASCII letters: function names, words, or single-letter variables.
    pub(super) fn letters(&mut self) {
        let start = self.pos;
        let mut end = start;
        while end < self.src.len() && self.src[end].is_ascii_alphabetic() {
            end += 1;
        }
        if self.text_end > 0 {
            end = end.min(self.text_end);
        }
        if let Some(len) = acronym(&self.src[start..]) {
            self.pos += len;
            return self.push(Tok::Word, start);
        }
        let run = &self.src[start..end];
        if run.len() == 1 {
            if run[0] == b'x' && self.between_numbers() {
                return self.take(Tok::Times, 1);
            }
            if run[0] == b'U' && self.between_intervals() {
                return self.take(Tok::Cup, 1);
            }
            let imaginary = run == b"i" && self.text_end == end && self.src[start - 1] == b'{';
            let word = self.text_end > 0 && !imaginary && !(self.upright && is_math_letter(run[0]));
            self.pos = end;
            return self.push(if word { Tok::Word } else { letter(run[0]) }, start);
        }
        let mut buffer = [0u8; 16];
        if run.len() > buffer.len() {
            self.pos = end;
            return self.push(Tok::Word, start);
        }
        let lower = &mut buffer[..run.len()];
        lower.copy_from_slice(run);
        lower.make_ascii_lowercase();
        self.word(start, end, lower);
    }

    /// Whether the letter at the position stands apart between two numbers, as a times sign does: `2.5 x 10^3`.
    fn between_numbers(&self) -> bool {
        self.spaced
            && self.tokens.last().is_some_and(|t| matches!(t.tok, Tok::Num(_)))
            && self.peek(1) == b' '
            && self.peek(2).is_ascii_digit()
    }

    /// Whether the letter at the position stands between a closing and an opening bracket, as the sign of a union does.
    fn between_intervals(&self) -> bool {
        let behind = self.rest().get(1..).unwrap_or(&[]).trim_ascii_start();
        self.tokens.last().is_some_and(|t| matches!(t.tok, Tok::Close(_)))
            && (matches!(behind.first(), Some(b'(' | b'[' | b'{')) || behind.starts_with(b"\\left"))
    }

    fn word(&mut self, start: usize, end: usize, lower: &[u8]) {
        let math = words::math_role(lower)
            .filter(|r| self.text_end == 0 || matches!(r, Role::Func(_) | Role::Infinity | Role::Pi));
        let role = math.unwrap_or_else(|| words::text_role(lower));
        self.pos = end;
        let tok = match role {
            Role::Func(f) => Tok::Func(f),
            Role::Greek(g) => Tok::Var(symbols::greek(g)),
            Role::Pi => Tok::Pi,
            Role::Infinity => Tok::Infinity,
            Role::Sqrt => Tok::Sqrt,
            Role::Cbrt => {
                self.root_of(3, start);
                return;
            }
            Role::Frac => Tok::Frac,
            Role::Binom => Tok::Binom,
            Role::And => Tok::And,
            Role::Or => Tok::Or,
            Role::Union => Tok::Cup,
            Role::Word if lower == b"mod" => Tok::Mod,
            Role::Intersection => Tok::Cap,
            Role::Percent => Tok::Percent,
            Role::Degrees => Tok::Degree,
            Role::Count(n) => {
                let n = n + self.count_behind(n);
                self.literals.push(Literal::word(n));
                Tok::Num(self.literals.len() as u32 - 1)
            }
            Role::Word => return self.plain_word(start, end, lower),
        };
        self.push(tok, start);
    }

    /// A root sign that brings its index: a root and the index in brackets.
    pub(super) fn root_of(&mut self, index: i64, start: usize) {
        self.push(Tok::Sqrt, start);
        self.push(Tok::Open(b'['), start);
        self.literals.push(Literal::word(index));
        self.push(Tok::Num(self.literals.len() as u32 - 1), start);
        self.push(Tok::Close(b']'), start);
    }

    /// Value of the second word of a number such as "twenty-one".
    fn count_behind(&mut self, tens: i64) -> i64 {
        if tens < 20 || tens % 10 != 0 || !matches!(self.peek(0), b'-' | b' ') {
            return 0;
        }
        let rest = &self.rest()[1..];
        let len = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        if len > 5 {
            return 0;
        }
        match words::count(&rest[..len].to_ascii_lowercase()) {
            Some(ones @ 1..=9) => {
                self.pos += 1 + len;
                ones
            }
            _ => 0,
        }
    }

    /// A run of letters without a role: a word, a function name glued to its argument, or a product of letters.
    fn plain_word(&mut self, start: usize, end: usize, lower: &[u8]) {
        if self.text_end > 0 && !self.upright {
            return self.push(Tok::Word, start);
        }
        for len in [2, 3, 4] {
            // "sinx", "lnx", "sqrtx", "xcosx" are left: only a known name followed by one letter splits.
            if lower.len() == len + 1
                && !self.amid_words(end)
                && let Some(Role::Func(f)) = words::math_role(&lower[..len])
            {
                self.pos = start + len;
                self.push(Tok::Func(f), start);
                self.take(letter(self.src[end - 1]), 1);
                return;
            }
        }
        if lower.len() == 3
            && let Some(Role::Pi) = words::math_role(&lower[..2])
        {
            self.pos = start + 2;
            self.push(Tok::Pi, start);
            return self.take(letter(self.src[end - 1]), 1);
        }
        // Variables glued together: at most three letters that are not a known word.
        let upright_word = self.text_end > 0;
        if lower.len() > 3 || upright_word || words::short_word(lower) {
            return self.push(Tok::Word, start);
        }
        self.pos = start;
        for i in start..end {
            self.take(letter(self.src[i]), 1);
        }
    }

    /// Whether words stand directly before or behind a run of letters: then it is one too ("the cost is").
    fn amid_words(&self, end: usize) -> bool {
        let behind = self.src.get(end..).unwrap_or(&[]);
        self.tokens.last().is_some_and(|t| t.tok == Tok::Word)
            || matches!(behind, [b' ', a, b, ..] if a.is_ascii_lowercase() && b.is_ascii_lowercase())
    }
}

/// Whether an upright single letter means a variable or constant and not a unit.
fn is_math_letter(byte: u8) -> bool {
    matches!(byte, b'e' | b'i' | b'x' | b'y' | b'z' | b'n' | b'k' | b'a' | b'b' | b'p' | b'q' | b'r' | b't')
        || matches!(byte, b'B' | b'D' | b'E' | b'P' | b'Q' | b'R' | b'S' | b'T' | b'X' | b'Y' | b'Z')
}

/// Token of a single letter in mathematics.
fn letter(byte: u8) -> Tok {
    match byte {
        b'e' => Tok::EulerE,
        b'i' => Tok::ImagI,
        _ => Tok::Var(u32::from(byte)),
    }
}

/// Length of an acronym with dots such as `p.m.` at the start of `src`.
fn acronym(src: &[u8]) -> Option<usize> {
    let mut len = 0;
    while let [letter, b'.', ..] = src.get(len..).unwrap_or(&[]) {
        if !letter.is_ascii_alphabetic() {
            break;
        }
        len += 2;
    }
    if len == 2
        && src.get(2).is_some_and(u8::is_ascii_alphabetic)
        && !src.get(3).is_some_and(u8::is_ascii_alphabetic)
    {
        // The last dot may be missing: `p.m`.
        return Some(3);
    }
    (len >= 4).then_some(len)
}
