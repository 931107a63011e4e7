//! The CPU: f32 throughout, or products of training in bf16 where the processor has them; AVX2, AVX-512 and a matrix unit
//! (AMX) chosen when the program runs, results independent of the thread count.

mod aligned;
#[cfg(target_arch = "x86_64")]
mod amx;
mod arranged;
mod attention;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod cache;
mod half;
#[cfg(target_os = "linux")]
mod mapped;
mod matmul;
mod norm;
#[cfg(target_arch = "x86_64")]
mod operand;
mod packed;
mod plan;
mod pool;
mod products;
mod rotary;
mod rows;
mod sampling;
mod shared;
mod swiglu;
mod team;
mod tile;
mod update;
mod vocabulary;

use std::ops::Range;
use std::sync::Arc;

use super::{
    AdamWUpdate, Chain, ChunkSeeds, ChunkStats, ChunkTargets, ChunkWant, Device, Draw, DrawRow, HalfFormat,
    HalfView, Heads, MatMul, Sampling, Slot, Strides, View, ViewMut,
};
use crate::batch::Batch;
use crate::random::Stream;
use arranged::Arranged;
pub use plan::CpuPlan;
pub use pool::{CpuBuffer, Pool};
use products::Products;
use team::Team;

type Ref<'a> = View<'a, CpuBuffer>;
type Mut<'a> = ViewMut<'a, CpuBuffer>;
type HalfRef<'a> = HalfView<'a, half::Halves>;

impl<'a> Ref<'a> {
    fn slice(self) -> &'a [f32] {
        &self.buffer.data[self.range]
    }
}

impl<'a> Mut<'a> {
    fn slice(self) -> &'a mut [f32] {
        &mut self.buffer.data[self.range]
    }
}

/// The processor that the program runs on, with as many threads as rayon's current pool has when the device is made.
#[derive(Clone, Debug)]
pub struct Cpu {
    pool: Arc<Pool>,
    team: Arc<Team>,
    products: Products,
}

impl Default for Cpu {
    fn default() -> Self {
        Cpu { pool: Arc::default(), team: Team::current(), products: Products::single() }
    }
}

impl Cpu {
    /// The CPU with an empty pool of buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The CPU with products of training of operands rounded to bf16 and sums in f32, as PyTorch's autocast has them, in up to
    /// half of the time; `None` where the processor has no faster instructions for them (AMX, or AVX512_BF16 of AMD's). Weights,
    /// activations, norms, attention, softmax, gradients and the optimizer stay in f32, and so do the products of generation.
    pub fn with_bf16_products() -> Option<Self> {
        Some(Self { products: Products::rounded()?, ..Self::new() })
    }

    /// What training's products are computed with on this processor, for people.
    pub fn products_in_words() -> &'static str {
        Products::in_words()
    }

    /// Gives memory that is kept for the next step back to the system.
    pub fn release_unused(&self) {
        self.pool.clear();
    }
}

impl Device for Cpu {
    type Buf = CpuBuffer;
    type Half = half::Halves;
    type Plan = CpuPlan;
    type Packed = Arranged;
    type Cache = cache::PagedCache;

    fn alloc(&self, len: usize) -> CpuBuffer {
        self.pool.take(len)
    }

    fn zeros(&self, len: usize) -> CpuBuffer {
        CpuBuffer::zeros(len)
    }

    fn write(&self, source: &[f32], to: Mut<'_>) {
        to.slice().copy_from_slice(source);
    }

    fn read(&self, from: Ref<'_>, target: &mut [f32]) {
        target.copy_from_slice(from.slice());
    }

    fn copy(&self, from: Ref<'_>, to: Mut<'_>) {
        rows::copy(&self.team, from.slice(), to.slice());
    }

    fn fill_zero(&self, x: Mut<'_>) {
        rows::zero(&self.team, x.slice());
    }

    fn plan(&self, batch: &Batch, cos: Vec<f32>, sin: Vec<f32>) -> CpuPlan {
        CpuPlan::new(batch, cos, sin)
    }

    fn halves(&self, format: HalfFormat, len: usize) -> half::Halves {
        half::Halves::zeros(format, len)
    }

    fn write_half(&self, bits: &[u16], at: usize, to: &mut half::Halves) {
        to.write(bits, at);
    }

    fn read_half(&self, from: HalfRef<'_>, target: &mut [f32]) {
        from.buffer.slice(from.range).widen(target);
    }

    fn matmul_within(&self, op: MatMul, strides: Strides, a: Ref<'_>, b: Ref<'_>, out: Mut<'_>) {
        self.products.matmul(&self.team, &self.pool, op, strides, a.slice(), b.slice(), None, out.slice());
    }

    fn matmul_half(&self, op: MatMul, a: Ref<'_>, b: HalfRef<'_>, out: Mut<'_>) {
        let b = b.buffer.slice(b.range);
        self.products.matmul_half(&self.team, &self.pool, op, a.slice(), b, None, out.slice());
    }

    fn matmul_weight_onto(&self, op: MatMul, a: Ref<'_>, weight: Ref<'_>, onto: Ref<'_>, out: Mut<'_>) {
        let (op, weight, onto) = (MatMul { accumulate: false, ..op }, weight.slice(), Some(onto.slice()));
        self.products.matmul(&self.team, &self.pool, op, op.dense(), a.slice(), weight, onto, out.slice());
    }

    fn matmul_half_onto(&self, op: MatMul, a: Ref<'_>, b: HalfRef<'_>, onto: Ref<'_>, out: Mut<'_>) {
        let (op, onto) = (MatMul { accumulate: false, ..op }, Some(onto.slice()));
        let b = b.buffer.slice(b.range);
        self.products.matmul_half(&self.team, &self.pool, op, a.slice(), b, onto, out.slice());
    }

    fn dropout(&self, stream: Stream, drop: f64, x: Mut<'_>) {
        rows::dropout(&self.team, stream, drop, x.slice());
    }

    fn scale_columns(&self, width: usize, columns: Range<usize>, factor: f32, x: Mut<'_>) {
        rows::scale_columns(&self.team, width, columns, factor, x.slice());
    }

    fn add(&self, y: Ref<'_>, x: Mut<'_>) {
        rows::add(&self.team, y.slice(), x.slice());
    }

    fn add_bias(&self, bias: Ref<'_>, x: Mut<'_>) {
        rows::add_bias(&self.team, bias.slice(), x.slice());
    }

    fn bias_backward(&self, dy: Ref<'_>, dbias: Mut<'_>) {
        rows::bias_backward(&self.team, dy.slice(), dbias.slice());
    }

    fn embed_backward(&self, plan: &CpuPlan, dy: Ref<'_>, dtable: Mut<'_>) {
        let dy = dy.slice();
        rows::scatter_add(&self.team, dy, &plan.tokens, dy.len() / plan.tokens.len().max(1), dtable.slice());
    }

    fn gather_rows(&self, x: Ref<'_>, rows: &[u32], width: usize, out: Mut<'_>) {
        rows::gather(&self.team, x.slice(), rows, width, out.slice());
    }

    fn gather_half(&self, table: HalfRef<'_>, rows: &[u32], width: usize, out: Mut<'_>) {
        half::gather(&self.team, table.buffer.slice(table.range), rows, width, out.slice());
    }

    fn scatter_rows(&self, x: Ref<'_>, rows: &[u32], width: usize, out: Mut<'_>) {
        rows::scatter(x.slice(), rows, width, out.slice());
    }

    fn rms_norm(&self, x: Ref<'_>, weight: Ref<'_>, eps: f32, y: Mut<'_>, inv: Mut<'_>) {
        norm::rms_norm(&self.team, x.slice(), weight.slice(), eps, y.slice(), inv.slice());
    }

    fn rms_norm_backward(
        &self,
        x: Ref<'_>,
        weight: Ref<'_>,
        inv: Ref<'_>,
        dy: Ref<'_>,
        dx: Mut<'_>,
        dweight: Mut<'_>,
    ) {
        norm::rms_norm_backward(
            &self.team,
            x.slice(),
            weight.slice(),
            inv.slice(),
            dy.slice(),
            dx.slice(),
            dweight.slice(),
        );
    }

    fn head_norm(&self, heads: Heads, weights: Ref<'_>, eps: f32, qkv: Mut<'_>) {
        norm::head_norm(&self.team, heads, weights.slice(), eps, qkv.slice());
    }

    fn head_norm_backward(
        &self,
        heads: Heads,
        raw: Ref<'_>,
        weights: Ref<'_>,
        eps: f32,
        dqkv: Mut<'_>,
        dweights: Mut<'_>,
    ) {
        norm::head_norm_backward(
            &self.team,
            heads,
            raw.slice(),
            weights.slice(),
            eps,
            dqkv.slice(),
            dweights.slice(),
        );
    }

    fn rotate(&self, plan: &CpuPlan, heads: Heads, inverse: bool, qkv: Mut<'_>) {
        rotary::rotate(&self.team, &plan.cos, &plan.sin, heads, inverse, qkv.slice());
    }

    fn rotate_rows(&self, heads: Heads, cos: &[f32], sin: &[f32], qkv: Mut<'_>) {
        rotary::rotate(&self.team, cos, sin, heads, false, qkv.slice());
    }

    fn pack(&self, weight: Ref<'_>, n: usize, k: usize) -> Arranged {
        Arranged::new(&self.team, &self.pool, weight.slice(), n, k)
    }

    fn pack_half(&self, weight: HalfRef<'_>, n: usize, k: usize) -> Arranged {
        Arranged::of_half(&self.team, &self.pool, weight.buffer.slice(weight.range), n, k)
    }

    fn linear_within(
        &self,
        weight: &Arranged,
        rows: usize,
        apart: Option<(usize, usize)>,
        accumulate: bool,
        x: Ref<'_>,
        out: Mut<'_>,
    ) {
        weight.apply(&self.team, &self.pool, rows, apart, accumulate, x.slice(), out.slice());
    }

    fn cache(&self, layers: usize, heads: Heads) -> cache::PagedCache {
        cache::PagedCache::new(layers, heads)
    }

    fn reserve_pages(&self, cache: &mut cache::PagedCache, pages: usize) {
        cache.reserve(&self.pool, pages);
    }

    fn store(&self, cache: &mut cache::PagedCache, layer: usize, qkv: Ref<'_>, slots: &[Slot]) {
        cache.store(&self.team, layer, qkv.slice(), slots);
    }

    fn cached_attention(
        &self,
        cache: &cache::PagedCache,
        layer: usize,
        window: Option<usize>,
        chains: &[Chain],
        qkv: Ref<'_>,
        out: Mut<'_>,
    ) {
        cache.attention(&self.team, layer, window, chains, qkv.slice(), out.slice());
    }

    fn attention(
        &self,
        plan: &CpuPlan,
        heads: Heads,
        window: Option<usize>,
        qkv: Ref<'_>,
        out: Mut<'_>,
        lse: Mut<'_>,
    ) {
        attention::Attention { team: &self.team, pool: &self.pool, plan, heads, window, qkv: qkv.slice() }
            .forward(out.slice(), lse.slice());
    }

    fn attention_backward(
        &self,
        plan: &CpuPlan,
        heads: Heads,
        window: Option<usize>,
        qkv: Ref<'_>,
        out: Ref<'_>,
        lse: Ref<'_>,
        dout: Ref<'_>,
        dqkv: Mut<'_>,
    ) {
        let attention = attention::Attention {
            team: &self.team,
            pool: &self.pool,
            plan,
            heads,
            window,
            qkv: qkv.slice(),
        };
        attention.backward(out.slice(), lse.slice(), dout.slice(), dqkv.slice());
    }

    fn swiglu(&self, ffn: usize, gate_up: Ref<'_>, act: Mut<'_>) {
        swiglu::forward(&self.team, ffn, gate_up.slice(), act.slice());
    }

    fn swiglu_backward(&self, ffn: usize, act: Mut<'_>, gate_up: Mut<'_>) {
        swiglu::backward(&self.team, ffn, act.slice(), gate_up.slice());
    }

    fn chunk_stats(
        &self,
        want: ChunkWant,
        targets: ChunkTargets<'_>,
        logits: Ref<'_>,
        reference: Option<Ref<'_>>,
    ) -> ChunkStats {
        vocabulary::stats(&self.team, want, targets, logits.slice(), reference.map(View::slice))
    }

    fn chunk_backward(
        &self,
        want: ChunkWant,
        targets: ChunkTargets<'_>,
        stats: &ChunkStats,
        seeds: &ChunkSeeds,
        logits: Mut<'_>,
        reference: Option<Ref<'_>>,
    ) -> Option<CpuBuffer> {
        vocabulary::backward(
            &self.team,
            want,
            targets,
            stats,
            seeds,
            logits.slice(),
            reference.map(View::slice),
        );
        None
    }

    fn draw(&self, sampling: &Sampling, rows: &[DrawRow<'_>], logits: Mut<'_>) -> Vec<Draw> {
        sampling::draw_rows(&self.team, sampling, rows, logits.slice())
    }

    fn sum_squares(&self, x: Ref<'_>) -> f64 {
        update::sum_squares(&self.team, x.slice())
    }

    fn adamw(&self, update: AdamWUpdate, grads: Ref<'_>, params: Mut<'_>, m: Mut<'_>, v: Mut<'_>) {
        update::adamw(&self.team, update, grads.slice(), params.slice(), m.slice(), v.slice());
    }
}
