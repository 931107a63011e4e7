// What the attention kernels share: where keys and queries lie, tiles in shared memory, and products of tiles.
//
// 256 threads are a grid of 16 x 16 over a tile's M rows and B columns: thread (y, x) has rows y + 16 i and columns
// x + 16 j, and of an M x N result the same rows and N / 16 columns in runs of up to four.
#pragma once
#include "common.cuh"

// Tokens of a tile of the plan.
constexpr u32 TILE = 64;
// Side of the grid of threads.
constexpr u32 SIDE = 16;

// One entry of the plan's tiles.
struct Tile {
    u32 token, count, position, segment;
};

// Tokens that stand together: in a chain, `first` is the position of the first; of a segment's heirs, `position` is.
struct Run {
    u32 first, token, count, position;
};

__device__ inline Tile load_tile(const u32 *tiles, u32 index) {
    const u32 *at = tiles + 4 * index;
    return Tile{at[0], at[1], at[2], at[3]};
}

__device__ inline Run load_run(const u32 *runs, u32 index) {
    const u32 *at = runs + 4 * index;
    return Run{at[0], at[1], at[2], at[3]};
}

// Widths of the fused projection, and where a head's columns begin.
struct Heads {
    u32 heads, kv_heads, dim;

    __device__ u32 width() const {
        return (heads + 2 * kv_heads) * dim;
    }
    __device__ u32 group() const {
        return heads / kv_heads;
    }
    __device__ u32 key_column(u32 kv) const {
        return (heads + kv) * dim;
    }
    __device__ u32 value_column(u32 kv) const {
        return (heads + kv_heads + kv) * dim;
    }
};

// Finds the tokens of a chain by their positions, which it is asked for in ascending order.
struct Cursor {
    const u32 *runs;
    u32 at;
    Run run;

    __device__ Cursor(const u32 *runs, u32 first) : runs(runs), at(first), run(load_run(runs, first)) {}

    __device__ u32 token(u32 position) {
        while (position >= run.first + run.count) {
            run = load_run(runs, ++at);
        }
        return run.token + (position - run.first);
    }
};

// Positions that the queries of a tile see: from the first query's window on, up to the last query itself.
__device__ inline u32 first_seen(u32 position, u32 window) {
    return position >= window ? position - window + 1 : 0;
}

__device__ inline bool sees(u32 query, u32 key, u32 window) {
    return key <= query && query - key < window;
}

// Floats from one row of a tile to the next: four more than it has, so that reading a column of float4 meets all
// banks.
template <u32 N> constexpr u32 STRIDE = N + 4;

// Copies rows of `dim` floats into a tile of ROWS rows of N, times `scale`; the rest becomes zero. Row r comes from
// `row_of(r)` and is asked for in ascending order by each thread.
template <u32 N, u32 ROWS, typename RowOf>
__device__ inline void load_rows(float *tile, u32 count, u32 dim, float scale, RowOf row_of) {
    constexpr u32 LANES = N / 4;
    const u32 column = threadIdx.x % LANES * 4;
    for (u32 r = threadIdx.x / LANES; r < ROWS; r += THREADS / LANES) {
        float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (r < count) {
            const float *row = row_of(r) + column;
            if (column + 4 <= dim && quad_aligned(row)) {
                x = load_quad(row);
            } else {
                x.x = column < dim ? row[0] : 0.0f;
                x.y = column + 1 < dim ? row[1] : 0.0f;
                x.z = column + 2 < dim ? row[2] : 0.0f;
                x.w = column + 3 < dim ? row[3] : 0.0f;
            }
        }
        store_quad(tile + r * STRIDE<N> + column, make_float4(x.x * scale, x.y * scale, x.z * scale, x.w * scale));
    }
}

__device__ inline float dot_quad(float4 a, float4 b, float sum) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

// s[i][j] = rows[y + 16 i] . columns[x + 16 j].
template <u32 N, u32 RM, u32 RB>
__device__ inline void multiply_rows(const float *rows, const float *columns, float s[RM][RB]) {
    const float *a = rows + threadIdx.x / SIDE * STRIDE<N>;
    const float *b = columns + threadIdx.x % SIDE * STRIDE<N>;
#pragma unroll
    for (u32 i = 0; i < RM; ++i) {
#pragma unroll
        for (u32 j = 0; j < RB; ++j) {
            s[i][j] = 0.0f;
        }
    }
#pragma unroll 4
    for (u32 k = 0; k < N; k += 4) {
        float4 of_b[RB];
#pragma unroll
        for (u32 j = 0; j < RB; ++j) {
            of_b[j] = load_quad(b + j * SIDE * STRIDE<N> + k);
        }
#pragma unroll
        for (u32 i = 0; i < RM; ++i) {
            const float4 of_a = load_quad(a + i * SIDE * STRIDE<N> + k);
#pragma unroll
            for (u32 j = 0; j < RB; ++j) {
                s[i][j] = dot_quad(of_a, of_b[j], s[i][j]);
            }
        }
    }
}

// Columns of a result that a thread has side by side.
template <u32 N> constexpr u32 TOGETHER = N / SIDE < 4 ? N / SIDE : 4;

// Column `j` of this thread's N / 16.
template <u32 N> __device__ inline u32 own_column(u32 j) {
    return j / TOGETHER<N> * TOGETHER<N> * SIDE + threadIdx.x % SIDE * TOGETHER<N> + j % TOGETHER<N>;
}

__device__ inline void load_together(const float *p, float (&x)[4]) {
    const float4 quad = load_quad(p);
    x[0] = quad.x, x[1] = quad.y, x[2] = quad.z, x[3] = quad.w;
}

__device__ inline void load_together(const float *p, float (&x)[2]) {
    const float2 pair = *reinterpret_cast<const float2 *>(p);
    x[0] = pair.x, x[1] = pair.y;
}

// Keeps `weights [M, B]` for `add_weighted`.
template <u32 B, u32 RM, u32 RB> __device__ inline void store_weights(float *tile, const float weights[RM][RB]) {
    for (u32 i = 0; i < RM; ++i) {
        for (u32 j = 0; j < RB; ++j) {
            tile[(threadIdx.x / SIDE + SIDE * i) * STRIDE<B> + threadIdx.x % SIDE + SIDE * j] = weights[i][j];
        }
    }
}

// sum[i][j] += weights[y + 16 i] . column own_column(j) of rows [B, N].
template <u32 N, u32 B, u32 RM>
__device__ inline void add_weighted(const float *weights, const float *rows, float sum[RM][N / SIDE]) {
    const float *a = weights + threadIdx.x / SIDE * STRIDE<B>;
#pragma unroll 2
    for (u32 k = 0; k < B; k += 4) {
        float4 of_a[RM];
#pragma unroll
        for (u32 i = 0; i < RM; ++i) {
            of_a[i] = load_quad(a + i * SIDE * STRIDE<B> + k);
        }
#pragma unroll
        for (u32 j = 0; j < N / SIDE; j += TOGETHER<N>) {
            float of_b[4][TOGETHER<N>];
#pragma unroll
            for (u32 row = 0; row < 4; ++row) {
                load_together(rows + (k + row) * STRIDE<N> + own_column<N>(j), of_b[row]);
            }
#pragma unroll
            for (u32 i = 0; i < RM; ++i) {
#pragma unroll
                for (u32 c = 0; c < TOGETHER<N>; ++c) {
                    const float4 column = make_float4(of_b[0][c], of_b[1][c], of_b[2][c], of_b[3][c]);
                    sum[i][j + c] = dot_quad(of_a[i], column, sum[i][j + c]);
                }
            }
        }
    }
}

// Writes this thread's columns of row y + 16 i, times `scale`, to `row_of(y + 16 i)` for rows below `count`.
template <u32 N, u32 RM, typename RowOf, typename ScaleOf>
__device__ inline void write_rows(const float sum[RM][N / SIDE], u32 count, u32 dim, RowOf row_of, ScaleOf scale_of) {
    for (u32 i = 0; i < RM; ++i) {
        const u32 r = threadIdx.x / SIDE + SIDE * i;
        if (r < count) {
            float *row = row_of(r);
            for (u32 j = 0; j < N / SIDE; ++j) {
                const u32 column = own_column<N>(j);
                if (column < dim) {
                    row[column] = sum[i][j] * scale_of(i);
                }
            }
        }
    }
}

// Over the 16 threads that share rows.
__device__ inline float row_max(float x) {
    for (u32 lanes = SIDE / 2; lanes > 0; lanes /= 2) {
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, lanes));
    }
    return x;
}

__device__ inline float row_sum(float x) {
    for (u32 lanes = SIDE / 2; lanes > 0; lanes /= 2) {
        x += __shfl_xor_sync(ALL_LANES, x, lanes);
    }
    return x;
}

// delta [heads, total] = out . dout; a block is a token, a warp one of its heads at a time.
template <typename E>
__device__ inline void write_delta(const E *out, const E *dout, float *delta, u32 total, u32 heads, u32 dim) {
    const u64 row = u64(blockIdx.x) * heads * dim;
    for (u32 head = threadIdx.x / WARP; head < heads; head += THREADS / WARP) {
        float sum = 0.0f;
        for (u32 i = threadIdx.x % WARP; i < dim; i += WARP) {
            const u64 at = row + head * dim + i;
            sum = fmaf(widen(out[at]), widen(dout[at]), sum);
        }
        sum = warp_sum(sum);
        if (threadIdx.x % WARP == 0) {
            delta[u64(head) * total + blockIdx.x] = sum;
        }
    }
}
