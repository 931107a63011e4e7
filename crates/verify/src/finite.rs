//! Identity of rational functions by their values at pseudo-random points of a finite field.

use crate::compare::Decision;
use crate::exact;
use crate::expr::{Arena, Node, NodeId};
use crate::literal::Value;
use crate::modular as f;
use crate::rational::Rat;
use crate::value::Ex;
use crate::verdict::Certainty;
use crate::words::Func;
use crate::work::{Bounded, Stop, Work};
use num_traits::ToPrimitive;

/// Points tried. By Schwartz and Zippel one point errs with probability degree / 2^60.
const POINTS: u64 = 3;

/// Compares two rational functions. Different values prove them different; equal values make equality probable.
pub(crate) fn compare(arena: &Arena, a: Ex, b: Ex, work: &mut Work) -> Bounded<Decision> {
    let mut agreed = 0;
    for point in 0..2 * POINTS {
        let (x, y) = match (value(arena, a, a.node, point, work), value(arena, b, b.node, point, work)) {
            (Ok(x), Ok(y)) => (x, y),
            (Err(Stop::Budget), _) | (_, Err(Stop::Budget)) => return Err(Stop::Budget),
            _ => return Err(Stop::Inapplicable),
        };
        // A pole at this point says nothing.
        let (Some(x), Some(y)) = (x, y) else { continue };
        if x != y {
            return Ok(Decision::Different);
        }
        agreed += 1;
        if agreed == POINTS {
            return Ok(Decision::Same(Certainty::Probable));
        }
    }
    Err(Stop::Inapplicable)
}

/// Pseudo-random element for a symbol at a point.
fn element(symbol: u64, point: u64) -> u64 {
    // SplitMix64.
    let mut z =
        symbol.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(point.wrapping_mul(0xd1b5_4a32_d192_ed03));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % f::P
}

fn of_rational(r: &Rat) -> Option<u64> {
    let p = num_bigint::BigInt::from(f::P);
    let reduce = |n: num_bigint::BigInt| ((n % &p + &p) % &p).to_u64();
    Some(f::mul(reduce(r.num())?, f::inv(reduce(r.den())?)?))
}

/// Factorials of more are not computed.
const MAX_FACTORIAL: u64 = 10_000;

/// A constant that is an integer of modest size, such as the argument of a factorial.
fn small_integer(arena: &Arena, id: NodeId, work: &mut Work) -> Bounded<u64> {
    let value =
        exact::rational(arena, id, work)?.and_then(|r| r.as_i64()).and_then(|n| u64::try_from(n).ok());
    value.filter(|n| *n <= MAX_FACTORIAL).ok_or(Stop::Inapplicable)
}

/// The product of `count` integers ending in `last`.
fn falling(last: u64, count: u64, work: &mut Work) -> Bounded<Option<u64>> {
    work.charge(10 + count as u32 / 2)?;
    Ok(Some((0..count).fold(1, |product, k| f::mul(product, last - k))))
}

/// Value at a point; `None` at a pole.
fn value(arena: &Arena, e: Ex, id: NodeId, point: u64, work: &mut Work) -> Bounded<Option<u64>> {
    work.charge(2)?;
    macro_rules! sub {
        ($node:expr) => {
            match value(arena, e, $node, point, work)? {
                Some(v) => v,
                None => return Ok(None),
            }
        };
    }
    Ok(match arena.get(id) {
        Node::Num(i) | Node::Based(i, ..) => match &arena.literal(i).value {
            Value::Exact(Rat::Small(n, 1)) => Some(n.rem_euclid(f::P as i64) as u64),
            Value::Exact(r) => {
                work.charge(100)?;
                of_rational(r)
            }
            Value::Huge { residue, .. } => Some(*residue),
        },
        Node::Var(s) => Some(element(u64::from(s) + 16, point)),
        Node::Add(a, b) => Some(f::add(sub!(a), sub!(b))),
        Node::Mul(a, b) => Some(f::mul(sub!(a), sub!(b))),
        Node::Neg(a) => Some(f::neg(sub!(a))),
        Node::Sign(plus, a) => {
            let x = sub!(a);
            Some(if plus == e.minus { f::neg(x) } else { x })
        }
        Node::Percent(a) => {
            work.charge(30)?;
            let x = sub!(a);
            f::inv(100).map(|h| f::mul(x, h))
        }
        Node::Div(a, b) => {
            work.charge(30)?;
            let (x, y) = (sub!(a), sub!(b));
            f::inv(y).map(|i| f::mul(x, i))
        }
        Node::Func(Func::Fact, a) => {
            let n = small_integer(arena, a, work)?;
            falling(n, n, work)?
        }
        Node::Binom(n, k) => {
            let (n, k) = (small_integer(arena, n, work)?, small_integer(arena, k, work)?);
            let k = if k <= n { k.min(n - k) } else { return Ok(Some(0)) };
            let (top, bottom) = (falling(n, k, work)?, falling(k, k, work)?);
            top.zip(bottom.and_then(f::inv)).map(|(t, b)| f::mul(t, b))
        }
        Node::Pow(a, b) => {
            work.charge(40)?;
            let Some(n) = exact::rational(arena, b, work)? else { return Err(Stop::Inapplicable) };
            if !n.is_integer() {
                return Err(Stop::Inapplicable);
            }
            // By Fermat the exponent counts modulo P - 1.
            let order = num_bigint::BigInt::from(f::P - 1);
            let exponent = ((n.num() % &order + &order) % &order).to_u64().ok_or(Stop::Inapplicable)?;
            let x = sub!(a);
            if x == 0 {
                return Ok(if n.is_negative() || n.is_zero() { None } else { Some(0) });
            }
            Some(f::pow(x, exponent))
        }
        _ => return Err(Stop::Inapplicable),
    })
}
