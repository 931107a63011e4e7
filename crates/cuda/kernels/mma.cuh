// What only the machine has an instruction for: products of tiles on tensor cores, the loads that go with them, and
// copies that run beside the arithmetic. The emulator supplies the same functions by their definition
// (emulator/mma.hpp).
//
// With g = lane / 4 and t = lane % 4, the fragments of a 16 x 16 matrix A, a 16 x 8 matrix B and a 16 x 8 result are
// (PTX ISA, "Matrix fragments for mma.m16n8k16")
//   a[0]: A[g][2t], A[g][2t + 1]          a[1]: the same of row g + 8
//   a[2]: A[g][2t + 8], A[g][2t + 9]      a[3]: the same of row g + 8
//   b[0]: B[2t][g], B[2t + 1][g]          b[1]: B[2t + 8][g], B[2t + 9][g]
//   d[0], d[1]: D[g][2t], D[g][2t + 1]    d[2], d[3]: the same of row g + 8
#pragma once
#include "common.cuh"

#ifndef GFT_EMULATOR

// Two numbers rounded to bf16, the first in the low half.
__device__ inline u32 pack_bf16(float low, float high) {
    u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

// Two numbers side by side, rounded; `p` is aligned to 4 bytes.
__device__ inline void store_pair(bf16 *p, float low, float high) {
    *reinterpret_cast<u32 *>(p) = pack_bf16(low, high);
}

// The same of f32; `p` is aligned to 8 bytes.
__device__ inline void store_pair(float *p, float low, float high) {
    *reinterpret_cast<float2 *>(p) = make_float2(low, high);
}

// d += A B.
__device__ inline void multiply_fragments(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline u32 shared_address(const void *p) {
    return static_cast<u32>(__cvta_generic_to_shared(p));
}

// Four 8 x 8 matrices in shared memory: lane i says where row i % 8 of matrix i / 8 begins (16 bytes, aligned), and
// gets elements 2t and 2t + 1 of row g of each.
__device__ inline void load_matrices(u32 (&x)[4], const bf16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same of the transposed matrices: elements 2t and 2t + 1 of column g.
__device__ inline void load_matrices_transposed(u32 (&x)[4], const bf16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Begins to copy 16 bytes to shared memory, or to set them to zero where there is nothing to copy.
__device__ inline void begin_copy(bf16 *to, const bf16 *from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}

// What this thread has begun since the last call is one batch.
__device__ inline void end_batch() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until no more than the last PENDING batches of this thread are under way.
template <u32 PENDING> __device__ inline void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

#endif
