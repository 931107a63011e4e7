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

template <typename E> __device__ inline void swiglu(const E *gate_up, E *act, u32 ffn) {
    const E *gate = gate_up + u64(blockIdx.x) * 2 * ffn;
    const auto one = [](u64, float g, float u) { return g * sigmoid(g) * u; };
    map_span(act + u64(blockIdx.x) * ffn, SPAN * u64(blockIdx.y), ffn, one, gate, gate + ffn);
}

// In place: gate and up are replaced by their gradients, with silu'(g) = s + silu (1 - s), and the output's gradient by the
// output.
template <typename E> __device__ inline void swiglu_backward(E *act, E *gate_up, u32 ffn) {
    act += u64(blockIdx.x) * ffn;
    E *gate = gate_up + u64(blockIdx.x) * 2 * ffn;
    E *up = gate + ffn;
    const auto one = [](float &g, float &u, float &a) {
        const float s = sigmoid(g);
        const float silu = g * s;
        const float d = a;
        a = silu * u;
        g = d * u * (s + silu * (1.0f - s));
        u = d * silu;
    };
    const u64 first = SPAN * u64(blockIdx.y);
    // Three outputs: `map_span` has one. A row's width is the same for all three pointers, so a whole row is wide or is
    // not.
    if (quad_aligned(gate) && quad_aligned(up) && quad_aligned(act) && ffn % 4 == 0) {
        const u64 i = first + 4 * threadIdx.x;
        if (i < ffn) {
            float4 g = load_quad(gate + i), u = load_quad(up + i);
            float4 a = load_quad(act + i);
            one(g.x, u.x, a.x);
            one(g.y, u.y, a.y);
            one(g.z, u.z, a.z);
            one(g.w, u.w, a.w);
            store_quad(act + i, a);
            store_quad(gate + i, g);
            store_quad(up + i, u);
        }
        return;
    }
    for (u32 j = 0; j < 4; ++j) {
        const u64 i = first + threadIdx.x + j * THREADS;
        if (i < ffn) {
            float g = widen(gate[i]), u = widen(up[i]), a = widen(act[i]);
            one(g, u, a);
            store(act + i, a);
            store(gate + i, g);
            store(up + i, u);
        }
    }
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
