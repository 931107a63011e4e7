// Threads of a block as fibers: each has a stack of its own, and runs until it waits for the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#if !defined(__x86_64__) || defined(GFT_UCONTEXT)
#include <ucontext.h>
#endif

namespace gft {

// Bytes of a fiber's stack. Kernels keep at most a few KiB of arrays; `intact` tells whether it was enough.
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
    Fiber() : stack_(new char[STACK]) {
        std::memcpy(stack_.get(), &MARK, sizeof MARK);
    }

    // Fibers begin at different places of their stacks, lest all have their hottest words in the same lines of the
    // cache.
    void begin(unsigned id, void (*entry)()) {
        context_.begin(stack_.get(), STACK - id % 64 * 192, entry);
    }

    Context &context() {
        return context_;
    }

    // Whether the end of the stack has never been reached.
    bool intact() const {
        return std::memcmp(stack_.get(), &MARK, sizeof MARK) == 0;
    }

  private:
    static constexpr std::uint64_t MARK = 0x67667420666c6f6full;

    std::unique_ptr<char[]> stack_;
    Context context_;
};

} // namespace gft
