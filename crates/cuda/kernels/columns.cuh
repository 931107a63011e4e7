// Sums over rows by blocks of WARP columns, in an order that depends on nothing but the shape.
#pragma once
#include "common.cuh"

// Rows that one block sums.
constexpr u32 COLUMN_ROWS = 64;

struct OfThreads;

// The sum of each lane's numbers over the block's warps, in the order of the warps; valid in the first warp.
__device__ inline float sum_over_warps(float x) {
    float *found = shared_array<OfThreads, float, THREADS>();
    found[threadIdx.x] = x;
    __syncthreads();
    float sum = 0.0f;
    if (threadIdx.x < WARP) {
        for (u32 i = threadIdx.x; i < THREADS; i += WARP) {
            sum += found[i];
        }
    }
    return sum;
}

// partial[blockIdx.y, column] = the sum of term(row, column) over the block's rows.
template <typename Term> __device__ inline void sum_columns(float *partial, u32 rows, u32 width, Term term) {
    const u32 column = blockIdx.x * WARP + threadIdx.x % WARP;
    const u32 first = blockIdx.y * COLUMN_ROWS;
    const u32 end = min(first + COLUMN_ROWS, rows);
    float sum = 0.0f;
    if (column < width) {
        for (u32 row = first + threadIdx.x / WARP; row < end; row += THREADS / WARP) {
            sum += term(row, column);
        }
    }
    sum = sum_over_warps(sum);
    if (threadIdx.x < WARP && column < width) {
        partial[u64(blockIdx.y) * width + column] = sum;
    }
}
