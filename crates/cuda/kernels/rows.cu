// Work on rows: gathers, scatters, and sums over rows in a fixed order.
#include "columns.cuh"
#include "common.cuh"

template <typename In> __device__ inline void gather(const In *table, const u32 *rows, float *out, u32 width) {
    const In *from = table + u64(rows[blockIdx.x]) * width;
    map_span(out + u64(blockIdx.x) * width, SPAN * u64(blockIdx.y), width, [](u64, float x) { return x; }, from);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gather_rows(const float *x, const u32 *rows, float *out, u32 width) {
    gather(x, rows, out, width);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gather_bf16(const bf16 *table, const u32 *rows, float *out, u32 width) {
    gather(table, rows, out, width);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gather_f16(const f16 *table, const u32 *rows, float *out, u32 width) {
    gather(table, rows, out, width);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    scatter_rows(const float *x, const u32 *rows, float *out, u32 width) {
    const float *from = x + u64(blockIdx.x) * width;
    float *to = out + u64(rows[blockIdx.x]) * width;
    map_span(to, SPAN * u64(blockIdx.y), width, [](u64, float x) { return x; }, from);
}

// One row of blocks a distinct token: its gradients are added in the order of the batch.
extern "C" __global__ void __launch_bounds__(THREADS)
    embed_backward(const float *dy, const u32 *order, const u32 *starts, const u32 *ids, float *dtable, u32 width) {
    const u32 first = starts[blockIdx.x], end = starts[blockIdx.x + 1];
    float *to = dtable + u64(ids[blockIdx.x]) * width;
    for (u32 j = 0; j < 4; ++j) {
        const u32 column = SPAN * blockIdx.y + threadIdx.x + j * THREADS;
        if (column >= width) {
            return;
        }
        float sum = to[column];
        for (u32 i = first; i < end; ++i) {
            sum += dy[u64(order[i]) * width + column];
        }
        to[column] = sum;
    }
}

// Sums of COLUMN_ROWS rows each; `add_partials` adds them up.
template <typename E> __device__ inline void column_sums(const E *dy, float *partial, u32 rows, u32 width) {
    sum_columns(partial, rows, width, [=](u32 row, u32 column) { return widen(dy[u64(row) * width + column]); });
}

#define COLUMN_SUMS(SUFFIX, E)                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                             \
        column_sums_##SUFFIX(const E *dy, float *partial, u32 rows, u32 width) {                                      \
        column_sums(dy, partial, rows, width);                                                                        \
    }

COLUMN_SUMS(f32, float)
COLUMN_SUMS(bf16, bf16)

// total[j] += the sum of column j of `partial [parts, width]`.
extern "C" __global__ void __launch_bounds__(THREADS)
    add_partials(const float *partial, float *total, u32 parts, u32 width) {
    const u32 column = blockIdx.x * WARP + threadIdx.x % WARP;
    float sum = 0.0f;
    if (column < width) {
        for (u32 part = threadIdx.x / WARP; part < parts; part += THREADS / WARP) {
            sum += partial[u64(part) * width + column];
        }
    }
    sum = sum_over_warps(sum);
    if (threadIdx.x < WARP && column < width) {
        total[column] += sum;
    }
}
