//! Functions, roots and variables with their subscripts.

use super::grammar::Parser;
use super::{Node, NodeId};
use crate::lex::Tok;
use crate::rational::Rat;
use crate::symbols;
use crate::words::Func;
use crate::work::{Bounded, Stop};

impl Parser<'_> {
    pub(super) fn root(&mut self) -> Bounded<NodeId> {
        self.enter()?;
        let mut index = None;
        if self.peek() == Some(Tok::Open(b'[')) {
            self.pos += 1;
            index = Some(self.enclosed(|t| t == Tok::Close(b']'))?);
        }
        let argument = match self.peek() {
            // `\sqrt 12` is read as the root of twelve, as models mean it.
            Some(Tok::Num(i)) => {
                self.pos += 1;
                self.arena.push(Node::Num(i))?
            }
            _ => self.argument()?,
        };
        self.nesting -= 1;
        match index {
            Some(n) => self.arena.push(Node::Root(n, argument)),
            None => self.arena.push(Node::Sqrt(argument)),
        }
    }

    /// A binomial coefficient: two TeX arguments, or a call as in code, `binomial(n, k)`.
    pub(super) fn binomial(&mut self) -> Bounded<NodeId> {
        let called = self.peek() == Some(Tok::Open(b'('));
        self.enter()?;
        let (n, k) = if called {
            self.pos += 1;
            let n = self.sum()?;
            self.expect(|t| t == Tok::Comma)?;
            let k = self.sum()?;
            self.expect(|t| t == Tok::Close(b')'))?;
            (n, k)
        } else {
            (self.argument()?, self.argument()?)
        };
        self.nesting -= 1;
        self.arena.push(Node::Binom(n, k))
    }

    /// What a bar stands over: the conjugate of a complex constant, a real constant or a segment itself.
    pub(super) fn overlined(&mut self) -> Bounded<NodeId> {
        let inner = self.argument()?;
        if !self.arena.any(inner, self.work, &|n| n == Node::I)? {
            return Ok(inner);
        }
        // Which letters are real is not known.
        if self.arena.any(inner, self.work, &|n| matches!(n, Node::Var(_)))? {
            return Err(Stop::Inapplicable);
        }
        let i = self.arena.push(Node::I)?;
        let minus_i = self.arena.push(Node::Neg(i))?;
        self.arena.replaced(inner, Node::I, minus_i, self.work)
    }

    /// Combinations or permutations with the number in front of the letter, `{}_{10}C_3`; the first script is next.
    pub(super) fn combinations(&mut self) -> Bounded<NodeId> {
        self.enter()?;
        let n = self.script()?;
        let letter = self.peek();
        self.expect(|t| matches!(t, Tok::Var(_)))?;
        self.expect(|t| matches!(t, Tok::Under | Tok::Caret))?;
        let k = self.script()?;
        self.nesting -= 1;
        self.selections(letter, n, k)
    }

    /// Combinations (C) or permutations (P) of `k` out of `n`.
    fn selections(&mut self, letter: Option<Tok>, n: NodeId, k: NodeId) -> Bounded<NodeId> {
        match letter {
            Some(Tok::Var(s)) if s == u32::from(b'C') => self.arena.push(Node::Binom(n, k)),
            Some(Tok::Var(s)) if s == u32::from(b'P') => {
                let left = self.arena.push(Node::Neg(k))?;
                let left = self.arena.push(Node::Add(n, left))?;
                let left = self.arena.push(Node::Func(Func::Fact, left))?;
                let all = self.arena.push(Node::Func(Func::Fact, n))?;
                self.arena.push(Node::Div(all, left))
            }
            _ => Err(Stop::Inapplicable),
        }
    }

    /// Combinations or permutations in one line, `nC2`, `10P3`: the letter stands tightly between two counts.
    pub(super) fn chosen(&mut self) -> Bounded<Option<NodeId>> {
        let (Some(n), Some(letter), Some(k)) = (self.at(0), self.at(1), self.at(2)) else { return Ok(None) };
        let selects = matches!(letter.tok, Tok::Var(s) if s == u32::from(b'C') || s == u32::from(b'P'));
        let tight = n.end == letter.start && letter.end == k.start;
        if !selects || !tight || self.taken > 0 {
            return Ok(None);
        }
        let mut counts = [0; 2];
        for (token, node) in [n, k].into_iter().zip(&mut counts) {
            *node = match token.tok {
                Tok::Num(i) if self.arena.literal(i).written.plain => self.arena.push(Node::Num(i))?,
                Tok::Var(s) if matches!(symbols::latin(s), Some(b'n' | b'm' | b'k' | b'r')) => {
                    self.arena.push(Node::Var(s))?
                }
                _ => return Ok(None),
            };
        }
        // Nobody chooses five out of two: `2C5` is no combination.
        if let [Some(all), Some(taken)] = counts.map(|node| self.arena.integer(node))
            && taken > all
        {
            return Ok(None);
        }
        self.pos += 3;
        self.selections(Some(letter.tok), counts[0], counts[1]).map(Some)
    }

    /// The gamma function is the factorial of one less.
    fn gamma(&mut self) -> Bounded<NodeId> {
        let argument = self.primary()?;
        let minus_one = self.arena.number(Rat::int(-1))?;
        let argument = self.arena.push(Node::Add(argument, minus_one))?;
        self.arena.push(Node::Func(Func::Fact, argument))
    }

    /// A letter with its subscripts and primes.
    pub(super) fn variable(&mut self, symbol: u32) -> Bounded<NodeId> {
        let mut symbol = symbol;
        if symbol == symbols::CAPITAL_GAMMA && self.peek() == Some(Tok::Open(b'(')) {
            return self.gamma();
        }
        loop {
            match self.peek() {
                Some(Tok::Prime) => {
                    self.pos += 1;
                    symbol = symbols::named(symbol, b"'");
                }
                Some(Tok::Under) => {
                    self.pos += 1;
                    let first = self.pos;
                    self.skip_script()?;
                    let (lo, hi) =
                        (self.tokens[first].start as usize, self.tokens[self.pos - 1].end as usize);
                    symbol = symbols::named(symbol, self.src.get(lo..hi).unwrap_or(&[]));
                }
                _ => break,
            }
        }
        self.arena.push(Node::Var(symbol))
    }

    /// Skips a subscript: a group or a single token.
    pub(super) fn skip_script(&mut self) -> Bounded<()> {
        let mut depth = 0u32;
        while let Some(tok) = self.peek() {
            self.pos += 1;
            self.work.charge(1)?;
            match tok {
                Tok::LBrace => depth += 1,
                Tok::RBrace if depth > 0 => depth -= 1,
                Tok::RBrace | Tok::Close(_) => return Err(Stop::Inapplicable),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(Stop::Inapplicable)
    }

    /// A function with its base, power and argument.
    pub(super) fn function(&mut self, func: Func) -> Bounded<NodeId> {
        self.enter()?;
        let (mut base, mut power) = (None, None);
        let mut func = func;
        loop {
            match self.peek() {
                Some(Tok::Under) if func == Func::Log && base.is_none() => {
                    self.pos += 1;
                    base = Some(match self.peek() {
                        Some(Tok::Num(_)) => self.primary_number()?,
                        _ => self.primary()?,
                    });
                }
                Some(Tok::Caret) if power.is_none() => {
                    self.pos += 1;
                    power = Some(self.script()?);
                }
                _ => break,
            }
        }
        if let (Some(p), Some(inverse)) = (power, inverse(func))
            && self.arena.is_minus_one(p)
        {
            (func, power) = (inverse, None);
        }
        let argument = self.function_argument()?;
        let mut node = match (func, base) {
            (Func::Exp, _) => {
                let e = self.arena.push(Node::E)?;
                self.arena.push(Node::Pow(e, argument))?
            }
            (Func::Cis, _) => {
                let (e, i) = (self.arena.push(Node::E)?, self.arena.push(Node::I)?);
                let angle = self.arena.push(Node::Mul(i, argument))?;
                self.arena.push(Node::Pow(e, angle))?
            }
            (_, Some(b)) => self.arena.push(Node::LogBase(b, argument))?,
            _ => self.arena.push(Node::Func(func, argument))?,
        };
        if let Some(p) = power {
            node = self.arena.push(Node::Pow(node, p))?;
        }
        self.nesting -= 1;
        Ok(node)
    }

    pub(super) fn primary_number(&mut self) -> Bounded<NodeId> {
        match self.peek() {
            Some(Tok::Num(i)) => {
                self.pos += 1;
                self.arena.push(Node::Num(i))
            }
            _ => Err(Stop::Inapplicable),
        }
    }

    /// The argument of a function: a bracketed group, or factors up to the next operator or function.
    pub(super) fn function_argument(&mut self) -> Bounded<NodeId> {
        let tok = self.peek().ok_or(Stop::Inapplicable)?;
        if matches!(tok, Tok::Open(_) | Tok::LBrace | Tok::Bar) {
            return self.primary();
        }
        if tok == Tok::Minus {
            self.pos += 1;
            let inner = self.function_argument()?;
            return self.arena.push(Node::Neg(inner));
        }
        let mut pi = false;
        let mut left = self.factor()?;
        while let Some(tok) = self.peek() {
            self.work.charge(1)?;
            pi |= self.tokens[self.pos - 1].tok == Tok::Pi;
            left = match tok {
                Tok::Slash if pi && matches!(self.at(1).map(|t| t.tok), Some(Tok::Num(_))) => {
                    self.pos += 1;
                    let right = self.factor()?;
                    self.arena.push(Node::Div(left, right))?
                }
                Tok::Func(_) => break,
                Tok::Open(b'(') if !pi && !matches!(self.tokens[self.pos - 1].tok, Tok::Num(_)) => break,
                _ if self.starts_factor(tok) => {
                    let right = self.factor()?;
                    self.arena.push(Node::Mul(left, right))?
                }
                _ => break,
            };
        }
        Ok(left)
    }
}

/// The inverse that a power of minus one after the function's name means.
fn inverse(func: Func) -> Option<Func> {
    Some(match func {
        Func::Sin => Func::Arcsin,
        Func::Cos => Func::Arccos,
        Func::Tan => Func::Arctan,
        Func::Cot => Func::Arccot,
        Func::Sec => Func::Arcsec,
        Func::Csc => Func::Arccsc,
        _ => return None,
    })
}
