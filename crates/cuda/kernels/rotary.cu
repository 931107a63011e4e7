// Rotary positions (arXiv 2104.09864) in the half-split form of transformers: dimension i turns with i + dim / 2.
#include "common.cuh"

// A block is a row of qkv; queries and keys turn by the row's angles, backwards where sign is -1.
template <typename E>
__device__ inline void rotate(
    E *qkv, const float *cos, const float *sin, u32 heads, u32 kv_heads, u32 dim, float sign) {
    const u32 half = dim / 2;
    E *row = qkv + u64(blockIdx.x) * (heads + 2 * kv_heads) * dim;
    cos += u64(blockIdx.x) * half;
    sin += u64(blockIdx.x) * half;
    for (u32 pair = threadIdx.x; pair < (heads + kv_heads) * half; pair += THREADS) {
        const u32 i = pair % half;
        E *low = row + pair / half * dim + i;
        E *high = low + half;
        const float a = widen(*low), b = widen(*high);
        const float c = cos[i], s = sign * sin[i];
        store(low, a * c - b * s);
        store(high, b * c + a * s);
    }
}

#define ROTATE(SUFFIX, E)                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) rotate_##SUFFIX(                                            \
        E *qkv, const float *cos, const float *sin, u32 heads, u32 kv_heads, u32 dim, float sign) {                   \
        rotate(qkv, cos, sin, heads, kv_heads, dim, sign);                                                            \
    }

ROTATE(f32, float)
ROTATE(bf16, bf16)
