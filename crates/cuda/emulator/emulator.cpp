// The kernels as a library of the host, for tests: the same sources, every thread of a block a fiber.
//
// What it shows: arithmetic, indices, barriers and races between barriers (by other orders of the threads). What it
// cannot: speed, the memory model between barriers, and the card's own rounding in expf and logf (both within a few
// units of the host's).
#include <map>
#include <utility>

#include "cuda.hpp"

#pragma GCC visibility push(hidden)
#include "common.cuh"

#include "mma.hpp"

#include "attention.cuh"
#include "attention_bf16.cuh"
#include "columns.cuh"

// Each file is a program of its own on the device, and a namespace here.
namespace elementwise {
#include "elementwise.cu"
}
namespace cast {
#include "cast.cu"
}
namespace rows {
#include "rows.cu"
}
namespace norms {
#include "norms.cu"
}
namespace rotary {
#include "rotary.cu"
}
namespace attention {
#include "attention.cu"
}
namespace attention_backward {
#include "attention_backward.cu"
}
namespace attention_bf16 {
#include "attention_bf16.cu"
}
namespace attention_bf16_backward {
#include "attention_bf16_backward.cu"
}
namespace cached_attention {
#include "cached_attention.cu"
}
namespace vocabulary {
#include "vocabulary.cu"
}
namespace sampling {
#include "sampling.cu"
}
namespace optimizer {
#include "optimizer.cu"
}
// Not the card's: they fail on purpose.
namespace faults {
#include "faults.cu"
}

namespace gft {

template <typename... Args, std::size_t... I>
void call(void (*kernel)(Args...), void **args, std::index_sequence<I...>) {
    kernel(*static_cast<Args *>(args[I])...);
}

template <typename... Args> void unpack(void (*kernel)(Args...), void **args) {
    call(kernel, args, std::index_sequence_for<Args...>());
}

template <auto KERNEL> void entry(void **args) {
    unpack(KERNEL, args);
}

using Entry = void (*)(void **);

#define NAMED(FILE, NAME) {#NAME, &entry<&FILE::NAME>}
#define ELEMENTS(FILE, NAME) NAMED(FILE, NAME##_f32), NAMED(FILE, NAME##_bf16)
#define WIDTHS(FILE, NAME)                                                                                            \
    NAMED(FILE, NAME##_32), NAMED(FILE, NAME##_64), NAMED(FILE, NAME##_128), NAMED(FILE, NAME##_256)

const std::map<std::string, Entry> &kernels() {
    static const std::map<std::string, Entry> all = {
        ELEMENTS(elementwise, add),
        NAMED(elementwise, dropout),
        NAMED(elementwise, scale_columns),
        ELEMENTS(elementwise, add_bias),
        ELEMENTS(elementwise, swiglu),
        ELEMENTS(elementwise, swiglu_backward),
        NAMED(cast, f32_to_bf16),
        NAMED(cast, f32_to_bf16_rows),
        NAMED(cast, bf16_to_f32),
        NAMED(cast, f16_to_f32),
        NAMED(cast, f16_to_bf16),
        NAMED(rows, gather_rows),
        NAMED(rows, gather_bf16),
        NAMED(rows, gather_f16),
        NAMED(rows, scatter_rows),
        NAMED(rows, embed_backward),
        ELEMENTS(rows, column_sums),
        NAMED(rows, add_partials),
        ELEMENTS(norms, rms_norm),
        ELEMENTS(norms, rms_norm_backward_input),
        ELEMENTS(norms, rms_norm_backward_weight),
        ELEMENTS(norms, head_norm),
        ELEMENTS(norms, head_norm_backward),
        ELEMENTS(rotary, rotate),
        WIDTHS(attention, attention),
        NAMED(attention_backward, attention_delta),
        WIDTHS(attention_backward, attention_backward_queries),
        WIDTHS(attention_backward, attention_backward_keys),
        NAMED(attention_bf16, attention_bf16_64),
        NAMED(attention_bf16, attention_bf16_128),
        NAMED(attention_bf16_backward, attention_delta_bf16),
        NAMED(attention_bf16_backward, attention_backward_queries_bf16_64),
        NAMED(attention_bf16_backward, attention_backward_queries_bf16_128),
        NAMED(attention_bf16_backward, attention_backward_keys_bf16_64),
        NAMED(attention_bf16_backward, attention_backward_keys_bf16_128),
        NAMED(attention_bf16_backward, add_key_parts),
        NAMED(cached_attention, store_f32),
        NAMED(cached_attention, store_bf16),
        WIDTHS(cached_attention, cached_attention_f32),
        WIDTHS(cached_attention, cached_attention_bf16),
        NAMED(cached_attention, cached_attention_combine),
        NAMED(vocabulary, chunk_stats),
        ELEMENTS(vocabulary, chunk_backward),
        NAMED(sampling, draw),
        NAMED(optimizer, sum_squares),
        NAMED(optimizer, sum_squares_finish),
        NAMED(optimizer, adamw),
        NAMED(faults, fault_meeting),
        NAMED(faults, fault_shared),
    };
    return all;
}

std::string &error() {
    static thread_local std::string text;
    return text;
}

int fail(int code, std::string text) {
    error() = std::move(text);
    return code;
}

} // namespace gft
#pragma GCC visibility pop

extern "C" const char *gft_emulate_error(void) {
    return gft::error().c_str();
}

extern "C" void gft_emulate_order(unsigned seed) {
    gft::block().order_seed = seed;
}

extern "C" int gft_emulate(
    const char *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned shared_bytes, void **args) {
    const auto found = gft::kernels().find(kernel);
    if (found == gft::kernels().end()) {
        return gft::fail(1, std::string("no kernel is named ") + kernel);
    }
    const unsigned long long threads = 1ull * bx * by * bz;
    if (threads == 0 || threads > gft::MOST_THREADS || threads % gft::LANES != 0) {
        return gft::fail(2, std::string(kernel) + ": a block of " + std::to_string(threads) + " threads");
    }
    if (gx == 0 || gy == 0 || gz == 0 || gx > 0x7fffffffu || gy > 65535 || gz > 65535) {
        return gft::fail(2, std::string(kernel) + ": a grid of " + std::to_string(gx) + " x " + std::to_string(gy));
    }
    if (shared_bytes > gft::MOST_SHARED) {
        return gft::fail(2, std::string(kernel) + ": " + std::to_string(shared_bytes) + " shared bytes");
    }
    const gft::Launch launch{{gx, gy, gz}, {bx, by, bz}, shared_bytes, found->second, args};
    std::string problem = gft::block().run(launch);
    return problem.empty() ? 0 : gft::fail(3, std::string(kernel) + ": " + problem);
}
