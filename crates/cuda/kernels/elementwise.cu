// Work on elements that need nothing of each other. Activations are of E: f32, or bf16 with arithmetic in f32.
#include "common.cuh"

template <typename E> __device__ inline void add(E *x, const float *y, u64 n) {
    for (u64 first = SPAN * u64(blockIdx.x); first < n; first += SPAN * u64(gridDim.x)) {
        map_span(x, first, n, [](u64, float x, float y) { return x + y; }, x, y);
    }
}

// SplitMix64's finaliser, as the host's random numbers have it.
__device__ inline u64 mix(u64 x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

// Element i is kept where the stream's i-th uniform number is at least `drop`.
extern "C" __global__ void __launch_bounds__(THREADS) dropout(float *x, u64 n, u64 key, double drop, float factor) {
    const auto one = [=](u64 i, float x) {
        const u64 bits = mix(key + (i + 1) * 0x9e3779b97f4a7c15ull);
        const double uniform = static_cast<double>(bits >> 11) * 1.1102230246251565e-16; // 2^-53, exact
        return x * (uniform >= drop ? factor : 0.0f);
    };
    for (u64 first = SPAN * u64(blockIdx.x); first < n; first += SPAN * u64(gridDim.x)) {
        map_span(x, first, n, one, x);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    scale_columns(float *x, u32 width, u32 first, u32 end, float factor) {
    float *row = x + u64(blockIdx.x) * width + first;
    map_span(row, SPAN * u64(blockIdx.y), end - first, [=](u64, float x) { return x * factor; }, row);
}

template <typename E> __device__ inline void add_bias(E *x, const float *bias, u32 width) {
    E *row = x + u64(blockIdx.x) * width;
    map_span(row, SPAN * u64(blockIdx.y), width, [](u64, float x, float b) { return x + b; }, row, bias);
}

__device__ inline float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

// Visits the block's share of a row of gates, of as many ups and of act: visit(gate, up, act), which changes what it
// likes of them; WRITES says whether gate and up are written too. A thread has eight elements in a row where every
// row allows it, else eight that are a block's width apart.
template <bool WRITES, typename Gate, typename E, typename Visit>
__device__ inline void visit_row(Gate *gate, Gate *up, E *act, u32 ffn, Visit visit) {
    const u64 first = 8 * THREADS * u64(blockIdx.y);
    if (eight_aligned(gate) && eight_aligned(up) && eight_aligned(act) && ffn % 8 == 0) {
        const u64 i = first + 8 * threadIdx.x;
        if (i < ffn) {
            Eight g = load_eight(gate + i), u = load_eight(up + i), a{};
            if constexpr (WRITES) {
                a = load_eight(act + i);
            }
#pragma unroll
            for (u32 j = 0; j < 8; ++j) {
                visit(g.at[j], u.at[j], a.at[j]);
            }
            store_eight(act + i, a);
            if constexpr (WRITES) {
                store_eight(gate + i, g);
                store_eight(up + i, u);
            }
        }
        return;
    }
    for (u32 j = 0; j < 8; ++j) {
        const u64 i = first + threadIdx.x + j * THREADS;
        if (i < ffn) {
            float g = widen(gate[i]), u = widen(up[i]), a = WRITES ? widen(act[i]) : 0.0f;
            visit(g, u, a);
            store(act + i, a);
            if constexpr (WRITES) {
                store(gate + i, g);
                store(up + i, u);
            }
        }
    }
}

template <typename E> __device__ inline void swiglu(const E *gate_up, E *act, u32 ffn) {
    const E *gate = gate_up + u64(blockIdx.x) * 2 * ffn;
    const auto one = [](float g, float u, float &a) { a = g * sigmoid(g) * u; };
    visit_row<false>(gate, gate + ffn, act + u64(blockIdx.x) * ffn, ffn, one);
}

// In place: gate and up are replaced by their gradients, with silu'(g) = s + silu (1 - s), and the output's gradient by the
// output.
template <typename E> __device__ inline void swiglu_backward(E *act, E *gate_up, u32 ffn) {
    E *gate = gate_up + u64(blockIdx.x) * 2 * ffn;
    const auto one = [](float &g, float &u, float &a) {
        const float s = sigmoid(g);
        const float silu = g * s;
        const float d = a;
        a = silu * u;
        g = d * u * (s + silu * (1.0f - s));
        u = d * silu;
    };
    visit_row<true>(gate, gate + ffn, act + u64(blockIdx.x) * ffn, ffn, one);
}

#define ELEMENTWISE(SUFFIX, E)                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) add_##SUFFIX(E *x, const float *y, u64 n) {                 \
        add(x, y, n);                                                                                                 \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS) add_bias_##SUFFIX(E *x, const float *bias, u32 width) {     \
        add_bias(x, bias, width);                                                                                     \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS) swiglu_##SUFFIX(const E *gate_up, E *act, u32 ffn) {        \
        swiglu(gate_up, act, ffn);                                                                                    \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS) swiglu_backward_##SUFFIX(E *act, E *gate_up, u32 ffn) {     \
        swiglu_backward(act, gate_up, ffn);                                                                           \
    }

ELEMENTWISE(f32, float)
ELEMENTWISE(bf16, bf16)
