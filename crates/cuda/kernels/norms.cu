// RMSNorm of rows (the residual stream) and of heads (Qwen3's queries and keys), forward and backward.
//
// The residual stream, weights and statistics are f32; what is between operations is of E, with arithmetic in f32.
// With n = x inv and g = dy weight: dx = inv (g - n mean(g n)), dweight = the sum over rows of dy n.
#include "columns.cuh"
#include "common.cuh"

template <typename E>
__device__ inline void rms_norm(const float *x, const float *weight, E *y, float *inv, u32 width, float eps) {
    x += u64(blockIdx.x) * width;
    y += u64(blockIdx.x) * width;
    const float squares = block_sum(sum_own(width, [](float x) { return x * x; }, x));
    const float scale = 1.0f / sqrtf(squares / static_cast<float>(width) + eps);
    if (threadIdx.x == 0) {
        inv[blockIdx.x] = scale;
    }
    const auto one = [=](u64, float x, float w) { return x * scale * w; };
    for (u64 first = 0; first < width; first += SPAN) {
        map_span(y, first, width, one, x, weight);
    }
}

// Adds to dx.
template <typename E>
__device__ inline void rms_norm_backward_input(
    const float *x, const float *weight, const float *inv, const E *dy, float *dx, u32 width) {
    x += u64(blockIdx.x) * width;
    dy += u64(blockIdx.x) * width;
    dx += u64(blockIdx.x) * width;
    const float scale = inv[blockIdx.x];
    const float sum = block_sum(sum_own(width, [](float x, float w, float dy) { return x * w * dy; }, x, weight, dy));
    const float mean = sum * scale / static_cast<float>(width);
    const auto one = [=](u64, float dx, float x, float w, float dy) {
        return dx + scale * (dy * w - x * scale * mean);
    };
    for (u64 first = 0; first < width; first += SPAN) {
        map_span(dx, first, width, one, dx, x, weight, dy);
    }
}

template <typename E>
__device__ inline void rms_norm_backward_weight(
    const float *x, const float *inv, const E *dy, float *partial, u32 rows, u32 width) {
    sum_columns(partial, rows, width, [=](u32 row, u32 column) {
        const u64 at = u64(row) * width + column;
        return widen(dy[at]) * (x[at] * inv[row]);
    });
}

// Widest head, and its elements in one lane.
constexpr u32 HEAD = 256;
constexpr u32 OWN = HEAD / WARP;

// This lane's elements of a head, zeros past its end.
template <typename E> __device__ inline void load_head(const E *head, u32 dim, float own[OWN]) {
    for (u32 j = 0; j < OWN; ++j) {
        const u32 i = threadIdx.x % WARP + j * WARP;
        own[j] = i < dim ? widen(head[i]) : 0.0f;
    }
}

__device__ inline float inverse_rms(const float own[OWN], u32 dim, float eps) {
    float squares = 0.0f;
    for (u32 j = 0; j < OWN; ++j) {
        squares += own[j] * own[j];
    }
    return 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(dim) + eps);
}

// A block is a row of qkv, a warp one of its heads at a time.
template <typename E>
__device__ inline void head_norm(E *qkv, const float *weights, u32 heads, u32 kv_heads, u32 dim, float eps) {
    E *row = qkv + u64(blockIdx.x) * (heads + 2 * kv_heads) * dim;
    for (u32 head = threadIdx.x / WARP; head < heads + kv_heads; head += THREADS / WARP) {
        const float *weight = head < heads ? weights : weights + dim;
        float x[OWN];
        load_head(row + head * dim, dim, x);
        const float inv = inverse_rms(x, dim, eps);
        for (u32 j = 0; j < OWN; ++j) {
            const u32 i = threadIdx.x % WARP + j * WARP;
            if (i < dim) {
                store(row + head * dim + i, x[j] * inv * weight[i]);
            }
        }
    }
}

// Rows of one block of `head_norm_backward`.
constexpr u32 HEAD_ROWS = 16;

// Replaces the gradient of one head, and adds to this lane's elements of the weight's.
template <typename E>
__device__ inline void head_backward(
    const E *raw, const float *weight, E *gradient, u32 dim, float eps, float dweight[OWN]) {
    float x[OWN], dy[OWN], w[OWN];
    load_head(raw, dim, x);
    load_head(gradient, dim, dy);
    load_head(weight, dim, w);
    const float inv = inverse_rms(x, dim, eps);
    float sum = 0.0f;
    for (u32 j = 0; j < OWN; ++j) {
        sum += x[j] * w[j] * dy[j];
    }
    const float mean = warp_sum(sum) * inv / static_cast<float>(dim);
    for (u32 j = 0; j < OWN; ++j) {
        const u32 i = threadIdx.x % WARP + j * WARP;
        if (i < dim) {
            store(gradient + i, inv * (dy[j] * w[j] - x[j] * inv * mean));
            dweight[j] += dy[j] * (x[j] * inv);
        }
    }
}

struct OfHeads;

// dqkv in place; partial [blocks, 2 dim] of the weights' gradients, queries' first.
template <typename E>
__device__ inline void head_norm_backward(
    const E *raw, const float *weights, E *dqkv, float *partial, u32 rows, u32 heads, u32 kv_heads, u32 dim,
    float eps) {
    float *found = shared_array<OfHeads, float, THREADS / WARP * HEAD>();
    const u32 width = (heads + 2 * kv_heads) * dim;
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 first = blockIdx.x * HEAD_ROWS;
    const u32 count = min(HEAD_ROWS, rows - first);
    for (u32 kind = 0; kind < 2; ++kind) {
        const u32 heads_of_kind = kind == 0 ? heads : kv_heads;
        float dweight[OWN] = {};
        for (u32 item = warp; item < count * heads_of_kind; item += THREADS / WARP) {
            const u32 head = (kind == 0 ? 0 : heads) + item % heads_of_kind;
            const u64 at = u64(first + item / heads_of_kind) * width + head * dim;
            head_backward(raw + at, weights + kind * dim, dqkv + at, dim, eps, dweight);
        }
        for (u32 j = 0; j < OWN; ++j) {
            found[warp * HEAD + lane + j * WARP] = dweight[j];
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < dim; i += THREADS) {
            float sum = 0.0f;
            for (u32 of_warp = 0; of_warp < THREADS / WARP; ++of_warp) {
                sum += found[of_warp * HEAD + i];
            }
            partial[(u64(blockIdx.x) * 2 + kind) * dim + i] = sum;
        }
        __syncthreads();
    }
}

#define NORMS(SUFFIX, E)                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS) rms_norm_##SUFFIX(                                          \
        const float *x, const float *weight, E *y, float *inv, u32 width, float eps) {                                \
        rms_norm(x, weight, y, inv, width, eps);                                                                      \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS) rms_norm_backward_input_##SUFFIX(                           \
        const float *x, const float *weight, const float *inv, const E *dy, float *dx, u32 width) {                   \
        rms_norm_backward_input(x, weight, inv, dy, dx, width);                                                       \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS) rms_norm_backward_weight_##SUFFIX(                          \
        const float *x, const float *inv, const E *dy, float *partial, u32 rows, u32 width) {                         \
        rms_norm_backward_weight(x, inv, dy, partial, rows, width);                                                   \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS) head_norm_##SUFFIX(                                         \
        E *qkv, const float *weights, u32 heads, u32 kv_heads, u32 dim, float eps) {                                  \
        head_norm(qkv, weights, heads, kv_heads, dim, eps);                                                           \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS) head_norm_backward_##SUFFIX(                                \
        const E *raw, const float *weights, E *dqkv, float *partial, u32 rows, u32 heads, u32 kv_heads, u32 dim,      \
        float eps) {                                                                                                  \
        head_norm_backward(raw, weights, dqkv, partial, rows, heads, kv_heads, dim, eps);                             \
    }

NORMS(f32, float)
NORMS(bf16, bf16)
