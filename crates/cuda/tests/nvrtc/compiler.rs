//! NVRTC by its C interface, from wherever it lies.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};

use libloading::{Library, Symbol};

/// The library's path; where it is set, the library must be there.
const VARIABLE: &str = "GFT_NVRTC";

/// A file of the kernels.
pub struct Source {
    /// Its name, as others include it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The compiler.
pub struct Compiler(Library);

type Program = *mut c_void;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
type LogSize = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Log = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;

impl Compiler {
    /// The library of `GFT_NVRTC`, or one in a usual place. None, and a word about it, where there is none: on a developer's
    /// machine alone.
    pub fn find() -> Option<Self> {
        if let Some(path) = std::env::var_os(VARIABLE) {
            // SAFETY: opening NVIDIA's library runs its initialisers, which is what it is opened for.
            let library = unsafe { Library::new(&path) };
            return Some(Self(library.unwrap_or_else(|error| panic!("{VARIABLE}: {error}"))));
        }
        // SAFETY: as above.
        let found = usual_places().into_iter().find_map(|path| unsafe { Library::new(path) }.ok());
        if found.is_none() {
            assert!(std::env::var_os("CI").is_none(), "no NVRTC: set {VARIABLE} to libnvrtc.so.13");
            eprintln!(
                "no NVRTC here, so no kernel was compiled: `pip install nvidia-cuda-nvrtc`, set {VARIABLE}"
            );
        }
        found.map(Self)
    }

    /// Compiles to machine code and returns the log, the assembler's report of each kernel included.
    ///
    /// # Panics
    /// With the log, when the compiler refuses.
    pub fn compile(&self, program: &Source, headers: &[Source], architecture: &str) -> String {
        let c = |text: &str| CString::new(text).unwrap();
        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let (name, text) = (c(&program.name), c(&program.text));
        let names: Vec<CString> = headers.iter().map(|header| c(&header.name)).collect();
        let texts: Vec<CString> = headers.iter().map(|header| c(&header.text)).collect();
        let target = format!("--gpu-architecture={architecture}");
        // The options of the contract, and a report.
        let lambdas = "--device-as-default-execution-space";
        let options = ["--std=c++17", "--fmad=false", lambdas, &target, "--ptxas-options=-v"].map(c);
        let (names, texts, options) = (pointers(&names), pointers(&texts), pointers(&options));
        let mut handle = std::ptr::null_mut();
        // SAFETY: the signatures are those of nvrtc.h; every pointer is to what is alive until the call returns, and lengths
        // are those of the arrays; the log has the size that was asked for.
        unsafe {
            let create: Symbol<'_, Create> = self.0.get(b"nvrtcCreateProgram\0").unwrap();
            let compile: Symbol<'_, Compile> = self.0.get(b"nvrtcCompileProgram\0").unwrap();
            let log_size: Symbol<'_, LogSize> = self.0.get(b"nvrtcGetProgramLogSize\0").unwrap();
            let log: Symbol<'_, Log> = self.0.get(b"nvrtcGetProgramLog\0").unwrap();
            let destroy: Symbol<'_, Destroy> = self.0.get(b"nvrtcDestroyProgram\0").unwrap();
            let count = headers.len() as c_int;
            let made =
                create(&mut handle, text.as_ptr(), name.as_ptr(), count, texts.as_ptr(), names.as_ptr());
            assert_eq!(made, 0, "nvrtcCreateProgram of {}", program.name);
            let compiled = compile(handle, options.len() as c_int, options.as_ptr());
            let mut size = 0;
            assert_eq!(log_size(handle, &mut size), 0);
            let mut said = vec![0u8; size.max(1)];
            assert_eq!(log(handle, said.as_mut_ptr().cast()), 0);
            destroy(&mut handle);
            let said = CStr::from_bytes_until_nul(&said).unwrap().to_string_lossy().into_owned();
            assert_eq!(compiled, 0, "{} for {architecture}:\n{said}", program.name);
            said
        }
    }
}

/// What the system's loader finds, CUDA's own folder, and the packages of the Python environment that is active.
fn usual_places() -> Vec<PathBuf> {
    let names = ["libnvrtc.so.13", "libnvrtc.so.12"];
    let mut places: Vec<PathBuf> = names.map(PathBuf::from).to_vec();
    places.extend(names.map(|name| Path::new("/usr/local/cuda/lib64").join(name)));
    let environment = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
    for python in environment.iter().flat_map(|environment| entries(&environment.join("lib"))) {
        for package in entries(&python.join("site-packages/nvidia")) {
            places.extend(names.map(|name| package.join("lib").join(name)));
        }
    }
    places
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}
