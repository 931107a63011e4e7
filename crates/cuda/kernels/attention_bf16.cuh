// Tiles of bf16 in shared memory and their products on tensor cores, for both passes of attention.
//
// A block is four warps; each has 16 rows of the block's tile of 64 and all columns, so that whole rows of scores
// stay in the registers of four lanes.
#pragma once
#include "attention.cuh"
#include "mma.cuh"

constexpr u32 MMA_THREADS = 128;
// Rows of one warp.
constexpr u32 OWN_ROWS = 16;

constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;

// From one row of a tile to the next: 16 bytes more than it has, so that eight rows meet all banks.
template <u32 N> constexpr u32 HALF_STRIDE = N + 8;
// Elements of a tile.
template <u32 N, u32 ROWS> constexpr u32 HALF_TILE = ROWS * HALF_STRIDE<N>;

__device__ inline bf16 *shared_halves() {
    return reinterpret_cast<bf16 *>(dynamic_shared());
}

// Begins to copy `count` rows of N into a tile of ROWS; the rest becomes zero. Row r comes from `row_of(r)`, asked
// for in ascending order by each thread; `any` is an address that may be read.
template <u32 N, u32 ROWS, typename RowOf>
__device__ inline void begin_rows(bf16 *tile, u32 count, const bf16 *any, RowOf row_of) {
    constexpr u32 LANES = N / 8;
    const u32 column = threadIdx.x % LANES * 8;
    for (u32 r = threadIdx.x / LANES; r < ROWS; r += MMA_THREADS / LANES) {
        const bool there = r < count;
        begin_copy(tile + r * HALF_STRIDE<N> + column, there ? row_of(r) + column : any, there);
    }
}

// Rows `row..row + 16` and columns `column..column + 16` as an operand A.
template <u32 N> __device__ inline void load_a(u32 (&a)[4], const bf16 *tile, u32 row, u32 column) {
    const u32 lane = threadIdx.x % WARP;
    load_matrices(a, tile + (row + lane % 16) * HALF_STRIDE<N> + column + lane / 16 * 8);
}

// Two operands B whose columns are the tile's rows `row..row + 8` and `row + 8..row + 16`: b[0], b[1] and b[2], b[3].
template <u32 N> __device__ inline void load_b_of_rows(u32 (&b)[4], const bf16 *tile, u32 row, u32 column) {
    const u32 lane = threadIdx.x % WARP;
    load_matrices(b, tile + (row + lane % 8 + lane / 16 * 8) * HALF_STRIDE<N> + column + lane / 8 % 2 * 8);
}

// Two operands B whose rows are the tile's rows `row..row + 16` and whose columns begin at `column` and `column + 8`.
template <u32 N> __device__ inline void load_b_of_columns(u32 (&b)[4], const bf16 *tile, u32 row, u32 column) {
    const u32 lane = threadIdx.x % WARP;
    load_matrices_transposed(b, tile + (row + lane % 16) * HALF_STRIDE<N> + column + lane / 16 * 8);
}

// A warp's 16 rows against B columns, eight in each entry.
template <u32 B> struct Scores {
    float at[B / 8][4];

    __device__ void clear() {
#pragma unroll
        for (u32 i = 0; i < B / 8; ++i) {
            at[i][0] = at[i][1] = at[i][2] = at[i][3] = 0.0f;
        }
    }

    // visit(row within the warp's 16, column, element).
    template <typename Visit> __device__ void each(Visit visit) {
        const u32 g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
#pragma unroll
        for (u32 i = 0; i < B / 8; ++i) {
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                visit(g + e / 2 * 8, 8 * i + 2 * t + e % 2, at[i][e]);
            }
        }
    }

    // Columns 16 k..16 k + 16 rounded to bf16, as an operand A: a result has its elements where an operand wants
    // them.
    __device__ void as_a(u32 (&a)[4], u32 k) const {
        a[0] = pack_bf16(at[2 * k][0], at[2 * k][1]);
        a[1] = pack_bf16(at[2 * k][2], at[2 * k][3]);
        a[2] = pack_bf16(at[2 * k + 1][0], at[2 * k + 1][1]);
        a[3] = pack_bf16(at[2 * k + 1][2], at[2 * k + 1][3]);
    }
};

// s = rows 16 w.. of `rows` times the B rows of `columns`, transposed, for the warp w.
template <u32 N, u32 B> __device__ inline void multiply_tiles(Scores<B> &s, const bf16 *rows, const bf16 *columns) {
    s.clear();
#pragma unroll
    for (u32 k = 0; k < N; k += 16) {
        u32 a[4];
        load_a<N>(a, rows, threadIdx.x / WARP * OWN_ROWS, k);
#pragma unroll
        for (u32 n = 0; n < B; n += 16) {
            u32 b[4];
            load_b_of_rows<N>(b, columns, n, k);
            multiply_fragments(s.at[n / 8], a, b[0], b[1]);
            multiply_fragments(s.at[n / 8 + 1], a, b[2], b[3]);
        }
    }
}

// sum += weights, rounded to bf16, times the B rows of `rows`.
template <u32 N, u32 B>
__device__ inline void add_weighted_tile(Scores<N> &sum, const Scores<B> &weights, const bf16 *rows) {
#pragma unroll
    for (u32 k = 0; k < B / 16; ++k) {
        u32 a[4];
        weights.as_a(a, k);
#pragma unroll
        for (u32 n = 0; n < N; n += 16) {
            u32 b[4];
            load_b_of_columns<N>(b, rows, 16 * k, n);
            multiply_fragments(sum.at[n / 8], a, b[0], b[1]);
            multiply_fragments(sum.at[n / 8 + 1], a, b[2], b[3]);
        }
    }
}

// Writes a warp's rows below `count` of the block's tile, times `scale[0]` in the first eight and `scale[1]` in the
// others, rounded where a row is of bf16.
template <u32 N, typename RowOf>
__device__ inline void write_tile(const Scores<N> &sum, u32 count, const float (&scale)[2], RowOf row_of) {
    const u32 g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
    for (u32 half = 0; half < 2; ++half) {
        const u32 r = threadIdx.x / WARP * OWN_ROWS + g + 8 * half;
        if (r < count) {
            auto *row = row_of(r) + 2 * t;
#pragma unroll
            for (u32 i = 0; i < N / 8; ++i) {
                const float (&x)[4] = sum.at[i];
                store_pair(row + 8 * i, x[2 * half] * scale[half], x[2 * half + 1] * scale[half]);
            }
        }
    }
}
