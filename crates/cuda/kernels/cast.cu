// Between f32 and the 16-bit formats.
#include "common.cuh"

template <typename Out, typename In> __device__ inline void convert(const In *x, Out *out, u64 n) {
    for (u64 first = SPAN * u64(blockIdx.x); first < n; first += SPAN * u64(gridDim.x)) {
        map_span(out, first, n, [](u64, float x) { return x; }, x);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) f32_to_bf16(const float *x, bf16 *out, u64 n) {
    convert(x, out, n);
}

extern "C" __global__ void __launch_bounds__(THREADS) bf16_to_f32(const bf16 *x, float *out, u64 n) {
    convert(x, out, n);
}

extern "C" __global__ void __launch_bounds__(THREADS) f16_to_f32(const f16 *x, float *out, u64 n) {
    convert(x, out, n);
}

extern "C" __global__ void __launch_bounds__(THREADS) f16_to_bf16(const f16 *x, bf16 *out, u64 n) {
    convert(x, out, n);
}

// Some columns of a wider matrix, made dense.
extern "C" __global__ void __launch_bounds__(THREADS)
    f32_to_bf16_rows(const float *x, bf16 *out, u32 width, u64 stride) {
    const float *row = x + blockIdx.x * stride;
    map_span(out + u64(blockIdx.x) * width, SPAN * u64(blockIdx.y), width, [](u64, float x) { return x; }, row);
}
