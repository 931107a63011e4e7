//! Source text to tokens: one lexer for LaTeX, plain text and Unicode mathematics.

mod commands;
mod numbers;
mod unicode;

use crate::literal::Literal;
use crate::symbols;
use crate::words::{self, Func, Role};
use crate::work::{Bounded, Stop, Work};

/// A relation sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rel {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Approx,
    Equiv,
}

/// Kind of a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tok {
    /// A number; the index of its literal.
    Num(u32),
    /// A variable; its symbol.
    Var(u32),
    Pi,
    EulerE,
    ImagI,
    Infinity,
    Plus,
    Minus,
    PlusMinus,
    MinusPlus,
    Times,
    Slash,
    Caret,
    Under,
    Bang,
    Percent,
    Degree,
    Prime,
    Comma,
    Semi,
    Colon,
    Bar,
    Such,
    Open(u8),
    Close(u8),
    LBrace,
    RBrace,
    Frac,
    Sqrt,
    Binom,
    Choose,
    Over,
    Func(Func),
    Overline,
    Rel(Rel),
    In,
    Cup,
    Cap,
    Setminus,
    And,
    Or,
    /// A word of running text; its span is the token's.
    Word,
    Begin,
    End,
    Amp,
    Row,
    Currency,
    EmptySet,
    Reals,
    Integers,
    Mod,
    Other,
}

/// A token with its place in the source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Token {
    pub(crate) tok: Tok,
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// White space (or a TeX space) stands before it.
    pub(crate) spaced: bool,
    /// It stands inside a text group.
    pub(crate) text: bool,
}

/// More tokens than this in one answer are refused.
pub(crate) const MAX_TOKENS: usize = 4096;

pub(crate) struct Lexer<'a> {
    src: &'a [u8],
    pos: usize,
    /// End of the text group that the position is in, else 0.
    text_end: usize,
    /// The text group is an upright font, in which most single letters still are mathematics.
    upright: bool,
    /// Open brackets at the position.
    depth: u32,
    /// A comma followed by a space stands in the source: commas without a space group digits, even in brackets.
    roomy_commas: bool,
    spaced: bool,
    /// Environments begun or ended so far.
    environments: u32,
    /// The dollar signs that are not escaped are odd in number: one of them is a currency sign.
    odd_dollars: bool,
    tokens: Vec<Token>,
    literals: &'a mut Vec<Literal>,
    work: &'a mut Work,
}

/// Tokens of `src`; its number literals are appended to `literals`.
pub(crate) fn lex(src: &str, literals: &mut Vec<Literal>, work: &mut Work) -> Bounded<Vec<Token>> {
    let bytes = src.as_bytes();
    work.charge(src.len() as u32 / 8 + 4)?;
    let mut lexer = Lexer {
        src: bytes,
        pos: 0,
        text_end: 0,
        upright: false,
        depth: 0,
        roomy_commas: bytes.starts_with(b", ") || bytes.windows(3).any(|w| w[0] != b'\\' && w[1..] == *b", "),
        spaced: false,
        environments: 0,
        odd_dollars: unescaped_dollars(bytes) % 2 == 1,
        tokens: Vec::with_capacity(src.len().min(64)),
        literals,
        work,
    };
    lexer.run()?;
    Ok(lexer.tokens)
}

impl<'a> Lexer<'a> {
    fn peek(&self, ahead: usize) -> u8 {
        self.src.get(self.pos + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'a [u8] {
        self.src.get(self.pos..).unwrap_or(&[])
    }

    fn push(&mut self, tok: Tok, start: usize) {
        let text = self.text_end > 0;
        self.tokens.push(Token { tok, start: start as u32, end: self.pos as u32, spaced: self.spaced, text });
        self.spaced = false;
    }

    /// Pushes a token that is `len` bytes long at the position.
    fn take(&mut self, tok: Tok, len: usize) {
        let start = self.pos;
        self.pos += len;
        self.push(tok, start);
    }

    fn run(&mut self) -> Bounded<()> {
        while self.pos < self.src.len() {
            if self.tokens.len() >= MAX_TOKENS {
                return Err(Stop::Budget);
            }
            if self.text_end > 0 && self.pos >= self.text_end {
                // The closing brace of the text group.
                self.pos = self.text_end + 1;
                self.text_end = 0;
                self.upright = false;
                continue;
            }
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Bounded<()> {
        let byte = self.peek(0);
        match byte {
            b'0'..=b'9' => return self.number(),
            b'.' if self.peek(1).is_ascii_digit() || self.starts_repeat(1) => return self.number(),
            b'a'..=b'z' | b'A'..=b'Z' => self.letters(),
            b'\\' => return self.command(),
            0x80.. => self.unicode(),
            _ => self.ascii(byte),
        }
        Ok(())
    }

    fn ascii(&mut self, byte: u8) {
        match byte {
            b' ' | b'\n' | b'\r' | b'~' => {
                self.pos += 1;
                self.spaced = true;
            }
            // A backslash lost to string escapes: form feed + "rac", tab + "ext" and the like.
            0x0c if self.rest().starts_with(b"\x0crac") => self.take(Tok::Frac, 4),
            b'\t' if self.rest().starts_with(b"\times") => self.take(Tok::Times, 5),
            b'\t' if self.rest().starts_with(b"\text{") => {
                self.pos += 4;
                self.open_text(false);
            }
            b'+' => match self.rest() {
                [b'+', b'/', b'-', ..] => self.take(Tok::PlusMinus, 3),
                // "2 +- 3" means both signs; "2+-3" is a sum.
                [b'+', b'-', ..] if self.both_signs() => self.take(Tok::PlusMinus, 2),
                _ => self.take(Tok::Plus, 1),
            },
            b'-' => self.take(Tok::Minus, 1),
            b'*' if self.rest().starts_with(b"**") => {
                // Power in code, or bold in Markdown: a power stands between operands.
                let operand = self.tokens.last().is_some_and(|t| ends_operand(t.tok));
                let next = self.peek(2);
                if operand && (next.is_ascii_alphanumeric() || next == b'(' || next == b'{' || next == b'-') {
                    self.take(Tok::Caret, 2);
                } else {
                    self.pos += 2;
                    self.spaced = true;
                }
            }
            b'*' => self.take(Tok::Times, 1),
            b'/' => self.take(Tok::Slash, 1),
            b'^' => self.take(Tok::Caret, 1),
            b'_' => self.take(Tok::Under, 1),
            b'!' if self.peek(1) == b'=' => self.take(Tok::Rel(Rel::Ne), 2),
            b'!' => self.take(Tok::Bang, 1),
            b'%' => self.take(Tok::Percent, 1),
            b'\'' => self.take(Tok::Prime, 1),
            b',' => self.take(Tok::Comma, 1),
            b';' => self.take(Tok::Semi, 1),
            b':' => self.take(Tok::Colon, 1),
            b'|' => self.take(Tok::Bar, 1),
            b'(' | b'[' => {
                self.depth += 1;
                self.take(Tok::Open(byte), 1);
            }
            b')' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.take(Tok::Close(byte), 1);
            }
            // A sign in braces of its own is spaced differently and means the same.
            b'{' if self.rest().starts_with(b"{:}") => self.take(Tok::Colon, 3),
            b'{' if self.rest().starts_with(b"{=}") => self.take(Tok::Rel(Rel::Eq), 3),
            b'{' => self.take(Tok::LBrace, 1),
            b'}' => self.take(Tok::RBrace, 1),
            b'&' => self.take(Tok::Amp, 1),
            b'<' | b'>' | b'=' => self.relation(byte),
            b'$' => self.dollar(),
            b'.' | b'?' | b'"' | b'`' => {
                self.pos += 1;
                self.spaced = true;
            }
            b'#' | b'@' | 0..=8 => self.take(Tok::Other, 1),
            _ => self.pos += 1,
        }
    }

    fn both_signs(&self) -> bool {
        let operand = self.tokens.last().is_some_and(|t| ends_operand(t.tok));
        !operand || (self.spaced && self.peek(2) == b' ')
    }

    fn relation(&mut self, byte: u8) {
        let rest = self.rest();
        let (rel, len) = match (byte, rest.get(1).copied().unwrap_or(0)) {
            (b'<', b'=') => (Rel::Le, 2),
            (b'<', b'>') => (Rel::Ne, 2),
            (b'<', _) => (Rel::Lt, 1),
            (b'>', b'=') => (Rel::Ge, 2),
            (b'>', _) => (Rel::Gt, 1),
            (_, b'<') => (Rel::Le, 2),
            (_, b'>') => (Rel::Ge, 2),
            (_, b'=') => (Rel::Eq, 2),
            _ => (Rel::Eq, 1),
        };
        self.take(Tok::Rel(rel), len);
    }

    /// An unescaped dollar sign: currency when it precedes a number and has no partner, else a math delimiter.
    fn dollar(&mut self) {
        let next = self.peek(1);
        if self.odd_dollars && (next.is_ascii_digit() || next == b'.') {
            return self.take(Tok::Currency, 1);
        }
        self.pos += 1;
    }

    /// A run of ASCII letters: function names, words, or single-letter variables.
    fn letters(&mut self) {
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
    fn root_of(&mut self, index: i64, start: usize) {
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
}

impl Lexer<'_> {
    /// Whether words stand directly before or behind a run of letters: then it is one too ("the cost is").
    fn amid_words(&self, end: usize) -> bool {
        let behind = self.src.get(end..).unwrap_or(&[]);
        self.tokens.last().is_some_and(|t| t.tok == Tok::Word)
            || matches!(behind, [b' ', a, b, ..] if a.is_ascii_lowercase() && b.is_ascii_lowercase())
    }
}

fn unescaped_dollars(src: &[u8]) -> usize {
    let all = src.iter().filter(|b| **b == b'$').count();
    if all == 0 { 0 } else { all - src.windows(2).filter(|w| *w == b"\\$").count() }
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

/// Whether a token can end an operand.
pub(crate) fn ends_operand(tok: Tok) -> bool {
    matches!(
        tok,
        Tok::Num(_)
            | Tok::Var(_)
            | Tok::Pi
            | Tok::EulerE
            | Tok::ImagI
            | Tok::Infinity
            | Tok::Close(_)
            | Tok::RBrace
            | Tok::Bang
            | Tok::Prime
    )
}
