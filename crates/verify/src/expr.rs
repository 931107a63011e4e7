//! Expressions: the arena of nodes; the grammar is in the modules below.

mod functions;
mod grammar;
mod numerals;

pub(crate) use grammar::Parser;

use crate::lex::Rel;
use crate::literal::{Literal, Value, Written};
use crate::rational::Rat;
use crate::words::Func;
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

impl Node {
    /// The same node over other children; as many must be given as it has.
    fn with(self, children: [Option<NodeId>; 2]) -> Node {
        match (self, children) {
            (Node::Add(..), [Some(a), Some(b)]) => Node::Add(a, b),
            (Node::Mul(..), [Some(a), Some(b)]) => Node::Mul(a, b),
            (Node::Div(..), [Some(a), Some(b)]) => Node::Div(a, b),
            (Node::Pow(..), [Some(a), Some(b)]) => Node::Pow(a, b),
            (Node::Root(..), [Some(a), Some(b)]) => Node::Root(a, b),
            (Node::LogBase(..), [Some(a), Some(b)]) => Node::LogBase(a, b),
            (Node::Binom(..), [Some(a), Some(b)]) => Node::Binom(a, b),
            (Node::Neg(_), [Some(a), _]) => Node::Neg(a),
            (Node::Sign(s, _), [Some(a), _]) => Node::Sign(s, a),
            (Node::Sqrt(_), [Some(a), _]) => Node::Sqrt(a),
            (Node::Func(f, _), [Some(a), _]) => Node::Func(f, a),
            (Node::Percent(_), [Some(a), _]) => Node::Percent(a),
            (Node::Degree(_), [Some(a), _]) => Node::Degree(a),
            (node, _) => node,
        }
    }
}

/// Expressions deeper than this are refused; evaluation recurses to this depth.
const MAX_DEPTH: u16 = 160;
/// More nodes than this in one comparison are refused.
const MAX_NODES: usize = 8192;
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

    /// Whether a node is the literal minus one.
    pub(crate) fn is_minus_one(&self, node: NodeId) -> bool {
        let Node::Neg(inner) = self.get(node) else { return false };
        matches!(self.get(inner), Node::Num(i) if self.literal(i).value == Value::Exact(Rat::ONE))
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

    /// The value of a node that is an integer literal, if it is small.
    pub(crate) fn integer(&self, node: NodeId) -> Option<i64> {
        let Node::Num(i) = self.get(node) else { return None };
        match &self.literal(i).value {
            Value::Exact(r) => r.as_i64(),
            Value::Huge { .. } => None,
        }
    }

    /// The expression with one variable in place of another.
    pub(crate) fn renamed(&mut self, root: NodeId, from: u32, to: u32, work: &mut Work) -> Bounded<NodeId> {
        let to = self.push(Node::Var(to))?;
        self.replaced(root, Node::Var(from), to, work)
    }

    /// The expression with another in place of a leaf.
    pub(crate) fn replaced(
        &mut self,
        root: NodeId,
        from: Node,
        to: NodeId,
        work: &mut Work,
    ) -> Bounded<NodeId> {
        work.charge(2)?;
        let node = self.get(root);
        if node == from {
            return Ok(to);
        }
        let mut children = [None; 2];
        for (new, old) in children.iter_mut().zip(Arena::children(node)) {
            *new = match old {
                Some(child) => Some(self.replaced(child, from, to, work)?),
                None => None,
            };
        }
        if children == Arena::children(node) {
            return Ok(root);
        }
        self.push(node.with(children))
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
