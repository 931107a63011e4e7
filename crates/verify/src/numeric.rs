//! Values of expressions in intervals at pseudo-random points: disjoint intervals prove inequality.

mod complex;
mod eval;
mod fixed;
pub(crate) mod real;

use crate::compare::Decision;
use crate::expr::{Arena, Node};
use crate::rational::Rat;
use crate::value::Ex;
use crate::verdict::Certainty;
use crate::words::Func;
use crate::work::{Bounded, Stop, Work};
use complex::Complex;
use eval::{Evaluator, Points};
use fixed::Fixed;
use real::{Doubles, Real};

/// Points at which two expressions with variables must agree.
const AGREE: u32 = 6;
/// Points tried for that.
const TRIED: u32 = 24;

/// Compares two expressions by value.
pub(crate) fn compare(arena: &Arena, a: Ex, b: Ex, work: &mut Work) -> Bounded<Decision> {
    let mut traits = Traits::default();
    traits.scan(arena, a, work)?;
    traits.scan(arena, b, work)?;
    let like = Doubles { lo: 0.0, hi: 0.0 };
    if !traits.variables {
        return constants(arena, a, b, work);
    }
    let modes: &[fn(u32) -> Points] =
        if traits.discrete { &[Points::Integer] } else { &[Points::Real, Points::Integer] };
    for mode in modes {
        let mut decision = over_points(arena, a, b, &like, *mode, work)?;
        if decision == Decision::Unknown {
            decision = over_points(arena, a, b, &Fixed::zero(PRECISIONS[0]), *mode, work)?;
        }
        if decision != Decision::Unknown {
            return Ok(decision);
        }
    }
    Ok(Decision::Unknown)
}

/// Bits of the intervals after doubles.
const PRECISIONS: [u32; 2] = [192, 448];

/// Compares two constants: doubles tell most apart, and agreement is confirmed at higher precision.
fn constants(arena: &Arena, a: Ex, b: Ex, work: &mut Work) -> Bounded<Decision> {
    let like = Doubles { lo: 0.0, hi: 0.0 };
    match at_point(arena, a, b, &like, Points::Real(0), work) {
        Ok((Decision::Different, _)) => return Ok(Decision::Different),
        Err(Stop::Budget) => return Err(Stop::Budget),
        _ => {}
    }
    for bits in PRECISIONS {
        match at_point(arena, a, b, &Fixed::zero(bits), Points::Real(0), work) {
            Ok((Decision::Unknown, _)) => {}
            Ok((sharper, _)) => return Ok(sharper),
            // A function that is not defined on an interval may be on a narrower one.
            Err(Stop::Inapplicable) => {}
            Err(Stop::Budget) => return Err(Stop::Budget),
        }
    }
    // Not even the last precision separates or confirms them.
    Ok(Decision::Unknown)
}

fn over_points<R: Real>(
    arena: &Arena,
    a: Ex,
    b: Ex,
    like: &R,
    mode: fn(u32) -> Points,
    work: &mut Work,
) -> Bounded<Decision> {
    // First where both stay real, as school mathematics means it; else on principal branches.
    for complex in [false, true] {
        let mut agreed = 0;
        for k in 0..TRIED {
            let (decision, left_reals) = match at_point(arena, a, b, like, mode(k), work) {
                Ok(d) => d,
                Err(Stop::Budget) => return Err(Stop::Budget),
                Err(Stop::Inapplicable) => continue,
            };
            if left_reals && !complex {
                continue;
            }
            match decision {
                Decision::Different => return Ok(Decision::Different),
                Decision::Same(_) => agreed += 1,
                Decision::Unknown => {}
            }
            if agreed == AGREE {
                return Ok(Decision::Same(Certainty::Probable));
            }
        }
        if agreed > 0 {
            return Ok(Decision::Unknown);
        }
    }
    Ok(Decision::Unknown)
}

/// Compares at one point; also whether an intermediate value left the reals.
fn at_point<R: Real>(
    arena: &Arena,
    a: Ex,
    b: Ex,
    like: &R,
    points: Points,
    work: &mut Work,
) -> Bounded<(Decision, bool)> {
    let mut evaluator = Evaluator { arena, like: like.clone(), points, minus: a.minus, left_reals: false };
    let x: Complex<R> = evaluator.eval(a.node, work)?;
    evaluator.minus = b.minus;
    let y = evaluator.eval(b.node, work)?;
    let decision = if !x.overlaps(&y) {
        Decision::Different
    } else if x.narrow() && y.narrow() {
        Decision::Same(Certainty::Probable)
    } else {
        Decision::Unknown
    };
    Ok((decision, evaluator.left_reals))
}

/// Whether a decimal is within `unit` of a constant expression.
pub(crate) fn within(arena: &Arena, e: Ex, decimal: &Rat, unit: &Rat, work: &mut Work) -> Bounded<bool> {
    let mut traits = Traits::default();
    traits.scan(arena, e, work)?;
    if traits.variables {
        return Ok(false);
    }
    let like = Doubles { lo: 0.0, hi: 0.0 };
    let mut evaluator = Evaluator { arena, like, points: Points::Real(0), minus: e.minus, left_reals: false };
    let x = evaluator.eval(e.node, work)?;
    if x.im.is_some() {
        return Ok(false);
    }
    let (low, high) = (decimal.add(&unit.neg(), work)?, decimal.add(unit, work)?);
    let (Some(low), Some(high)) = (Doubles::rational(&like, &low), Doubles::rational(&like, &high)) else {
        return Err(Stop::Inapplicable);
    };
    Ok(low.hi < x.re.lo && x.re.hi < high.lo)
}

/// What an expression contains.
#[derive(Debug, Default)]
struct Traits {
    variables: bool,
    /// Factorials, binomials, floors, powers of negative numbers: variables stand for integers.
    discrete: bool,
}

impl Traits {
    fn scan(&mut self, arena: &Arena, e: Ex, work: &mut Work) -> Bounded<()> {
        self.variables |= arena.any(e.node, work, &|n| matches!(n, Node::Var(_)))?;
        self.discrete |= arena.any(e.node, work, &|n| match n {
            Node::Binom(..) | Node::Func(Func::Fact | Func::Floor | Func::Ceil, _) => true,
            Node::Pow(base, _) => matches!(arena.get(base), Node::Neg(_)),
            _ => false,
        })?;
        Ok(())
    }
}
