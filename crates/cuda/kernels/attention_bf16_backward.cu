// The gradient of attention over a forest of segments on tensor cores: operands in bf16, sums in f32. The arithmetic
// and the division of labour are those of attention_backward.cu.
#include "attention_bf16.cuh"

// Keys at a time for a tile of queries, and queries at a time for a tile of keys, which has twice the sums to hold.
constexpr u32 KEYS = 64;
constexpr u32 QUERIES = 32;

// delta [heads, total] as in attention_backward.cu, of the same rounded gradient that the kernels below multiply, and of
// the results as they are kept: the gradients of a row of scores sum to zero within their rounding.
extern "C" __global__ void __launch_bounds__(THREADS)
    attention_delta_bf16(const bf16 *out, const bf16 *dout, float *delta, u32 total, u32 heads, u32 dim) {
    write_delta(out, dout, delta, total, heads, dim);
}

// What the kernels of both widths take; `run_offsets` and `runs` are the chains' or the heirs'.
struct Gradient {
    const bf16 *qkv, *dout;
    const float *lse, *delta;
    const u32 *tiles, *run_offsets, *runs;
    bf16 *dqkv;
    u32 total;
    Heads heads;
    u32 window;
    float scale;

    __device__ u64 query(u32 token, u32 head) const {
        return u64(token) * heads.width() + head * heads.dim;
    }
    __device__ u64 key(u32 token, u32 kv) const {
        return u64(token) * heads.width() + heads.key_column(kv);
    }
    __device__ u64 value(u32 token, u32 kv) const {
        return u64(token) * heads.width() + heads.value_column(kv);
    }
    __device__ const bf16 *of_out(u32 token, u32 head) const {
        return dout + (u64(token) * heads.heads + head) * heads.dim;
    }
};

template <u32 N> __device__ inline void queries_backward(const Gradient &a) {
    bf16 *queries = shared_halves();
    bf16 *of_out = queries + HALF_TILE<N, TILE>;
    bf16 *keys = of_out + HALF_TILE<N, TILE>;
    bf16 *values = keys + HALF_TILE<N, KEYS>;
    const u32 head = blockIdx.x % a.heads.heads, kv = head / a.heads.group();
    const Tile tile = load_tile(a.tiles, blockIdx.x / a.heads.heads);
    const u32 end = tile.position + tile.count;
    u32 first = first_seen(tile.position, a.window);
    Cursor of_keys(a.runs, a.run_offsets[tile.segment]);
    Cursor of_values = of_keys;
    const auto begin_values = [&] {
        begin_rows<N, KEYS>(values, min(KEYS, end - first), a.qkv, [&](u32 r) {
            return a.qkv + a.value(of_values.token(first + r), kv);
        });
        end_batch();
    };
    begin_rows<N, TILE>(queries, tile.count, a.qkv, [&](u32 r) { return a.qkv + a.query(tile.token + r, head); });
    begin_rows<N, TILE>(of_out, tile.count, a.dout, [&](u32 r) { return a.of_out(tile.token + r, head); });
    begin_values();
    const u32 own_row = threadIdx.x / WARP * OWN_ROWS;
    float lse[2], delta[2];
    for (u32 half = 0; half < 2; ++half) {
        const u32 r = min(own_row + threadIdx.x % WARP / 4 + 8 * half, tile.count - 1);
        lse[half] = a.lse[u64(head) * a.total + tile.token + r] * LOG2_E;
        delta[half] = a.delta[u64(head) * a.total + tile.token + r];
    }
    Scores<N> sum;
    sum.clear();
    while (first < end) {
        const u32 at = first, count = min(KEYS, end - first);
        wait_copies<0>();
        __syncthreads(); // the values are there, and the last keys done with
        begin_rows<N, KEYS>(keys, count, a.qkv, [&](u32 r) { return a.qkv + a.key(of_keys.token(at + r), kv); });
        end_batch();
        Scores<KEYS> ds, s;
        multiply_tiles<N, KEYS>(ds, of_out, values);
        wait_copies<0>();
        __syncthreads(); // the keys are there, and the values done with
        first += KEYS;
        if (first < end) {
            begin_values();
        }
        multiply_tiles<N, KEYS>(s, queries, keys);
        const float scale = a.scale * LOG2_E;
        s.each([&](u32 r, u32 k, float &x) {
            const u32 half = r / 8;
            const bool seen = k < count && sees(tile.position + own_row + r, at + k, a.window);
            x = seen ? exp2f(fmaf(x, scale, -lse[half])) : 0.0f;
        });
#pragma unroll
        for (u32 i = 0; i < KEYS / 8; ++i) {
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                ds.at[i][e] = s.at[i][e] * (ds.at[i][e] - delta[e / 2]);
            }
        }
        add_weighted_tile<N, KEYS>(sum, ds, keys);
    }
    const float scale[2] = {a.scale, a.scale};
    write_tile<N>(sum, tile.count, scale, [&](u32 r) { return a.dqkv + a.query(tile.token + r, head); });
}

// One entry of the plan's parts of tiles: of the queries that see the tile those `from`..`to`, counted along the heirs;
// `place` among the sums of parts where other parts have the others, else NO_PLACE.
struct Part {
    Tile tile;
    u32 from, to, place;
};

constexpr u32 NO_PLACE = 0xffffffffu;

__device__ inline Part load_part(const u32 *parts, u32 index) {
    const u32 *at = parts + 8 * index;
    return Part{load_tile(at, 0), at[4], at[5], at[6]};
}

// The queries of a part, QUERIES at a time: those of each head of the group, and of each the heirs' runs.
struct Walk {
    const u32 *runs;
    u32 heirs, heirs_end, last_head;
    u32 position;
    u64 end; // the first position that sees none of the keys any more
    u32 part_from, part_to;
    u32 head, run;
    u32 first, to; // within the run
    Run tokens;

    __device__ Walk(const Gradient &a, const Part &part, u32 kv)
        : runs(a.runs), heirs(a.run_offsets[part.tile.segment]), heirs_end(a.run_offsets[part.tile.segment + 1]),
          last_head((kv + 1) * a.heads.group() - 1), position(part.tile.position),
          end(u64(part.tile.position) + part.tile.count - 1 + a.window), part_from(part.from), part_to(part.to),
          head(kv * a.heads.group()), run(heirs) {
        enter();
    }

    __device__ bool done() const {
        return head > last_head;
    }
    __device__ u32 token() const {
        return tokens.token + first;
    }
    __device__ u32 count() const {
        return min(QUERIES, to - first);
    }
    __device__ u32 query_position() const {
        return tokens.position + first;
    }

    __device__ void advance() {
        first += QUERIES;
        if (first >= to) {
            ++run;
            enter();
        }
    }

  private:
    // How much of the run lies before a place along the heirs.
    __device__ u32 within(u32 place) const {
        return place > tokens.first ? min(place - tokens.first, tokens.count) : 0;
    }

    // Begins the next run that sees a key and has queries of the part.
    __device__ void enter() {
        for (; head <= last_head; ++head, run = heirs) {
            for (; run < heirs_end; ++run) {
                tokens = load_run(runs, run);
                first = max(within(part_from), position > tokens.position ? position - tokens.position : 0);
                to = end > tokens.position ? static_cast<u32>(min(u64(within(part_to)), end - tokens.position)) : 0;
                if (first < to) {
                    return;
                }
            }
        }
    }
};

// `sums` is for the parts that have a place there: [places, kv_heads, 2, TILE, N], of the keys and then of the values.
template <u32 N> __device__ inline void keys_backward(const Gradient &a, float *sums) {
    bf16 *keys = shared_halves();
    bf16 *values = keys + HALF_TILE<N, TILE>;
    // Queries and then the gradients of their results, twice: one in use, one on its way.
    bf16 *moving = values + HALF_TILE<N, TILE>;
    const u32 kv = blockIdx.x % a.heads.kv_heads;
    const Part part = load_part(a.tiles, blockIdx.x / a.heads.kv_heads);
    const Tile tile = part.tile;
    const auto begin_queries = [&](const Walk &walk, u32 turn) {
        bf16 *queries = moving + turn * 2 * HALF_TILE<N, QUERIES>;
        bf16 *of_out = queries + HALF_TILE<N, QUERIES>;
        if (!walk.done()) {
            const u32 token = walk.token(), head = walk.head, count = walk.count();
            begin_rows<N, QUERIES>(queries, count, a.qkv, [&](u32 r) { return a.qkv + a.query(token + r, head); });
            begin_rows<N, QUERIES>(of_out, count, a.dout, [&](u32 r) { return a.of_out(token + r, head); });
        }
        end_batch();
    };
    begin_rows<N, TILE>(keys, tile.count, a.qkv, [&](u32 r) { return a.qkv + a.key(tile.token + r, kv); });
    begin_rows<N, TILE>(values, tile.count, a.qkv, [&](u32 r) { return a.qkv + a.value(tile.token + r, kv); });
    Walk walk(a, part, kv);
    begin_queries(walk, 0);
    const u32 own_row = threadIdx.x / WARP * OWN_ROWS;
    Scores<N> dk, dv;
    dk.clear();
    dv.clear();
    for (u32 turn = 0; !walk.done(); turn ^= 1) {
        Walk next = walk;
        next.advance();
        begin_queries(next, turn ^ 1);
        wait_copies<1>();
        __syncthreads();
        const bf16 *queries = moving + turn * 2 * HALF_TILE<N, QUERIES>;
        const bf16 *of_out = queries + HALF_TILE<N, QUERIES>;
        const u32 count = walk.count(), query_position = walk.query_position();
        const u64 row = u64(walk.head) * a.total + walk.token();
        const float scale = a.scale * LOG2_E;
        Scores<QUERIES> p, ds;
        multiply_tiles<N, QUERIES>(p, keys, queries);
        p.each([&](u32 r, u32 q, float &x) {
            const bool seen = q < count && own_row + r < tile.count &&
                              sees(query_position + q, tile.position + own_row + r, a.window);
            x = seen ? exp2f(fmaf(x, scale, -a.lse[row + q] * LOG2_E)) : 0.0f;
        });
        add_weighted_tile<N, QUERIES>(dv, p, of_out);
        multiply_tiles<N, QUERIES>(ds, values, of_out);
#pragma unroll
        for (u32 i = 0; i < QUERIES / 8; ++i) {
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                const u32 q = min(8 * i + threadIdx.x % 4 * 2 + e % 2, count - 1);
                ds.at[i][e] = p.at[i][e] * (ds.at[i][e] - a.delta[row + q]);
            }
        }
        add_weighted_tile<N, QUERIES>(dk, ds, queries);
        __syncthreads(); // all are done with what the next turn overwrites
        walk = next;
    }
    const float scale[2] = {a.scale, a.scale}, one[2] = {1.0f, 1.0f};
    if (part.place != NO_PLACE) {
        float *own = sums + (u64(part.place) * a.heads.kv_heads + kv) * 2 * TILE * N;
        write_tile<N>(dk, tile.count, scale, [&](u32 r) { return own + r * N; });
        write_tile<N>(dv, tile.count, one, [&](u32 r) { return own + (TILE + r) * N; });
        return;
    }
    write_tile<N>(dk, tile.count, scale, [&](u32 r) { return a.dqkv + a.key(tile.token + r, kv); });
    write_tile<N>(dv, tile.count, one, [&](u32 r) { return a.dqkv + a.value(tile.token + r, kv); });
}

// The gradient of tiles of keys and values whose parts have sums of their own, added in the order of the parts. An entry of
// `tiles`: first token, tokens, first place, parts.
extern "C" __global__ void __launch_bounds__(THREADS) add_key_parts(
    const float *sums, const u32 *tiles, bf16 *dqkv, u32 heads, u32 kv_heads, u32 dim) {
    const Heads of{heads, kv_heads, dim};
    const u32 kv = blockIdx.x % kv_heads;
    const u32 *tile = tiles + 4 * (blockIdx.x / kv_heads);
    const u32 token = tile[0], count = tile[1], parts = tile[3];
    const u64 one = u64(2 * TILE) * dim;
    const float *first = sums + (u64(tile[2]) * kv_heads + kv) * one;
    for (u32 at = 4 * threadIdx.x; at < one; at += SPAN) {
        const u32 row = at / dim, r = row % TILE;
        if (r < count) {
            float4 sum = load_quad(first + at);
            for (u32 part = 1; part < parts; ++part) {
                const float4 x = load_quad(first + part * kv_heads * one + at);
                sum = make_float4(sum.x + x.x, sum.y + x.y, sum.z + x.z, sum.w + x.w);
            }
            const u32 column = row < TILE ? of.key_column(kv) : of.value_column(kv);
            store_quad(dqkv + u64(token + r) * of.width() + column + at % dim, sum);
        }
    }
}

#define GRADIENT_PARAMETERS                                                                                           \
    const bf16 *qkv, const bf16 *dout, const float *lse, const float *delta, const u32 *tiles,                        \
        const u32 *run_offsets, const u32 *runs, bf16 *dqkv, u32 total, u32 heads, u32 kv_heads, u32 dim, u32 window, \
        float scale
#define GRADIENT                                                                                                      \
    Gradient{                                                                                                         \
        qkv, dout, lse, delta, tiles, run_offsets, runs, dqkv, total, Heads{heads, kv_heads, dim}, window, scale}
#define BACKWARDS_BF16(N)                                                                                             \
    extern "C" __global__ void __launch_bounds__(MMA_THREADS)                                                         \
        attention_backward_queries_bf16_##N(GRADIENT_PARAMETERS) {                                                    \
        queries_backward<N>(GRADIENT);                                                                                \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(MMA_THREADS)                                                         \
        attention_backward_keys_bf16_##N(GRADIENT_PARAMETERS, float *sums) {                                          \
        keys_backward<N>(GRADIENT, sums);                                                                             \
    }

BACKWARDS_BF16(64)
BACKWARDS_BF16(128)
