// Threads of a block as fibers: each has a stack of its own, and runs until it waits for the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

#if !defined(__x86_64__) || defined(GFT_UCONTEXT)
#include <ucontext.h>
#endif

namespace gft {

// Bytes of a fiber's stack. Kernels keep at most a few KiB of arrays.
constexpr std::size_t STACK = 64 << 10;

#if defined(__x86_64__) && !defined(GFT_UCONTEXT)

extern "C" void gft_switch(void **from, void *to);

// Saves what the System V ABI has a callee preserve, changes stacks, and restores the same.
asm(R"(
.text
.p2align 4
.hidden gft_switch
.globl gft_switch
.type gft_switch, @function
gft_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size gft_switch, .-gft_switch
)");

class Context {
  public:
    // Where a new fiber begins: `entry` never returns.
    void begin(char *stack, std::size_t bytes, void (*entry)()) {
        // At a function's first instruction the stack is 8 past a multiple of 16, as after a call.
        auto top = (reinterpret_cast<std::uintptr_t>(stack) + bytes) / 16 * 16;
        auto *words = reinterpret_cast<void **>(top) - 8;
        std::memset(words, 0, 8 * sizeof(void *));
        words[6] = reinterpret_cast<void *>(entry);
        pointer_ = words;
    }

    void leave_for(Context &to) {
        gft_switch(&pointer_, to.pointer_);
    }

  private:
    void *pointer_ = nullptr;
};

#else

// The same by the C library: slower, for it asks the system to change the signal mask at each switch.
class Context {
  public:
    void begin(char *stack, std::size_t bytes, void (*entry)()) {
        getcontext(&context_);
        context_.uc_stack.ss_sp = stack;
        context_.uc_stack.ss_size = bytes;
        context_.uc_link = nullptr;
        makecontext(&context_, entry, 0);
    }

    void leave_for(Context &to) {
        swapcontext(&context_, &to.context_);
    }

  private:
    ucontext_t context_;
};

#endif

class Fiber {
  public:
    // A stack whose lowest page nobody may touch: who overflows it is stopped there by the system, and spoils nothing.
    Fiber() {
        const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        void *memory = mmap(nullptr, page + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0) {
            std::perror("emulator: a fiber's stack");
            std::abort();
        }
        memory_ = static_cast<char *>(memory);
        bytes_ = page + STACK;
    }
    ~Fiber() {
        munmap(memory_, bytes_);
    }
    Fiber(const Fiber &) = delete;
    Fiber &operator=(const Fiber &) = delete;

    // Fibers begin at different places of their stacks, lest all have their hottest words in the same lines of the
    // cache.
    void begin(unsigned id, void (*entry)()) {
        context_.begin(memory_ + bytes_ - STACK, STACK - id % 64 * 192, entry);
    }

    Context &context() {
        return context_;
    }

  private:
    char *memory_;
    std::size_t bytes_;
    Context context_;
};

} // namespace gft
