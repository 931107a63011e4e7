//! Source text to tokens: one lexer for LaTeX, plain text and Unicode mathematics.

mod commands;
mod letters;
mod numbers;
mod unicode;

use crate::literal::Literal;
use crate::words::Func;
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
    /// An ellipsis that stands for what is left out, `1 + 2 + \cdots + 10`.
    Dots,
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
    /// The first token is a sign such as that of a triangle.
    figure: bool,
    /// The first token is a bold letter that names a set of numbers if it stays alone.
    bold: bool,
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
        figure: false,
        bold: false,
        tokens: Vec::with_capacity(src.len().min(64)),
        literals,
        work,
    };
    lexer.run()?;
    lexer.settle_first();
    lexer.settle_last();
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

    /// Settles what the first token is, now that it is known what stands behind it.
    fn settle_first(&mut self) {
        let points = |t: &Token| match t.tok {
            Tok::Var(s) => crate::symbols::latin(s).is_some_and(|l| l.is_ascii_uppercase()),
            tok => matches!(tok, Tok::LBrace | Tok::RBrace),
        };
        if self.figure && (self.tokens.len() == 1 || !self.tokens[1..].iter().all(points)) {
            self.tokens.remove(0);
        }
        if let (true, [open, Token { tok: Tok::Var(letter), .. }, close]) =
            (self.bold, self.tokens.as_slice())
            && (open.tok, close.tok) == (Tok::LBrace, Tok::RBrace)
        {
            let tok = if *letter == u32::from(b'R') { Tok::Reals } else { Tok::Integers };
            let whole = Token { tok, end: close.end, ..*open };
            self.tokens = vec![whole];
        }
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
            b'.' if self.rest().starts_with(b"...")
                && self.tokens.last().is_some_and(|t| leaves_open(t.tok)) =>
            {
                self.take(Tok::Dots, 3);
            }
            b'.' | b'?' | b'"' | b'`' => {
                self.pos += 1;
                self.spaced = true;
            }
            b'#' | b'@' | 0..=8 => self.take(Tok::Other, 1),
            _ => self.pos += 1,
        }
    }

    /// An ellipsis stands for what is left out, unless nothing stands before it.
    fn dots(&mut self, start: usize) {
        if self.tokens.is_empty() {
            self.spaced = true;
        } else {
            self.push(Tok::Dots, start);
        }
    }

    /// Drops an ellipsis that only trails off behind a finished answer.
    fn settle_last(&mut self) {
        let closes = |t: &Token| matches!(t.tok, Tok::RBrace | Tok::Close(_));
        if let Some(last) = self.tokens.iter().rposition(|t| !closes(t))
            && self.tokens[last].tok == Tok::Dots
            && last > 0
            && !leaves_open(self.tokens[last - 1].tok)
        {
            self.tokens.remove(last);
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
}

fn unescaped_dollars(src: &[u8]) -> usize {
    let all = src.iter().filter(|b| **b == b'$').count();
    if all == 0 { 0 } else { all - src.windows(2).filter(|w| *w == b"\\$").count() }
}

/// Whether a token wants something behind it, so that an ellipsis there stands for it.
fn leaves_open(tok: Tok) -> bool {
    matches!(tok, Tok::Comma | Tok::Semi | Tok::Plus | Tok::Minus | Tok::Times | Tok::Slash | Tok::Rel(_))
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
