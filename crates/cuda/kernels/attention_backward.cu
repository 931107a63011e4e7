// The gradient of attention over a forest of segments, in f32, without atomics: one kernel for the queries, whose
// blocks walk over keys, and one for keys and values, whose blocks walk over queries. Both compute the probabilities
// again from the log-sum-exp that the forward pass kept.
//
// With p = exp(s - lse), dp = dout . v and delta = out . dout: ds = p (dp - delta), dq = scale ds k, dk = ds (scale
// q), dv = p dout.
#include "attention.cuh"

// delta [heads, total].
extern "C" __global__ void __launch_bounds__(THREADS)
    attention_delta(const float *out, const float *dout, float *delta, u32 total, u32 heads, u32 dim) {
    write_delta(out, dout, delta, total, heads, dim);
}

// What the kernels of all widths take; `run_offsets` and `runs` are the chains' or the heirs'.
struct Gradient {
    const float *qkv, *dout, *lse, *delta;
    const u32 *tiles, *run_offsets, *runs;
    float *dqkv;
    u32 total;
    Heads heads;
    u32 window;
    float scale;

    __device__ const float *query(u32 token, u32 head) const {
        return qkv + u64(token) * heads.width() + head * heads.dim;
    }
    __device__ const float *key(u32 token, u32 kv) const {
        return qkv + u64(token) * heads.width() + heads.key_column(kv);
    }
    __device__ const float *value(u32 token, u32 kv) const {
        return qkv + u64(token) * heads.width() + heads.value_column(kv);
    }
    __device__ const float *of_out(u32 token, u32 head) const {
        return dout + (u64(token) * heads.heads + head) * heads.dim;
    }
};

// Two tiles of M rows that stay, one of B rows that changes, and weights between them.
template <u32 N, u32 M, u32 B> struct Tiles {
    static constexpr u32 RM = M / SIDE, RB = B / SIDE, RN = N / SIDE;

    float *first = dynamic_shared();
    float *second = first + M * STRIDE<N>;
    float *moving = second + M * STRIDE<N>;
    float *weights = moving + B * STRIDE<N>;
};

// Gradient of `count` queries from `token` on.
template <u32 N, u32 M, u32 B>
__device__ inline void queries_backward(const Gradient &a, u32 head, u32 run, u32 token, u32 count, u32 position) {
    using T = Tiles<N, M, B>;
    T tiles;
    const u32 dim = a.heads.dim, kv = head / a.heads.group();
    load_rows<N, M>(tiles.first, count, dim, a.scale, [=](u32 r) { return a.query(token + r, head); });
    load_rows<N, M>(tiles.second, count, dim, 1.0f, [=](u32 r) { return a.of_out(token + r, head); });
    float lse[T::RM], delta[T::RM];
    for (u32 i = 0; i < T::RM; ++i) {
        const u32 r = min(threadIdx.x / SIDE + SIDE * i, count - 1);
        lse[i] = a.lse[u64(head) * a.total + token + r];
        delta[i] = a.delta[u64(head) * a.total + token + r];
    }
    float sum[T::RM][T::RN] = {};
    Cursor cursor(a.runs, run);
    const u32 end = position + count;
    for (u32 first = first_seen(position, a.window); first < end; first += B) {
        const u32 keys = min(B, end - first);
        Cursor again = cursor;
        load_rows<N, B>(tiles.moving, keys, dim, 1.0f, [&](u32 r) { return a.value(cursor.token(first + r), kv); });
        __syncthreads();
        float ds[T::RM][T::RB];
        multiply_rows<N, T::RM, T::RB>(tiles.second, tiles.moving, ds);
        __syncthreads();
        load_rows<N, B>(tiles.moving, keys, dim, 1.0f, [&](u32 r) { return a.key(again.token(first + r), kv); });
        __syncthreads();
        float s[T::RM][T::RB];
        multiply_rows<N, T::RM, T::RB>(tiles.first, tiles.moving, s);
        for (u32 i = 0; i < T::RM; ++i) {
            for (u32 j = 0; j < T::RB; ++j) {
                const u32 r = threadIdx.x / SIDE + SIDE * i, k = threadIdx.x % SIDE + SIDE * j;
                const bool seen = r < count && k < keys && sees(position + r, first + k, a.window);
                ds[i][j] = seen ? expf(s[i][j] - lse[i]) * (ds[i][j] - delta[i]) : 0.0f;
            }
        }
        store_weights<B, T::RM, T::RB>(tiles.weights, ds);
        __syncthreads();
        add_weighted<N, B, T::RM>(tiles.weights, tiles.moving, sum);
        __syncthreads();
    }
    const auto row_of = [=](u32 r) { return a.dqkv + (a.query(token + r, head) - a.qkv); };
    write_rows<N, T::RM>(sum, count, dim, row_of, [=](u32) { return a.scale; });
}

// Sums of a tile of keys and values.
template <u32 RM, u32 RN> struct KeySums {
    float key[RM][RN] = {}, value[RM][RN] = {};
};

// Adds what `count` queries from `query` on, at `query_position` and after it, have to do with a tile of keys.
template <u32 N, u32 M, u32 B>
__device__ inline void add_queries(
    const Gradient &a, const Tiles<N, M, B> &tiles, u32 head, u32 query, u32 count, u32 query_position, u32 position,
    u32 keys, KeySums<M / SIDE, N / SIDE> &sums) {
    using T = Tiles<N, M, B>;
    const u32 dim = a.heads.dim;
    const auto load_queries = [&] {
        load_rows<N, B>(tiles.moving, count, dim, a.scale, [=](u32 r) { return a.query(query + r, head); });
        __syncthreads();
    };
    float ds[T::RM][T::RB], p[T::RM][T::RB];
    load_queries();
    multiply_rows<N, T::RM, T::RB>(tiles.first, tiles.moving, p);
    __syncthreads();
    load_rows<N, B>(tiles.moving, count, dim, 1.0f, [=](u32 r) { return a.of_out(query + r, head); });
    __syncthreads();
    multiply_rows<N, T::RM, T::RB>(tiles.second, tiles.moving, ds);
    for (u32 j = 0; j < T::RB; ++j) {
        const u32 q = threadIdx.x % SIDE + SIDE * j;
        const u64 at = u64(head) * a.total + query + min(q, count - 1);
        const float lse = a.lse[at], delta = a.delta[at];
        for (u32 i = 0; i < T::RM; ++i) {
            const u32 k = threadIdx.x / SIDE + SIDE * i;
            const bool seen = q < count && k < keys && sees(query_position + q, position + k, a.window);
            p[i][j] = seen ? expf(p[i][j] - lse) : 0.0f;
            ds[i][j] = seen ? p[i][j] * (ds[i][j] - delta) : 0.0f;
        }
    }
    store_weights<B, T::RM, T::RB>(tiles.weights, p);
    __syncthreads();
    add_weighted<N, B, T::RM>(tiles.weights, tiles.moving, sums.value);
    __syncthreads();
    store_weights<B, T::RM, T::RB>(tiles.weights, ds);
    load_queries();
    add_weighted<N, B, T::RM>(tiles.weights, tiles.moving, sums.key);
    __syncthreads();
}

// Gradient of `count` keys and values from `token` on, at `position` and after it, of the segment whose heirs are the
// runs `heirs`..`heirs_end`: the heads that share them and all queries that see them, in the order of the batch.
template <u32 N, u32 M, u32 B>
__device__ inline void keys_backward(
    const Gradient &a, u32 kv, u32 heirs, u32 heirs_end, u32 token, u32 count, u32 position) {
    Tiles<N, M, B> tiles;
    const u32 dim = a.heads.dim;
    load_rows<N, M>(tiles.first, count, dim, 1.0f, [=](u32 r) { return a.key(token + r, kv); });
    load_rows<N, M>(tiles.second, count, dim, 1.0f, [=](u32 r) { return a.value(token + r, kv); });
    KeySums<M / SIDE, N / SIDE> sums;
    // The last key is seen until its window ends: for ever where there is none.
    const u64 end = u64(position) + count - 1 + a.window;
    for (u32 head = kv * a.heads.group(); head < (kv + 1) * a.heads.group(); ++head) {
        for (u32 index = heirs; index < heirs_end; ++index) {
            const Run run = load_run(a.runs, index);
            const u32 from = position > run.position ? position - run.position : 0;
            const u32 to = end > run.position ? static_cast<u32>(min(u64(run.count), end - run.position)) : 0;
            for (u32 first = from; first < to; first += B) {
                const u32 queries = min(B, to - first);
                add_queries<N, M, B>(
                    a, tiles, head, run.token + first, queries, run.position + first, position, count, sums);
            }
        }
    }
    const auto key_of = [=](u32 r) { return a.dqkv + (a.key(token + r, kv) - a.qkv); };
    const auto value_of = [=](u32 r) { return a.dqkv + (a.value(token + r, kv) - a.qkv); };
    write_rows<N, M / SIDE>(sums.key, count, dim, key_of, [](u32) { return 1.0f; });
    write_rows<N, M / SIDE>(sums.value, count, dim, value_of, [](u32) { return 1.0f; });
}

template <u32 N, u32 M, u32 B> __device__ inline void all_queries_backward(const Gradient &a) {
    const u32 head = blockIdx.x % a.heads.heads;
    const Tile tile = load_tile(a.tiles, blockIdx.x / a.heads.heads);
    for (u32 first = 0; first < tile.count; first += M) {
        const u32 count = min(M, tile.count - first);
        const u32 run = a.run_offsets[tile.segment];
        queries_backward<N, M, B>(a, head, run, tile.token + first, count, tile.position + first);
    }
}

template <u32 N, u32 M, u32 B> __device__ inline void all_keys_backward(const Gradient &a) {
    const u32 kv = blockIdx.x % a.heads.kv_heads;
    const Tile tile = load_tile(a.tiles, blockIdx.x / a.heads.kv_heads);
    for (u32 first = 0; first < tile.count; first += M) {
        const u32 count = min(M, tile.count - first);
        const u32 heirs = a.run_offsets[tile.segment], heirs_end = a.run_offsets[tile.segment + 1];
        keys_backward<N, M, B>(a, kv, heirs, heirs_end, tile.token + first, count, tile.position + first);
    }
}

#define BACKWARD(N, M, B, NAME, WORK)                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS) NAME##_##N(                                                 \
        const float *qkv, const float *dout, const float *lse, const float *delta, const u32 *tiles,                  \
        const u32 *run_offsets, const u32 *runs, float *dqkv, u32 total, u32 heads, u32 kv_heads, u32 dim,            \
        u32 window, float scale) {                                                                                    \
        WORK<N, M, B>(Gradient{                                                                                       \
            qkv, dout, lse, delta, tiles, run_offsets, runs, dqkv, total, Heads{heads, kv_heads, dim}, window,        \
            scale});                                                                                                  \
    }
#define BACKWARDS(N, M, B)                                                                                            \
    BACKWARD(N, M, B, attention_backward_queries, all_queries_backward)                                               \
    BACKWARD(N, M, B, attention_backward_keys, all_keys_backward)

BACKWARDS(32, 64, 32)
BACKWARDS(64, 64, 32)
BACKWARDS(128, 64, 32)
BACKWARDS(256, 32, 16)
