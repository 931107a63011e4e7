//! A driver that is not NVIDIA's: a library of its name that finds one card and computes nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Run, command};

/// Whether this machine has NVIDIA's driver; then the tests of its absence say nothing.
pub fn has_driver() -> bool {
    gft_cuda::driver::has_driver()
}

/// What such a driver says.
pub struct Driver {
    /// Of `cuInit`.
    pub answer: u32,
    /// The card's compute capability.
    pub capability: (u32, u32),
    /// The card's memory in bytes.
    pub memory: u64,
}

impl Default for Driver {
    fn default() -> Self {
        Driver { answer: 0, capability: (9, 0), memory: 8 << 30 }
    }
}

impl Driver {
    /// A folder with its library.
    pub fn installed(&self) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("driver.c");
        let Driver { answer, capability: (major, minor), memory } = self;
        let text = format!(
            "int cuInit(unsigned flags) {{ return {answer}; }}
            int cuGetErrorName(int error, const char **text) {{ *text = \"CUDA_ERROR_UNKNOWN\"; return 0; }}
            int cuGetErrorString(int error, const char **text) {{ *text = \"unknown error\"; return 0; }}
            int cuDeviceGetCount(int *count) {{ *count = 1; return 0; }}
            int cuDeviceGet(int *device, int index) {{ *device = index; return 0; }}
            int cuDeviceGetName(char *name, int size, int device) {{ __builtin_strcpy(name, \"Card\"); return 0; }}
            int cuDeviceTotalMem_v2(unsigned long *bytes, int device) {{ *bytes = {memory}ul; return 0; }}
            int cuDriverGetVersion(int *version) {{ *version = 12080; return 0; }}
            int cuDeviceGetAttribute(int *value, int which, int device) {{
                *value = which == 75 ? {major} : {minor};
                return 0;
            }}"
        );
        fs::write(&source, text).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).args([&dir.path().join("libcuda.so.1"), &source]);
        assert!(compiler.status().unwrap().success());
        dir
    }
}

/// Runs in `dir` with that driver alone: no other library of CUDA's is found.
pub fn beside(driver: &TempDir, dir: &Path, args: &[&str]) -> Run {
    let mut command = command(dir, args);
    command.env("LD_LIBRARY_PATH", driver.path());
    for name in ["GFT_CUDA_PATH", "CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX", "VIRTUAL_ENV"] {
        command.env_remove(name);
    }
    command.output().unwrap().into()
}
