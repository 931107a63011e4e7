// Paged keys and values, and attention of single queries over them.
//
// A page holds PAGE tokens of every layer, [layers, kv_heads, 2, PAGE, dim]: keys, then values. Pages are shared
// freely between chains: only slots that a chain counts are read. A chain is cut into parts of PART runs that blocks
// share out, by its own length alone, so that a row's result does not depend on the other rows.
#include "common.cuh"

constexpr u32 PAGE = 64;
constexpr u32 PART = 8;
constexpr u32 CACHE_THREADS = 128;
// Query heads that a block serves at a time.
constexpr u32 TOGETHER = 8;

// Where the keys of a head in a layer begin; its values follow.
template <typename E>
__device__ inline E *head_of_page(const u64 *pages, u32 page, u32 layer, u32 kv_heads, u32 kv, u32 dim) {
    return reinterpret_cast<E *>(pages[page]) + (u64(layer) * kv_heads + kv) * 2 * PAGE * dim;
}

template <typename E>
__device__ inline void store_row(
    const u64 *pages, const u32 *slots, const float *qkv, u32 layer, u32 heads, u32 kv_heads, u32 dim) {
    const u32 page = slots[2 * blockIdx.x], offset = slots[2 * blockIdx.x + 1];
    const float *keys = qkv + u64(blockIdx.x) * (heads + 2 * kv_heads) * dim + heads * dim;
    const float *values = keys + kv_heads * dim;
    for (u32 i = threadIdx.x; i < kv_heads * dim; i += CACHE_THREADS) {
        E *head = head_of_page<E>(pages, page, layer, kv_heads, i / dim, dim);
        const u32 at = offset * dim + i % dim;
        store(head + at, keys[i]);
        store(head + PAGE * dim + at, values[i]);
    }
}

// Up to TOGETHER heads of one query against one part of its chain.
template <typename E, u32 N> struct CachedAttention {
    static constexpr u32 STRIDE = N + 4;
    // A thread has one column of the result or more, of every head or of every GROUPS-th.
    static constexpr u32 COLUMNS = N < CACHE_THREADS ? 1 : N / CACHE_THREADS;
    static constexpr u32 GROUPS = N < CACHE_THREADS ? CACHE_THREADS / N : 1;
    static constexpr u32 OWN = TOGETHER / GROUPS;

    float *tile = dynamic_shared(); // PAGE keys, then the same tokens' values
    float *queries = tile + PAGE * STRIDE;
    float *scores = queries + TOGETHER * STRIDE;
    float *top = scores + TOGETHER * PAGE;
    float *sum = top + TOGETHER;
    float *keep = sum + TOGETHER;
    float out[OWN][COLUMNS] = {};
    u32 dim, count;

    __device__ static u32 column() {
        return threadIdx.x % N;
    }
    __device__ static u32 head(u32 own) {
        return threadIdx.x / N + own * GROUPS;
    }

    // Queries of `count` heads, zeros past `dim`.
    __device__ CachedAttention(const float *from, u32 dim, u32 count, float scale) : dim(dim), count(count) {
        for (u32 i = threadIdx.x; i < count * N; i += CACHE_THREADS) {
            const u32 h = i / N, d = i % N;
            queries[h * STRIDE + d] = d < dim ? from[h * dim + d] * scale : 0.0f;
        }
        if (threadIdx.x < TOGETHER) {
            top[threadIdx.x] = negative_infinity();
            sum[threadIdx.x] = 0.0f;
        }
    }

    // Rows `first..end` of a page; the columns past `dim` are zeros, and the other rows of the first and the last
    // four.
    __device__ void load(const E *rows, u32 first, u32 end) {
        constexpr u32 LANES = N / 4;
        const u32 d = threadIdx.x % LANES * 4;
        for (u32 r = first / 4 * 4 + threadIdx.x / LANES; r < (end + 3) / 4 * 4; r += CACHE_THREADS / LANES) {
            const E *row = rows + r * dim + d;
            float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            const bool counted = r >= first && r < end; // elsewhere may stand a NaN, which zero times is one
            if (counted && d + 4 <= dim && quad_aligned(row)) {
                x = load_quad(row);
            } else if (counted) {
                x.x = d < dim ? widen(row[0]) : 0.0f;
                x.y = d + 1 < dim ? widen(row[1]) : 0.0f;
                x.z = d + 2 < dim ? widen(row[2]) : 0.0f;
                x.w = d + 3 < dim ? widen(row[3]) : 0.0f;
            }
            store_quad(tile + r * STRIDE + d, x);
        }
    }

    // A thread is a key and every second head.
    __device__ void score(u32 first, u32 end) {
        const u32 key = threadIdx.x % PAGE, first_head = threadIdx.x / PAGE;
        if (key < first || key >= end) {
            return;
        }
        float found[TOGETHER / 2] = {};
#pragma unroll 4
        for (u32 d = 0; d < N; d += 4) {
            const float4 k = load_quad(tile + key * STRIDE + d);
#pragma unroll
            for (u32 i = 0; i < TOGETHER / 2; ++i) {
                if (first_head + 2 * i < count) {
                    const float4 q = load_quad(queries + (first_head + 2 * i) * STRIDE + d);
                    found[i] = fmaf(q.w, k.w, fmaf(q.z, k.z, fmaf(q.y, k.y, fmaf(q.x, k.x, found[i]))));
                }
            }
        }
#pragma unroll
        for (u32 i = 0; i < TOGETHER / 2; ++i) {
            if (first_head + 2 * i < count) {
                scores[(first_head + 2 * i) * PAGE + key] = found[i];
            }
        }
    }

    // A warp is a head at a time, a lane two keys: scores become probabilities against the running maximum.
    __device__ void soften(u32 first, u32 end) {
        for (u32 h = threadIdx.x / WARP; h < count; h += CACHE_THREADS / WARP) {
            float *of_head = scores + h * PAGE;
            const u32 a = threadIdx.x % WARP, b = a + WARP;
            const bool has_a = a >= first && a < end, has_b = b >= first && b < end;
            const float x = has_a ? of_head[a] : negative_infinity();
            const float y = has_b ? of_head[b] : negative_infinity();
            const float before = top[h];
            const float most = fmaxf(before, warp_max(fmaxf(x, y)));
            const float p = expf(x - most), q = expf(y - most);
            const float more = warp_sum(p + q);
            of_head[a] = p;
            of_head[b] = q;
            if (threadIdx.x % WARP == 0) {
                keep[h] = expf(before - most);
                sum[h] = sum[h] * keep[h] + more;
                top[h] = most;
            }
        }
    }

    // Four keys at a time: hidden ones have probability 0.
    __device__ void add_values(u32 first, u32 end) {
#pragma unroll
        for (u32 own = 0; own < OWN; ++own) {
            const float factor = head(own) < count ? keep[head(own)] : 0.0f;
#pragma unroll
            for (u32 c = 0; c < COLUMNS; ++c) {
                out[own][c] *= factor;
            }
        }
        for (u32 key = first / 4 * 4; key < end; key += 4) {
#pragma unroll
            for (u32 c = 0; c < COLUMNS; ++c) {
                const float *v = tile + key * STRIDE + column() + c * CACHE_THREADS;
                const float v0 = v[0], v1 = v[STRIDE], v2 = v[2 * STRIDE], v3 = v[3 * STRIDE];
#pragma unroll
                for (u32 own = 0; own < OWN; ++own) {
                    if (head(own) < count) {
                        const float4 p = load_quad(scores + head(own) * PAGE + key);
                        out[own][c] = fmaf(p.w, v3, fmaf(p.z, v2, fmaf(p.y, v1, fmaf(p.x, v0, out[own][c]))));
                    }
                }
            }
        }
    }

    // Tokens `first..end` of a page.
    __device__ void take(const E *page, u32 first, u32 end) {
        load(page, first, end);
        __syncthreads();
        score(first, end);
        __syncthreads();
        load(page + PAGE * dim, first, end);
        soften(first, end);
        __syncthreads();
        add_values(first, end);
        __syncthreads();
    }
};

// What the kernels of all widths take.
struct CacheArguments {
    const u64 *pages;
    const u32 *offsets, *runs;
    const float *qkv;
    float *out, *partial;
    u32 layer, heads, kv_heads, dim, window;
    float scale;
};

// A block is one row, one head of keys and one part of the row's chain.
template <typename E, u32 N> __device__ inline void attend_cached(const CacheArguments &a) {
    const u32 row = blockIdx.x / a.kv_heads, kv = blockIdx.x % a.kv_heads;
    const u32 first_run = a.offsets[row] + blockIdx.y * PART;
    const u32 last_run = a.offsets[row + 1];
    if (first_run >= last_run) {
        return;
    }
    const bool whole = last_run - a.offsets[row] <= PART;
    const u32 total = a.runs[4 * (last_run - 1)] + a.runs[4 * (last_run - 1) + 2];
    const u32 seen = total > a.window ? total - a.window : 0;
    const u32 group = a.heads / a.kv_heads;
    const float *queries = a.qkv + u64(row) * (a.heads + 2 * a.kv_heads) * a.dim + kv * group * a.dim;
    for (u32 first_head = 0; first_head < group; first_head += TOGETHER) {
        const u32 count = min(TOGETHER, group - first_head);
        CachedAttention<E, N> state(queries + first_head * a.dim, a.dim, count, a.scale);
        for (u32 run = first_run; run < min(first_run + PART, last_run); ++run) {
            const u32 before = a.runs[4 * run], page = a.runs[4 * run + 1], tokens = a.runs[4 * run + 2];
            const u32 hidden = seen > before ? min(seen - before, tokens) : 0;
            if (hidden < tokens) {
                state.take(head_of_page<E>(a.pages, page, a.layer, a.kv_heads, kv, a.dim), hidden, tokens);
            }
        }
        __syncthreads(); // `top` and `sum` where no run was taken
        for (u32 own = 0; own < CachedAttention<E, N>::OWN; ++own) {
            const u32 h = state.head(own);
            const u64 head = u64(row) * a.heads + kv * group + first_head + h;
            float *to = whole ? a.out + head * a.dim : a.partial + (head * gridDim.y + blockIdx.y) * (a.dim + 2) + 2;
            const float factor = whole ? 1.0f / state.sum[h] : 1.0f;
            for (u32 c = 0; c < CachedAttention<E, N>::COLUMNS; ++c) {
                const u32 column = state.column() + c * CACHE_THREADS;
                if (h < count && column < a.dim) {
                    to[column] = state.out[own][c] * factor;
                }
            }
            if (!whole && h < count && state.column() == 0) {
                to[-2] = state.top[h];
                to[-1] = state.sum[h];
            }
        }
        __syncthreads();
    }
}

// Puts the parts of a chain together; a block is a row and a head. Chains of one part are there already.
extern "C" __global__ void __launch_bounds__(CACHE_THREADS) cached_attention_combine(
    const u32 *offsets, const float *partial, float *out, u32 heads, u32 dim, u32 splits) {
    const u32 row = blockIdx.x / heads;
    const u32 runs = offsets[row + 1] - offsets[row];
    if (runs <= PART) {
        return;
    }
    const u32 parts = (runs + PART - 1) / PART;
    const float *of_head = partial + u64(blockIdx.x) * splits * (dim + 2);
    float top = negative_infinity();
    for (u32 part = 0; part < parts; ++part) {
        top = fmaxf(top, of_head[u64(part) * (dim + 2)]);
    }
    for (u32 column = threadIdx.x; column < dim; column += CACHE_THREADS) {
        float sum = 0.0f, weighted = 0.0f;
        for (u32 part = 0; part < parts; ++part) {
            const float *at = of_head + u64(part) * (dim + 2);
            const float factor = expf(at[0] - top); // 0 for a part that the window hides
            sum = fmaf(at[1], factor, sum);
            weighted = fmaf(at[2 + column], factor, weighted);
        }
        out[u64(blockIdx.x) * dim + column] = weighted / sum;
    }
}

#define CACHED_ATTENTION(E, ELEMENT, N)                                                                               \
    extern "C" __global__ void __launch_bounds__(CACHE_THREADS) cached_attention_##E##_##N(                           \
        const u64 *pages, const u32 *offsets, const u32 *runs, const float *qkv, float *out, float *partial,          \
        u32 layer, u32 heads, u32 kv_heads, u32 dim, u32 window, float scale) {                                       \
        attend_cached<ELEMENT, N>(CacheArguments{                                                                     \
            pages, offsets, runs, qkv, out, partial, layer, heads, kv_heads, dim, window, scale});                    \
    }
#define CACHE(E, ELEMENT)                                                                                             \
    extern "C" __global__ void __launch_bounds__(CACHE_THREADS) store_##E(                                            \
        const u64 *pages, const u32 *slots, const float *qkv, u32 layer, u32 heads, u32 kv_heads, u32 dim) {          \
        store_row<ELEMENT>(pages, slots, qkv, layer, heads, kv_heads, dim);                                           \
    }                                                                                                                 \
    CACHED_ATTENTION(E, ELEMENT, 32)                                                                                  \
    CACHED_ATTENTION(E, ELEMENT, 64)                                                                                  \
    CACHED_ATTENTION(E, ELEMENT, 128)                                                                                 \
    CACHED_ATTENTION(E, ELEMENT, 256)

CACHE(f32, float)
CACHE(bf16, bf16)
