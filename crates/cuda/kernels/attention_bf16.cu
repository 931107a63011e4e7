// Causal attention over a forest of segments, forward, on tensor cores: operands in bf16, sums in f32.
//
// As in attention.cu, a block is one tile of queries and one head. The next keys are on their way while values are
// used, and values while scores are computed (as in FlashAttention-2, arXiv 2307.08691).
#include "attention_bf16.cuh"

// Keys at a time.
constexpr u32 KEYS = 64;

// What the kernels of both widths take.
struct Arguments {
    const bf16 *qkv;
    const u32 *tiles, *chain_offsets, *chain_runs;
    bf16 *out;
    float *lse;
    u32 total;
    Heads heads;
    u32 window;
    float scale;
};

// Two rows of each lane, shared with three others.
template <u32 N> struct Softmax {
    Scores<N> out;
    float top[2], sum[2];

    __device__ Softmax() {
        out.clear();
        for (u32 half = 0; half < 2; ++half) {
            top[half] = negative_infinity();
            sum[half] = 0.0f;
        }
    }

    __device__ static float over_row(float x) {
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
        return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
    }

    // Scores times log2(e) become probabilities against the running maximum.
    __device__ void soften(Scores<KEYS> &s) {
#pragma unroll
        for (u32 half = 0; half < 2; ++half) {
            float most = negative_infinity();
#pragma unroll
            for (u32 i = 0; i < KEYS / 8; ++i) {
                most = fmaxf(most, fmaxf(s.at[i][2 * half], s.at[i][2 * half + 1]));
            }
            most = fmaxf(top[half], over_row(most));
            // A row that has seen nothing yet: any finite number in place of -inf leaves its zeros zeros.
            const float shift = most == negative_infinity() ? 0.0f : most;
            const float keep = exp2f(top[half] - shift);
            top[half] = most;
            sum[half] *= keep;
#pragma unroll
            for (u32 i = 0; i < KEYS / 8; ++i) {
#pragma unroll
                for (u32 e = 2 * half; e < 2 * half + 2; ++e) {
                    s.at[i][e] = exp2f(s.at[i][e] - shift);
                    sum[half] += s.at[i][e];
                }
            }
#pragma unroll
            for (u32 i = 0; i < N / 8; ++i) {
                out.at[i][2 * half] *= keep;
                out.at[i][2 * half + 1] *= keep;
            }
        }
    }
};

// Scores of KEYS keys from position `first` on, of which `count` are there: times log2(e), those of hidden keys -inf.
__device__ inline void hide(Scores<KEYS> &s, float scale, u32 position, u32 first, u32 count, u32 window) {
    // Most tiles lie below the diagonal and within the window as a whole.
    if (count == KEYS && first + KEYS - 1 <= position && position + TILE - 1 - first < window) {
        s.each([=](u32, u32, float &x) { x *= scale; });
        return;
    }
    const u32 row = position + threadIdx.x / WARP * OWN_ROWS;
    s.each([=](u32 r, u32 k, float &x) {
        x = k < count && sees(row + r, first + k, window) ? x * scale : negative_infinity();
    });
}

template <u32 N> __device__ inline void forward(const Arguments &a) {
    bf16 *queries = shared_halves();
    bf16 *keys = queries + HALF_TILE<N, TILE>;
    bf16 *values = keys + HALF_TILE<N, KEYS>;
    const u32 head = blockIdx.x % a.heads.heads, kv = head / a.heads.group(), width = a.heads.width();
    const Tile tile = load_tile(a.tiles, blockIdx.x / a.heads.heads);
    const u32 end = tile.position + tile.count;
    u32 first = first_seen(tile.position, a.window);
    Cursor of_keys(a.chain_runs, a.chain_offsets[tile.segment]);
    Cursor of_values = of_keys;
    const auto begin_keys = [&] {
        begin_rows<N, KEYS>(keys, min(KEYS, end - first), a.qkv, [&](u32 r) {
            return a.qkv + u64(of_keys.token(first + r)) * width + a.heads.key_column(kv);
        });
        end_batch();
    };
    begin_rows<N, TILE>(queries, tile.count, a.qkv, [&](u32 r) {
        return a.qkv + u64(tile.token + r) * width + head * N;
    });
    begin_keys();
    Softmax<N> state;
    while (first < end) {
        const u32 at = first, count = min(KEYS, end - first);
        wait_copies<0>();
        __syncthreads(); // the keys are there, and the last values done with
        begin_rows<N, KEYS>(values, count, a.qkv, [&](u32 r) {
            return a.qkv + u64(of_values.token(at + r)) * width + a.heads.value_column(kv);
        });
        end_batch();
        Scores<KEYS> s;
        multiply_tiles<N, KEYS>(s, queries, keys);
        wait_copies<0>();
        __syncthreads(); // the values are there, and the keys done with
        first += KEYS;
        if (first < end) {
            begin_keys();
        }
        hide(s, a.scale * LOG2_E, tile.position, at, count, a.window);
        state.soften(s);
        add_weighted_tile<N, KEYS>(state.out, s, values);
    }
    float inverse[2];
    for (u32 half = 0; half < 2; ++half) {
        float sum = state.sum[half];
        sum += __shfl_xor_sync(ALL_LANES, sum, 1);
        sum += __shfl_xor_sync(ALL_LANES, sum, 2);
        inverse[half] = 1.0f / sum;
        const u32 r = threadIdx.x / WARP * OWN_ROWS + threadIdx.x % WARP / 4 + 8 * half;
        if (threadIdx.x % 4 == 0 && r < tile.count) {
            a.lse[u64(head) * a.total + tile.token + r] = state.top[half] * LN_2 + logf(sum);
        }
    }
    write_tile<N>(state.out, tile.count, inverse, [&](u32 r) {
        return a.out + (u64(tile.token + r) * a.heads.heads + head) * N;
    });
}

#define ATTENTION_BF16(N)                                                                                             \
    extern "C" __global__ void __launch_bounds__(MMA_THREADS) attention_bf16_##N(                                     \
        const bf16 *qkv, const u32 *tiles, const u32 *chain_offsets, const u32 *chain_runs, bf16 *out, float *lse,    \
        u32 total, u32 heads, u32 kv_heads, u32 dim, u32 window, float scale) {                                       \
        forward<N>(Arguments{                                                                                         \
            qkv, tiles, chain_offsets, chain_runs, out, lse, total, Heads{heads, kv_heads, dim}, window, scale});     \
    }

ATTENTION_BF16(64)
ATTENTION_BF16(128)
