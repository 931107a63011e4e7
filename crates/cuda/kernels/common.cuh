// What every kernel uses: 16-bit formats, sums over warps and blocks, and the walk over runs of elements.
//
// Nothing is included: NVRTC has the vector types and intrinsics built in. The emulator defines GFT_EMULATOR and
// supplies the same names for the host.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef GFT_EMULATOR
extern __shared__ float4 dynamic_shared_bytes[];

// The block's dynamic shared memory, aligned to 16 bytes.
__device__ inline float *dynamic_shared() {
    return reinterpret_cast<float *>(dynamic_shared_bytes);
}

// Static shared memory, one array for each `Use`.
template <typename Use, typename T, u32 COUNT> __device__ inline T *shared_array() {
    __shared__ T array[COUNT];
    return array;
}
#endif

// Lanes of a warp, and the mask of all of them.
constexpr u32 WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;
// Threads of a block that walks over elements or rows, and the elements that it takes at a time.
constexpr u32 THREADS = 256;
constexpr u32 SPAN = 4 * THREADS;

__device__ inline float negative_infinity() {
    return __uint_as_float(0xff800000u);
}

// ---- 16-bit formats, by their bits --------------------------------------------------------------------------------

// The upper half of an f32.
struct bf16 {
    u16 bits;
};

// IEEE half precision.
struct f16 {
    u16 bits;
};

__device__ inline float widen(float x) {
    return x;
}

__device__ inline float widen(bf16 x) {
    return __uint_as_float(static_cast<u32>(x.bits) << 16);
}

__device__ inline float widen(f16 x) {
    const u32 sign = static_cast<u32>(x.bits & 0x8000u) << 16;
    const u32 exponent = (x.bits >> 10) & 31u;
    const u32 mantissa = x.bits & 1023u;
    if (exponent == 0) {
        // A multiple of 2^-24, exact in f32.
        const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
        return __uint_as_float(sign | __float_as_uint(magnitude));
    }
    const u32 wide = exponent == 31 ? 255u : exponent + 112u;
    return __uint_as_float(sign | wide << 23 | mantissa << 13);
}

// To nearest, ties to even; a NaN stays one (made quiet, so that cutting its low bits cannot make an infinity of it).
__device__ inline bf16 to_bf16(float x) {
    const u32 bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return bf16{static_cast<u16>(bits >> 16 | 0x40u)};
    }
    return bf16{static_cast<u16>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

// ---- Four elements at once ----------------------------------------------------------------------------------------

// Whether four elements at `p` can be read or written by one access.
__device__ inline bool quad_aligned(const float *p) {
    return (reinterpret_cast<u64>(p) & 15u) == 0;
}

__device__ inline bool quad_aligned(const bf16 *p) {
    return (reinterpret_cast<u64>(p) & 7u) == 0;
}

__device__ inline bool quad_aligned(const f16 *p) {
    return (reinterpret_cast<u64>(p) & 7u) == 0;
}

__device__ inline float4 load_quad(const float *p) {
    return *reinterpret_cast<const float4 *>(p);
}

template <typename Half> __device__ inline float4 load_quad(const Half *p) {
    const ushort4 bits = *reinterpret_cast<const ushort4 *>(p);
    return make_float4(widen(Half{bits.x}), widen(Half{bits.y}), widen(Half{bits.z}), widen(Half{bits.w}));
}

__device__ inline void store_quad(float *p, float4 x) {
    *reinterpret_cast<float4 *>(p) = x;
}

__device__ inline void store_quad(bf16 *p, float4 x) {
    *reinterpret_cast<ushort4 *>(p) =
        make_ushort4(to_bf16(x.x).bits, to_bf16(x.y).bits, to_bf16(x.z).bits, to_bf16(x.w).bits);
}

// ---- Eight elements at once: of bf16 by one access of 16 bytes ----------------------------------------------------

struct Eight {
    float at[8];
};

template <typename E> __device__ inline bool eight_aligned(const E *p) {
    return (reinterpret_cast<u64>(p) & 15u) == 0;
}

__device__ inline Eight load_eight(const float *p) {
    const float4 a = load_quad(p), b = load_quad(p + 4);
    return Eight{{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

__device__ inline Eight load_eight(const bf16 *p) {
    const uint4 bits = *reinterpret_cast<const uint4 *>(p);
    const auto first = [](u32 pair) { return __uint_as_float(pair << 16); };
    const auto second = [](u32 pair) { return __uint_as_float(pair & 0xffff0000u); };
    return Eight{
        {first(bits.x), second(bits.x), first(bits.y), second(bits.y), first(bits.z), second(bits.z), first(bits.w),
         second(bits.w)}};
}

__device__ inline void store_eight(float *p, const Eight &x) {
    store_quad(p, make_float4(x.at[0], x.at[1], x.at[2], x.at[3]));
    store_quad(p + 4, make_float4(x.at[4], x.at[5], x.at[6], x.at[7]));
}

__device__ inline void store_eight(bf16 *p, const Eight &x) {
    const auto pair = [&](u32 i) {
        return to_bf16(x.at[2 * i]).bits | static_cast<u32>(to_bf16(x.at[2 * i + 1]).bits) << 16;
    };
    *reinterpret_cast<uint4 *>(p) = make_uint4(pair(0), pair(1), pair(2), pair(3));
}

__device__ inline void store(float *p, float x) {
    *p = x;
}

__device__ inline void store(bf16 *p, float x) {
    *p = to_bf16(x);
}

// ---- Walks over a run of elements by a block ----------------------------------------------------------------------

// out[i] = map(i, in[i]...) for this thread's share of the block's 4 * blockDim.x elements from `first` on, `first`
// being a multiple of their number and `n` the end. A thread has four elements in a row where every pointer allows
// it, else four that are a block's width apart.
template <typename Out, typename Map, typename... In>
__device__ inline void map_span(Out *out, u64 first, u64 n, Map map, const In *...in) {
    if (quad_aligned(out) && (... && quad_aligned(in))) {
        u64 i = first + 4 * threadIdx.x;
        if (i + 4 <= n) {
            const auto quad = [&](auto... x) {
                return make_float4(map(i, x.x...), map(i + 1, x.y...), map(i + 2, x.z...), map(i + 3, x.w...));
            };
            store_quad(out + i, quad(load_quad(in + i)...));
            return;
        }
        for (; i < n && i < first + 4 * threadIdx.x + 4; ++i) {
            store(out + i, map(i, widen(in[i])...));
        }
        return;
    }
    for (u32 j = 0; j < 4; ++j) {
        const u64 i = first + threadIdx.x + j * blockDim.x;
        if (i < n) {
            store(out + i, map(i, widen(in[i])...));
        }
    }
}

// The sum of map(in[i]...) over this thread's share of [0, n), four at a time in f32 and those in `Sum`.
template <typename Sum = float, typename Map, typename... In>
__device__ inline Sum sum_own(u64 n, Map map, const In *...in) {
    Sum sum = 0;
    if ((... && quad_aligned(in))) {
        const u64 whole = n / 4 * 4;
        for (u64 i = 4 * threadIdx.x; i < whole; i += 4 * blockDim.x) {
            const auto quad = [&](auto... x) { return (map(x.x...) + map(x.y...)) + (map(x.z...) + map(x.w...)); };
            sum += quad(load_quad(in + i)...);
        }
        const u64 i = whole + threadIdx.x;
        return i < n ? sum + map(widen(in[i])...) : sum;
    }
    for (u64 i = threadIdx.x; i < n; i += blockDim.x) {
        sum += map(widen(in[i])...);
    }
    return sum;
}

// ---- Sums and maxima ----------------------------------------------------------------------------------------------

// Over the warp, the same bits in each lane.
template <typename T> __device__ inline T warp_sum(T x) {
    for (u32 lanes = WARP / 2; lanes > 0; lanes /= 2) {
        x += __shfl_xor_sync(ALL_LANES, x, lanes);
    }
    return x;
}

__device__ inline float warp_max(float x) {
    for (u32 lanes = WARP / 2; lanes > 0; lanes /= 2) {
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, lanes));
    }
    return x;
}

struct OfWarps;

// `combine` over what the block's warps have each found, the same bits in each thread. All threads of the block take
// part.
template <typename T, typename Combine> __device__ inline T across_warps(T of_warp, Combine combine) {
    T *found = shared_array<OfWarps, T, WARP>();
    __syncthreads(); // an earlier call's readers are done
    if (threadIdx.x % WARP == 0) {
        found[threadIdx.x / WARP] = of_warp;
    }
    __syncthreads();
    T all = found[0];
    for (u32 warp = 1; warp < blockDim.x / WARP; ++warp) {
        all = combine(all, found[warp]);
    }
    return all;
}

template <typename T> __device__ inline T block_sum(T x) {
    return across_warps(warp_sum(x), [](T a, T b) { return a + b; });
}

__device__ inline float block_max(float x) {
    return across_warps(warp_max(x), [](float a, float b) { return fmaxf(a, b); });
}
