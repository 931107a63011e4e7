// The names that CUDA's compiler has built in, for the host's.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "block.hpp"

#define GFT_EMULATOR

#define __global__
#define __device__
#define __launch_bounds__(...)

#define threadIdx (gft::now->index)
#define blockIdx (gft::now->block)
#define blockDim (gft::block().launch().block)
#define gridDim (gft::block().launch().grid)

struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) ushort4 {
    unsigned short x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

inline float2 make_float2(float x, float y) {
    return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
    return {x, y, z, w};
}
inline ushort4 make_ushort4(unsigned short x, unsigned short y, unsigned short z, unsigned short w) {
    return {x, y, z, w};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}

inline unsigned __float_as_uint(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

template <typename T> T min(T a, T b) {
    return b < a ? b : a;
}
template <typename T> T max(T a, T b) {
    return a < b ? b : a;
}
using std::isinf;

inline void __syncthreads() {
    gft::block().wait(gft::State::AtBlock);
}
inline void __syncwarp(unsigned = 0xffffffffu) {
    gft::block().wait(gft::State::AtWarp);
}
template <typename T> T __shfl_xor_sync(unsigned, T x, unsigned lanes) {
    const unsigned lane = gft::now->id % gft::LANES;
    return gft::block().exchange(x, gft::State::AtShuffle)[lane ^ lanes];
}
template <typename T> T __shfl_up_sync(unsigned, T x, unsigned lanes) {
    const unsigned lane = gft::now->id % gft::LANES;
    return gft::block().exchange(x, gft::State::AtShuffle)[lane < lanes ? lane : lane - lanes];
}
template <typename T> T __shfl_sync(unsigned, T x, unsigned lane) {
    return gft::block().exchange(x, gft::State::AtShuffle)[lane % gft::LANES];
}

// A block's threads share one of the host's: nothing comes between.
inline unsigned atomicAdd(unsigned *p, unsigned x) {
    const unsigned old = *p;
    *p = old + x;
    return old;
}

inline float *dynamic_shared() {
    return reinterpret_cast<float *>(gft::block().dynamic_shared());
}
// An array has the same place in every block's static shared memory, given out at first use.
template <typename Use, typename T, unsigned COUNT> T *shared_array() {
    static const std::size_t place = gft::static_shared_place(COUNT * sizeof(T));
    return reinterpret_cast<T *>(gft::block().static_shared() + place);
}
