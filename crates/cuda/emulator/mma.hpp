// The functions of kernels/mma.cuh by their definition, and strictly: addresses that the machine would refuse are
// refused, and copies arrive at the last moment at which they may.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "block.hpp"

namespace gft {

// Nothing goes on after what the machine would stop at: the test's process ends, with the reason.
[[noreturn]] inline void trap(const char *why) {
    std::fprintf(stderr, "emulator: %s\n", why);
    std::abort();
}

inline void check_aligned(const void *p, std::uintptr_t bytes, const char *what) {
    if (reinterpret_cast<std::uintptr_t>(p) % bytes != 0) {
        trap(what);
    }
}

inline float low(u32 pair) {
    return widen(bf16{static_cast<u16>(pair)});
}
inline float high(u32 pair) {
    return widen(bf16{static_cast<u16>(pair >> 16)});
}

// What a lane brings to a product.
struct Fragments {
    u32 a[4], b[2];

    // A[g][k] and A[g + 8][k] for the lane's g, where `t` is the lane's own.
    float a_at(u32 row_half, u32 k) const {
        const u32 pair = a[k / 8 * 2 + row_half];
        return k % 2 == 0 ? low(pair) : high(pair);
    }
    float b_at(u32 k) const {
        const u32 pair = b[k / 8];
        return k % 2 == 0 ? low(pair) : high(pair);
    }
};

inline void load(u32 (&x)[4], const bf16 *row, bool transposed) {
    check_aligned(row, 16, "a matrix's row in shared memory is not aligned to 16 bytes");
    const bf16 *const *rows = block().exchange(row, State::AtLoad);
    const u32 g = now->id % LANES / 4, t = now->id % 4;
    for (u32 matrix = 0; matrix < 4; ++matrix) {
        const bf16 *const *of_matrix = rows + 8 * matrix;
        const bf16 first = transposed ? of_matrix[2 * t][g] : of_matrix[g][2 * t];
        const bf16 second = transposed ? of_matrix[2 * t + 1][g] : of_matrix[g][2 * t + 1];
        x[matrix] = first.bits | static_cast<u32>(second.bits) << 16;
    }
}

} // namespace gft

inline u32 pack_bf16(float low, float high) {
    return to_bf16(low).bits | static_cast<u32>(to_bf16(high).bits) << 16;
}

inline void store_pair(bf16 *p, float low, float high) {
    gft::check_aligned(p, 4, "a pair's place is not aligned to 4 bytes");
    p[0] = to_bf16(low);
    p[1] = to_bf16(high);
}

inline void store_pair(float *p, float low, float high) {
    gft::check_aligned(p, 8, "a pair's place is not aligned to 8 bytes");
    p[0] = low;
    p[1] = high;
}

inline void multiply_fragments(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    const gft::Fragments mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
    const gft::Fragments *all = gft::block().exchange(mine, gft::State::AtProduct);
    const u32 g = gft::now->id % gft::LANES / 4, t = gft::now->id % 4;
    for (u32 i = 0; i < 4; ++i) {
        const u32 column = 2 * t + i % 2;
        for (u32 k = 0; k < 16; ++k) {
            // Row g lies in the lanes 4 g + k % 8 / 2, column c in the lanes 4 c + k % 8 / 2.
            const float x = all[4 * g + k % 8 / 2].a_at(i / 2, k);
            d[i] = std::fmaf(x, all[4 * column + k % 8 / 2].b_at(k), d[i]);
        }
    }
}

inline void load_matrices(u32 (&x)[4], const bf16 *row) {
    gft::load(x, row, false);
}
inline void load_matrices_transposed(u32 (&x)[4], const bf16 *row) {
    gft::load(x, row, true);
}

inline void begin_copy(bf16 *to, const bf16 *from, bool there) {
    gft::check_aligned(to, 16, "a copy's target in shared memory is not aligned to 16 bytes");
    gft::check_aligned(from, 16, "a copy's source is not aligned to 16 bytes");
    const gft::Copy copy{to, there ? from : nullptr, gft::now->batch};
    // Who reads what a copy has not brought yet sees the late ones missing; who still reads what a copy overwrites sees
    // the early ones.
    if (gft::block().chance()) {
        copy.arrive();
    } else {
        gft::now->copies.push_back(copy);
    }
}

inline void end_batch() {
    ++gft::now->batch;
}

template <u32 PENDING> void wait_copies() {
    gft::Thread &thread = *gft::now;
    std::vector<gft::Copy> later;
    for (const gft::Copy &copy : thread.copies) {
        if (copy.batch + PENDING >= thread.batch) {
            later.push_back(copy);
        } else {
            copy.arrive();
        }
    }
    thread.copies.swap(later);
}
