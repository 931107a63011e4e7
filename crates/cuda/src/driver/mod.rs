//! A card through NVIDIA's driver: one context, one stream, kernels compiled when the first one is launched.

mod blaslt;
mod card;
pub mod compile;
mod graph;
mod libraries;
pub mod sources;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cudarc::driver::result::{self as cu, DriverError};
use cudarc::driver::sys;

use crate::Precision;
use crate::backend::{Arg, Backend, Command, Launch, Product, Rows, Trouble};
use crate::device::Cuda;
use blaslt::Products;
pub use card::{Card, cards};
use compile::{Compiler, Image};
pub use libraries::{FOLDERS, has_driver};

/// The first compute capability with bf16 in its matrix units.
const OLDEST: (i32, i32) = (8, 0);
/// Bytes that a card has less when it is open: the context with NVRTC's and cuBLASLt's handles (an estimate from what other
/// programs' contexts take on cards of this size, to be measured on one), and the products' scratch memory.
const OPEN: u64 = (448 << 20) + blaslt::WORKSPACE;
/// Bytes that libraries take later: programs that are loaded when they are first used, cuBLASLt's above all, room for what
/// threads spill from registers, and graphs. An estimate as well: with the context it is what is said of programs with the
/// same libraries, some 0.7 GiB; `cuMemGetInfo` before and after the first step will tell.
const LATER: u64 = 256 << 20;
/// What a run takes of a card that is not open yet beside its own memory.
pub(crate) const LIBRARIES: u64 = OPEN + LATER;
/// Shared memory that a block has without asking for it.
const SHARED: u32 = 48 << 10;

/// Why no card can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The machine has no NVIDIA driver.
    #[error(
        "this machine has no NVIDIA driver: the system's loader finds no libcuda.so.1, neither in its folders nor in \
         LD_LIBRARY_PATH; install the driver; a container has the host's if it is started with it (docker run --gpus all)"
    )]
    NoDriver,
    /// A driver without cards.
    #[error(
        "the NVIDIA driver finds no card; see what nvidia-smi lists, and what CUDA_VISIBLE_DEVICES leaves of it"
    )]
    NoCard,
    /// A card that is not there.
    #[error("there is no cuda:{wanted}; the driver finds {count} card(s), from cuda:0")]
    NoSuchCard {
        /// Its number.
        wanted: usize,
        /// How many there are.
        count: usize,
    },
    /// A card without the instructions that kernels use.
    #[error("{name} has compute capability {}.{}; 8.0 (Ampere) or newer is needed", capability.0, capability.1)]
    TooOld {
        /// The card.
        name: String,
        /// Its compute capability.
        capability: (i32, i32),
    },
    /// A library beside the driver is missing.
    #[error(
        "{name} is missing: the system's loader does not find it, nor is it in {looked}; install the package {package} (pip), \
         or name its folder in {FOLDERS}"
    )]
    MissingLibrary {
        /// Which.
        name: &'static str,
        /// Which package has one that suits the driver.
        package: String,
        /// Folders that were searched.
        looked: String,
    },
    /// Anything else, in the words of CUDA's libraries.
    #[error("{0}")]
    Other(String),
}

/// Opens a card.
///
/// # Errors
/// Why it cannot be used.
pub fn open(index: usize, precision: Precision) -> Result<Cuda, Unavailable> {
    Ok(Cuda::on(Driver::open(index)?, precision))
}

/// A card.
pub struct Driver {
    name: String,
    stream: sys::CUstream,
    products: Products,
    workspace: u64,
    compiler: Compiler,
    /// Whether steps may become graphs: unless the environment says `GFT_CUDA_GRAPHS=0`, to measure and to compare.
    graphs: bool,
    kernels: Mutex<Kernels>,
    /// The last, because fields are dropped in their order.
    context: Context,
}

/// A card's context, which a process has once.
struct Context {
    device: sys::CUdevice,
    handle: sys::CUcontext,
}

impl Context {
    fn of(index: usize) -> Result<Self, Trouble> {
        let device = cu::device::get(index as i32).map_err(said("cuDeviceGet"))?;
        // SAFETY: the device exists.
        let handle = unsafe { cu::primary_ctx::retain(device) }.map_err(said("cuDevicePrimaryCtxRetain"))?;
        Ok(Context { device, handle })
    }

    /// Makes it that of this thread.
    fn here(&self) -> Result<(), Trouble> {
        // SAFETY: retained until this is dropped.
        unsafe { cu::ctx::set_current(self.handle) }.map_err(said("cuCtxSetCurrent"))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once, released once.
        let _ = unsafe { cu::primary_ctx::release(self.device) };
    }
}

/// Programs on the card, and their functions that were launched.
#[derive(Default)]
struct Kernels {
    modules: Vec<sys::CUmodule>,
    functions: HashMap<&'static str, Function>,
}

#[derive(Clone, Copy)]
struct Function {
    handle: sys::CUfunction,
    /// Dynamic shared memory that it may have.
    shared: u32,
}

// SAFETY: contexts, streams, modules and functions are handles that the driver lets any thread use; which context a thread
// works in is said before each use.
unsafe impl Send for Driver {}
// SAFETY: as above; what changes is behind a mutex.
unsafe impl Sync for Driver {}

fn said(what: &'static str) -> impl Fn(DriverError) -> Trouble {
    move |error| Trouble::Other(format!("{what}: {}", text(error)))
}

/// The driver's own words.
fn text(error: DriverError) -> String {
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
    let words = error.error_string().map(|words| words.to_string_lossy().into_owned());
    match (name, words) {
        (Ok(name), Ok(words)) => format!("{name}: {words}"),
        _ => format!("{:?}", error.0),
    }
}

fn check(answer: sys::CUresult, what: &'static str) -> Result<(), Trouble> {
    answer.result().map_err(said(what))
}

impl Driver {
    /// Opens a card: looks at it, finds the libraries, makes a stream.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(index: usize) -> Result<Self, Unavailable> {
        let card = card::one(index)?;
        if card.capability < OLDEST {
            return Err(Unavailable::TooOld { name: card.name, capability: card.capability });
        }
        libraries::find(card.driver.0.unsigned_abs())?;
        Self::on(index, &card).map_err(|trouble| Unavailable::Other(trouble.to_string()))
    }

    fn on(index: usize, card: &Card) -> Result<Self, Trouble> {
        let arch = card.capability.0 * 10 + card.capability.1;
        let compiler = Compiler::new(arch.unsigned_abs())?;
        libraries::suits("NVRTC", compiler.version(), card.driver)?;
        libraries::suits("cuBLASLt", blaslt::version(), card.driver)?;
        let context = Context::of(index)?;
        context.here()?;
        let stream =
            cu::stream::create(cu::stream::StreamKind::NonBlocking).map_err(said("cuStreamCreate"))?;
        // SAFETY: the context is current.
        let workspace = unsafe { cu::malloc_sync(blaslt::WORKSPACE as usize) }.map_err(said("cuMemAlloc"))?;
        // SAFETY: the context is current; stream and workspace are this card's and live as long.
        let products = unsafe { Products::new(workspace, stream.cast())? };
        Ok(Driver {
            name: format!("cuda:{index} ({})", card.name),
            stream,
            products,
            workspace,
            compiler,
            graphs: std::env::var_os("GFT_CUDA_GRAPHS").is_none_or(|value| value != "0"),
            kernels: Mutex::default(),
            context,
        })
    }

    /// Versions of NVRTC and cuBLASLt.
    pub fn versions(&self) -> [(i32, i32); 2] {
        [self.compiler.version(), blaslt::version()]
    }

    fn here(&self) -> Result<(), Trouble> {
        self.context.here()
    }

    /// A kernel, with room for so much shared memory.
    fn function(&self, kernel: &'static str, shared: u32) -> Result<sys::CUfunction, Trouble> {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if kernels.modules.is_empty() {
            kernels.modules = self.load()?;
        }
        let known = kernels.functions.get(kernel).copied();
        let mut function = match known {
            Some(function) => function,
            None => Function { handle: find(&kernels.modules, kernel)?, shared: SHARED },
        };
        if function.shared < shared {
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: a function of a module that is loaded.
            unsafe { cu::function::set_function_attribute(function.handle, attribute, shared as i32) }
                .map_err(|e| {
                    Trouble::Other(format!("{shared} bytes of shared memory for {kernel}: {}", text(e)))
                })?;
            function.shared = shared;
        }
        kernels.functions.insert(kernel, function);
        Ok(function.handle)
    }

    /// All programs; those of the cache are compiled anew if the driver does not take them.
    fn load(&self) -> Result<Vec<sys::CUmodule>, Trouble> {
        load_all(&self.compiler.all()?).or_else(|_| load_all(&self.compiler.all_anew()?))
    }
}

fn load_all(images: &[Image]) -> Result<Vec<sys::CUmodule>, Trouble> {
    let load = |Image(image): &Image| {
        // SAFETY: an image as NVRTC made it, ended by a zero where it is PTX; the driver copies it.
        unsafe { cu::module::load_data(image.as_ptr().cast()) }.map_err(said("cuModuleLoadData"))
    };
    images.iter().map(load).collect()
}

fn find(modules: &[sys::CUmodule], kernel: &str) -> Result<sys::CUfunction, Trouble> {
    let name = std::ffi::CString::new(kernel).map_err(|error| Trouble::Other(error.to_string()))?;
    // SAFETY: modules that are loaded.
    let found = modules.iter().find_map(|&m| unsafe { cu::module::get_function(m, name.clone()) }.ok());
    found.ok_or_else(|| Trouble::Other(format!("no program has a kernel `{kernel}`")))
}

impl Backend for Driver {
    fn name(&self) -> &str {
        &self.name
    }

    fn memory(&self) -> Result<(u64, u64), Trouble> {
        self.here()?;
        let (free, total) = cu::mem_get_info().map_err(said("cuMemGetInfo"))?;
        Ok((free as u64, total as u64))
    }

    fn libraries(&self) -> u64 {
        LATER
    }

    fn allocate(&self, bytes: u64) -> Result<u64, Trouble> {
        self.here()?;
        // SAFETY: the context is current.
        unsafe { cu::malloc_sync(bytes as usize) }.map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Trouble::Memory { wanted: bytes },
            _ => said("cuMemAlloc")(error),
        })
    }

    unsafe fn free(&self, address: u64, _: u64) {
        // A failure here is that of earlier work, which its own reader is told.
        // SAFETY: the caller's; the driver waits for what still uses it.
        let _ = self.here().is_ok() && unsafe { cu::free_sync(address) }.is_ok();
    }

    unsafe fn upload(&self, source: &[u8], to: u64) -> Result<(), Trouble> {
        self.here()?;
        // SAFETY: the caller's. From memory that is not pinned the driver copies before it returns.
        unsafe { cu::memcpy_htod_async(to, source, self.stream) }.map_err(said("cuMemcpyHtoD"))
    }

    unsafe fn download(&self, from: u64, target: &mut [u8]) -> Result<(), Trouble> {
        self.here()?;
        // SAFETY: the caller's; the target is borrowed until the copy has been waited for.
        unsafe { cu::memcpy_dtoh_async(target, from, self.stream) }.map_err(said("cuMemcpyDtoH"))?;
        // SAFETY: the stream lives as long as this.
        unsafe { cu::stream::synchronize(self.stream) }.map_err(said("cuStreamSynchronize"))
    }

    unsafe fn copy(&self, rows: Rows) -> Result<(), Trouble> {
        self.here()?;
        let Rows { rows, bytes, from, from_stride, to, to_stride } = rows;
        if rows == 1 || (from_stride == bytes && to_stride == bytes) {
            let bytes = (rows * bytes) as usize;
            // SAFETY: the caller's.
            return unsafe { cu::memcpy_dtod_async(to, from, bytes, self.stream) }
                .map_err(said("cuMemcpyDtoD"));
        }
        let device = sys::CUmemorytype_enum::CU_MEMORYTYPE_DEVICE;
        let copy = sys::CUDA_MEMCPY2D_st {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: device,
            srcHost: std::ptr::null(),
            srcDevice: from,
            srcArray: std::ptr::null_mut(),
            srcPitch: from_stride as usize,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: device,
            dstHost: std::ptr::null_mut(),
            dstDevice: to,
            dstArray: std::ptr::null_mut(),
            dstPitch: to_stride as usize,
            WidthInBytes: bytes as usize,
            Height: rows as usize,
        };
        // SAFETY: the caller's.
        check(unsafe { sys::cuMemcpy2DAsync_v2(&copy, self.stream) }, "cuMemcpy2D")
    }

    unsafe fn fill(&self, address: u64, value: u8, bytes: u64) -> Result<(), Trouble> {
        self.here()?;
        // SAFETY: the caller's.
        unsafe { cu::memset_d8_async(address, value, bytes as usize, self.stream) }
            .map_err(said("cuMemsetD8"))
    }

    unsafe fn launch(&self, kernel: &'static str, shape: Launch, args: &[Arg]) -> Result<(), Trouble> {
        self.here()?;
        let function = self.function(kernel, shape.shared)?;
        let mut args: Vec<_> = args.iter().map(|arg| arg.address().cast_mut()).collect();
        let ([gx, gy, gz], [bx, by, bz]) = (shape.grid, shape.block);
        // SAFETY: the caller's; arguments are copied before this returns.
        unsafe {
            cu::launch_kernel(function, (gx, gy, gz), (bx, by, bz), shape.shared, self.stream, &mut args)
        }
        .map_err(|error| Trouble::Other(format!("cuLaunchKernel of {kernel}: {}", text(error))))
    }

    unsafe fn product(&self, product: Product) -> Result<(), Trouble> {
        self.here()?;
        // SAFETY: the caller's; the context is current.
        unsafe { self.products.run(&product) }
    }

    unsafe fn capture(&self, commands: &[Command]) -> Result<Option<u64>, Trouble> {
        // SAFETY: the caller's.
        unsafe { self.captured(commands) }
    }

    unsafe fn replay(&self, graph: u64) -> Result<(), Trouble> {
        // SAFETY: the caller's.
        unsafe { self.launched(graph) }
    }

    unsafe fn forget(&self, graph: u64) {
        // SAFETY: the caller's.
        unsafe { self.forgotten(graph) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.here().is_err() {
            return;
        }
        let kernels = self.kernels.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: all were made here, and are given back once, after what uses them. Errors are those of earlier work.
        unsafe {
            let _ = cu::stream::synchronize(self.stream);
            for module in kernels.modules.drain(..) {
                let _ = cu::module::unload(module);
            }
            let _ = cu::free_sync(self.workspace);
            let _ = cu::stream::destroy(self.stream);
        }
    }
}
