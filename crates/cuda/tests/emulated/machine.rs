//! A card that is not there: host memory, the kernels' own sources compiled for the host and run thread by thread, products
//! by plain loops.
//!
//! Every allocation is exactly as large as asked and lies between guards of NaN: what is read beside it shows in the results,
//! what is written beside it is an error of the operation that did it.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use gft_cuda::backend::{Arg, Backend, Command as Asked, Launch, Number, Product, Rows, Trouble};
use gft_cuda::{Cuda, Precision};
use libloading::Library;

/// Bytes of a guard, and the alignment of allocations: a card's.
const GUARD: usize = 256;
/// What its libraries will take, as it says.
pub const LIBRARIES: u64 = 3 << 20;
/// What guards are filled with: NaN as f32, and no index of anything.
const FILL: u8 = 0xff;

type Emulate = unsafe extern "C" fn(
    *const c_char,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    *mut *mut c_void,
) -> c_int;

/// The machine.
#[derive(Clone, Default)]
pub struct Emulated(Arc<State>);

#[derive(Default)]
struct State {
    /// Sizes by address.
    allocations: Mutex<BTreeMap<u64, u64>>,
    /// Keeps idle memory, as a card does.
    pools: bool,
    /// Bytes of memory; 0 for any number.
    memory: u64,
    used: AtomicU64,
    most: AtomicU64,
    /// Which launch fails, counted from 1; 0 for none.
    fails: AtomicU32,
    launches: AtomicU32,
    /// Makes graphs.
    graphs: bool,
    captured: Mutex<BTreeMap<u64, Vec<Asked>>>,
    captures: AtomicU32,
    replays: AtomicU32,
}

impl Emulated {
    /// With so many bytes of memory, and idle memory kept.
    pub fn with_memory(memory: u64) -> Self {
        Emulated(Arc::new(State { memory, pools: true, ..State::default() }))
    }

    /// The same, and steps that are asked for again become graphs: their commands, as they were asked for.
    pub fn with_graphs(memory: u64) -> Self {
        Emulated(Arc::new(State { memory, pools: true, graphs: true, ..State::default() }))
    }

    /// Graphs that were made, that were replayed, and that there are.
    pub fn graphs(&self) -> (u32, u32, usize) {
        let counts = [&self.0.captures, &self.0.replays].map(|count| count.load(Ordering::SeqCst));
        (counts[0], counts[1], self.0.captured.lock().unwrap().len())
    }

    /// The device on this machine.
    pub fn device(&self, precision: Precision) -> Cuda {
        Cuda::on(self.clone(), precision)
    }

    /// Bytes that are allocated.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::SeqCst)
    }

    /// The most bytes that were allocated at a time since [`Emulated::forget_peak`].
    pub fn peak(&self) -> u64 {
        self.0.most.load(Ordering::SeqCst)
    }

    /// Lets the peak be what is allocated now.
    pub fn forget_peak(&self) {
        self.0.most.store(self.used(), Ordering::SeqCst);
    }

    /// Kernels that were launched.
    pub fn launches(&self) -> u32 {
        self.0.launches.load(Ordering::SeqCst)
    }

    /// Lets the `n`-th launch from now on fail.
    pub fn fail_after(&self, n: u32) {
        self.0.fails.store(self.launches() + n, Ordering::SeqCst);
    }

    /// Whether these bytes lie in one allocation.
    fn check(&self, address: u64, bytes: u64) -> Result<(), Trouble> {
        let allocations = self.0.allocations.lock().unwrap();
        let inside = allocations
            .range(..=address)
            .next_back()
            .is_some_and(|(start, size)| address + bytes <= start + size);
        if inside {
            return Ok(());
        }
        Err(Trouble::Other(format!("{bytes} bytes at {address:#x} are not in one allocation")))
    }

    /// Whether all guards are whole.
    fn guards(&self, after: &str) -> Result<(), Trouble> {
        for (&address, &bytes) in &*self.0.allocations.lock().unwrap() {
            let (before, behind) = (address as usize - GUARD, (address + bytes) as usize);
            for at in [before, behind] {
                // SAFETY: each allocation has a guard at both ends.
                let guard = unsafe { std::slice::from_raw_parts(at as *const u8, GUARD) };
                if let Some(byte) = guard.iter().position(|byte| *byte != FILL) {
                    let at = (at + byte) as i64 - address as i64;
                    return Err(Trouble::Other(format!("{after} wrote at byte {at} of {bytes}")));
                }
            }
        }
        Ok(())
    }
}

fn layout(bytes: u64) -> Layout {
    Layout::from_size_align(bytes as usize + 2 * GUARD, GUARD).unwrap()
}

impl Backend for Emulated {
    fn name(&self) -> &str {
        "cuda:0 (emulated)"
    }

    fn pools(&self) -> bool {
        self.0.pools
    }

    fn fixed_rows(&self) -> usize {
        3
    }

    fn memory(&self) -> Result<(u64, u64), Trouble> {
        let total = if self.0.memory == 0 { u64::MAX } else { self.0.memory };
        Ok((total - self.used(), total))
    }

    fn libraries(&self) -> u64 {
        LIBRARIES
    }

    fn allocate(&self, bytes: u64) -> Result<u64, Trouble> {
        if self.memory()?.0 < bytes {
            return Err(Trouble::Memory { wanted: bytes });
        }
        // SAFETY: the size is not zero.
        let start = unsafe { alloc(layout(bytes)) };
        // SAFETY: room for the allocation and both guards.
        unsafe { start.write_bytes(FILL, layout(bytes).size()) };
        let address = start as u64 + GUARD as u64;
        self.0.allocations.lock().unwrap().insert(address, bytes);
        let used = self.0.used.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.0.most.fetch_max(used, Ordering::SeqCst);
        Ok(address)
    }

    unsafe fn free(&self, address: u64, bytes: u64) {
        self.guards("something").unwrap();
        let size = self.0.allocations.lock().unwrap().remove(&address);
        assert_eq!(size, Some(bytes), "freed what was not allocated");
        self.0.used.fetch_sub(bytes, Ordering::SeqCst);
        // SAFETY: allocated above with this layout.
        unsafe { dealloc((address as usize - GUARD) as *mut u8, layout(bytes)) };
    }

    unsafe fn upload(&self, source: &[u8], to: u64) -> Result<(), Trouble> {
        self.check(to, source.len() as u64)?;
        // SAFETY: checked.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), to as *mut u8, source.len()) };
        Ok(())
    }

    unsafe fn download(&self, from: u64, target: &mut [u8]) -> Result<(), Trouble> {
        self.check(from, target.len() as u64)?;
        // SAFETY: checked.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, target.as_mut_ptr(), target.len()) };
        Ok(())
    }

    unsafe fn copy(&self, rows: Rows) -> Result<(), Trouble> {
        for row in 0..rows.rows {
            let (from, to) = (rows.from + row * rows.from_stride, rows.to + row * rows.to_stride);
            self.check(from, rows.bytes)?;
            self.check(to, rows.bytes)?;
            // SAFETY: checked.
            unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, rows.bytes as usize) };
        }
        Ok(())
    }

    unsafe fn fill(&self, address: u64, value: u8, bytes: u64) -> Result<(), Trouble> {
        self.check(address, bytes)?;
        // SAFETY: checked.
        unsafe { (address as *mut u8).write_bytes(value, bytes as usize) };
        Ok(())
    }

    unsafe fn launch(&self, kernel: &'static str, shape: Launch, args: &[Arg]) -> Result<(), Trouble> {
        let number = self.0.launches.fetch_add(1, Ordering::SeqCst) + 1;
        if self.0.fails.load(Ordering::SeqCst) == number {
            return Err(Trouble::Other("CUDA_ERROR_ILLEGAL_ADDRESS: said by the test".into()));
        }
        let name = CString::new(kernel).unwrap();
        let mut args: Vec<_> = args.iter().map(|arg| arg.address().cast_mut()).collect();
        let ([gx, gy, gz], [bx, by, bz]) = (shape.grid, shape.block);
        let library = library();
        // SAFETY: the functions have these signatures; arguments are the caller's promise.
        let answer = unsafe {
            let emulate = library.get::<Emulate>(b"gft_emulate").unwrap();
            emulate(name.as_ptr(), gx, gy, gz, bx, by, bz, shape.shared, args.as_mut_ptr())
        };
        if answer != 0 {
            // SAFETY: the text lives until the next call of this thread.
            let text = unsafe {
                let error =
                    library.get::<unsafe extern "C" fn() -> *const c_char>(b"gft_emulate_error").unwrap();
                CStr::from_ptr(error())
            };
            return Err(Trouble::Other(format!("{kernel}: {answer}: {}", text.to_string_lossy())));
        }
        self.guards(kernel)
    }

    unsafe fn product(&self, p: Product) -> Result<(), Trouble> {
        let bytes = p.operands.bytes();
        let (a_rows, a_columns) = if p.transpose_a { (p.k, p.m) } else { (p.m, p.k) };
        let (b_rows, b_columns) = if p.transpose_b { (p.n, p.k) } else { (p.k, p.n) };
        self.check(p.a, ((a_rows - 1) * p.a_stride + a_columns) * bytes)?;
        self.check(p.b, ((b_rows - 1) * p.b_stride + b_columns) * bytes)?;
        self.check(p.out, ((p.m - 1) * p.out_stride + p.n) * p.result.bytes())?;
        if let Some(addend) = p.addend {
            self.check(addend, ((p.m - 1) * p.out_stride + p.n) * p.result.bytes())?;
        }
        let value_of = |number: Number, at: u64, index: u64| -> f32 {
            // SAFETY: checked above.
            unsafe {
                match number {
                    Number::F32 => *(at as *const f32).add(index as usize),
                    Number::Bf16 => f32::from_bits(u32::from(*(at as *const u16).add(index as usize)) << 16),
                }
            }
        };
        let value = |at: u64, index: u64| value_of(p.operands, at, index);
        for i in 0..p.m {
            for j in 0..p.n {
                let mut sum = 0.0f32;
                for t in 0..p.k {
                    let a = if p.transpose_a { t * p.a_stride + i } else { i * p.a_stride + t };
                    let b = if p.transpose_b { j * p.b_stride + t } else { t * p.b_stride + j };
                    sum += value(p.a, a) * value(p.b, b);
                }
                let at = i * p.out_stride + j;
                if let Some(addend) = p.addend {
                    sum += value_of(p.result, addend, at);
                }
                // SAFETY: checked above.
                unsafe {
                    match p.result {
                        Number::F32 => *(p.out as *mut f32).add(at as usize) = sum,
                        Number::Bf16 => {
                            *(p.out as *mut u16).add(at as usize) = half::bf16::from_f32(sum).to_bits();
                        }
                    }
                }
            }
        }
        Ok(())
    }

    unsafe fn capture(&self, commands: &[Asked]) -> Result<Option<u64>, Trouble> {
        if !self.0.graphs {
            return Ok(None);
        }
        let graph = u64::from(self.0.captures.fetch_add(1, Ordering::SeqCst));
        self.0.captured.lock().unwrap().insert(graph, commands.to_vec());
        Ok(Some(graph))
    }

    unsafe fn replay(&self, graph: u64) -> Result<(), Trouble> {
        self.0.replays.fetch_add(1, Ordering::SeqCst);
        let commands = self.0.captured.lock().unwrap()[&graph].clone();
        // SAFETY: the caller's.
        commands.iter().try_for_each(|command| unsafe { self.command(command) })
    }

    unsafe fn forget(&self, graph: u64) {
        assert!(self.0.captured.lock().unwrap().remove(&graph).is_some(), "graph {graph} forgotten twice");
    }
}

/// The kernels for the host, compiled when they have changed.
fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    // SAFETY: a library of plain functions.
    LIBRARY.get_or_init(|| unsafe { Library::new(build()) }.unwrap())
}

fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources: Vec<PathBuf> = ["emulator", "kernels"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    sources.sort();
    let mut hash = DefaultHasher::new();
    sources.iter().for_each(|path| std::fs::read(path).unwrap().hash(&mut hash));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("emulator-{:016x}.so", hash.finish()));
    if target.exists() {
        return target;
    }
    let partial = target.with_extension(format!("partial-{}", std::process::id()));
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    // Results do not depend on the second line: what is said to be one rounding stays one, and nothing else becomes one.
    let mut flags =
        vec!["-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wno-unknown-pragmas"];
    flags.extend(["-ftls-model=initial-exec", "-fno-plt"]);
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") {
        flags.push("-mfma");
    }
    let done = Command::new(&compiler)
        .current_dir(root)
        .args(flags)
        .arg("-o")
        .arg(&partial)
        .args(["emulator/emulator.cpp", "-I", "kernels"])
        .output()
        .unwrap_or_else(|error| panic!("the tests need a C++ compiler: {compiler}: {error}"));
    assert!(done.status.success(), "{compiler}: {}", String::from_utf8_lossy(&done.stderr));
    std::fs::rename(&partial, &target).unwrap();
    target
}
