//! Attention's products on the matrix unit, exact to f32: what `attention` computes with vectors.
//!
//! Tokens are worked on in blocks of 32 ([`blocks`]). What stands between two products, the softmax and its gradient, goes from
//! the sums of one straight into pieces of the other's operand ([`rows`]). An operand is arranged once a head for each way in
//! which a product reads it.

mod backward;
mod blocks;
mod forward;
mod rows;

use std::sync::Arc;

use super::super::attention::Attention;
use super::super::operand::{Elements, Operand};
use super::super::plan::Tree;
use super::super::pool::Pool;
use super::ahead::Ahead;
use super::tile::{self, Asked, Pieces, Sums};
use super::unit::Tiles;
pub use backward::backward;
use blocks::{Blocks, STEP};
pub use forward::forward;

/// Blocks of queries, and of keys, that are worked on together, which tests see at a smaller number.
const TOGETHER: usize = if cfg!(test) { 3 } else { 8 };

/// One query head of a tree.
struct Head<'a> {
    pool: &'a Arc<Pool>,
    tree: &'a Tree,
    blocks: Blocks,
    dim: usize,
    tiles: Tiles,
}

impl<'a> Head<'a> {
    fn new(attention: &Attention<'a>, tree: &'a Tree) -> Self {
        let Attention { pool, heads, .. } = *attention;
        Self { pool, tree, blocks: Blocks::of(tree), dim: heads.dim, tiles: Tiles::take() }
    }

    /// The tree's tokens of a matrix `[T, width]`, from `column` on.
    fn operand<'b>(&self, x: &'b [f32], width: usize, column: usize) -> Operand<'b> {
        let elements = &x[self.tree.start * width + column..];
        let operand = Operand { elements: Elements::Single(elements), apart: width, by_terms: false };
        assert!(operand.holds(self.tree.len, self.dim), "{} tokens of {width} columns", self.tree.len);
        operand
    }

    /// The sums of the products of two panels of as many steps, of so many rows of the left one.
    ///
    /// # Panics
    /// When the panels differ in length.
    fn product(&self, rows: usize, (left, right): (&[f32], &[f32]), sums: &mut Sums) {
        let steps = left.len() / STEP;
        assert!(steps > 0 && left.len() == right.len(), "panels of {} and {}", left.len(), right.len());
        // Operands are in cache: nothing is asked for.
        let (ahead, asked) = (Ahead::nothing(), Asked::nothing(sums));
        tile::zero(&self.tiles, rows);
        // SAFETY: both panels hold the steps.
        unsafe {
            tile::add(&self.tiles, Pieces::Exact, steps, left.as_ptr(), right.as_ptr(), ahead, asked, rows);
        }
        tile::store(&self.tiles, rows, sums);
    }
}
