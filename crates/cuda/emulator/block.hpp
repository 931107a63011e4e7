// One block of threads: who runs, who waits, and what the lanes of a warp hand each other.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "fiber.hpp"

namespace gft {

constexpr unsigned LANES = 32;
// The most that every card from sm_80 on grants a block (sm_86 and sm_120 have 99 KiB).
constexpr unsigned MOST_SHARED = 101376;
constexpr unsigned MOST_THREADS = 1024;
// Room for the static arrays of all kernels together.
constexpr std::size_t STATIC_SHARED = 16 << 10;
// Bytes past a launch's dynamic shared memory that are looked at for writes.
constexpr std::size_t GUARD = 1024;

// The next `bytes` of static shared memory.
inline std::size_t static_shared_place(std::size_t bytes) {
    static std::atomic<std::size_t> used{0};
    const std::size_t place = used.fetch_add((bytes + 15) / 16 * 16);
    if (place + bytes > STATIC_SHARED) {
        std::abort();
    }
    return place;
}

struct Dim {
    unsigned x, y, z;
};

// What a thread is doing. A warp's collectives differ so that lanes at different ones are found out.
enum class State { Ready, AtBlock, AtShuffle, AtWarp, AtProduct, AtLoad, Done };

// Sixteen bytes on their way to shared memory, or zeros.
struct Copy {
    void *to;
    const void *from;
    unsigned batch;

    void arrive() const {
        if (from == nullptr) {
            std::memset(to, 0, 16);
        } else {
            std::memcpy(to, from, 16);
        }
    }
};

struct Thread {
    Fiber fiber;
    std::vector<Copy> copies;
    unsigned batch = 0;
    State state = State::Done;
    Dim index{};
    Dim block{};
    unsigned id = 0;
    unsigned exchanges = 0;
};

// The thread that runs on this host thread. Kernels ask for it at every step, so that it must cost no call: a pointer
// without a constructor at a fixed place.
inline thread_local Thread *now __attribute__((tls_model("initial-exec"))) = nullptr;

// A launch's shape and its work.
struct Launch {
    Dim grid, block;
    unsigned shared_bytes;
    void (*kernel)(void **);
    void **args;
};

// Runs blocks one after another; one for each host thread.
class Block {
  public:
    // Empty where all went well.
    std::string run(const Launch &launch) {
        launch_ = &launch;
        const unsigned threads = launch.block.x * launch.block.y * launch.block.z;
        while (threads_.size() < threads) {
            threads_.push_back(std::make_unique<Thread>());
        }
        for (unsigned z = 0; z < launch.grid.z; ++z) {
            for (unsigned y = 0; y < launch.grid.y; ++y) {
                for (unsigned x = 0; x < launch.grid.x; ++x) {
                    std::string problem = run_block(threads, Dim{x, y, z});
                    if (!problem.empty()) {
                        return problem + " in block " + std::to_string(x) + ", " + std::to_string(y);
                    }
                }
            }
        }
        return {};
    }

    const Launch &launch() const {
        return *launch_;
    }
    char *dynamic_shared() {
        return shared_;
    }
    char *static_shared() {
        return static_shared_;
    }

    // Makes the running thread wait.
    void wait(State state) {
        now->state = state;
        now->fiber.context().leave_for(scheduler_);
    }

    // Hands `mine` to the lanes of the warp and takes theirs. Two sets of slots in turn: a lane can be one exchange
    // ahead of another that has not read yet, never two, because each exchange waits for all.
    template <typename T> const T *exchange(const T &mine, State state) {
        static_assert(sizeof(T) <= SLOT, "a slot holds it");
        Thread &thread = *now;
        char *set = slots_[thread.id / LANES][thread.exchanges++ % 2];
        std::memcpy(set + thread.id % LANES * sizeof(T), &mine, sizeof(T));
        wait(state);
        return reinterpret_cast<const T *>(set);
    }

    // Whether what may happen now or later happens now: never in ascending order.
    bool chance() {
        return order_seed != 0 && draw() % 2 == 0;
    }

    // Not 0, the ascending order, which no machine keeps to: a test that never asks for an order shall have another.
    unsigned order_seed = 1;

  private:
    static constexpr std::size_t SLOT = 32;

    static Block *&running() {
        static thread_local Block *block = nullptr;
        return block;
    }

    static void enter() {
        Block &block = *running();
        block.launch_->kernel(block.launch_->args);
        block.wait(State::Done);
    }

    std::string run_block(unsigned threads, Dim at) {
        running() = this;
        // Shared memory begins with whatever was there: NaN shows who reads what nobody wrote.
        std::memset(shared_, 0xff, launch_->shared_bytes + GUARD);
        std::memset(static_shared_, 0xff, sizeof static_shared_);
        const Dim size = launch_->block;
        for (unsigned i = 0; i < threads; ++i) {
            Thread &thread = *threads_[i];
            thread.state = State::Ready;
            thread.id = i;
            thread.exchanges = 0;
            thread.copies.clear();
            thread.batch = 0;
            thread.index = Dim{i % size.x, i / size.x % size.y, i / size.x / size.y};
            thread.block = at;
            thread.fiber.begin(i, &Block::enter);
        }
        for (;;) {
            for (unsigned warp : order(threads / LANES)) {
                std::string problem = run_warp(warp);
                if (!problem.empty()) {
                    return problem;
                }
            }
            // All wait for the block, or are done; those that are done are not waited for, as on the machine.
            bool waiting = false;
            for (unsigned i = 0; i < threads; ++i) {
                if (threads_[i]->state == State::AtBlock) {
                    threads_[i]->state = State::Ready;
                    waiting = true;
                }
            }
            if (!waiting) {
                break;
            }
        }
        char *past = shared_ + launch_->shared_bytes;
        if (std::any_of(past, past + GUARD, [](char byte) { return byte != '\xff'; })) {
            return "shared memory was written past the bytes of the launch";
        }
        return {};
    }

    // Runs a warp until all its lanes wait for the block or are done.
    std::string run_warp(unsigned warp) {
        for (;;) {
            for (unsigned lane : order(LANES)) {
                Thread &thread = *threads_[warp * LANES + lane];
                if (thread.state == State::Ready) {
                    now = &thread;
                    scheduler_.leave_for(thread.fiber.context());
                }
            }
            const State first = threads_[warp * LANES]->state;
            bool same = true, collective = false;
            for (unsigned lane = 0; lane < LANES; ++lane) {
                const State state = threads_[warp * LANES + lane]->state;
                same = same && state == first;
                collective = collective || (state != State::AtBlock && state != State::Done);
            }
            if (!collective) {
                return {};
            }
            if (!same) {
                return "warp " + std::to_string(warp) + " waits in a collective that not all its lanes reach";
            }
            for (unsigned lane = 0; lane < LANES; ++lane) {
                threads_[warp * LANES + lane]->state = State::Ready;
            }
        }
    }

    // The next random number; the seed stays other than 0.
    unsigned draw() {
        order_seed = order_seed * 1664525u + 1013904223u;
        order_seed += order_seed == 0;
        return order_seed >> 8;
    }

    // 0..n, ascending or shuffled anew at each call.
    const std::vector<unsigned> &order(unsigned n) {
        std::vector<unsigned> &order = n == LANES ? lane_order_ : warp_order_;
        order.resize(n);
        for (unsigned i = 0; i < n; ++i) {
            order[i] = i;
        }
        if (order_seed != 0) {
            for (unsigned i = n; i > 1; --i) {
                std::swap(order[i - 1], order[std::uint64_t{draw()} * i >> 24]); // of 24 bits: a division costs more
            }
        }
        return order;
    }

    const Launch *launch_ = nullptr;
    Context scheduler_;
    std::vector<std::unique_ptr<Thread>> threads_;
    std::vector<unsigned> lane_order_, warp_order_;
    alignas(16) char slots_[MOST_THREADS / LANES][2][SLOT * LANES];
    alignas(128) char shared_[MOST_SHARED + GUARD];
    alignas(128) char static_shared_[STATIC_SHARED];
};

// The calling host thread's.
inline Block &block() {
    static thread_local std::unique_ptr<Block> mine = std::make_unique<Block>();
    return *mine;
}

} // namespace gft
