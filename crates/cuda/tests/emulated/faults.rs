//! What the emulator refuses and reports of kernels and launches that are wrong: `kernels/README.md`, "The emulator".

use gft_cuda::backend::{Arg, Backend, Launch, Trouble};

use crate::machine::Emulated;

/// A block's threads, more than a warp of them.
const THREADS: u32 = 128;
/// The most shared bytes of a launch, and how far past its own bytes writes are looked for.
const MOST_SHARED: u32 = 101_376;
const GUARD: u32 = 1024;

fn shape(grid: [u32; 3], block: [u32; 3], shared: u32) -> Launch {
    Launch { grid, block, shared }
}

/// Launches a kernel: what was wrong, as `kernel: code: text`, empty for nothing.
fn launch(kernel: &'static str, shape: Launch, args: &[Arg]) -> String {
    // SAFETY: kernels of `emulator/faults.cu` take no pointers, and the arguments below are theirs in number, order and type;
    // they write to shared memory alone, no further than what the emulator has behind a launch's bytes. A kernel that is not
    // there reads nothing.
    match unsafe { Emulated::default().launch(kernel, shape, args) } {
        Ok(()) => String::new(),
        Err(Trouble::Other(text)) => text,
        Err(other) => panic!("{other}"),
    }
}

/// Three blocks; the fault is in `warp` of the second.
fn meeting(kind: u32, warp: u32) -> String {
    let args = [kind, 1, warp].map(Arg::U32);
    launch("fault_meeting", shape([3, 1, 1], [THREADS, 1, 1], 0), &args)
}

/// Three blocks, of which the last writes the float at `index`.
fn shared(index: u32, bytes: u32) -> String {
    launch("fault_shared", shape([3, 1, 1], [THREADS, 1, 1], bytes), &[index, 2].map(Arg::U32))
}

#[test]
fn a_kernel_that_there_is_not_is_named() {
    let said = launch("no_such_kernel", shape([1; 3], [32, 1, 1], 0), &[]);
    assert_eq!(said, "no_such_kernel: 1: no kernel is named no_such_kernel");
}

#[test]
fn launches_that_no_card_makes_are_refused_and_the_largest_are_not() {
    // Writes at the first place, in no block: the grid has none of that number.
    let launched = |shape| launch("fault_shared", shape, &[Arg::U32(0), Arg::U32(u32::MAX)]);
    let block = [THREADS, 1, 1];
    for (refused, named) in [
        (shape([1; 3], [33, 1, 1], 0), "a block of 33 threads"),
        (shape([1; 3], [0, 1, 1], 0), "a block of 0 threads"),
        (shape([1; 3], [1056, 1, 1], 0), "a block of 1056 threads"),
        (shape([1; 3], [64, 17, 1], 0), "a block of 1088 threads"),
        // 2^32 threads and 32, of which 32 bits see only the latter.
        (shape([1; 3], [(1 << 27) + 1, 32, 1], 0), "a block of 4294967328 threads"),
        (shape([0, 1, 1], block, 0), "a grid of 0 x 1"),
        (shape([1, 0, 1], block, 0), "a grid of 1 x 0"),
        (shape([1 << 31, 1, 1], block, 0), "a grid of 2147483648 x 1"),
        (shape([1, 65536, 1], block, 0), "a grid of 1 x 65536"),
        (shape([1; 3], block, MOST_SHARED + 1), "101377 shared bytes"),
    ] {
        assert_eq!(launched(refused), format!("fault_shared: 2: fault_shared: {named}"));
    }
    for largest in [
        shape([1; 3], [1024, 1, 1], 0),
        shape([1, 65535, 1], [32, 1, 1], 0),
        shape([1; 3], block, MOST_SHARED),
    ] {
        assert_eq!(launched(largest), "", "{largest:?}");
    }
}

#[test]
fn a_collective_that_not_all_lanes_of_a_warp_reach_is_reported_with_its_warp_and_block() {
    for kind in 1..=3 {
        for warp in [0, 3] {
            let named =
                format!("warp {warp} waits in a collective that not all its lanes reach in block 1, 0");
            assert_eq!(meeting(kind, warp), format!("fault_meeting: 3: fault_meeting: {named}"), "{kind}");
        }
        // Threads that were left in the middle of a kernel are not in the way of the next.
        assert_eq!(meeting(0, 0), "");
        // No warp has this number.
        assert_eq!(meeting(kind, THREADS / 32), "");
    }
}

#[test]
fn shared_memory_written_past_the_bytes_of_a_launch_is_reported_with_its_block() {
    let named = "shared memory was written past the bytes of the launch in block 2, 0";
    for bytes in [0, 512, MOST_SHARED] {
        for past in [0, GUARD / 4 - 1] {
            let said = shared(bytes / 4 + past, bytes);
            assert_eq!(said, format!("fault_shared: 3: fault_shared: {named}"), "{bytes} {past}");
        }
    }
    for bytes in [4, 512, MOST_SHARED] {
        assert_eq!(shared(bytes / 4 - 1, bytes), "", "{bytes}");
    }
    // A write that begins within them and ends past them.
    assert_ne!(shared(0, 2), "");
}
