// The optimizer's arithmetic: norms in a fixed order, and AdamW in one pass over memory.
#include "common.cuh"

// One partial sum a block, in f64.
extern "C" __global__ void __launch_bounds__(THREADS) sum_squares(const float *x, double *partial, u64 n) {
    double sum = 0.0;
    const auto square = [](float x) { return static_cast<double>(x) * static_cast<double>(x); };
    const u64 whole = quad_aligned(x) ? n / 4 * 4 : 0;
    for (u64 i = 4 * (u64(blockIdx.x) * THREADS + threadIdx.x); i < whole; i += u64(gridDim.x) * SPAN) {
        const float4 quad = load_quad(x + i);
        sum += (square(quad.x) + square(quad.y)) + (square(quad.z) + square(quad.w));
    }
    for (u64 i = whole + u64(blockIdx.x) * THREADS + threadIdx.x; i < n; i += u64(gridDim.x) * THREADS) {
        sum += square(x[i]);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sum_squares_finish(const double *partial, double *out, u32 parts) {
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < parts; i += THREADS) {
        sum += partial[i];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        *out = sum;
    }
}

// What AdamW needs but the buffers; see `AdamWUpdate` on the host.
struct AdamW {
    float keep, step, root, one_minus_beta1, beta2, one_minus_beta2, eps, gradient_scale;

    // Decoupled weight decay (arXiv 1711.05101, algorithm 2), in PyTorch's order of operations.
    __device__ void operator()(float g, float &p, float &m, float &v) const {
        g = g * gradient_scale;
        m += (g - m) * one_minus_beta1;
        v = beta2 * v + one_minus_beta2 * g * g;
        p = p * keep - step * m / (sqrtf(v) * root + eps);
    }
};

// `rounded` gets the parameters once more, unless it is null.
extern "C" __global__ void __launch_bounds__(THREADS) adamw(
    const float *grads, float *params, float *m, float *v, bf16 *rounded, u64 n, float keep, float step, float root,
    float one_minus_beta1, float beta2, float one_minus_beta2, float eps, float gradient_scale) {
    const AdamW update{keep, step, root, one_minus_beta1, beta2, one_minus_beta2, eps, gradient_scale};
    const bool wide = quad_aligned(grads) && quad_aligned(params) && quad_aligned(m) && quad_aligned(v) &&
                      quad_aligned(rounded);
    const u64 whole = wide ? n / 4 * 4 : 0;
    for (u64 i = 4 * (u64(blockIdx.x) * THREADS + threadIdx.x); i < whole; i += u64(gridDim.x) * SPAN) {
        const float4 g4 = load_quad(grads + i);
        float4 p4 = load_quad(params + i), m4 = load_quad(m + i), v4 = load_quad(v + i);
        update(g4.x, p4.x, m4.x, v4.x);
        update(g4.y, p4.y, m4.y, v4.y);
        update(g4.z, p4.z, m4.z, v4.z);
        update(g4.w, p4.w, m4.w, v4.w);
        store_quad(params + i, p4);
        if (rounded != nullptr) {
            store_quad(rounded + i, p4);
        }
        store_quad(m + i, m4);
        store_quad(v + i, v4);
    }
    for (u64 i = whole + u64(blockIdx.x) * THREADS + threadIdx.x; i < n; i += u64(gridDim.x) * THREADS) {
        update(grads[i], params[i], m[i], v[i]);
        if (rounded != nullptr) {
            store(rounded + i, params[i]);
        }
    }
}
