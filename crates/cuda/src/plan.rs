//! A batch as the kernels take it: tokens sorted for the table's gradient, rotations, and which keys a query sees.

use std::ops::Range;
use std::sync::Arc;

use gft_model::Batch;

use crate::backend::Trouble;
use crate::launch::count;
use crate::memory::{Machine, Memory};
use crate::parts::Parts;
use crate::uploads::{bytes_of, upload};

/// Tokens of a tile.
pub(crate) const TILE: usize = 64;

/// A batch on the card.
pub struct CudaPlan {
    /// Tokens of the batch.
    pub(crate) tokens: usize,
    pub(crate) by_token: ByToken,
    /// Cosines and sines, `[T, dim / 2]` each.
    pub(crate) cos: Memory,
    pub(crate) sin: Memory,
    /// Width of a row of the rotations.
    pub(crate) rotations: usize,
    pub(crate) tiles: usize,
    /// Tiles as the queries take them, those that see most first.
    pub(crate) query_tiles: Memory,
    /// Tiles as the keys take them, those that are seen most first.
    pub(crate) key_tiles: Memory,
    pub(crate) key_parts: KeyParts,
    pub(crate) chains: Seen,
    pub(crate) heirs: Seen,
}

/// The tokens of a batch, those of one id together.
pub(crate) struct ByToken {
    pub order: Memory,
    pub starts: Memory,
    pub ids: Memory,
    pub distinct: usize,
    pub largest: u32,
}

/// [`Parts`] on the card, and how many there are of each.
pub(crate) struct KeyParts {
    pub entries: Memory,
    pub count: usize,
    pub shared: Memory,
    pub tiles: usize,
    pub places: usize,
}

/// Which runs of the batch belong to each segment.
pub(crate) struct Seen {
    pub offsets: Memory,
    pub runs: Memory,
}

impl CudaPlan {
    /// Brings a batch over.
    pub(crate) fn new(
        machine: &Arc<Machine>,
        batch: &Batch,
        cos: &[f32],
        sin: &[f32],
    ) -> Result<Self, Trouble> {
        // Beyond this indices of the lists would not fit.
        count(batch.len())?;
        let lists = Lists::new(batch);
        let put = |list: &[u32]| upload(machine, &bytes_of(list));
        let tiles = |tiles: &[[u32; 4]]| upload(machine, &bytes_of(tiles.as_flattened()));
        Ok(CudaPlan {
            tokens: batch.len(),
            by_token: ByToken {
                order: put(&lists.order)?,
                starts: put(&lists.starts)?,
                ids: put(&lists.ids)?,
                distinct: lists.ids.len(),
                largest: lists.ids.last().copied().unwrap_or(0),
            },
            cos: upload(machine, &bytes_of(cos))?,
            sin: upload(machine, &bytes_of(sin))?,
            rotations: cos.len().min(sin.len()).checked_div(batch.len()).unwrap_or(0),
            tiles: lists.query_tiles.len(),
            query_tiles: tiles(&lists.query_tiles)?,
            key_tiles: tiles(&lists.key_tiles)?,
            key_parts: KeyParts {
                entries: put(lists.key_parts.entries.as_flattened())?,
                count: lists.key_parts.entries.len(),
                shared: tiles(&lists.key_parts.shared)?,
                tiles: lists.key_parts.shared.len(),
                places: lists.key_parts.places as usize,
            },
            chains: Seen { offsets: put(&lists.chain_offsets)?, runs: tiles(&lists.chain_runs)? },
            heirs: Seen { offsets: put(&lists.heir_offsets)?, runs: tiles(&lists.heir_runs)? },
        })
    }

    /// What stands for a plan once a device has failed.
    pub(crate) fn nowhere(machine: &Arc<Machine>) -> Self {
        let none = || Memory::nowhere(machine);
        CudaPlan {
            tokens: 0,
            by_token: ByToken { order: none(), starts: none(), ids: none(), distinct: 0, largest: 0 },
            cos: none(),
            sin: none(),
            rotations: 0,
            tiles: 0,
            query_tiles: none(),
            key_tiles: none(),
            key_parts: KeyParts { entries: none(), count: 0, shared: none(), tiles: 0, places: 0 },
            chains: Seen { offsets: none(), runs: none() },
            heirs: Seen { offsets: none(), runs: none() },
        }
    }
}

/// The lists on the host; `kernels/README.md` says what each is.
struct Lists {
    order: Vec<u32>,
    starts: Vec<u32>,
    ids: Vec<u32>,
    query_tiles: Vec<[u32; 4]>,
    key_tiles: Vec<[u32; 4]>,
    key_parts: Parts,
    chain_offsets: Vec<u32>,
    chain_runs: Vec<[u32; 4]>,
    heir_offsets: Vec<u32>,
    heir_runs: Vec<[u32; 4]>,
}

impl Lists {
    fn new(batch: &Batch) -> Self {
        let (order, starts, ids) = by_token(batch.tokens());
        let (chain_offsets, chain_runs) = chains(batch);
        let (heir_offsets, heir_runs) = heirs(batch);
        let tiles = tiles(batch);
        let mut query_tiles = tiles.clone();
        // A tile sees everything up to its end; it is seen by the rest of its segment and by all heirs.
        query_tiles.sort_by_key(|[_, len, position, _]| std::cmp::Reverse(position + len));
        let mut seen: Vec<_> = tiles
            .into_iter()
            .map(|tile| (tile, queries_of(batch, &heir_offsets, &heir_runs, tile)))
            .collect();
        seen.sort_by_key(|(_, queries)| std::cmp::Reverse(queries.len()));
        let key_parts = Parts::new(&seen);
        let key_tiles = seen.into_iter().map(|(tile, _)| tile).collect();
        Lists {
            order,
            starts,
            ids,
            query_tiles,
            key_tiles,
            key_parts,
            chain_offsets,
            chain_runs,
            heir_offsets,
            heir_runs,
        }
    }
}

/// The queries that see a tile's first key, counted along its segment's heirs, of which the segment is the first.
fn queries_of(
    batch: &Batch,
    offsets: &[u32],
    runs: &[[u32; 4]],
    [start, _, _, segment]: [u32; 4],
) -> Range<u32> {
    let segment = segment as usize;
    let heirs = &runs[offsets[segment] as usize..offsets[segment + 1] as usize];
    start - batch.segments()[segment].start as u32..heirs.iter().map(|run| run[2]).sum()
}

/// Indices of the tokens sorted by id, where each distinct id begins among them, and the ids, ascending.
fn by_token(tokens: &[u32]) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let mut order: Vec<u32> = (0..tokens.len() as u32).collect();
    order.sort_by_key(|&index| tokens[index as usize]); // stable: equal ids keep their order
    let (mut starts, mut ids) = (Vec::new(), Vec::new());
    for (at, &index) in order.iter().enumerate() {
        let id = tokens[index as usize];
        if ids.last() != Some(&id) {
            ids.push(id);
            starts.push(at as u32);
        }
    }
    starts.push(order.len() as u32);
    (order, starts, ids)
}

/// `(first token, tokens, position of the first, segment)` of each tile.
fn tiles(batch: &Batch) -> Vec<[u32; 4]> {
    let mut tiles = Vec::new();
    for (index, segment) in batch.segments().iter().enumerate() {
        for at in (0..segment.len).step_by(TILE) {
            let len = TILE.min(segment.len - at);
            tiles.push([segment.start + at, len, segment.position + at, index].map(|value| value as u32));
        }
    }
    tiles
}

/// For each segment its ancestors and itself, root first: `(position, first token, tokens, 0)`.
fn chains(batch: &Batch) -> (Vec<u32>, Vec<[u32; 4]>) {
    let (mut offsets, mut runs) = (vec![0], Vec::new());
    for index in 0..batch.segments().len() {
        for &ancestor in &batch.chain(index) {
            let segment = &batch.segments()[ancestor];
            runs.push([segment.position, segment.start, segment.len, 0].map(|value| value as u32));
        }
        offsets.push(runs.len() as u32);
    }
    (offsets, runs)
}

/// For each segment itself and its descendants in the batch's order: `(tokens of the runs before, first token, tokens,
/// position)`.
fn heirs(batch: &Batch) -> (Vec<u32>, Vec<[u32; 4]>) {
    let mut of: Vec<Vec<usize>> = vec![Vec::new(); batch.segments().len()];
    for index in 0..of.len() {
        for ancestor in batch.chain(index) {
            of[ancestor].push(index);
        }
    }
    let (mut offsets, mut runs) = (vec![0], Vec::new());
    for heirs in of {
        let mut before = 0;
        for heir in heirs {
            let segment = &batch.segments()[heir];
            runs.push([before, segment.start, segment.len, segment.position].map(|value| value as u32));
            before += segment.len;
        }
        offsets.push(runs.len() as u32);
    }
    (offsets, runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root of 70 tokens, two children, a grandchild; a second tree.
    fn forest() -> Batch {
        let mut batch = Batch::new();
        let mut push = |parent, len: u32, first: u32| {
            let tokens: Vec<u32> = (0..len).map(|i| (first + i) % 5).collect();
            batch.push(parent, &tokens, |_| true).unwrap();
        };
        push(None, 70, 0);
        push(Some(0), 3, 1);
        push(Some(0), 65, 2);
        push(Some(1), 2, 3);
        push(None, 1, 4);
        batch
    }

    #[test]
    fn tokens_of_one_id_stand_together_in_their_order() {
        let (order, starts, ids) = by_token(&[7, 2, 7, 2, 9]);
        assert_eq!((order, starts, ids), (vec![1, 3, 0, 2, 4], vec![0, 2, 4, 5], vec![2, 7, 9]));
    }

    #[test]
    fn tiles_cover_every_segment_and_the_largest_work_comes_first() {
        let lists = Lists::new(&forest());
        assert_eq!(tiles(&forest())[..2], [[0, 64, 0, 0], [64, 6, 64, 0]]);
        assert_eq!(lists.query_tiles.len(), 7);
        assert_eq!(lists.query_tiles.iter().map(|tile| tile[1]).sum::<u32>(), 141);
        let ends: Vec<u32> = lists.query_tiles.iter().map(|tile| tile[1] + tile[2]).collect();
        assert_eq!(ends, [135, 134, 75, 73, 70, 64, 1]);
        // The root's first tile is seen by all 140 tokens of its tree, its second by 76; then the long child's.
        assert_eq!(lists.key_tiles[..3], [[0, 64, 0, 0], [64, 6, 64, 0], [73, 64, 70, 2]]);
    }

    #[test]
    fn chains_and_heirs_are_the_same_relation_from_both_ends() {
        let (offsets, runs) = chains(&forest());
        assert_eq!(offsets, [0, 1, 3, 5, 8, 9]);
        assert_eq!(runs[5..8], [[0, 0, 70, 0], [70, 70, 3, 0], [73, 138, 2, 0]]);
        let (offsets, runs) = heirs(&forest());
        assert_eq!(offsets, [0, 4, 6, 7, 8, 9]);
        assert_eq!(runs[..4], [[0, 0, 70, 0], [70, 70, 3, 70], [73, 73, 65, 70], [138, 138, 2, 73]]);
        assert_eq!(runs[4..6], [[0, 70, 3, 70], [3, 138, 2, 73]]);
    }
}
