//! What the device asks of a machine: memory, copies, launches of kernels and matrix products, all in one order.

/// The number type of a product's operand or result, and of what is kept in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// 32 bits.
    F32,
    /// The upper half of an f32.
    Bf16,
}

impl Number {
    /// Bytes of one.
    pub fn bytes(self) -> u64 {
        match self {
            Number::F32 => 4,
            Number::Bf16 => 2,
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Number::F32 => "f32",
            Number::Bf16 => "bf16",
        }
    }
}

/// An argument of a kernel. Equal are those of the same type and bits.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// An address on the device.
    Ptr(u64),
    /// `unsigned int`.
    U32(u32),
    /// `unsigned long long`.
    U64(u64),
    /// `float`.
    F32(f32),
    /// `double`.
    F64(f64),
}

impl PartialEq for Arg {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Arg::Ptr(a), Arg::Ptr(b)) | (Arg::U64(a), Arg::U64(b)) => a == b,
            (Arg::U32(a), Arg::U32(b)) => a == b,
            (Arg::F32(a), Arg::F32(b)) => a.to_bits() == b.to_bits(),
            (Arg::F64(a), Arg::F64(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }
}

impl Arg {
    /// Where the value stands, as `cuLaunchKernel` wants it.
    pub fn address(&self) -> *const core::ffi::c_void {
        match self {
            Arg::Ptr(value) | Arg::U64(value) => std::ptr::from_ref(value).cast(),
            Arg::U32(value) => std::ptr::from_ref(value).cast(),
            Arg::F32(value) => std::ptr::from_ref(value).cast(),
            Arg::F64(value) => std::ptr::from_ref(value).cast(),
        }
    }
}

/// How many threads run a kernel, and their shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block in bytes.
    pub shared: u32,
}

/// `out = op(a) op(b)`, or `out = addend + op(a) op(b)`, of row-major matrices; sums are f32, whatever `out` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Rows of `out`.
    pub m: u64,
    /// Columns of `out`.
    pub n: u64,
    /// Terms of each sum.
    pub k: u64,
    /// The type of `a` and `b`.
    pub operands: Number,
    /// Where `a` begins; `[m, k]`, or `[k, m]` where transposed.
    pub a: u64,
    /// Elements between its rows.
    pub a_stride: u64,
    /// `a` is stored transposed.
    pub transpose_a: bool,
    /// Where `b` begins; `[k, n]`, or `[n, k]` where transposed.
    pub b: u64,
    /// Elements between its rows.
    pub b_stride: u64,
    /// `b` is stored transposed.
    pub transpose_b: bool,
    /// The type of `out`.
    pub result: Number,
    /// Where `out` begins; `[m, n]`.
    pub out: u64,
    /// Elements between its rows.
    pub out_stride: u64,
    /// Where what is added begins: a matrix as `out` is, in type, size and stride, and `out` itself or apart from it.
    pub addend: Option<u64>,
}

/// Rows of bytes in two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Number of rows.
    pub rows: u64,
    /// Bytes of a row.
    pub bytes: u64,
    /// Where the first is.
    pub from: u64,
    /// Bytes from one to the next.
    pub from_stride: u64,
    /// Where the first goes.
    pub to: u64,
    /// Bytes from one to the next.
    pub to_stride: u64,
}

/// What a machine is asked to do with its memory, without the host's.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// [`Backend::launch`].
    Launch {
        /// Its name.
        kernel: &'static str,
        /// Its threads.
        shape: Launch,
        /// Its arguments.
        args: Box<[Arg]>,
    },
    /// [`Backend::product`].
    Product(Product),
    /// [`Backend::copy`].
    Copy(Rows),
    /// [`Backend::fill`].
    Fill {
        /// Where.
        address: u64,
        /// With what.
        value: u8,
        /// How much.
        bytes: u64,
    },
}

/// Why a machine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No memory is left.
    #[error("out of memory: {wanted} bytes wanted")]
    Memory {
        /// Bytes that were asked for.
        wanted: u64,
    },
    /// Anything else, in the words of the machine's libraries.
    #[error("{0}")]
    Other(String),
}

/// [`Backend::fixed_rows`] of cards.
pub const FIXED_ROWS: usize = 256;

/// A machine with memory of its own that works in the order in which it is asked.
///
/// Work may still be under way when a call returns; an error may then be that of earlier work. Addresses are plain numbers.
#[allow(clippy::missing_safety_doc)] // once, below, for all
pub trait Backend: Send + Sync {
    /// What users call it: `cuda:0 (NVIDIA H200)`.
    fn name(&self) -> &str;

    /// Whether memory that is not used is worth keeping for the next buffer.
    fn pools(&self) -> bool {
        true
    }

    /// Rows of the products that generation computes: all have this many, so that a row's result does not depend on how
    /// many others there are.
    fn fixed_rows(&self) -> usize {
        FIXED_ROWS
    }

    /// Free and total memory in bytes.
    fn memory(&self) -> Result<(u64, u64), Trouble>;

    /// Bytes that the machine's libraries will take once they are used: they are still among the free ones.
    fn libraries(&self) -> u64 {
        0
    }

    /// Memory of so many bytes, at least 1, with unspecified contents.
    fn allocate(&self, bytes: u64) -> Result<u64, Trouble>;

    /// Gives memory back once all that was asked so far is done.
    ///
    /// # Safety
    /// `address` came from [`Backend::allocate`] with `bytes` and is used no more.
    unsafe fn free(&self, address: u64, bytes: u64);

    /// Copies from the host; `source` may change as soon as this returns.
    ///
    /// # Safety
    /// The bytes at `to` lie in one allocation.
    unsafe fn upload(&self, source: &[u8], to: u64) -> Result<(), Trouble>;

    /// Copies to the host, after all that was asked so far.
    ///
    /// # Safety
    /// The bytes at `from` lie in one allocation.
    unsafe fn download(&self, from: u64, target: &mut [u8]) -> Result<(), Trouble>;

    /// Copies rows within the device.
    ///
    /// # Safety
    /// All rows lie in one allocation each, and source and target do not overlap.
    unsafe fn copy(&self, rows: Rows) -> Result<(), Trouble>;

    /// Sets every byte to `value`.
    ///
    /// # Safety
    /// The bytes lie in one allocation.
    unsafe fn fill(&self, address: u64, value: u8, bytes: u64) -> Result<(), Trouble>;

    /// Runs a kernel.
    ///
    /// # Safety
    /// Arguments are those of the kernel's table in `kernels/README.md`, in number, order, type and room.
    unsafe fn launch(&self, kernel: &'static str, shape: Launch, args: &[Arg]) -> Result<(), Trouble>;

    /// A matrix product.
    ///
    /// # Safety
    /// All matrices lie in one allocation each; `out` overlaps neither operand, and the addend only if it is that.
    unsafe fn product(&self, product: Product) -> Result<(), Trouble>;

    /// One of the four above.
    ///
    /// # Safety
    /// That of its own function.
    unsafe fn command(&self, command: &Command) -> Result<(), Trouble> {
        // SAFETY: the caller's.
        unsafe {
            match command {
                Command::Launch { kernel, shape, args } => self.launch(kernel, *shape, args),
                Command::Product(product) => self.product(*product),
                Command::Copy(rows) => self.copy(*rows),
                Command::Fill { address, value, bytes } => self.fill(*address, *value, *bytes),
            }
        }
    }

    /// Makes a graph of commands, without running them; `None` where the machine makes none.
    ///
    /// # Safety
    /// That of each command, whenever the graph is replayed.
    unsafe fn capture(&self, _: &[Command]) -> Result<Option<u64>, Trouble> {
        Ok(None)
    }

    /// Runs the commands of a graph.
    ///
    /// # Safety
    /// `graph` came from [`Backend::capture`], and the commands may be run now.
    unsafe fn replay(&self, _graph: u64) -> Result<(), Trouble> {
        Err(Trouble::Other("graphs are not for this machine".into()))
    }

    /// Gives a graph back.
    ///
    /// # Safety
    /// `graph` came from [`Backend::capture`] and is used no more.
    unsafe fn forget(&self, _graph: u64) {}
}
