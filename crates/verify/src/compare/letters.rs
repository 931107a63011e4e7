//! What letters of an expression stand for where the other side says it: units, base vectors, digits, words, the
//! argument of a function, the constant of an integral.

use super::{Comparer, Decision};
use crate::expr::{Node, NodeId};
use crate::literal::Value as LiteralValue;
use crate::policy::Convention;
use crate::symbols;
use crate::units::{self, Unit};
use crate::value::{Ex, Seq, Value};
use crate::verdict::{Certainty, Rule};
use crate::work::Bounded;
use Decision::{Different, Same};

/// More letters than this are no unit.
const MAX_UNIT_LETTERS: usize = 6;

impl Comparer<'_> {
    /// A quantity against an expression: letters behind a number may be its unit (`6 h`), else there is none.
    pub(super) fn quantity_and_expression(&mut self, x: Ex, unit: &Unit, y: Ex) -> Bounded<Decision> {
        if unit.known
            && let Some((number, own)) = self.unit_letters(y)?
        {
            return self.quantities(x, unit, number, &own);
        }
        // A percent or degree sign is a unit of its own: `5 cm` is not `5\%`.
        if self.is_marked(y) && !self.is_marked(x) {
            return Ok(Different);
        }
        let bare = self.numbers(x, y)?;
        Ok(self.grant(bare, Convention::UnitOmitted))
    }

    /// Whether a percent or degree sign stands behind the whole expression.
    fn is_marked(&self, e: Ex) -> bool {
        let node = match self.arena.get(e.node) {
            Node::Neg(inner) => self.arena.get(inner),
            node => node,
        };
        matches!(node, Node::Percent(_) | Node::Degree(_))
    }

    /// The number and the unit of an expression such as `11 m/s`, if its last factors all are unit symbols.
    fn unit_letters(&mut self, e: Ex) -> Bounded<Option<(Ex, Unit)>> {
        let mut letters: Vec<(u32, i64)> = Vec::new();
        let mut node = e.node;
        while letters.len() < MAX_UNIT_LETTERS {
            self.work.charge(2)?;
            let (rest, factor, sign) = match self.arena.get(node) {
                Node::Mul(a, b) => (a, b, 1),
                Node::Div(a, b) => (a, b, -1),
                _ => break,
            };
            let Some((symbol, power)) = self.letter_power(factor) else { break };
            letters.push((symbol, sign * power));
            node = rest;
        }
        let is_letter = |n: Node| matches!(n, Node::Var(_));
        if letters.is_empty() || self.arena.any(node, self.work, &is_letter)? {
            return Ok(None);
        }
        letters.reverse();
        let unit = units::of_letters(&letters, self.work)?;
        Ok(unit.map(|unit| (Ex { node, ..e }, unit)))
    }

    /// A letter with a small integer power.
    fn letter_power(&self, node: NodeId) -> Option<(u32, i64)> {
        match self.arena.get(node) {
            Node::Var(s) => Some((s, 1)),
            Node::Pow(base, exponent) => {
                let Node::Var(s) = self.arena.get(base) else { return None };
                let (exponent, sign) = match self.arena.get(exponent) {
                    Node::Neg(inner) => (inner, -1),
                    _ => (exponent, 1),
                };
                let Node::Num(i) = self.arena.get(exponent) else { return None };
                let LiteralValue::Exact(power) = &self.arena.literal(i).value else { return None };
                let power = power.as_i64().filter(|p| (1..=9).contains(p))?;
                Some((s, sign * power))
            }
            _ => None,
        }
    }

    /// Components against a sum over base vectors: `(1,-2,3)` and `\mathbf{i} - 2\mathbf{j} + 3\mathbf{k}`.
    pub(super) fn base_vectors(&mut self, components: &[Ex], sum: Ex) -> Bounded<Decision> {
        let (i, j, k) = (Node::I, Node::Var(u32::from(b'j')), Node::Var(u32::from(b'k')));
        if !(2..=3).contains(&components.len()) || !self.arena.any(sum.node, self.work, &|n| n == j)? {
            return Ok(Different);
        }
        let mut total = None;
        for (component, vector) in components.iter().zip([i, j, k]) {
            let vector = self.arena.push(vector)?;
            let term = self.arena.push(Node::Mul(component.node, vector))?;
            total = Some(match total {
                Some(t) => self.arena.push(Node::Add(t, term))?,
                None => term,
            });
        }
        let Some(node) = total else { return Ok(Different) };
        let inner = self.expressions(Ex::plain(node), sum)?;
        Ok(self.grant(inner, Convention::VectorAsTuple))
    }

    /// Digits beyond nine with their base against the digits alone: `2B_{16}` and `2B`.
    pub(super) fn based_and_letters(&mut self, based: Ex, other: Ex) -> Bounded<Option<Decision>> {
        let Node::Based(_, digits, _) = self.arena.get(based.node) else { return Ok(None) };
        let LiteralValue::Huge { digits, .. } = &self.arena.literal(digits).value else { return Ok(None) };
        let digits = digits.clone();
        let Some(spelled) = self.spelled(other.node)? else { return Ok(None) };
        let same = spelled.eq_ignore_ascii_case(&digits);
        Ok(same.then(|| self.grant(Same(Certainty::Proof), Convention::BaseOmitted)))
    }

    /// Words against a product of letters, as short words without mark-up are read.
    pub(super) fn text_and_letters(&mut self, text: &str, e: Ex) -> Bounded<Decision> {
        self.rule = Rule::Text;
        let spelled = self.spelled(e.node)?;
        let same = spelled.is_some_and(|s| s.eq_ignore_ascii_case(text.as_bytes()));
        Ok(if same { Same(Certainty::Proof) } else { Different })
    }

    /// The characters of a product of single letters and integers.
    fn spelled(&mut self, root: NodeId) -> Bounded<Option<Vec<u8>>> {
        let mut reversed: Vec<u8> = Vec::new();
        let mut next = Some(root);
        while let Some(node) = next {
            self.work.charge(1)?;
            let (last, rest) = match self.arena.get(node) {
                Node::Mul(a, b) => (b, Some(a)),
                _ => (node, None),
            };
            match self.arena.get(last) {
                Node::Var(s) => match symbols::latin(s) {
                    Some(l) => reversed.push(l),
                    None => return Ok(None),
                },
                // The digits of `9C3` were read as a combination.
                Node::Binom(n, k) => {
                    for part in [k, n] {
                        let Some(digits) = self.arena.integer(part) else { return Ok(None) };
                        reversed.extend(digits.to_string().bytes().rev());
                        reversed.extend((part == k).then_some(b'C'));
                    }
                }
                Node::E => reversed.push(b'e'),
                Node::I => reversed.push(b'i'),
                Node::Num(i) => match &self.arena.literal(i).value {
                    LiteralValue::Exact(r) if self.arena.literal(i).written.plain => {
                        reversed.extend(r.to_string().bytes().rev());
                    }
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            }
            next = rest;
        }
        reversed.reverse();
        Ok(Some(reversed))
    }

    /// Angles by their three points: the vertex stands in the middle.
    pub(super) fn angles(&mut self, x: &Value, y: &Value) -> Bounded<Option<Decision>> {
        let (Value::Expr(x), Value::Expr(y)) = (x, y) else { return Ok(None) };
        let (Some(x), Some(y)) = (self.points(*x)?, self.points(*y)?) else { return Ok(None) };
        self.rule = Rule::Text;
        Ok(Some(if x == y || x.iter().rev().eq(&y) { Same(Certainty::Proof) } else { Different }))
    }

    /// Whether two products are the same points in another order: `ABC` and `ACB`. Capitals that follow one another in
    /// the alphabet are names of points; those of `LWH` are numbers.
    pub(super) fn other_order(&mut self, x: Ex, y: Ex) -> Bounded<bool> {
        let (Some(x), Some(y)) = (self.points(x)?, self.points(y)?) else { return Ok(false) };
        let mut sorted = x.clone();
        sorted.sort_unstable();
        Ok(x != y && sorted.windows(2).all(|pair| pair[0] + 1 == pair[1]))
    }

    /// Three or more capital letters side by side.
    fn points(&mut self, e: Ex) -> Bounded<Option<Vec<u8>>> {
        if !matches!(self.arena.get(e.node), Node::Mul(..)) {
            return Ok(None);
        }
        let letters = self.spelled(e.node)?;
        Ok(letters.filter(|l| l.len() > 2 && l.iter().all(u8::is_ascii_uppercase)))
    }

    /// Two definitions of one function whose arguments have different names: `f(x) = 2x` and `f(t) = 2t`.
    pub(super) fn other_argument(&mut self, l: Ex, x: &Value, m: Ex, y: &Value) -> Bounded<Decision> {
        let (Value::Expr(x), Value::Expr(y)) = (x, y) else { return Ok(Different) };
        let (Some((f, from)), Some((g, to))) = (self.function_of_letter(l), self.function_of_letter(m))
        else {
            return Ok(Different);
        };
        // `AB = 5` and `AC = 5` are no functions of B and C.
        let applied = self.arena.any(x.node, self.work, &|n| n == Node::Var(from))?;
        if f != g || !applied || self.arena.any(x.node, self.work, &|n| n == Node::Var(to))? {
            return Ok(Different);
        }
        let node = self.arena.renamed(x.node, from, to, self.work)?;
        self.numbers(Ex { node, ..*x }, *y)
    }

    /// The letter of a function and that of its argument in `f(x)`.
    fn function_of_letter(&self, e: Ex) -> Option<(u32, u32)> {
        let Node::Mul(f, x) = self.arena.get(e.node) else { return None };
        match (self.arena.get(f), self.arena.get(x)) {
            (Node::Var(f), Node::Var(x)) => Some((f, x)),
            _ => None,
        }
    }

    /// Two antiderivatives whose constants are written `C` and `c`.
    pub(super) fn other_constant(&mut self, a: Ex, b: Ex) -> Bounded<Decision> {
        for (x, y) in [(a, b), (b, a)] {
            for upper in [b'C', b'K', b'D'] {
                let (upper, lower) = (u32::from(upper), u32::from(upper.to_ascii_lowercase()));
                if self.has_term(x.node, upper)? && self.has_term(y.node, lower)? {
                    let node = self.arena.renamed(y.node, lower, upper, self.work)?;
                    let inner = self.expressions(x, Ex { node, ..y })?;
                    return Ok(self.grant(inner, Convention::TextCase));
                }
            }
        }
        Ok(Different)
    }

    /// Two families of angles whose integer parameter has another name: `\pi/4 + k\pi` and `\pi/4 + n\pi`.
    pub(super) fn other_parameter(&mut self, a: Ex, b: Ex) -> Bounded<Decision> {
        let angle = |n: Node| matches!(n, Node::Pi | Node::Degree(_));
        if !self.arena.any(a.node, self.work, &angle)? || !self.arena.any(b.node, self.work, &angle)? {
            return Ok(Different);
        }
        let (Some(from), Some(to)) = (self.parameter(a)?, self.parameter(b)?) else { return Ok(Different) };
        if from == to {
            return Ok(Different);
        }
        let node = self.arena.renamed(a.node, from, to, self.work)?;
        let inner = self.expressions(Ex { node, ..a }, b)?;
        Ok(self.grant(inner, Convention::LabelOmitted))
    }

    /// The only variable, if it is a letter that counts.
    fn parameter(&mut self, e: Ex) -> Bounded<Option<u32>> {
        for letter in *b"knm" {
            let letter = u32::from(letter);
            if self.arena.any(e.node, self.work, &|n| n == Node::Var(letter))? {
                let other = |n: Node| matches!(n, Node::Var(s) if s != letter);
                return Ok((!self.arena.any(e.node, self.work, &other)?).then_some(letter));
            }
        }
        Ok(None)
    }

    /// Several choices against their letters in one word: `A, C, D` and `ACD`.
    pub(super) fn choices_as_word(&mut self, s: &Seq, word: &Value) -> Bounded<Decision> {
        self.rule = Rule::Text;
        let letters = match word {
            Value::Text(t) => Some(t.as_bytes().to_vec()),
            Value::Expr(e) => self.spelled(e.node)?,
            _ => None,
        };
        let Some(mut letters) = letters else { return Ok(Different) };
        letters.make_ascii_uppercase();
        letters.sort_unstable();
        let mut choices: Vec<u8> = Vec::with_capacity(s.items.len());
        for item in &s.items {
            let Value::Choice(c, None) = item else { return Ok(Different) };
            choices.push(c.to_ascii_uppercase());
        }
        choices.sort_unstable();
        let same = if letters == choices { Same(Certainty::Proof) } else { Different };
        Ok(self.grant(same, Convention::SetAsList))
    }

    /// Whether a letter alone is a term of a sum.
    fn has_term(&mut self, root: NodeId, symbol: u32) -> Bounded<bool> {
        let mut node = root;
        loop {
            self.work.charge(1)?;
            match self.arena.get(node) {
                Node::Add(a, b) => {
                    if [a, b].into_iter().any(|n| self.arena.get(n) == Node::Var(symbol)) {
                        return Ok(true);
                    }
                    node = a;
                }
                _ => return Ok(false),
            }
        }
    }

    /// Two texts: the same words but for articles and a leading preposition, or a sentence that ends in the other
    /// ("the function is odd").
    pub(super) fn texts(&mut self, s: &str, t: &str) -> Decision {
        if s == t || telling_words(s).eq(telling_words(t)) {
            return Same(Certainty::Proof);
        }
        let (sentence, words) = if s.len() > t.len() { (s, t) } else { (t, s) };
        let states =
            sentence.strip_suffix(words).and_then(|head| head.strip_suffix(' ')).is_some_and(|head| {
                let negates = |w: &str| matches!(w, "not" | "no" | "never" | "if" | "or" | "nor" | "neither");
                let mut back = head.split(' ').rev().skip_while(|w| matches!(*w, "a" | "an" | "the"));
                back.next().is_some_and(|verb| matches!(verb, "is" | "are")) && !head.split(' ').any(negates)
            });
        if states { self.grant(Same(Certainty::Proof), Convention::LabelOmitted) } else { Different }
    }

    /// The components of a sequence or of a row or column, if all are expressions.
    pub(super) fn components(v: &Value) -> Option<Vec<Ex>> {
        match v {
            Value::Seq(s) if matches!(s.open, b'(' | b'[' | b'<') => {
                let plain = s.items.iter().map(|i| if let Value::Expr(e) = i { Some(*e) } else { None });
                plain.collect()
            }
            Value::Matrix { cols, items } if *cols == 1 || *cols == items.len() => Some(items.clone()),
            _ => None,
        }
    }
}

/// The words of a text without articles and without a preposition at its start.
fn telling_words(text: &str) -> impl Iterator<Item = &str> {
    let text = ["on ", "in ", "at "].iter().find_map(|p| text.strip_prefix(p)).unwrap_or(text);
    let mut words = text.split(' ').peekable();
    std::iter::from_fn(move || {
        let mut word = words.next()?;
        while matches!(word, "a" | "an" | "the") && words.peek().is_some() {
            word = words.next()?;
        }
        Some(word)
    })
}
