// Kernels of the emulator's own tests: each does what no kernel may, in one warp of one block, and only there.

// What the lanes of the guilty warp do; all others do the same, and rightly so.
enum Meeting : u32 { ALL_MEET, HALF_IS_DONE, HALF_AT_ANOTHER, HALF_AT_THE_BLOCK };

extern "C" __global__ void fault_meeting(u32 meeting, u32 guilty_block, u32 guilty_warp) {
    const bool guilty = blockIdx.x == guilty_block && threadIdx.x / 32 == guilty_warp;
    if (guilty && meeting != ALL_MEET && threadIdx.x % 32 >= 16) {
        if (meeting == HALF_AT_ANOTHER) {
            __shfl_xor_sync(0xffffffffu, 1.0f, 1);
        }
        if (meeting == HALF_AT_THE_BLOCK) {
            __syncthreads();
        }
        return;
    }
    __syncwarp();
}

// Writes the float at `index` of the block's dynamic shared memory in one block.
extern "C" __global__ void fault_shared(u32 index, u32 guilty_block) {
    if (blockIdx.x == guilty_block && threadIdx.x == 0) {
        dynamic_shared()[index] = 1.0f;
    }
}
