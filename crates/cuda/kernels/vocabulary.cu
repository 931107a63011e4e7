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

// out = map(i, in[i]...) for the whole row.
template <typename E, typename Map, typename... In>
__device__ inline void map_row(E *out, u32 vocab, Map map, const In *...in) {
    for (u32 first = 0; first < vocab; first += 4 * ROW_THREADS) {
        map_span(out, first, vocab, map, in...);
    }
}

// The gradient of all that is not a target's own log-probability, of a logit z and the reference's r, which is not
// looked at where the divergence has no seed.
struct Spread {
    float inverse, plain, lse, reference_lse, h, entropy, c, divergence;
    u32 kl;

    __device__ float operator()(float z, float r) const {
        const float log_p = fmaf(z, inverse, -lse);
        const float p = expf(log_p);
        if (c != 0.0f) {
            const float log_q = fmaf(r, inverse, -reference_lse);
            const float of_kl = kl == REFERENCE_TO_POLICY ? p - expf(log_q) : p * (log_p - log_q - divergence);
            return plain * p + inverse * (c * of_kl - h * p * (log_p + entropy));
        }
        return h != 0.0f ? plain * p - inverse * h * p * (log_p + entropy) : plain * p;
    }
};

// A row's targets and their seeds.
struct Seeds {
    const u32 *tokens;
    const float *seeds;
    u32 count;
    float inverse;
};

// Adds what targets get for themselves, one after another by one thread: a token may be the target of a row more than
// once. In f32 the rest of the gradient stands in the logits' place; rounded numbers are made anew of the logits, which
// are still there.
__device__ inline void add_targets(float *out, const float *, const float *, const Spread &, const Seeds &own) {
    for (u32 i = 0; i < own.count; ++i) {
        out[own.tokens[i]] += own.seeds[i] * own.inverse;
    }
}

__device__ inline void
add_targets(bf16 *out, const float *z, const float *r, const Spread &spread, const Seeds &own) {
    for (u32 i = 0; i < own.count; ++i) {
        const u32 token = own.tokens[i];
        float sum = spread(z[token], r == nullptr ? 0.0f : r[token]);
        for (u32 j = 0; j < own.count; ++j) {
            sum += own.tokens[j] == token ? own.seeds[j] * own.inverse : 0.0f;
        }
        store(out + token, sum);
    }
}

template <typename E>
__device__ inline void backward_row(
    E *out, const float *z, const float *r, u32 vocab, const Spread &spread, const Seeds &own) {
    if (r == nullptr) {
        map_row(out, vocab, [=](u64, float z) { return spread(z, 0.0f); }, z);
    } else {
        map_row(out, vocab, [=](u64, float z, float r) { return spread(z, r); }, z, r);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        add_targets(out, z, r, spread, own);
    }
}

#define CHUNK_BACKWARD(SUFFIX, E)                                                                                     \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS) chunk_backward_##SUFFIX(                                \
        E *out, const float *logits, const float *reference, const u32 *targets, const u32 *tokens, u32 vocab,        \
        float temperature, u32 kl, const float *lse, const float *reference_lse, const float *entropies,              \
        const float *kls, const float *logprob_seeds, const float *entropy_seeds, const float *kl_seeds) {            \
        const u32 row = blockIdx.x, first = targets[row];                                                             \
        const u64 at = u64(row) * vocab;                                                                              \
        const Seeds own{tokens + first, logprob_seeds + first, targets[row + 1] - first, 1.0f / temperature};         \
        float seeds = 0.0f;                                                                                           \
        for (u32 i = 0; i < own.count; ++i) {                                                                         \
            seeds += own.seeds[i];                                                                                    \
        }                                                                                                             \
        const float h = entropy_seeds == nullptr ? 0.0f : entropy_seeds[row];                                         \
        const float c = kl == 0 || kl_seeds == nullptr ? 0.0f : kl_seeds[row];                                        \
        const float entropy = h == 0.0f ? 0.0f : entropies[row];                                                      \
        const float of_reference = c == 0.0f ? 0.0f : reference_lse[row], divergence = c == 0.0f ? 0.0f : kls[row];   \
        const Spread spread{own.inverse, -seeds * own.inverse, lse[row], of_reference, h, entropy, c, divergence, kl}; \
        backward_row(out + at, logits + at, c == 0.0f ? nullptr : reference + at, vocab, spread, own);                \
    }

CHUNK_BACKWARD(f32, float)
CHUNK_BACKWARD(bf16, bf16)
