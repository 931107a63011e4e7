//! The processor's matrix unit (AMX): whether there is one that this process may use, and its tiles.

use std::arch::asm;
use std::sync::OnceLock;

/// Rows of a tile, and its columns of f32.
pub const LINES: usize = 16;
/// Terms of a tile of bf16: 16 rows of 16 pairs.
pub const TERMS: usize = 32;
/// A tile in memory: 1 KiB, as f32.
pub const TILE: usize = 256;

/// Whether there are products of tiles of bf16, the system lets this process use them, and its user does. Asked once.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        use std::arch::is_x86_feature_detected as has;
        let vectors = has!("avx512f") && has!("avx512bw") && has!("avx512bf16");
        vectors && tiles() && !left_out() && permitted()
    })
}

/// Whether the processor has a unit that the user leaves out with `GFT_AMX=0`: for the numbers of a processor with the same
/// vectors and no unit, or where other guests of a machine keep it busy.
pub fn left_out() -> bool {
    let off = |value: std::ffi::OsString| {
        ["0", "off", "false", "no"].iter().any(|word| value.eq_ignore_ascii_case(word))
    };
    tiles() && std::env::var_os("GFT_AMX").is_some_and(off)
}

/// Whether the processor has tiles and their products of bf16: CPUID leaf 7, EDX bits 24 and 22.
fn tiles() -> bool {
    let (bf16, tile) = (1 << 22, 1 << 24);
    let edx = std::arch::x86_64::__cpuid_count(7, 0).edx;
    edx & bf16 != 0 && edx & tile != 0
}

/// Asks Linux for the right to use tiles, which it gives to a process, with room in its contexts, only when asked.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    let (arch_prctl, request_permission, tile_data) = (158i64, 0x1023u64, 18u64);
    let result: i64;
    // SAFETY: a system call that reads no memory of this process; a kernel that does not know it returns an error.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") arch_prctl => result,
            in("rdi") request_permission,
            in("rsi") tile_data,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Other systems are not asked: their rules were not tried.
#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// The memory of `ldtilecfg`: eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

static EIGHT_TILES: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// The calling thread's eight tiles, given back when this is dropped: a context without tiles is switched faster.
pub struct Tiles(());

impl Tiles {
    /// Takes them; their contents are zero.
    ///
    /// # Panics
    /// Where the processor has none.
    pub fn take() -> Self {
        assert!(available(), "products of tiles without a unit for them");
        // SAFETY: there are tiles, and the configuration is one of palette 1: at most 8 tiles of at most 16 rows of 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const EIGHT_TILES, options(nostack, readonly)) };
        Self(())
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: there are tiles. Code outside of this module does not use them.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
