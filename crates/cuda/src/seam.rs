//! The seam: each operation handed to the file that knows its kernels.

use std::ops::Range;

use gft_model::Batch;
use gft_model::device::{
    AdamWUpdate, Buffer, Chain, ChunkSeeds, ChunkStats, ChunkTargets, ChunkWant, Device, DeviceError,
    DeviceMemory, Draw, DrawRow, HalfFormat, Heads, MatMul, MemoryFormats, Sampling, Slot, Strides,
};
use gft_model::random::Stream;

use crate::attention::Attention;
use crate::backend::Number;
use crate::cache::CudaCache;
use crate::casts;
use crate::device::{Cuda, LOGITS, formats};
use crate::memory::{CudaBuffer, CudaHalves, HalfRef, Kept, Memory, Mut, Place, Ref};
use crate::plan::CudaPlan;
use crate::products::{self, CudaPacked};
use crate::{Precision, optimizer, rows, sampling, uploads, vocabulary};

/// Runs an operation that gives nothing.
macro_rules! run {
    ($self:ident, $name:literal, $done:expr) => {
        $self.machine().run($name, || $done).unwrap_or(())
    };
}

impl Device for Cuda {
    type Buf = CudaBuffer;
    type Half = CudaHalves;
    type Plan = CudaPlan;
    type Packed = CudaPacked;
    type Cache = CudaCache;

    fn status(&self) -> Result<(), DeviceError> {
        self.machine().status()
    }

    fn arithmetic(&self) -> Option<&'static str> {
        Some(match self.precision() {
            Precision::F32 => "cuda f32",
            Precision::Bf16 => "cuda bf16",
        })
    }

    fn memory(&self) -> Option<DeviceMemory> {
        let backend = self.backend();
        let at_once = self.widened_at_once(products::WIDENED) as u64;
        let formats = MemoryFormats {
            fixed_rows: backend.fixed_rows(),
            widened: at_once,
            // What opening the card has taken is not free any more.
            libraries: backend.libraries(),
            ..formats(self.precision())
        };
        Some(DeviceMemory { device: self.name().into(), formats, room: backend.memory().ok() })
    }

    fn logits_at_once(&self) -> usize {
        LOGITS
    }

    fn alloc(&self, len: usize) -> CudaBuffer {
        self.buffer("alloc", len, Number::F32)
    }

    fn alloc_activation(&self, len: usize) -> CudaBuffer {
        self.buffer("alloc_activation", len, self.activations())
    }

    fn activation_of(&self, x: Ref<'_>) -> Option<CudaBuffer> {
        if x.number() == self.activations() {
            return None;
        }
        let mut copy = self.alloc_activation(x.range.len());
        self.copy(x, copy.all_mut());
        Some(copy)
    }

    fn zeros(&self, len: usize) -> CudaBuffer {
        let buffer = self.buffer("zeros", len, Number::F32);
        run!(self, "zeros", self.clear(buffer.memory.address()?, 4 * len));
        buffer
    }

    fn write(&self, source: &[f32], to: Mut<'_>) {
        run!(self, "write", {
            let to = casts::Output::new(self, &to, Number::F32, source.len())?;
            // SAFETY: the room has been looked at.
            unsafe { self.backend().upload(uploads::as_bytes(source), to.at)? };
            to.finish(self)
        });
    }

    fn read(&self, from: Ref<'_>, target: &mut [f32]) {
        let done = self.machine().run("read", || {
            let from = casts::Input::new(self, &from, Number::F32, target.len())?;
            self.download(from.at, target)
        });
        if done.is_none() {
            target.fill(f32::NAN);
        }
    }

    fn copy(&self, from: Ref<'_>, to: Mut<'_>) {
        run!(self, "copy", {
            let len = to.range.len();
            casts::convert(self, from.any(len)?, to.any(len)?, len)
        });
    }

    fn fill_zero(&self, x: Mut<'_>) {
        run!(self, "fill_zero", {
            let (at, number) = x.any(x.range.len())?;
            self.clear(at, number.bytes() as usize * x.range.len())
        });
    }

    fn plan(&self, batch: &Batch, cos: Vec<f32>, sin: Vec<f32>) -> CudaPlan {
        let plan = self.machine().run("plan", || CudaPlan::new(self.machine(), batch, &cos, &sin));
        plan.unwrap_or_else(|| CudaPlan::nowhere(self.machine()))
    }

    fn halves(&self, format: HalfFormat, len: usize) -> CudaHalves {
        let memory = self.machine().run("halves", || {
            let memory = self.scratch(2 * len)?;
            self.clear(memory.address()?, 2 * len)?;
            Ok(memory)
        });
        let memory = memory.unwrap_or_else(|| Memory::nowhere(self.machine()));
        CudaHalves { memory: std::sync::Arc::new(memory), format, len }
    }

    fn write_half(&self, bits: &[u16], at: usize, to: &mut CudaHalves) {
        run!(self, "write_half", {
            let to = HalfRef { buffer: to, range: at..at + bits.len() }.at(bits.len())?;
            // SAFETY: the room has been looked at.
            unsafe { self.backend().upload(uploads::as_bytes(bits), to) }
        });
    }

    fn read_half(&self, from: HalfRef<'_>, target: &mut [f32]) {
        let done = self.machine().run("read_half", || {
            let wide = self.scratch(size_of_val(target))?;
            casts::widen(self, from.at(target.len())?, from.buffer.format, target.len(), wide.address()?)?;
            self.download(wide.address()?, target)
        });
        if done.is_none() {
            target.fill(f32::NAN);
        }
    }

    fn matmul_within(&self, op: MatMul, strides: Strides, a: Ref<'_>, b: Ref<'_>, out: Mut<'_>) {
        run!(self, "matmul", products::matmul(self, op, strides, a, b, out));
    }

    fn matmul_weight(&self, op: MatMul, a: Ref<'_>, weight: Ref<'_>, out: Mut<'_>) {
        run!(self, "matmul", products::matmul_weight(self, op, a, weight, None, out));
    }

    fn matmul_half(&self, op: MatMul, a: Ref<'_>, b: HalfRef<'_>, out: Mut<'_>) {
        run!(self, "matmul_half", products::matmul_half(self, op, a, b, None, out));
    }

    fn matmul_weight_onto(&self, op: MatMul, a: Ref<'_>, weight: Ref<'_>, onto: Ref<'_>, out: Mut<'_>) {
        run!(self, "matmul", products::matmul_weight(self, op, a, weight, Some(onto), out));
    }

    fn matmul_half_onto(&self, op: MatMul, a: Ref<'_>, b: HalfRef<'_>, onto: Ref<'_>, out: Mut<'_>) {
        run!(self, "matmul_half", products::matmul_half(self, op, a, b, Some(onto), out));
    }

    fn pack(&self, weight: Ref<'_>, n: usize, k: usize) -> CudaPacked {
        let packed = self.machine().run("pack", || products::pack(self, weight, n, k));
        packed.unwrap_or_else(|| CudaPacked::nowhere(self, n, k))
    }

    fn pack_half(&self, weight: HalfRef<'_>, n: usize, k: usize) -> CudaPacked {
        let packed = self.machine().run("pack_half", || products::pack_half(self, weight, n, k));
        packed.unwrap_or_else(|| CudaPacked::nowhere(self, n, k))
    }

    fn linear_within(
        &self,
        weight: &CudaPacked,
        rows: usize,
        apart: Option<(usize, usize)>,
        accumulate: bool,
        x: Ref<'_>,
        out: Mut<'_>,
    ) {
        run!(self, "linear", weight.apply(self, rows, apart, accumulate, x, out));
    }

    fn linear_onto(&self, weight: &CudaPacked, rows: usize, x: Ref<'_>, onto: Ref<'_>, out: Mut<'_>) {
        run!(self, "linear", weight.apply_onto(self, rows, x, onto, out));
    }

    fn dropout(&self, stream: Stream, drop: f64, x: Mut<'_>) {
        run!(self, "dropout", rows::dropout(self, stream, drop, x));
    }

    fn scale_columns(&self, width: usize, columns: Range<usize>, factor: f32, x: Mut<'_>) {
        run!(self, "scale_columns", rows::scale_columns(self, width, columns, factor, x));
    }

    fn add(&self, y: Ref<'_>, x: Mut<'_>) {
        run!(self, "add", rows::add(self, y, x));
    }

    fn add_bias(&self, bias: Ref<'_>, x: Mut<'_>) {
        run!(self, "add_bias", rows::add_bias(self, bias, x));
    }

    fn bias_backward(&self, dy: Ref<'_>, dbias: Mut<'_>) {
        run!(self, "bias_backward", rows::bias_backward(self, dy, dbias));
    }

    fn embed_backward(&self, plan: &CudaPlan, dy: Ref<'_>, dtable: Mut<'_>) {
        run!(self, "embed_backward", rows::embed_backward(self, plan, dy, dtable));
    }

    fn gather_rows(&self, x: Ref<'_>, rows: &[u32], width: usize, out: Mut<'_>) {
        run!(self, "gather_rows", rows::gather(self, x, rows, width, out));
    }

    fn gather_half(&self, table: HalfRef<'_>, rows: &[u32], width: usize, out: Mut<'_>) {
        run!(self, "gather_half", rows::gather_half(self, table, rows, width, out));
    }

    fn scatter_rows(&self, x: Ref<'_>, rows: &[u32], width: usize, out: Mut<'_>) {
        run!(self, "scatter_rows", rows::scatter(self, x, rows, width, out));
    }

    fn rms_norm(&self, x: Ref<'_>, weight: Ref<'_>, eps: f32, y: Mut<'_>, inv: Mut<'_>) {
        run!(self, "rms_norm", rows::rms_norm(self, x, weight, eps, y, inv));
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
        run!(self, "rms_norm_backward", rows::rms_norm_backward(self, x, weight, inv, dy, dx, dweight));
    }

    fn head_norm(&self, heads: Heads, weights: Ref<'_>, eps: f32, qkv: Mut<'_>) {
        run!(self, "head_norm", rows::head_norm(self, heads, weights, eps, qkv));
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
        let done = || rows::head_norm_backward(self, heads, raw, weights, eps, dqkv, dweights);
        run!(self, "head_norm_backward", done());
    }

    fn rotate(&self, plan: &CudaPlan, heads: Heads, inverse: bool, qkv: Mut<'_>) {
        run!(self, "rotate", rows::rotate_batch(self, plan, heads, inverse, qkv));
    }

    fn rotate_rows(&self, heads: Heads, cos: &[f32], sin: &[f32], qkv: Mut<'_>) {
        run!(self, "rotate_rows", rows::rotate_rows(self, heads, cos, sin, qkv));
    }

    fn attention(
        &self,
        plan: &CudaPlan,
        heads: Heads,
        window: Option<usize>,
        qkv: Ref<'_>,
        out: Mut<'_>,
        lse: Mut<'_>,
    ) {
        run!(self, "attention", Attention { cuda: self, plan, heads, window }.forward(qkv, out, lse));
    }

    fn attention_backward(
        &self,
        plan: &CudaPlan,
        heads: Heads,
        window: Option<usize>,
        qkv: Ref<'_>,
        out: Ref<'_>,
        lse: Ref<'_>,
        dout: Ref<'_>,
        dqkv: Mut<'_>,
    ) {
        let attention = Attention { cuda: self, plan, heads, window };
        run!(self, "attention_backward", attention.backward(qkv, out, lse, dout, dqkv));
    }

    fn cache(&self, layers: usize, heads: Heads) -> CudaCache {
        CudaCache::new(layers, heads)
    }

    fn reserve_pages(&self, cache: &mut CudaCache, pages: usize) {
        run!(self, "reserve_pages", cache.reserve(self, pages));
    }

    fn store(&self, cache: &mut CudaCache, layer: usize, qkv: Ref<'_>, slots: &[Slot]) {
        run!(self, "store", cache.store(self, layer, qkv, slots));
    }

    fn cached_attention(
        &self,
        cache: &CudaCache,
        layer: usize,
        window: Option<usize>,
        chains: &[Chain],
        qkv: Ref<'_>,
        out: Mut<'_>,
    ) {
        run!(self, "cached_attention", cache.attention(self, layer, window, chains, qkv, out));
    }

    fn swiglu(&self, ffn: usize, gate_up: Ref<'_>, act: Mut<'_>) {
        run!(self, "swiglu", rows::swiglu(self, ffn, gate_up, act));
    }

    fn swiglu_backward(&self, ffn: usize, act: Mut<'_>, gate_up: Mut<'_>) {
        run!(self, "swiglu_backward", rows::swiglu_backward(self, ffn, act, gate_up));
    }

    fn chunk_stats(
        &self,
        want: ChunkWant,
        targets: ChunkTargets<'_>,
        logits: Ref<'_>,
        reference: Option<Ref<'_>>,
    ) -> ChunkStats {
        let stats =
            self.machine().run("chunk_stats", || vocabulary::stats(self, want, targets, logits, reference));
        stats.unwrap_or_else(|| vocabulary::none(want, targets))
    }

    fn chunk_backward(
        &self,
        want: ChunkWant,
        targets: ChunkTargets<'_>,
        stats: &ChunkStats,
        seeds: &ChunkSeeds,
        logits: Mut<'_>,
        reference: Option<Ref<'_>>,
    ) -> Option<CudaBuffer> {
        let mut kept = (self.activations() != Number::F32).then(|| self.alloc_activation(logits.range.len()));
        let apart = kept.as_mut().map(Buffer::all_mut);
        let done = || vocabulary::backward(self, want, targets, stats, seeds, logits, reference, apart);
        run!(self, "chunk_backward", done());
        kept
    }

    fn begin_step(&self) {
        run!(self, "begin_step", self.begin_step());
    }

    fn draw(&self, sampling: &Sampling, rows: &[DrawRow<'_>], logits: Mut<'_>) -> Vec<Draw> {
        let draws = self.machine().run("draw", || sampling::draw(self, sampling, rows, logits));
        draws.unwrap_or_else(|| vec![sampling::NONE; rows.len()])
    }

    fn sum_squares(&self, x: Ref<'_>) -> f64 {
        self.machine().run("sum_squares", || optimizer::sum_squares(self, x)).unwrap_or(f64::NAN)
    }

    fn adamw(&self, update: AdamWUpdate, grads: Ref<'_>, params: Mut<'_>, m: Mut<'_>, v: Mut<'_>) {
        run!(self, "adamw", optimizer::adamw(self, update, grads, params, m, v));
    }
}
