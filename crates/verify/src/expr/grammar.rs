//! The precedence grammar of expressions.

use super::{Arena, Node, NodeId};
use crate::lex::{Tok, Token};
use crate::rational::Rat;
use crate::symbols;
use crate::words::Func;
use crate::work::{Bounded, Stop, Work};

/// Nesting of the parser itself.
const MAX_NESTING: u32 = 64;

/// Parser of expressions over a range of tokens.
pub(crate) struct Parser<'a> {
    pub(crate) src: &'a [u8],
    pub(crate) tokens: &'a [Token],
    pub(crate) arena: &'a mut Arena,
    pub(crate) work: &'a mut Work,
    pub(crate) pos: usize,
    pub(crate) end: usize,
    pub(crate) nesting: u32,
    pub(super) bars: u32,
    /// Bytes of the current number token already taken as single digits by a TeX argument.
    pub(super) taken: u32,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(
        src: &'a [u8],
        tokens: &'a [Token],
        arena: &'a mut Arena,
        work: &'a mut Work,
    ) -> Parser<'a> {
        Parser { src, tokens, arena, work, pos: 0, end: tokens.len(), nesting: 0, bars: 0, taken: 0 }
    }

    /// Parses tokens `lo..hi` as one expression; all of them must be used.
    pub(crate) fn expression(&mut self, lo: usize, hi: usize) -> Bounded<NodeId> {
        let saved = (self.pos, self.end, self.bars, self.nesting);
        (self.pos, self.end, self.bars, self.taken) = (lo, hi, 0, 0);
        let result =
            self.infix_fraction().and_then(|n| if self.pos == hi { Ok(n) } else { Err(Stop::Inapplicable) });
        (self.pos, self.end, self.bars, self.nesting) = saved;
        self.taken = 0;
        result
    }

    pub(super) fn peek(&self) -> Option<Tok> {
        if self.pos < self.end { Some(self.tokens[self.pos].tok) } else { None }
    }

    pub(super) fn at(&self, ahead: usize) -> Option<Token> {
        if self.pos + ahead < self.end { Some(self.tokens[self.pos + ahead]) } else { None }
    }

    pub(super) fn expect(&mut self, test: impl Fn(Tok) -> bool) -> Bounded<()> {
        match self.peek() {
            Some(t) if test(t) => {
                self.pos += 1;
                Ok(())
            }
            _ => Err(Stop::Inapplicable),
        }
    }

    pub(super) fn word(&self, token: Token) -> &'a [u8] {
        &self.src[token.start as usize..token.end as usize]
    }

    pub(super) fn enter(&mut self) -> Bounded<()> {
        self.nesting += 1;
        self.work.charge(2)?;
        if self.nesting > MAX_NESTING { Err(Stop::Budget) } else { Ok(()) }
    }

    pub(super) fn sum(&mut self) -> Bounded<NodeId> {
        self.enter()?;
        let mut left = self.term()?;
        while let Some(tok) = self.peek() {
            self.work.charge(1)?;
            left = match tok {
                Tok::Plus | Tok::Minus | Tok::PlusMinus | Tok::MinusPlus => {
                    let right = self.term()?;
                    self.arena.push(Node::Add(left, right))?
                }
                _ => break,
            };
        }
        self.nesting -= 1;
        Ok(left)
    }

    /// A signed product.
    pub(super) fn term(&mut self) -> Bounded<NodeId> {
        let tok = self.peek().ok_or(Stop::Inapplicable)?;
        match tok {
            Tok::Plus => {
                self.pos += 1;
                self.signed_term()
            }
            Tok::Minus => {
                self.pos += 1;
                let inner = self.signed_term()?;
                self.arena.push(Node::Neg(inner))
            }
            Tok::PlusMinus | Tok::MinusPlus => {
                self.pos += 1;
                let inner = self.signed_term()?;
                self.arena.push(Node::Sign(tok == Tok::PlusMinus, inner))
            }
            _ => self.product(),
        }
    }

    pub(super) fn signed_term(&mut self) -> Bounded<NodeId> {
        if matches!(self.peek(), Some(Tok::Minus | Tok::Plus | Tok::PlusMinus | Tok::MinusPlus)) {
            self.enter()?;
            let inner = self.term()?;
            self.nesting -= 1;
            return Ok(inner);
        }
        self.product()
    }

    pub(super) fn product(&mut self) -> Bounded<NodeId> {
        let mut left = self.factor()?;
        while let Some(tok) = self.peek() {
            self.work.charge(1)?;
            left = match tok {
                Tok::Times => {
                    self.pos += 1;
                    let right = self.signed_factor()?;
                    self.arena.push(Node::Mul(left, right))?
                }
                Tok::Slash => {
                    self.pos += 1;
                    let right = self.signed_factor()?;
                    self.arena.push(Node::Div(left, right))?
                }
                _ if self.starts_factor(tok) => {
                    // Two numbers side by side are no product.
                    if matches!(tok, Tok::Num(_)) && matches!(self.tokens[self.pos - 1].tok, Tok::Num(_)) {
                        return Err(Stop::Inapplicable);
                    }
                    let right = self.factor()?;
                    self.arena.push(Node::Mul(left, right))?
                }
                _ => break,
            };
        }
        Ok(left)
    }

    pub(super) fn signed_factor(&mut self) -> Bounded<NodeId> {
        match self.peek() {
            Some(Tok::Minus) => {
                self.pos += 1;
                let inner = self.factor()?;
                self.arena.push(Node::Neg(inner))
            }
            _ => self.factor(),
        }
    }

    pub(super) fn starts_factor(&self, tok: Tok) -> bool {
        match tok {
            Tok::Num(_)
            | Tok::Var(_)
            | Tok::Pi
            | Tok::EulerE
            | Tok::ImagI
            | Tok::Infinity
            | Tok::LBrace
            | Tok::Frac
            | Tok::Sqrt
            | Tok::Binom
            | Tok::Func(_)
            | Tok::Overline => true,
            Tok::Open(b) => matches!(b, b'(' | b'[' | b'f' | b'c'),
            Tok::Bar => self.bars == 0,
            _ => false,
        }
    }

    /// A primary with its postfix operators.
    pub(super) fn factor(&mut self) -> Bounded<NodeId> {
        let mut node = self.primary()?;
        while let Some(tok) = self.peek() {
            self.work.charge(1)?;
            node = match tok {
                Tok::Caret => {
                    self.pos += 1;
                    self.superscript(node)?
                }
                Tok::Bang => {
                    self.pos += 1;
                    if self.peek() == Some(Tok::Bang) {
                        return Err(Stop::Inapplicable);
                    }
                    self.arena.push(Node::Func(Func::Fact, node))?
                }
                Tok::Percent => {
                    self.pos += 1;
                    self.arena.push(Node::Percent(node))?
                }
                Tok::Degree => {
                    self.pos += 1;
                    self.arena.push(Node::Degree(node))?
                }
                Tok::Under => {
                    self.pos += 1;
                    self.base_subscript(node)?
                }
                _ => break,
            };
        }
        Ok(node)
    }

    /// What follows a caret: a degree sign, primes, or an exponent.
    pub(super) fn superscript(&mut self, base: NodeId) -> Bounded<NodeId> {
        let braced = self.peek() == Some(Tok::LBrace);
        let first = self.at(usize::from(braced)).map(|t| t.tok);
        // A small letter o over a number is a degree sign.
        let small_o =
            self.at(usize::from(braced)).is_some_and(|t| t.tok == Tok::Word && self.word(t) == b"o");
        let first = match first {
            Some(Tok::Word) if small_o && matches!(self.arena.get(base), Node::Num(_)) => Some(Tok::Degree),
            Some(Tok::Var(s)) if s == u32::from(b'o') && matches!(self.arena.get(base), Node::Num(_)) => {
                Some(Tok::Degree)
            }
            other => other,
        };
        if let Some(mark @ (Tok::Degree | Tok::Prime)) = first {
            self.pos += usize::from(braced) + 1;
            while self.peek() == Some(Tok::Prime) {
                self.pos += 1;
            }
            if braced {
                self.expect(|t| t == Tok::RBrace)?;
            }
            return if mark == Tok::Degree { self.arena.push(Node::Degree(base)) } else { self.primed(base) };
        }
        if braced && first == Some(Tok::RBrace) {
            self.pos += 2;
            return Ok(base);
        }
        self.enter()?;
        let exponent = self.script()?;
        self.nesting -= 1;
        self.arena.push(Node::Pow(base, exponent))
    }

    pub(super) fn primed(&mut self, base: NodeId) -> Bounded<NodeId> {
        match self.arena.get(base) {
            Node::Var(s) => self.arena.push(Node::Var(symbols::named(s, b"'"))),
            _ => Err(Stop::Inapplicable),
        }
    }

    /// An exponent: a group, or a signed primary; powers of powers bind to the right.
    pub(super) fn script(&mut self) -> Bounded<NodeId> {
        let negative = self.peek() == Some(Tok::Minus);
        if negative {
            self.pos += 1;
        }
        let mut node = self.primary()?;
        if self.peek() == Some(Tok::Caret) {
            self.pos += 1;
            node = self.superscript(node)?;
        }
        if negative { self.arena.push(Node::Neg(node)) } else { Ok(node) }
    }

    pub(super) fn primary(&mut self) -> Bounded<NodeId> {
        let token = self.at(0).ok_or(Stop::Inapplicable)?;
        self.work.charge(1)?;
        let start = self.pos;
        if let Some(node) = self.chosen()? {
            return Ok(node);
        }
        self.pos += 1;
        match token.tok {
            Tok::Num(index) => self.numeral(index, start),
            Tok::Var(symbol) => self.variable(symbol),
            Tok::Pi => self.arena.push(Node::Pi),
            Tok::EulerE => self.arena.push(Node::E),
            Tok::ImagI => self.arena.push(Node::I),
            Tok::Infinity => self.arena.push(Node::Infinity),
            Tok::Open(b'(' | b'[') => self.enclosed(|t| matches!(t, Tok::Close(b')' | b']'))),
            Tok::Open(b'f') => {
                let inner = self.enclosed(|t| t == Tok::Close(b'f'))?;
                self.arena.push(Node::Func(Func::Floor, inner))
            }
            Tok::Open(b'c') => {
                let inner = self.enclosed(|t| t == Tok::Close(b'c'))?;
                self.arena.push(Node::Func(Func::Ceil, inner))
            }
            Tok::LBrace if self.peek() == Some(Tok::RBrace) => {
                // Empty braces carry a script: `{}_{10}C_3`.
                self.pos += 1;
                self.expect(|t| matches!(t, Tok::Under | Tok::Caret))?;
                self.combinations()
            }
            Tok::LBrace => self.enclosed(|t| t == Tok::RBrace),
            Tok::Under | Tok::Caret => self.combinations(),
            Tok::Bar => {
                // Two bars in a row are a norm.
                self.bars += 1;
                let inner = self.enclosed_in_bars()?;
                self.bars -= 1;
                self.arena.push(Node::Func(Func::Abs, inner))
            }
            Tok::Frac => {
                let num = self.argument()?;
                let den = self.argument()?;
                self.arena.push(Node::Div(num, den))
            }
            Tok::Binom => self.binomial(),
            Tok::Sqrt => self.root(),
            Tok::Overline => self.overlined(),
            Tok::Func(f) => self.function(f),
            _ => Err(Stop::Inapplicable),
        }
    }

    pub(super) fn enclosed(&mut self, close: impl Fn(Tok) -> bool) -> Bounded<NodeId> {
        let bars = std::mem::replace(&mut self.bars, 0);
        let inner = self.infix_fraction()?;
        self.bars = bars;
        self.expect(close)?;
        Ok(inner)
    }

    /// A sum, or two of them with `\over` or `\choose` between.
    pub(super) fn infix_fraction(&mut self) -> Bounded<NodeId> {
        let mut inner = self.sum()?;
        match self.peek() {
            Some(Tok::Choose) => {
                self.pos += 1;
                let k = self.sum()?;
                inner = self.arena.push(Node::Binom(inner, k))?;
            }
            Some(Tok::Over) => {
                self.pos += 1;
                let den = self.sum()?;
                inner = self.arena.push(Node::Div(inner, den))?;
            }
            _ => {}
        }
        Ok(inner)
    }

    pub(super) fn enclosed_in_bars(&mut self) -> Bounded<NodeId> {
        let inner = self.sum()?;
        self.expect(|t| t == Tok::Bar)?;
        Ok(inner)
    }

    /// A TeX argument: a group, or the next single token; of a number only its first digit.
    pub(super) fn argument(&mut self) -> Bounded<NodeId> {
        self.enter()?;
        let token = self.at(0).ok_or(Stop::Inapplicable)?;
        let node = match token.tok {
            Tok::Num(index) => {
                let text = self.word(token);
                let digit = text.get(self.taken as usize).copied().filter(u8::is_ascii_digit);
                match digit {
                    Some(d) if text.len() as u32 > 1 && text.iter().all(u8::is_ascii_digit) => {
                        self.taken += 1;
                        if self.taken as usize == text.len() {
                            self.taken = 0;
                            self.pos += 1;
                        }
                        self.arena.number(Rat::int(i64::from(d - b'0')))?
                    }
                    _ => {
                        self.pos += 1;
                        self.arena.push(Node::Num(index))?
                    }
                }
            }
            Tok::Open(b'(') => self.primary()?,
            Tok::LBrace
            | Tok::Var(_)
            | Tok::Pi
            | Tok::EulerE
            | Tok::ImagI
            | Tok::Frac
            | Tok::Sqrt
            | Tok::Binom => self.primary()?,
            _ => return Err(Stop::Inapplicable),
        };
        self.nesting -= 1;
        Ok(node)
    }
}
