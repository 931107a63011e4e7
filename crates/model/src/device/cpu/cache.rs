//! Paged keys and values, and attention of single queries over them.
//!
//! A page holds [`PAGE`] tokens of every layer: keys transposed (`[dim, PAGE]` a head), so that a query's scores are
//! vectors over tokens, and values by rows. Pages are shared freely between chains: only slots that a chain counts are
//! read.

use super::aligned::AlignedVec;
use super::attention::softmax_row;
use super::shared::SharedSlice;
use super::team::Team;
use super::tile::{Target, Tile, padded};
use crate::device::{Chain, Heads, PAGE, Slot};
use crate::vectorized::vectorized;

/// Rows whose places are asked for before they are written.
const AHEAD: usize = 2;

/// Keys and values by pages.
pub struct PagedCache {
    pages: Vec<AlignedVec>,
    layers: usize,
    heads: Heads,
}

impl PagedCache {
    /// A cache without pages.
    pub fn new(layers: usize, heads: Heads) -> Self {
        Self { pages: Vec::new(), layers, heads }
    }

    fn wide(&self) -> usize {
        padded(self.heads.dim)
    }

    /// Elements of one head's keys and values in one page.
    fn head_len(&self) -> usize {
        PAGE * (self.heads.dim + self.wide())
    }

    /// Keys and values of a head in a layer of a page.
    fn head(&self, page: u32, layer: usize, kv: usize) -> &[f32] {
        let at = (layer * self.heads.kv_heads + kv) * self.head_len();
        &self.pages[page as usize][at..at + self.head_len()]
    }

    /// Makes room for pages `0..pages`.
    pub fn reserve(&mut self, pages: usize) {
        let len = self.layers * self.heads.kv_heads * self.head_len();
        while self.pages.len() < pages {
            self.pages.push(AlignedVec::zeros(len));
        }
    }

    /// Stores keys and values of row `i` at `slots[i]`.
    pub fn store(&mut self, team: &Team, layer: usize, qkv: &[f32], slots: &[Slot]) {
        let Heads { heads, kv_heads, dim } = self.heads;
        let (wide, head_len, width) = (self.wide(), self.head_len(), self.heads.width());
        let pages: Vec<SharedSlice<'_>> = self.pages.iter_mut().map(|page| SharedSlice::new(page)).collect();
        // A task has the keys of one head, or its values, in all pages: tasks never meet, whatever the slots are.
        team.run(2 * kv_heads, |task| {
            let (kv, values) = (task / 2, task % 2 == 1);
            let head = (layer * kv_heads + kv) * head_len;
            let column = if values { heads + kv_heads + kv } else { heads + kv } * dim;
            for (i, (row, slot)) in qkv.chunks_exact(width).zip(slots).enumerate() {
                let (page, offset) = (&pages[slot.page as usize], slot.offset as usize);
                // A key is written to as many cache lines as it has elements, all far away.
                if let Some(later) = slots.get(i + AHEAD).filter(|_| !values) {
                    let page = &pages[later.page as usize];
                    (0..dim).for_each(|d| page.fetch(head + d * PAGE + later.offset as usize));
                }
                let row = &row[column..][..dim];
                // SAFETY: the keys of a head, and its values, lie apart from all others; this task alone has them.
                unsafe {
                    if values {
                        page.write(head + PAGE * dim + offset * wide, row);
                        continue;
                    }
                    for (d, key) in row.iter().enumerate() {
                        page.write(head + d * PAGE + offset, std::slice::from_ref(key));
                    }
                }
            }
        });
    }

    /// Attention of each row's query over its chain.
    pub fn attention(
        &self,
        team: &Team,
        layer: usize,
        window: Option<usize>,
        chains: &[Chain],
        qkv: &[f32],
        out: &mut [f32],
    ) {
        let width = self.heads.width();
        let out = SharedSlice::new(out);
        team.run(chains.len() * self.heads.kv_heads, |task| {
            let (row, kv) = (task / self.heads.kv_heads, task % self.heads.kv_heads);
            let qkv = &qkv[row * width..(row + 1) * width];
            let later = task + team.threads();
            let then = chains.get(later / self.heads.kv_heads).and_then(|chain| chain.runs.first());
            let then = then.map_or(&[][..], |&(page, _)| self.head(page, layer, later % self.heads.kv_heads));
            attend(self, layer, window, &chains[row], qkv, (row, kv), then, &out);
        });
    }
}

vectorized! {
    /// The query heads of one row that share the keys of head `kv`. A cache is read once a token and comes from far away:
    /// what is used next is asked for while a page is used, and at the end what this thread is likely to begin `then`.
    fn attend(
        cache: &PagedCache,
        layer: usize,
        window: Option<usize>,
        chain: &Chain,
        qkv: &[f32],
        at: (usize, usize),
        then: &[f32],
        out: &SharedSlice<'_>,
    ) {
        let Heads { heads, kv_heads, dim } = cache.heads;
        let (row, kv) = at;
        let (group, wide, total) = (heads / kv_heads, cache.wide(), chain.len());
        let first = window.map_or(0, |window| total.saturating_sub(window));
        let scale = 1.0 / (dim as f32).sqrt();
        let q: Vec<f32> = qkv[kv * group * dim..][..group * dim].iter().map(|x| x * scale).collect();
        let stride = total + PAGE;
        let mut scores = AlignedVec::zeros(group * stride);
        let mut column = 0;
        for (i, &(page, len)) in chain.runs.iter().enumerate() {
            if column + len as usize > first {
                let next = match chain.runs.get(i + 1) {
                    Some(&(page, _)) => &cache.head(page, layer, kv)[..PAGE * dim],
                    None => &cache.head(chain.runs[0].0, layer, kv)[PAGE * dim..],
                };
                Tile {
                    m: group,
                    n: padded(len as usize),
                    k: dim,
                    a: &q,
                    a_rows: dim,
                    a_cols: 1,
                    b: cache.head(page, layer, kv),
                    b_rows: PAGE,
                    c: Target::from(&mut scores[column..]),
                    c_rows: stride,
                    accumulate: false,
                    next,
                }
                .run();
            }
            column += len as usize;
        }
        let mut sums = vec![0.0f32; group];
        for (scores, sum) in scores.chunks_exact_mut(stride).zip(&mut sums) {
            (_, *sum) = softmax_row(scores, first..total);
        }
        let mut result = AlignedVec::zeros(group * wide);
        let mut column = 0;
        for (i, &(page, len)) in chain.runs.iter().enumerate() {
            if column + len as usize <= first {
                column += len as usize;
                continue;
            }
            let next = match chain.runs.get(i + 1) {
                Some(&(page, len)) => &cache.head(page, layer, kv)[PAGE * dim..][..len as usize * wide],
                None => &then[..then.len().min(PAGE * dim)],
            };
            Tile {
                m: group,
                n: wide,
                k: len as usize,
                a: &scores[column..],
                a_rows: stride,
                a_cols: 1,
                b: &cache.head(page, layer, kv)[PAGE * dim..],
                b_rows: wide,
                c: Target::from(&mut result[..]),
                c_rows: wide,
                accumulate: true,
                next,
            }
            .run();
            column += len as usize;
        }
        for (i, (head, sum)) in result.chunks_exact_mut(wide).zip(&sums).enumerate() {
            let scale = 1.0 / sum;
            head.iter_mut().for_each(|x| *x *= scale);
            // SAFETY: the columns of these heads in this row belong to this task alone.
            unsafe { out.write((row * heads + kv * group + i) * dim, &head[..dim]) };
        }
    }
}
