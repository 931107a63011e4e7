//! Finding CUDA's libraries when the program runs.
//!
//! The user's own folders come first. The system's loader knows what is installed for the whole system; where it finds NVRTC
//! or cuBLASLt nowhere, the other folders below are searched: pip and conda put them there, and who trains on a card has one of
//! the two. A library that was opened by its full path is what the loader gives from then on for its plain name. Of those in
//! folders only libraries that suit the driver are opened: a driver knows its own major version and those before it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::Unavailable;
use crate::backend::Trouble;

/// Folders to search first.
pub const FOLDERS: &str = "GFT_CUDA_PATH";

/// A library beside the driver.
struct Library {
    /// What users call it.
    name: &'static str,
    /// The beginning of its file's name.
    file: &'static str,
    /// The same of what it opens when it is used, by the plain name: NVRTC 13.0 of pip does not say that it lies beside it.
    needs: Option<&'static str>,
    /// Which package has it, but for the version at its end.
    package: &'static str,
    present: fn() -> bool,
}

const BESIDE: [Library; 2] = [
    Library {
        name: "NVRTC",
        file: "nvrtc",
        needs: Some("nvrtc-builtins"),
        package: "nvidia-cuda-nvrtc",
        // SAFETY: opening NVIDIA's library runs its initialisers, which is what it is opened for.
        present: || unsafe { cudarc::nvrtc::sys::is_culib_present() },
    },
    Library {
        name: "cuBLASLt",
        file: "cublasLt",
        needs: None,
        package: "nvidia-cublas",
        // SAFETY: as above.
        present: || unsafe { cudarc::cublaslt::sys::is_culib_present() },
    },
];

/// Whether this machine has NVIDIA's driver.
pub fn has_driver() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // SAFETY: as above.
    *FOUND.get_or_init(|| unsafe { cudarc::driver::sys::is_culib_present() })
}

/// Makes sure of the libraries beside a driver of this major version.
pub fn find(driver: u32) -> Result<(), Unavailable> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let (own, folders) = (own_folders(&variable), folders(&variable));
    for library in &BESIDE {
        let open = |folders: &[PathBuf]| open_by_path(library, folders, driver);
        if open(&own) || (library.present)() || open(&folders) {
            continue;
        }
        let looked = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>();
        return Err(Unavailable::MissingLibrary {
            name: library.name,
            package: package(library.package, driver),
            looked: looked.join(", "),
        });
    }
    Ok(())
}

/// A package of pip's with libraries that suit a driver: up to CUDA 12 its name ends in the major version.
fn package(name: &str, driver: u32) -> String {
    if driver < 13 { format!("{name}-cu{driver}") } else { name.to_owned() }
}

/// Refuses a library that the driver does not know: it takes those of its own major version and of those before it.
pub fn suits(library: &str, version: (i32, i32), driver: (i32, i32)) -> Result<(), Trouble> {
    if version.0 <= driver.0 {
        return Ok(());
    }
    let ((major, minor), (newest, minor_of)) = (version, driver);
    Err(Trouble::Other(format!(
        "{library} {major}.{minor} is newer than the driver, which knows CUDA {newest}.{minor_of}: install a newer driver, or \
         NVRTC and cuBLASLt of CUDA {newest} in place of those that the system's loader finds"
    )))
}

/// Opens a library by its full path, for good, if one that suits the driver lies in one of these folders.
fn open_by_path(library: &Library, folders: &[PathBuf], driver: u32) -> bool {
    for folder in folders {
        for path in files(folder, library.file, driver) {
            if open_for_good(&path) {
                library.needs.iter().flat_map(|needs| all_files(folder, needs)).for_each(|(_, path)| {
                    open_for_good(&path);
                });
                if (library.present)() {
                    return true;
                }
            }
        }
    }
    false
}

/// Opens a library that is never closed: closed, it could not be found again by its name.
fn open_for_good(path: &Path) -> bool {
    // SAFETY: as above.
    unsafe { libloading::Library::new(path) }.map(std::mem::forget).is_ok()
}

/// The files of a library in a folder, with what stands behind `.so.` in their names.
fn all_files(folder: &Path, file: &str) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let beginning = format!("lib{file}.so.");
    let version = |path: &Path| Some(path.file_name()?.to_str()?.strip_prefix(&beginning)?.to_owned());
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter_map(|path| Some((version(&path)?, path))).collect()
}

/// The major versions of a library in a folder that a driver knows, the newest first.
fn files(folder: &Path, file: &str, driver: u32) -> Vec<PathBuf> {
    // Versions of two numbers and more are the same file by a longer name.
    let numbered = |(version, path): (String, PathBuf)| Some((version.parse::<u32>().ok()?, path));
    let mut found: Vec<_> = all_files(folder, file).into_iter().filter_map(numbered).collect();
    found.retain(|(major, _)| *major <= driver);
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// The folders that the user names.
fn own_folders(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    variable(FOLDERS).iter().flat_map(std::env::split_paths).collect()
}

/// Where libraries may lie, given the environment's variables.
fn folders(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let mut folders = own_folders(variable);
    folders.extend(["CUDA_HOME", "CUDA_PATH"].iter().filter_map(|name| Some(variable(name)?.join("lib64"))));
    if let Some(conda) = variable("CONDA_PREFIX") {
        folders.push(conda.join("lib"));
        folders.extend(of_pip(&conda));
    }
    if let Some(environment) = variable("VIRTUAL_ENV") {
        folders.extend(of_pip(&environment));
    }
    folders.push("/usr/local/cuda/lib64".into());
    // Packages of no environment: of the system, as in containers, and of the user.
    let home = variable("HOME").map(|home| home.join(".local"));
    let beside = ["/usr/local", "/usr"].map(PathBuf::from).into_iter().chain(home);
    folders.extend(beside.flat_map(|prefix| of_pip(&prefix)));
    folders
}

/// Folders of NVIDIA's packages in a Python environment.
fn of_pip(environment: &Path) -> Vec<PathBuf> {
    let inside = |folder: &Path| -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        paths
    };
    let is_python = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python"))
    };
    let pythons =
        ["lib", "lib64"].map(|lib| environment.join(lib)).into_iter().filter(|lib| !lib.is_symlink());
    let pythons = pythons.flat_map(|lib| inside(&lib)).filter(is_python);
    let packages = pythons.flat_map(|python| {
        // The latter on Debian and Ubuntu.
        ["site-packages/nvidia", "dist-packages/nvidia"]
            .iter()
            .flat_map(|of| inside(&python.join(of)))
            .collect::<Vec<_>>()
    });
    packages.map(|package| package.join("lib")).filter(|folder| folder.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_pip_and_conda_are_searched_and_the_users_own_come_first() {
        let root = tempfile::tempdir().unwrap();
        let lib = root.path().join("lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib");
        std::fs::create_dir_all(&lib).unwrap();
        for name in ["libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc-builtins.so.12.8", "libnvrtc.so.12.8"] {
            std::fs::write(lib.join(name), "").unwrap();
        }
        let found = folders(&|name| match name {
            FOLDERS => Some("/first:/second".into()),
            "VIRTUAL_ENV" => Some(root.path().into()),
            _ => None,
        });
        let expected = [Path::new("/first"), Path::new("/second"), &lib, Path::new("/usr/local/cuda/lib64")];
        assert_eq!(found[..4], expected);
        assert_eq!(files(&lib, "nvrtc", 13), [lib.join("libnvrtc.so.13"), lib.join("libnvrtc.so.12")]);
        // A driver of CUDA 12 cannot use the newer.
        assert_eq!(files(&lib, "nvrtc", 12), [lib.join("libnvrtc.so.12")]);
        assert_eq!(files(&lib, "nvrtc", 11), [""; 0].map(PathBuf::from));
    }

    #[test]
    fn a_package_is_named_as_pip_has_it_for_the_driver() {
        assert_eq!(package("nvidia-cublas", 12), "nvidia-cublas-cu12");
        assert_eq!(package("nvidia-cublas", 13), "nvidia-cublas");
    }

    #[test]
    fn a_library_of_a_major_version_that_the_driver_does_not_know_is_refused() {
        assert_eq!(suits("cuBLASLt", (12, 9), (12, 4)), Ok(()));
        assert_eq!(suits("cuBLASLt", (12, 8), (13, 0)), Ok(()));
        let refused = suits("cuBLASLt", (13, 0), (12, 8)).unwrap_err().to_string();
        assert!(refused.starts_with("cuBLASLt 13.0") && refused.contains("CUDA 12.8"), "{refused}");
    }
}
