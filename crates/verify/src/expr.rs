//! Expressions: the arena of nodes and the precedence parser from tokens.

use crate::lex::{Rel, Tok, Token};
use crate::literal::{Literal, Value, Written};
use crate::rational::Rat;
use crate::symbols;
use crate::words::{self, Func};
use crate::work::{Bounded, Stop, Work};

/// Index of a node in the arena.
pub(crate) type NodeId = u32;

/// A node of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Num(u32),
    Var(u32),
    Pi,
    E,
    I,
    Infinity,
    Add(NodeId, NodeId),
    Mul(NodeId, NodeId),
    Div(NodeId, NodeId),
    Pow(NodeId, NodeId),
    Neg(NodeId),
    /// Plus-or-minus (`true`) or minus-or-plus in front of a term.
    Sign(bool, NodeId),
    Sqrt(NodeId),
    /// The root whose index is the first node.
    Root(NodeId, NodeId),
    Func(Func, NodeId),
    /// Logarithm of the second node to the base of the first.
    LogBase(NodeId, NodeId),
    Binom(NodeId, NodeId),
    Percent(NodeId),
    Degree(NodeId),
    /// A number in a base: its value, and the literal of its digits.
    Based(u32, u32, u8),
}

/// Expressions deeper than this are refused; evaluation recurses to this depth.
const MAX_DEPTH: u16 = 160;
/// More nodes than this in one comparison are refused.
const MAX_NODES: usize = 8192;
/// Nesting of the parser itself.
const MAX_NESTING: u32 = 64;

/// All nodes and literals of one comparison.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    nodes: Vec<Node>,
    depth: Vec<u16>,
    pub(crate) literals: Vec<Literal>,
}

impl Arena {
    pub(crate) fn get(&self, id: NodeId) -> Node {
        self.nodes[id as usize]
    }

    pub(crate) fn literal(&self, index: u32) -> &Literal {
        &self.literals[index as usize]
    }

    /// Children of a node, at most two.
    pub(crate) fn children(node: Node) -> [Option<NodeId>; 2] {
        match node {
            Node::Add(a, b)
            | Node::Mul(a, b)
            | Node::Div(a, b)
            | Node::Pow(a, b)
            | Node::Root(a, b)
            | Node::LogBase(a, b)
            | Node::Binom(a, b) => [Some(a), Some(b)],
            Node::Neg(a)
            | Node::Sign(_, a)
            | Node::Sqrt(a)
            | Node::Func(_, a)
            | Node::Percent(a)
            | Node::Degree(a) => [Some(a), None],
            _ => [None, None],
        }
    }

    pub(crate) fn push(&mut self, node: Node) -> Bounded<NodeId> {
        let depth =
            Arena::children(node).iter().flatten().map(|c| self.depth[*c as usize]).max().unwrap_or(0) + 1;
        if depth > MAX_DEPTH || self.nodes.len() >= MAX_NODES {
            return Err(Stop::Budget);
        }
        self.nodes.push(node);
        self.depth.push(depth);
        Ok(self.nodes.len() as NodeId - 1)
    }

    pub(crate) fn number(&mut self, value: Rat) -> Bounded<NodeId> {
        self.literals.push(Literal { value: Value::Exact(value), written: Written::default() });
        self.push(Node::Num(self.literals.len() as u32 - 1))
    }

    /// Whether `test` holds for a node of the expression; charged per node.
    pub(crate) fn any(&self, root: NodeId, work: &mut Work, test: &dyn Fn(Node) -> bool) -> Bounded<bool> {
        work.charge(1)?;
        let node = self.get(root);
        if test(node) {
            return Ok(true);
        }
        for child in Arena::children(node).into_iter().flatten() {
            if self.any(child, work, test)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether two expressions are the same tree (numbers by value).
    pub(crate) fn same(&self, a: NodeId, b: NodeId, work: &mut Work) -> Bounded<bool> {
        if a == b {
            return Ok(true);
        }
        work.charge(1)?;
        let (x, y) = (self.get(a), self.get(b));
        if let (Node::Num(i), Node::Num(j)) = (x, y) {
            return Ok(self.literal(i).value == self.literal(j).value);
        }
        let head = match (x, y) {
            (Node::Var(s), Node::Var(t)) => s == t,
            (Node::Func(f, _), Node::Func(g, _)) => f == g,
            (Node::Sign(s, _), Node::Sign(t, _)) => s == t,
            (Node::Based(i, _, s), Node::Based(j, _, t)) => {
                s == t && self.literal(i).value == self.literal(j).value
            }
            _ => std::mem::discriminant(&x) == std::mem::discriminant(&y),
        };
        if !head {
            return Ok(false);
        }
        for (c, d) in Arena::children(x).into_iter().flatten().zip(Arena::children(y).into_iter().flatten()) {
            if !self.same(c, d, work)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Parser of expressions over a range of tokens.
pub(crate) struct Parser<'a> {
    pub(crate) src: &'a [u8],
    pub(crate) tokens: &'a [Token],
    pub(crate) arena: &'a mut Arena,
    pub(crate) work: &'a mut Work,
    pub(crate) pos: usize,
    pub(crate) end: usize,
    pub(crate) nesting: u32,
    bars: u32,
    /// Bytes of the current number token already taken as single digits by a TeX argument.
    taken: u32,
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

    fn peek(&self) -> Option<Tok> {
        if self.pos < self.end { Some(self.tokens[self.pos].tok) } else { None }
    }

    fn at(&self, ahead: usize) -> Option<Token> {
        if self.pos + ahead < self.end { Some(self.tokens[self.pos + ahead]) } else { None }
    }

    fn expect(&mut self, test: impl Fn(Tok) -> bool) -> Bounded<()> {
        match self.peek() {
            Some(t) if test(t) => {
                self.pos += 1;
                Ok(())
            }
            _ => Err(Stop::Inapplicable),
        }
    }

    fn word(&self, token: Token) -> &'a [u8] {
        &self.src[token.start as usize..token.end as usize]
    }

    fn enter(&mut self) -> Bounded<()> {
        self.nesting += 1;
        self.work.charge(2)?;
        if self.nesting > MAX_NESTING { Err(Stop::Budget) } else { Ok(()) }
    }

    fn sum(&mut self) -> Bounded<NodeId> {
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
    fn term(&mut self) -> Bounded<NodeId> {
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

    fn signed_term(&mut self) -> Bounded<NodeId> {
        if matches!(self.peek(), Some(Tok::Minus | Tok::Plus | Tok::PlusMinus | Tok::MinusPlus)) {
            self.enter()?;
            let inner = self.term()?;
            self.nesting -= 1;
            return Ok(inner);
        }
        self.product()
    }

    fn product(&mut self) -> Bounded<NodeId> {
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

    fn signed_factor(&mut self) -> Bounded<NodeId> {
        match self.peek() {
            Some(Tok::Minus) => {
                self.pos += 1;
                let inner = self.factor()?;
                self.arena.push(Node::Neg(inner))
            }
            _ => self.factor(),
        }
    }

    fn starts_factor(&self, tok: Tok) -> bool {
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
    fn factor(&mut self) -> Bounded<NodeId> {
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
    fn superscript(&mut self, base: NodeId) -> Bounded<NodeId> {
        let braced = self.peek() == Some(Tok::LBrace);
        let first = self.at(usize::from(braced)).map(|t| t.tok);
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

    fn primed(&mut self, base: NodeId) -> Bounded<NodeId> {
        match self.arena.get(base) {
            Node::Var(s) => self.arena.push(Node::Var(symbols::named(s, b"'"))),
            _ => Err(Stop::Inapplicable),
        }
    }

    /// An exponent: a group, or a signed primary; powers of powers bind to the right.
    fn script(&mut self) -> Bounded<NodeId> {
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

    /// A subscript after a number: the base it is written in.
    fn base_subscript(&mut self, node: NodeId) -> Bounded<NodeId> {
        let braced = self.peek() == Some(Tok::LBrace);
        self.pos += usize::from(braced);
        let bracket = self.peek() == Some(Tok::Open(b'('));
        self.pos += usize::from(bracket);
        let base = match self.peek() {
            Some(Tok::Num(i)) => match &self.arena.literal(i).value {
                Value::Exact(r) => r.as_i64(),
                Value::Huge { .. } => None,
            },
            _ => None,
        };
        let Some(base @ 2..=36) = base else { return Err(Stop::Inapplicable) };
        self.pos += 1;
        if bracket {
            self.expect(|t| t == Tok::Close(b')'))?;
        }
        if braced {
            self.expect(|t| t == Tok::RBrace)?;
        }
        self.based(node, base)
    }

    /// The digits of a number literal read in a base.
    pub(crate) fn based(&mut self, node: NodeId, base: i64) -> Bounded<NodeId> {
        let Node::Num(literal) = self.arena.get(node) else { return Err(Stop::Inapplicable) };
        let value = self.in_base(literal, base)?;
        self.arena.literals.push(Literal { value: Value::Exact(value), written: Written::default() });
        let index = self.arena.literals.len() as u32 - 1;
        self.arena.push(Node::Based(index, literal, base as u8))
    }

    fn in_base(&mut self, literal: u32, base: i64) -> Bounded<Rat> {
        let Literal { value: Value::Exact(digits), written } = self.arena.literal(literal) else {
            return Err(Stop::Budget);
        };
        if written.places > 0 || !digits.is_integer() {
            return Err(Stop::Inapplicable);
        }
        let text = digits.to_string();
        if text.len() > 200 {
            return Err(Stop::Budget);
        }
        self.work.charge(4 * text.len() as u32)?;
        let mut value = Rat::ZERO;
        for digit in text.bytes() {
            let digit = i64::from(digit.wrapping_sub(b'0'));
            if digit >= base {
                return Err(Stop::Inapplicable);
            }
            value = value.mul(&Rat::int(base), self.work)?.add(&Rat::int(digit), self.work)?;
        }
        Ok(value)
    }

    fn primary(&mut self) -> Bounded<NodeId> {
        let token = self.at(0).ok_or(Stop::Inapplicable)?;
        self.work.charge(1)?;
        let start = self.pos;
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
            Tok::LBrace => self.enclosed(|t| t == Tok::RBrace),
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
            Tok::Binom => {
                let n = self.argument()?;
                let k = self.argument()?;
                self.arena.push(Node::Binom(n, k))
            }
            Tok::Sqrt => self.root(),
            Tok::Overline => self.argument(),
            Tok::Func(f) => self.function(f),
            _ => Err(Stop::Inapplicable),
        }
    }

    fn enclosed(&mut self, close: impl Fn(Tok) -> bool) -> Bounded<NodeId> {
        let bars = std::mem::replace(&mut self.bars, 0);
        let inner = self.infix_fraction()?;
        self.bars = bars;
        self.expect(close)?;
        Ok(inner)
    }

    /// A sum, or two of them with `\over` or `\choose` between.
    fn infix_fraction(&mut self) -> Bounded<NodeId> {
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

    fn enclosed_in_bars(&mut self) -> Bounded<NodeId> {
        let inner = self.sum()?;
        self.expect(|t| t == Tok::Bar)?;
        Ok(inner)
    }

    /// A TeX argument: a group, or the next single token; of a number only its first digit.
    fn argument(&mut self) -> Bounded<NodeId> {
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

    fn root(&mut self) -> Bounded<NodeId> {
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

    /// A numeral; with a fraction behind it a mixed number; with a word such as "million" a product.
    fn numeral(&mut self, index: u32, start: usize) -> Bounded<NodeId> {
        if self.taken > 0 {
            // The rest of a number whose first digits were taken as TeX arguments.
            let text = self.word(self.tokens[start]);
            let rest = Rat::from_digits(&text[self.taken as usize..], 0, self.work)?;
            self.taken = 0;
            return self.arena.number(rest);
        }
        let node = self.arena.push(Node::Num(index))?;
        if let Some(next) = self.at(0)
            && next.tok == Tok::Word
            && let Some(factor) = words::multiplier(&self.word(next).to_ascii_lowercase())
        {
            self.pos += 1;
            let factor = self.arena.number(Rat::int(factor))?;
            return self.arena.push(Node::Mul(node, factor));
        }
        if let Some((num, den, used)) = self.mixed_fraction(index)? {
            self.pos += used;
            let fraction = num.div(&den, self.work)?;
            let fraction = self.arena.number(fraction)?;
            return self.arena.push(Node::Add(node, fraction));
        }
        Ok(node)
    }

    /// A proper fraction of plain integers right after an integer: numerator, denominator, tokens used.
    fn mixed_fraction(&mut self, whole: u32) -> Bounded<Option<(Rat, Rat, usize)>> {
        let whole = self.arena.literal(whole);
        let Value::Exact(value) = &whole.value else { return Ok(None) };
        if whole.written.places > 0 || !value.is_integer() || value.is_zero() {
            return Ok(None);
        }
        let tok = |k: usize| self.at(k).map(|t| t.tok);
        let int = |t: Option<Tok>| match t {
            Some(Tok::Num(i)) => match &self.arena.literal(i).value {
                Value::Exact(r) if r.is_integer() && self.arena.literal(i).written.places == 0 => {
                    Some(r.clone())
                }
                _ => None,
            },
            _ => None,
        };
        let found = match (tok(0), tok(1)) {
            (Some(Tok::Frac), Some(Tok::LBrace)) if tok(3) == Some(Tok::RBrace) => {
                if tok(4) == Some(Tok::LBrace) && tok(6) == Some(Tok::RBrace) {
                    int(tok(2)).zip(int(tok(5))).map(|(n, d)| (n, d, 7))
                } else {
                    int(tok(2)).zip(int(tok(4))).map(|(n, d)| (n, d, 5))
                }
            }
            (Some(Tok::Frac), Some(Tok::Num(_))) => {
                let text = self.at(1).map(|t| self.word(t)).unwrap_or(&[]);
                match text {
                    [n @ b'0'..=b'9', d @ b'0'..=b'9'] => {
                        Some((Rat::int(i64::from(n - b'0')), Rat::int(i64::from(d - b'0')), 2))
                    }
                    [_] if tok(2) == Some(Tok::LBrace) && tok(4) == Some(Tok::RBrace) => {
                        int(tok(1)).zip(int(tok(3))).map(|(n, d)| (n, d, 5))
                    }
                    _ => None,
                }
            }
            (Some(Tok::Num(i)), Some(Tok::Slash)) if self.at(0).is_some_and(|t| t.spaced) => {
                let _ = i;
                int(tok(0)).zip(int(tok(2))).map(|(n, d)| (n, d, 3))
            }
            (Some(Tok::Num(i)), _) => match &self.arena.literal(i).value {
                // A vulgar fraction character.
                Value::Exact(r) if !r.is_integer() && self.arena.literal(i).written == Written::default() => {
                    Some((r.clone(), Rat::ONE, 1))
                }
                _ => None,
            },
            _ => None,
        };
        match found {
            Some((n, d, used)) if n.order(&d, self.work)?.is_lt() => Ok(Some((n, d, used))),
            _ => Ok(None),
        }
    }

    /// A letter with its subscripts and primes.
    fn variable(&mut self, symbol: u32) -> Bounded<NodeId> {
        let mut symbol = symbol;
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
    fn skip_script(&mut self) -> Bounded<()> {
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
    fn function(&mut self, func: Func) -> Bounded<NodeId> {
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
            && self.is_minus_one(p)
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

    fn primary_number(&mut self) -> Bounded<NodeId> {
        match self.peek() {
            Some(Tok::Num(i)) => {
                self.pos += 1;
                self.arena.push(Node::Num(i))
            }
            _ => Err(Stop::Inapplicable),
        }
    }

    fn is_minus_one(&self, node: NodeId) -> bool {
        let Node::Neg(inner) = self.arena.get(node) else { return false };
        matches!(self.arena.get(inner), Node::Num(i) if self.arena.literal(i).value == Value::Exact(Rat::ONE))
    }

    /// The argument of a function: a bracketed group, or factors up to the next operator or function.
    fn function_argument(&mut self) -> Bounded<NodeId> {
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

/// The relation with its sides exchanged.
pub(crate) fn mirrored(rel: Rel) -> Rel {
    match rel {
        Rel::Lt => Rel::Gt,
        Rel::Le => Rel::Ge,
        Rel::Gt => Rel::Lt,
        Rel::Ge => Rel::Le,
        other => other,
    }
}
