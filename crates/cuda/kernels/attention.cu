// Causal attention over a forest of segments, forward, in f32.
//
// A block is one tile of queries and one head: it walks over the keys of its segment's chain with a running maximum
// and sum (online softmax, arXiv 2205.14135), so that nothing of the size of the scores leaves the chip.
#include "attention.cuh"

// M queries at a time against B keys at a time, heads of up to N.
template <u32 N, u32 M, u32 B> struct Forward {
    static constexpr u32 RM = M / SIDE, RB = B / SIDE, RN = N / SIDE;

    float *queries = dynamic_shared();
    float *keys = queries + M * STRIDE<N>; // and then the same keys' values
    float *weights = keys + B * STRIDE<N>;
    float out[RM][RN] = {};
    float top[RM], sum[RM];

    __device__ Forward() {
        for (u32 i = 0; i < RM; ++i) {
            top[i] = negative_infinity();
            sum[i] = 0.0f;
        }
    }

    // Scores of hidden keys become -inf; then probabilities against the running maximum.
    template <typename Sees> __device__ void soften(float s[RM][RB], Sees sees) {
        for (u32 i = 0; i < RM; ++i) {
            float most = negative_infinity();
            for (u32 j = 0; j < RB; ++j) {
                s[i][j] = sees(threadIdx.x / SIDE + SIDE * i, threadIdx.x % SIDE + SIDE * j) ? s[i][j]
                                                                                           : negative_infinity();
                most = fmaxf(most, s[i][j]);
            }
            most = fmaxf(top[i], row_max(most));
            // A row that has seen nothing yet: any finite number in place of -inf leaves its zeros zeros.
            const float shift = most == negative_infinity() ? 0.0f : most;
            const float keep = expf(top[i] - shift);
            top[i] = most;
            sum[i] *= keep;
            for (u32 j = 0; j < RB; ++j) {
                s[i][j] = expf(s[i][j] - shift);
                sum[i] += s[i][j];
            }
            for (u32 j = 0; j < RN; ++j) {
                out[i][j] *= keep;
            }
        }
    }
};

// What the kernels of all widths take.
struct Arguments {
    const float *qkv;
    const u32 *tiles, *chain_offsets, *chain_runs;
    float *out, *lse;
    u32 total;
    Heads heads;
    u32 window;
    float scale;
};

// `count` queries from `token` on, of one segment, at `position` and after it.
template <u32 N, u32 M, u32 B>
__device__ inline void attend(const Arguments &a, u32 head, u32 first_run, u32 token, u32 count, u32 position) {
    using F = Forward<N, M, B>;
    F state;
    const u32 dim = a.heads.dim, width = a.heads.width(), kv = head / a.heads.group();
    load_rows<N, M>(state.queries, count, dim, a.scale, [=](u32 r) {
        return a.qkv + u64(token + r) * width + head * dim;
    });
    Cursor cursor(a.chain_runs, first_run);
    const u32 end = position + count;
    for (u32 first = first_seen(position, a.window); first < end; first += B) {
        const u32 keys = min(B, end - first);
        Cursor again = cursor;
        load_rows<N, B>(state.keys, keys, dim, 1.0f, [&](u32 r) {
            return a.qkv + u64(cursor.token(first + r)) * width + a.heads.key_column(kv);
        });
        __syncthreads();
        float s[F::RM][F::RB];
        multiply_rows<N, F::RM, F::RB>(state.queries, state.keys, s);
        state.soften(s, [=](u32 r, u32 k) { return k < keys && sees(position + r, first + k, a.window); });
        store_weights<B, F::RM, F::RB>(state.weights, s);
        __syncthreads();
        load_rows<N, B>(state.keys, keys, dim, 1.0f, [&](u32 r) {
            return a.qkv + u64(again.token(first + r)) * width + a.heads.value_column(kv);
        });
        __syncthreads();
        add_weighted<N, B, F::RM>(state.weights, state.keys, state.out);
        __syncthreads();
    }
    float inverse[F::RM];
    for (u32 i = 0; i < F::RM; ++i) {
        const float sum = row_sum(state.sum[i]);
        const u32 r = threadIdx.x / SIDE + SIDE * i;
        inverse[i] = 1.0f / sum;
        if (threadIdx.x % SIDE == 0 && r < count) {
            a.lse[u64(head) * a.total + token + r] = state.top[i] + logf(sum);
        }
    }
    const auto row_of = [=](u32 r) { return a.out + (u64(token + r) * a.heads.heads + head) * dim; };
    write_rows<N, F::RM>(state.out, count, dim, row_of, [&](u32 i) { return inverse[i]; });
}

template <u32 N, u32 M, u32 B> __device__ inline void forward(const Arguments &a) {
    const u32 head = blockIdx.x % a.heads.heads;
    const Tile tile = load_tile(a.tiles, blockIdx.x / a.heads.heads);
    for (u32 first = 0; first < tile.count; first += M) {
        const u32 count = min(M, tile.count - first);
        const u32 run = a.chain_offsets[tile.segment];
        attend<N, M, B>(a, head, run, tile.token + first, count, tile.position + first);
    }
}

#define ATTENTION(N, M, B)                                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_##N(                                              \
        const float *qkv, const u32 *tiles, const u32 *chain_offsets, const u32 *chain_runs, float *out, float *lse,  \
        u32 total, u32 heads, u32 kv_heads, u32 dim, u32 window, float scale) {                                       \
        forward<N, M, B>(Arguments{                                                                                   \
            qkv, tiles, chain_offsets, chain_runs, out, lse, total, Heads{heads, kv_heads, dim}, window, scale});     \
    }

ATTENTION(32, 64, 64)
ATTENTION(64, 64, 64)
ATTENTION(128, 64, 64)
ATTENTION(256, 32, 32)
