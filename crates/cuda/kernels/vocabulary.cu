// Statistics of a chunk of logits, and the gradient of the loss with respect to it. A block is a row.
//
// With z = logits / temperature, p = softmax(z) and seeds s (log-probability of target y), h (entropy) and c (KL),
// the gradient with respect to z_v is s (1[v = y] - p_v) - h p_v (log p_v + H) + c (p_v - q_v) for KL(q || p), with c
// p_v (log p_v - log q_v - KL) in the last place for KL(p || q).
#include "common.cuh"

constexpr u32 ROW_THREADS = 512;
// The direction of the divergence that is KL(q || p); 2 is the other, 0 none.
constexpr u32 REFERENCE_TO_POLICY = 1;

constexpr float LOWEST = -3.402823466e38f;

// This thread's part of a log-sum-exp: the sum of exp(x inverse - top).
struct RunningSum {
    float top = LOWEST;
    double sum = 0.0;

    __device__ void take(float a, float b, float c, float d, float inverse) {
        const float top_of_four = fmaxf(fmaxf(a, b), fmaxf(c, d)) * inverse;
        if (top_of_four > top) {
            sum *= static_cast<double>(expf(top - top_of_four));
            top = top_of_four;
        }
        const auto term = [&](float x) { return expf(fmaf(x, inverse, -top)); };
        sum += static_cast<double>((term(a) + term(b)) + (term(c) + term(d)));
    }
};

// The same bits in each thread; NaN for a row of -inf or with +inf, which has no distribution.
__device__ inline float log_sum_exp(const float *z, u32 vocab, float inverse) {
    RunningSum own;
    const u32 whole = quad_aligned(z) ? vocab / 4 * 4 : 0;
    for (u32 i = 4 * threadIdx.x; i < whole; i += 4 * ROW_THREADS) {
        const float4 quad = load_quad(z + i);
        own.take(quad.x, quad.y, quad.z, quad.w, inverse);
    }
    for (u32 i = whole + threadIdx.x; i < vocab; i += ROW_THREADS) {
        own.take(z[i], LOWEST, LOWEST, LOWEST, inverse);
    }
    const float top = block_max(own.top);
    const double sum = block_sum(own.sum * static_cast<double>(expf(own.top - top)));
    if (!(top > LOWEST) || isinf(top)) {
        return __uint_as_float(0x7fc00000u);
    }
    return top + static_cast<float>(log(sum));
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) chunk_stats(
    const float *logits, const float *reference, const u32 *targets, const u32 *tokens, u32 vocab, float temperature,
    u32 entropy, u32 kl, float *lse, float *reference_lse, float *logprobs, float *entropies, float *kls) {
    const u32 row = blockIdx.x;
    const float inverse = 1.0f / temperature;
    const float *z = logits + u64(row) * vocab;
    const float log_sum = log_sum_exp(z, vocab, inverse);
    for (u32 i = targets[row] + threadIdx.x; i < targets[row + 1]; i += ROW_THREADS) {
        logprobs[i] = z[tokens[i]] / temperature - log_sum;
    }
    if (entropy != 0) {
        const auto term = [=](float z) {
            const float log_p = fmaf(z, inverse, -log_sum);
            return expf(log_p) * log_p;
        };
        const double sum = block_sum(sum_own<double>(vocab, term, z));
        if (threadIdx.x == 0) {
            entropies[row] = static_cast<float>(-sum);
        }
    }
    if (kl != 0) {
        const float *r = reference + u64(row) * vocab;
        const float reference_sum = log_sum_exp(r, vocab, inverse);
        const auto term = [=](float z, float r) {
            const float log_p = fmaf(z, inverse, -log_sum), log_q = fmaf(r, inverse, -reference_sum);
            return kl == REFERENCE_TO_POLICY ? expf(log_q) * (log_q - log_p) : expf(log_p) * (log_p - log_q);
        };
        const double sum = block_sum(sum_own<double>(vocab, term, z, r));
        if (threadIdx.x == 0) {
            kls[row] = static_cast<float>(sum);
            reference_lse[row] = reference_sum;
        }
    }
    if (threadIdx.x == 0) {
        lse[row] = log_sum;
    }
}

// z = map(i, z...) for the whole row.
template <typename Map, typename... In>
__device__ inline void map_row(float *z, u32 vocab, Map map, const In *...in) {
    for (u32 first = 0; first < vocab; first += 4 * ROW_THREADS) {
        map_span(z, first, vocab, map, in...);
    }
}

// The gradient of all that is not a target's own log-probability, in place of a row of logits.
__device__ inline void spread_backward(
    float *z, const float *reference, u32 vocab, float inverse, u32 kl, float plain, float lse, float reference_lse,
    float h, float entropy, float c, float divergence) {
    if (c != 0.0f) {
        map_row(
            z, vocab,
            [=](u64, float z, float r) {
                const float log_p = fmaf(z, inverse, -lse), log_q = fmaf(r, inverse, -reference_lse);
                const float p = expf(log_p);
                const float of_kl =
                    kl == REFERENCE_TO_POLICY ? p - expf(log_q) : p * (log_p - log_q - divergence);
                return plain * p + inverse * (c * of_kl - h * p * (log_p + entropy));
            },
            z, reference);
    } else if (h != 0.0f) {
        map_row(
            z, vocab,
            [=](u64, float z) {
                const float log_p = fmaf(z, inverse, -lse);
                const float p = expf(log_p);
                return plain * p - inverse * h * p * (log_p + entropy);
            },
            z);
    } else {
        map_row(z, vocab, [=](u64, float z) { return plain * expf(fmaf(z, inverse, -lse)); }, z);
    }
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) chunk_backward(
    float *logits, const float *reference, const u32 *targets, const u32 *tokens, u32 vocab, float temperature, u32 kl,
    const float *lse, const float *reference_lse, const float *entropies, const float *kls,
    const float *logprob_seeds, const float *entropy_seeds, const float *kl_seeds) {
    const u32 row = blockIdx.x;
    const float inverse = 1.0f / temperature;
    float *z = logits + u64(row) * vocab;
    float seeds = 0.0f;
    for (u32 i = targets[row]; i < targets[row + 1]; ++i) {
        seeds += logprob_seeds[i];
    }
    const float h = entropy_seeds == nullptr ? 0.0f : entropy_seeds[row];
    const float c = kl == 0 || kl_seeds == nullptr ? 0.0f : kl_seeds[row];
    spread_backward(
        z, c == 0.0f ? nullptr : reference + u64(row) * vocab, vocab, inverse, kl, -seeds * inverse, lse[row],
        c == 0.0f ? 0.0f : reference_lse[row], h, h == 0.0f ? 0.0f : entropies[row], c, c == 0.0f ? 0.0f : kls[row]);
    __syncthreads();
    // One thread: a token may be the target of a row more than once.
    if (threadIdx.x == 0) {
        for (u32 i = targets[row]; i < targets[row + 1]; ++i) {
            z[tokens[i]] += logprob_seeds[i] * inverse;
        }
    }
}
