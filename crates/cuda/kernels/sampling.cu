// A token from each row of logits. A block is a row.
//
// Tokens stand in an order: the likeliest first and of equal ones the lower id, or by id alone where nothing is filtered. A
// token's place there is an integer of 54 bits, and what a filter or a draw asks for is the first token at which a running
// sum reaches a target: a sum of ones (top-k) or of probabilities (top-p, the draw). It is found digit by digit, the sums
// of a digit's values in shared memory. Sums are of integers, probabilities in units of 2^-62, so that atomic additions
// give the same bits in every order.
#include "common.cuh"

constexpr u32 ROW_THREADS = 512;
constexpr u32 DIGIT = 11;
constexpr u32 BINS = 1u << DIGIT;
constexpr u32 OWN_BINS = BINS / ROW_THREADS;
// Bits of an id in a token's place.
constexpr u32 ID = 2 * DIGIT;
constexpr u64 ANYWHERE = ~0ull;
constexpr u64 NOWHERE = ~0ull;

// exp as the CPU device has it (`math.rs`), to the bit.
__device__ inline float host_exp(float x) {
    const float round = 12582912.0f;
    const float clamped = x < -87.3f ? -87.3f : x > 88.7f ? 88.7f : x;
    const float shifted = fmaf(clamped, 1.44269504f, round);
    const float n = shifted - round;
    const float r = fmaf(n, 2.1219444e-4f, fmaf(n, -0.6933594f, clamped));
    float p = fmaf(1.3888889e-3f, r, 8.333334e-3f);
    p = fmaf(p, r, 4.1666666e-2f);
    p = fmaf(p, r, 1.6666667e-1f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    const int power = static_cast<int>(__float_as_uint(shifted) - __float_as_uint(round));
    const int half = power >> 1;
    const auto scale = [](int e) { return __uint_as_float(static_cast<u32>(e + 127) << 23); };
    const float value = p * scale(half) * scale(power - half);
    return x < -87.3f ? 0.0f : value;
}

// visit(i, x[i]) for this thread's share of a row, four at a time where they lie so.
template <typename Visit> __device__ inline void each(const float *x, u32 n, Visit visit) {
    const u32 whole = quad_aligned(x) ? n / 4 * 4 : 0;
#pragma unroll 2
    for (u32 i = 4 * threadIdx.x; i < whole; i += 4 * ROW_THREADS) {
        const float4 quad = load_quad(x + i);
        visit(i, quad.x);
        visit(i + 1, quad.y);
        visit(i + 2, quad.z);
        visit(i + 3, quad.w);
    }
#pragma unroll 4
    for (u32 i = whole + threadIdx.x; i < n; i += ROW_THREADS) {
        visit(i, x[i]);
    }
}

__device__ inline u32 block_min(u32 x) {
    for (u32 lanes = WARP / 2; lanes > 0; lanes /= 2) {
        x = min(x, __shfl_xor_sync(ALL_LANES, x, lanes));
    }
    return across_warps(x, [](u32 a, u32 b) { return min(a, b); });
}

// The largest, -inf for none; NaN is passed over.
__device__ inline float largest(const float *x, u32 n) {
    float top = negative_infinity();
    each(x, n, [&](u32, float x) { top = fmaxf(top, x); });
    return block_max(top);
}

// Of e^(scale x): NaN for a row of -inf or with +inf, which has no distribution.
__device__ inline float log_sum_exp(const float *x, u32 n, float scale) {
    const float top = largest(x, n) * scale;
    double sum = 0.0;
    each(x, n, [&](u32, float x) { sum += static_cast<double>(host_exp(fmaf(x, scale, -top))); });
    sum = block_sum(sum);
    return isinf(top) ? __uint_as_float(0x7fc00000u) : top + static_cast<float>(log(sum));
}

// Numbers in ascending order of these are in descending order, -0 after +0 and NaN with a clear sign before all.
__device__ inline u32 descending(float x) {
    const u32 bits = __float_as_uint(x);
    return (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
}

__device__ inline float of_descending(u32 place) {
    return __uint_as_float((place & 0x80000000u) != 0 ? place : ~place & 0x7fffffffu);
}

// ---- Sums of a digit's values -------------------------------------------------------------------------------------

// Sums by their halves: cards add 32 bits in shared memory by one instruction, and 64 by trying until no other thread was
// quicker, which the many that share a bin (of a first digit there are few) rarely are.
struct Bins {
    u32 *low, *high;

    __device__ u64 at(u32 bin) const {
        return static_cast<u64>(high[bin]) << 32 | low[bin];
    }
    __device__ void put(u32 bin, u64 sum) const {
        low[bin] = static_cast<u32>(sum);
        high[bin] = static_cast<u32>(sum >> 32);
    }
    // By several threads at once, in whatever order: whoever makes the lower half pass its end carries one.
    __device__ void add(u32 bin, u64 more) const {
        const u32 below = static_cast<u32>(more);
        u32 above = static_cast<u32>(more >> 32);
        if (below != 0) {
            above += atomicAdd(low + bin, below) > ~below ? 1 : 0;
        }
        if (above != 0) {
            atomicAdd(high + bin, above);
        }
    }
};

struct OfFind;
struct OfScan;

struct Found {
    u32 bin;
    // The sum before it, and through the last.
    u64 before, all;
};

// The first bin at which the running sum reaches `target`, which is not 0; `bin` is BINS where none does.
__device__ inline Found find(Bins bins, u64 target) {
    Found *found = shared_array<OfFind, Found, 1>();
    u64 *of_warps = shared_array<OfScan, u64, WARP>();
    __syncthreads(); // all bins are whole, an earlier call's readers are done
    u64 own = 0;
    for (u32 i = 0; i < OWN_BINS; ++i) {
        own += bins.at(OWN_BINS * threadIdx.x + i);
    }
    u64 through = own;
    for (u32 lanes = 1; lanes < WARP; lanes *= 2) {
        const u64 below = __shfl_up_sync(ALL_LANES, through, lanes);
        through += threadIdx.x % WARP >= lanes ? below : 0;
    }
    if (threadIdx.x % WARP == WARP - 1) {
        of_warps[threadIdx.x / WARP] = through;
    }
    __syncthreads();
    for (u32 warp = 0; warp < threadIdx.x / WARP; ++warp) {
        through += of_warps[warp];
    }
    if (threadIdx.x == ROW_THREADS - 1) {
        found->all = through;
        if (through < target) {
            found->bin = BINS;
        }
    }
    u64 before = through - own;
    if (before < target && target <= through) {
        u32 bin = OWN_BINS * threadIdx.x;
        for (; before + bins.at(bin) < target; ++bin) {
            before += bins.at(bin);
        }
        found->bin = bin;
        found->before = before;
    }
    __syncthreads();
    return *found;
}

// ---- Tokens in their order ----------------------------------------------------------------------------------------

// A row and which of its tokens are kept.
struct Kept {
    const float *z;
    u32 vocab;
    float scale;
    // The last place that is kept, and the least tempered logit.
    u64 last;
    float floor;

    __device__ u64 place(u32 i, float tempered) const {
        return static_cast<u64>(descending(tempered)) << ID | i;
    }

    // visit(place, tempered logit) for this thread's share of the tokens that are kept.
    template <typename Visit> __device__ void each_kept(Visit visit) const {
        each(z, vocab, [&](u32 i, float z) {
            const float tempered = z * scale;
            const u64 at = place(i, tempered);
            if (at <= last && !(tempered < floor)) {
                visit(at, tempered);
            }
        });
    }

    // The place of the first token at which the running sum of mass(tempered logit) reaches `target`, NOWHERE where
    // none does. `all` becomes the sum of all where it is one of so many.
    template <typename Mass> __device__ u64 select(Bins bins, u64 target, Mass mass, u64 *all = nullptr) const {
        u64 prefix = 0;
        for (int shift = 4 * DIGIT; shift >= 0; shift -= DIGIT) {
            __syncthreads();
            for (u32 bin = threadIdx.x; bin < BINS; bin += ROW_THREADS) {
                bins.put(bin, 0);
            }
            __syncthreads();
            each_kept([&](u64 at, float tempered) {
                if (at >> shift >> DIGIT == prefix) {
                    bins.add((at >> shift) % BINS, mass(tempered));
                }
            });
            const Found found = find(bins, target);
            if (all != nullptr && shift == 4 * DIGIT) {
                *all = found.all;
            }
            if (found.bin == BINS) {
                return NOWHERE;
            }
            prefix = prefix << DIGIT | found.bin;
            target -= found.before;
        }
        return prefix;
    }

    __device__ float log_sum_exp_kept(float top) const {
        double sum = 0.0;
        each_kept([&](u64, float tempered) { sum += static_cast<double>(host_exp(tempered - top)); });
        sum = block_sum(sum);
        return isinf(top) ? __uint_as_float(0x7fc00000u) : top + static_cast<float>(log(sum));
    }
};

// Probabilities as integers whose sum over a row fits 64 bits. Rounding of a large log-sum-exp makes probabilities
// whose sum is far from one: those are counted in larger units, so that any row of 2^22 of them fits.
struct Units {
    float lse;
    u32 larger;

    __device__ explicit Units(float lse) : lse(lse), larger(fabsf(lse) < 1048576.0f ? 0 : 24) {}

    __device__ u64 of(double p) const {
        return p > 0.0 ? static_cast<u64>(fmin(p, 2.0) * static_cast<double>(1ull << (62 - larger))) : 0;
    }
    __device__ u64 of_logit(float tempered) const {
        return of(static_cast<double>(host_exp(tempered - lse)));
    }
    // The sum at which a draw ends: the first above the random number, which is in units of 2^-62.
    __device__ u64 target(u64 uniform) const {
        return (uniform >> larger) + 1;
    }
};

// The first token by id at which the running sum of probabilities passes the random number; the last with any where
// rounding loses it, and 0 where none has any.
__device__ inline u32 walk(Bins bins, const float *z, u32 vocab, float scale, float lse, u64 uniform) {
    const Units units(lse);
    const u32 lane = threadIdx.x % WARP;
    u32 last = 0;
    for (u32 bin = threadIdx.x / WARP; bin < BINS; bin += ROW_THREADS / WARP) {
        const u32 end = min((bin + 1) * BINS, vocab);
        u64 sum = 0;
#pragma unroll 4
        for (u32 i = bin * BINS + lane; i < end; i += WARP) {
            const float p = host_exp(z[i] * scale - lse);
            sum += units.of(static_cast<double>(p));
            last = p > 0.0f ? i : last;
        }
        sum = bin * BINS < vocab ? warp_sum(sum) : 0;
        if (lane == 0) {
            bins.put(bin, sum);
        }
    }
    const Found found = find(bins, units.target(uniform));
    if (found.bin == BINS) {
        return ~block_min(~last);
    }
    for (u32 i = threadIdx.x; i < BINS; i += ROW_THREADS) {
        const u32 token = found.bin * BINS + i;
        bins.put(i, token < vocab ? units.of_logit(z[token] * scale) : 0);
    }
    return found.bin * BINS + find(bins, units.target(uniform) - found.before).bin;
}

// What is drawn.
struct Draw {
    u32 token;
    float sampling_logprob;
};

// Through the filters: `top_k` 0, `top_p` 0 (in units of 2^-62) and `log_min_p` -inf for none.
__device__ inline Draw
filtered(Bins bins, const float *z, u32 vocab, float scale, u32 top_k, u64 top_p, float log_min_p, u64 uniform) {
    Kept kept{z, vocab, scale, ANYWHERE, negative_infinity()};
    u32 first = ~0u;
    kept.each_kept([&](u64 at, float) { first = min(first, static_cast<u32>(at >> ID)); });
    const float top = of_descending(block_min(first));
    if (top_k != 0 && top_k < vocab) {
        kept.last = kept.select(bins, top_k, [](float) { return 1ull; });
    }
    if (top_p != 0) {
        const float lse = kept.log_sum_exp_kept(top);
        const Units units(lse);
        const u64 target = max((top_p + (1ull << units.larger) - 1) >> units.larger, 1ull);
        const auto mass = [=](float tempered) { return units.of(exp(static_cast<double>(tempered - lse))); };
        const u64 last = kept.select(bins, target, mass);
        kept.last = min(kept.last, last);
    }
    kept.floor = top + log_min_p;
    const float lse = kept.log_sum_exp_kept(top);
    const Units units(lse);
    u64 at = kept.select(bins, units.target(uniform), [=](float tempered) { return units.of_logit(tempered); });
    if (at == NOWHERE) {
        // The last with any probability, or the first where none has any.
        u64 some = 0;
        const auto any = [=](float tempered) { return host_exp(tempered - lse) > 0.0f ? 1ull : 0ull; };
        kept.select(bins, NOWHERE, any, &some);
        at = some > 0 ? kept.select(bins, some, any) : kept.select(bins, 1, [](float) { return 1ull; });
    }
    return Draw{static_cast<u32>(at) % (1u << ID), of_descending(static_cast<u32>(at >> ID)) - lse};
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) draw(
    float *logits, const u64 *uniforms, const u32 *seen_offsets, const u32 *seen, float *before, u32 vocab, float scale,
    u32 greedy, u32 top_k, u64 top_p, float log_min_p, float penalty, u32 *tokens, float *logprobs) {
    u32 *halves = reinterpret_cast<u32 *>(dynamic_shared());
    const Bins bins{halves, halves + BINS};
    const u32 row = blockIdx.x;
    float *z = logits + static_cast<u64>(row) * vocab;
    const float model_lse = log_sum_exp(z, vocab, scale);
    const u32 first = seen == nullptr ? 0 : seen_offsets[row], end = seen == nullptr ? 0 : seen_offsets[row + 1];
    // All read before any writes: a token may be in the list more than once.
    for (u32 i = first + threadIdx.x; i < end; i += ROW_THREADS) {
        before[i] = z[seen[i]];
    }
    __syncthreads();
    for (u32 i = first + threadIdx.x; i < end; i += ROW_THREADS) {
        z[seen[i]] = before[i] > 0.0f ? before[i] / penalty : before[i] * penalty;
    }
    __syncthreads();
    Draw drawn{0, 0.0f};
    if (greedy != 0) {
        const float top = largest(z, vocab);
        u32 at = vocab;
        each(z, vocab, [&](u32 i, float z) { at = z == top ? min(at, i) : at; });
        at = block_min(at);
        drawn.token = at == vocab ? 0 : at;
    } else if (top_k == 0 && top_p == 0 && isinf(log_min_p)) {
        const float lse = first == end ? model_lse : log_sum_exp(z, vocab, scale);
        drawn.token = walk(bins, z, vocab, scale, lse, uniforms[row]);
        drawn.sampling_logprob = z[drawn.token] * scale - lse;
    } else {
        drawn = filtered(bins, z, vocab, scale, top_k, top_p, log_min_p, uniforms[row]);
    }
    // The model's logit is the one before the penalty.
    float *of_model = logprobs + 2 * row;
    if (threadIdx.x == 0) {
        tokens[row] = drawn.token;
        of_model[0] = z[drawn.token] * scale - model_lse;
        of_model[1] = drawn.sampling_logprob;
    }
    __syncthreads();
    for (u32 i = first + threadIdx.x; i < end; i += ROW_THREADS) {
        if (seen[i] == drawn.token) {
            of_model[0] = before[i] * scale - model_lse;
        }
    }
}
