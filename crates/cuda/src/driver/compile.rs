//! Kernels from their sources: compiled by NVRTC for the card at hand, kept on disk for the next run.

use std::ffi::{CStr, CString};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::ptr;

use cudarc::nvrtc::sys;
use sha2::{Digest, Sha256};

use super::sources::{HEADERS, SOURCES, Source};
use crate::backend::Trouble;

/// A card's instruction set: 90 for compute capability 9.0.
pub type Arch = u32;

/// A program compiled: machine code, or PTX that the driver translates where NVRTC is older than the card.
pub struct Image(pub Vec<u8>);

/// What a compiler is, which decides together with the source what comes out of it.
pub struct Compiler {
    version: (i32, i32),
    /// `sm_90`, or `compute_90`.
    target: String,
    /// Whether the target is a real instruction set.
    real: bool,
    cache: Option<PathBuf>,
}

impl Compiler {
    /// The compiler for a card. NVRTC must be there.
    ///
    /// # Errors
    /// What NVRTC says.
    pub fn new(arch: Arch) -> Result<Self, Trouble> {
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: NVRTC writes one number to each.
        unsafe {
            check(sys::nvrtcVersion(&mut major, &mut minor), "nvrtcVersion")?;
            check(sys::nvrtcGetNumSupportedArchs(&mut count), "nvrtcGetNumSupportedArchs")?;
        }
        let mut known = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: room for as many numbers as NVRTC has just said.
        unsafe { check(sys::nvrtcGetSupportedArchs(known.as_mut_ptr()), "nvrtcGetSupportedArchs")? };
        let (target, real) = target(arch, &known)?;
        Ok(Compiler { version: (major, minor), target, real, cache: cache_folder() })
    }

    /// NVRTC's version.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// Every program, from the cache or compiled.
    ///
    /// # Errors
    /// What NVRTC says of a source.
    pub fn all(&self) -> Result<Vec<Image>, Trouble> {
        each(|source| self.image(source))
    }

    /// Every program compiled anew, whatever the cache has.
    ///
    /// # Errors
    /// What NVRTC says of a source.
    pub fn all_anew(&self) -> Result<Vec<Image>, Trouble> {
        each(|source| self.compile_and_keep(source))
    }

    fn options(&self) -> [String; 4] {
        [
            "--std=c++17".into(),
            "--fmad=false".into(),
            // Up to 13.0 NVRTC takes a generic lambda for a function of the host, and refuses it.
            "--device-as-default-execution-space".into(),
            format!("--gpu-architecture={}", self.target),
        ]
    }

    /// Where a program is kept.
    fn kept_as(&self, source: &Source) -> Option<PathBuf> {
        let mut hash = Sha256::new();
        let mut put = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        for (name, text) in HEADERS.iter().chain([source]) {
            put(name);
            put(text);
        }
        self.options().iter().for_each(|option| put(option));
        put(&format!("{}.{}", self.version.0, self.version.1));
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(self.cache.as_ref()?.join(name))
    }

    fn image(&self, source: &Source) -> Result<Image, Trouble> {
        let kept = self.kept_as(source).and_then(|path| unseal(&std::fs::read(path).ok()?));
        kept.map_or_else(|| self.compile_and_keep(source), |image| Ok(Image(image)))
    }

    fn compile_and_keep(&self, source: &Source) -> Result<Image, Trouble> {
        let image = self.compile(source)?;
        if let Some(path) = self.kept_as(source) {
            // A cache that cannot be written costs a compilation at each start, and nothing else.
            let _ = keep(&path, &seal(&image));
        }
        Ok(Image(image))
    }

    fn compile(&self, (name, text): &Source) -> Result<Vec<u8>, Trouble> {
        let program = Program::new(name, text)?;
        let options: Vec<CString> = self.options().iter().map(|option| c_string(option)).collect();
        let options: Vec<_> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: as many options as are said, each ended by a zero.
        let answer = unsafe { sys::nvrtcCompileProgram(program.0, options.len() as i32, options.as_ptr()) };
        if answer != sys::nvrtcResult::NVRTC_SUCCESS {
            let log = program.log().unwrap_or_default();
            return Err(Trouble::Other(format!("{name} for {}: {}\n{log}", self.target, said(answer))));
        }
        if self.real { program.cubin() } else { program.ptx() }
    }
}

/// Every program, each by a thread of its own: one after another they take NVRTC some twenty seconds, the longest seven.
fn each(make: impl Fn(&Source) -> Result<Image, Trouble> + Sync) -> Result<Vec<Image>, Trouble> {
    let make = &make;
    std::thread::scope(|scope| {
        let threads: Vec<_> = SOURCES.iter().map(|source| scope.spawn(move || make(source))).collect();
        let made =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        made.collect()
    })
}

/// The target for a card among the instruction sets that NVRTC knows, ascending: its own, or the newest before it as PTX.
fn target(arch: Arch, known: &[i32]) -> Result<(String, bool), Trouble> {
    let arch = arch as i32;
    if known.contains(&arch) {
        return Ok((format!("sm_{arch}"), true));
    }
    let before = known.iter().filter(|known| **known < arch).max();
    let before = before.ok_or_else(|| Trouble::Other(format!("NVRTC knows no target for sm_{arch}")))?;
    Ok((format!("compute_{before}"), false))
}

/// `$XDG_CACHE_HOME/gft/kernels`, or `~/.cache/gft/kernels`.
fn cache_folder() -> Option<PathBuf> {
    let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = own.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("gft/kernels"))
}

/// Prefixes an image by its hash.
fn seal(image: &[u8]) -> Vec<u8> {
    let mut sealed = Sha256::digest(image).to_vec();
    sealed.extend_from_slice(image);
    sealed
}

/// The image, if it is the one that was sealed.
fn unseal(sealed: &[u8]) -> Option<Vec<u8>> {
    let (hash, image) = sealed.split_at_checked(32)?;
    (Sha256::digest(image).as_slice() == hash).then(|| image.to_vec())
}

/// Writes a file that appears whole or not at all.
fn keep(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    std::fs::write(&partial, bytes)?;
    std::fs::rename(&partial, path)
}

/// A program of NVRTC's, destroyed when it is dropped.
struct Program(sys::nvrtcProgram);

fn c_string(text: &str) -> CString {
    // Sources and options are our own and have no zero in them.
    CString::new(text.replace('\0', "")).unwrap_or_default()
}

impl Program {
    fn new(name: &str, text: &str) -> Result<Self, Trouble> {
        let (name, text) = (c_string(name), c_string(text));
        let names: Vec<CString> = HEADERS.iter().map(|(name, _)| c_string(name)).collect();
        let texts: Vec<CString> = HEADERS.iter().map(|(_, text)| c_string(text)).collect();
        let names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let texts: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        let mut program = ptr::null_mut();
        let count = names.len() as i32;
        // SAFETY: texts ended by zeros, as many names as headers; NVRTC copies them all.
        let answer = unsafe {
            sys::nvrtcCreateProgram(
                &mut program,
                text.as_ptr(),
                name.as_ptr(),
                count,
                texts.as_ptr(),
                names.as_ptr(),
            )
        };
        check(answer, "nvrtcCreateProgram").map(|()| Program(program))
    }

    fn cubin(&self) -> Result<Vec<u8>, Trouble> {
        // SAFETY: the program is compiled; the text has the length that NVRTC says.
        self.text(|p, n| unsafe { sys::nvrtcGetCUBINSize(p, n) }, |p, t| unsafe { sys::nvrtcGetCUBIN(p, t) })
    }

    fn ptx(&self) -> Result<Vec<u8>, Trouble> {
        // SAFETY: as above.
        self.text(|p, n| unsafe { sys::nvrtcGetPTXSize(p, n) }, |p, t| unsafe { sys::nvrtcGetPTX(p, t) })
    }

    fn log(&self) -> Result<String, Trouble> {
        let log = self.text(
            // SAFETY: as above; a program that did not compile has a log as well.
            |p, n| unsafe { sys::nvrtcGetProgramLogSize(p, n) },
            // SAFETY: as above.
            |p, t| unsafe { sys::nvrtcGetProgramLog(p, t) },
        )?;
        Ok(String::from_utf8_lossy(log.strip_suffix(b"\0").unwrap_or(&log)).into_owned())
    }

    fn text(
        &self,
        size: impl Fn(sys::nvrtcProgram, *mut usize) -> sys::nvrtcResult,
        get: impl Fn(sys::nvrtcProgram, *mut core::ffi::c_char) -> sys::nvrtcResult,
    ) -> Result<Vec<u8>, Trouble> {
        let mut len = 0;
        check(size(self.0, &mut len), "NVRTC's result")?;
        let mut text = vec![0u8; len];
        check(get(self.0, text.as_mut_ptr().cast()), "NVRTC's result")?;
        Ok(text)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: created by NVRTC and not destroyed before.
        unsafe { sys::nvrtcDestroyProgram(&mut self.0) };
    }
}

fn said(answer: sys::nvrtcResult) -> String {
    // SAFETY: NVRTC answers with a text of its own for every number.
    let text = unsafe { CStr::from_ptr(sys::nvrtcGetErrorString(answer)) };
    text.to_string_lossy().into_owned()
}

fn check(answer: sys::nvrtcResult, what: &str) -> Result<(), Trouble> {
    if answer == sys::nvrtcResult::NVRTC_SUCCESS {
        return Ok(());
    }
    Err(Trouble::Other(format!("{what}: {}", said(answer))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_nvrtc_does_not_know_gets_the_newest_ptx_before_it() {
        let known = [75, 80, 86, 89, 90];
        assert_eq!(target(90, &known).unwrap(), ("sm_90".into(), true));
        assert_eq!(target(120, &known).unwrap(), ("compute_90".into(), false));
        assert_eq!(target(87, &known).unwrap(), ("compute_86".into(), false));
        assert!(target(70, &known).is_err());
    }

    /// Needs NVIDIA's compiler, as `tests/nvrtc` does, and no card.
    #[test]
    fn a_program_is_compiled_once_for_a_card_and_as_ptx_for_one_that_is_newer() {
        let Some(path) = std::env::var_os("GFT_NVRTC") else { return };
        // SAFETY: NVIDIA's library; it stays open, so that its plain name finds it.
        std::mem::forget(unsafe { libloading::Library::new(path) }.unwrap());
        let root = tempfile::tempdir().unwrap();
        let compiler = |arch| Compiler { cache: Some(root.path().into()), ..Compiler::new(arch).unwrap() };
        let source = SOURCES.iter().find(|(name, _)| *name == "rotary.cu").unwrap();
        let Image(code) = compiler(90).image(source).unwrap();
        assert!(code.starts_with(b"\x7fELF"), "not machine code");
        let kept = compiler(90).kept_as(source).unwrap();
        assert_eq!(unseal(&std::fs::read(&kept).unwrap()).unwrap(), code);
        // What is kept is what is used, and what is damaged is compiled anew.
        std::fs::write(&kept, seal(b"kept")).unwrap();
        assert_eq!(compiler(90).image(source).unwrap().0, b"kept");
        std::fs::write(&kept, b"damaged").unwrap();
        assert_eq!(compiler(90).image(source).unwrap().0, code);
        let Image(text) = compiler(999).image(source).unwrap();
        assert!(text.ends_with(b"\0") && String::from_utf8_lossy(&text).contains(".target sm_"), "not PTX");
        let error = compiler(90).compile(&("wrong.cu", "__global__ void f() { g(); }")).unwrap_err();
        assert!(
            error.to_string().contains("wrong.cu for sm_90") && error.to_string().contains("\"g\""),
            "{error}"
        );
    }

    #[test]
    fn a_kept_image_that_has_changed_is_not_used() {
        let mut sealed = seal(b"image");
        assert_eq!(unseal(&sealed).unwrap(), b"image");
        sealed[33] ^= 1;
        assert_eq!(unseal(&sealed), None);
        assert_eq!(unseal(b"short"), None);
    }

    #[test]
    fn a_kept_file_appears_under_its_name_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("kernels/abc");
        keep(&path, b"one").unwrap();
        keep(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
