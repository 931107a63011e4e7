//! The checks. Each looks at one thing and never fails: what cannot be found out is said.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use gft_cuda::driver::Driver;
use gft_cuda::{Card, Unavailable};

use super::{Finding, State};
use crate::terminal;

const GIB: f64 = (1u64 << 30) as f64;
/// Below this a model of half a billion parameters cannot be trained (weights, gradients, two moments in f32: 8 GB).
const MEMORY: f64 = 8.0;
/// A run of such a model with three checkpoints writes this much.
const DISK: f64 = 20.0;

/// Every check, in the order in which they are printed.
pub fn all(folder: &Path) -> Vec<Finding> {
    let mut all = vec![processor(), cores(), memory(), disk(folder), terminal_lines(), colour(), python()];
    all.extend(gpus());
    all
}

fn fine(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, state: State::Fine, found: found.into(), mend: None }
}

fn not(state: State, check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { check, state, found: found.into(), mend: Some(mend.into()) }
}

#[cfg(target_arch = "x86_64")]
fn processor() -> Finding {
    use std::arch::is_x86_feature_detected as has;
    // The two levels that the engine is compiled for besides the portable one.
    let avx2 = has!("avx2") && has!("fma") && has!("bmi1") && has!("bmi2");
    let avx512 =
        has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    let products = gft_model::Cpu::products_in_words();
    match (avx512, avx2) {
        (true, true) => fine("processor", format!("x86-64 with AVX-512; {products}")),
        (_, true) => fine("processor", format!("x86-64 with AVX2 and FMA; {products}")),
        _ => not(
            State::Warning,
            "processor",
            "x86-64 without AVX2 and FMA: everything works, several times slower",
            "use a processor from 2015 or later; in a virtual machine, pass the host's features through",
        ),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> Finding {
    fine("processor", format!("{}: vector code is the compiler's", std::env::consts::ARCH))
}

fn cores() -> Finding {
    match std::thread::available_parallelism() {
        Ok(cores) => fine("cores", format!("{cores} usable; --threads takes fewer")),
        Err(error) => not(
            State::Warning,
            "cores",
            format!("cannot be counted: {error}"),
            "give their number with --threads",
        ),
    }
}

fn memory() -> Finding {
    let Some((available, total)) = memory_kib() else {
        return fine("memory", "not known on this system; `gft plan` says what a run needs");
    };
    let (available, total) = (available * 1024.0 / GIB, total * 1024.0 / GIB);
    let found = format!("{available:.1} GiB available of {total:.1}");
    if available < MEMORY {
        return not(
            State::Warning,
            "memory",
            found,
            "enough for the demo; for larger models see what `gft plan` predicts, and try --gradient-checkpointing",
        );
    }
    fine("memory", found)
}

/// Available and total memory in KiB, within the control group's limit where there is one.
fn memory_kib() -> Option<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    let (available, total) = (value("MemAvailable:")?, value("MemTotal:")?);
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit =
        limit.and_then(|text| text.trim().parse::<f64>().ok()).map_or(f64::INFINITY, |bytes| bytes / 1024.0);
    Some((available.min(limit), total.min(limit)))
}

fn disk(folder: &Path) -> Finding {
    let shown = folder.display();
    let space = match rustix::fs::statvfs(folder) {
        Ok(space) => space,
        Err(error) => {
            return not(State::Fault, "disk", format!("{shown}: {error}"), "give a folder that exists");
        }
    };
    if let Err(error) = tempfile::tempfile_in(folder) {
        return not(
            State::Fault,
            "disk",
            format!("{shown}: cannot write: {error}"),
            "give a folder that you may write to: gft doctor FOLDER",
        );
    }
    let free = space.f_bavail as f64 * space.f_frsize as f64 / GIB;
    let found = format!("{free:.1} GiB free in {shown}");
    if free < DISK {
        return not(
            State::Warning,
            "disk",
            found,
            "enough for the demo; `gft plan` predicts a run's files, save_total_limit keeps fewer of them",
        );
    }
    fine("disk", found)
}

fn terminal_lines() -> Finding {
    if std::io::stderr().is_terminal() {
        return fine("terminal", "progress is one line that rewrites itself");
    }
    fine("terminal", "none on standard error: progress comes as a line every ten seconds")
}

fn colour() -> Finding {
    let why = if terminal::colour() {
        "on; NO_COLOR=1 switches it off"
    } else if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        "off: NO_COLOR is set"
    } else {
        "off: standard error is no terminal that shows it"
    };
    fine("colour", why)
}

fn python() -> Finding {
    match on_path("python3") {
        Some(path) => fine("python3", format!("{} (optional: rewards written in Python)", path.display())),
        None => not(
            State::Warning,
            "python3",
            "not found (optional: only rewards written in Python need it)",
            "install Python 3, or write the reward as a program or a server",
        ),
    }
}

/// The cards: name, compute capability, memory, the driver's CUDA; and whether the libraries beside the driver are there,
/// which opening a card finds out.
fn gpus() -> Vec<Finding> {
    let cards = match gft_cuda::cards() {
        Err(Unavailable::NoDriver) => return vec![fine("gpu", "no NVIDIA driver; the processor computes")],
        Err(why) => return vec![unusable(why.to_string())],
        Ok(cards) if cards.is_empty() => return vec![unusable("the NVIDIA driver finds no card".into())],
        Ok(cards) => cards,
    };
    cards.iter().enumerate().map(|(index, card)| gpu(index, card)).collect()
}

fn gpu(index: usize, card: &Card) -> Finding {
    let Card { name, capability, memory, driver } = card;
    let (gib, (major, minor)) = (*memory as f64 / GIB, capability);
    let card = format!("cuda:{index} {name}, {gib:.0} GiB, compute capability {major}.{minor}");
    match Driver::open(index) {
        Ok(opened) => {
            let [driver, nvrtc, cublas] = [*driver, opened.versions()[0], opened.versions()[1]]
                .map(|(major, minor)| format!("{major}.{minor}"));
            fine("gpu", format!("{card}; driver for CUDA {driver}, NVRTC {nvrtc}, cuBLASLt {cublas}"))
        }
        Err(why) => unusable(format!("{card}: {why}")),
    }
}

fn unusable(found: String) -> Finding {
    not(
        State::Warning,
        "gpu",
        found,
        "the processor computes until this is mended; --device cuda says the same",
    )
}

/// A program on the search path.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}
