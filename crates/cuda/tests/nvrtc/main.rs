//! NVIDIA's compiler takes every kernel for every kind of card, without a card.
#![allow(clippy::unwrap_used, clippy::panic)] // the lints except #[test] functions only

mod compiler;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use compiler::{Compiler, Source};

/// Instruction sets: A100, H100 and H200, and the cards of 2025 for desks.
const ARCHITECTURES: [&str; 3] = ["sm_80", "sm_90", "sm_120"];

/// Bytes that a kernel may put aside for want of registers. Thrice what the worst one does now: one that stops fitting, as
/// an array indexed by a loop that is not unrolled does, puts aside hundreds.
const SPILLED: u32 = 192;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")
}

fn sources(extension: &str) -> Vec<Source> {
    let mut sources: Vec<Source> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| Source {
            name: path.file_name().unwrap().to_str().unwrap().to_owned(),
            text: std::fs::read_to_string(&path).unwrap(),
        })
        .collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}

/// Names in the contract's tables, for every width and element.
fn contract() -> BTreeSet<String> {
    let text = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let tables = text.split("\n| kernel |").skip(1).map(|rest| rest.split("\n\n").next().unwrap());
    let cells = tables.flat_map(|table| table.lines().skip(2)).map(|line| line.split('|').nth(1).unwrap());
    let named = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let elements = named.flat_map(|name| match name.contains("_E") {
        true => ["_f32", "_bf16"].map(|element| name.replace("_E", element)).to_vec(),
        false => vec![name.to_owned()],
    });
    let widths = elements.flat_map(|name| match name.rsplit_once('_') {
        Some((stem, "N")) => [32, 64, 128, 256].map(|width| format!("{stem}_{width}")).to_vec(),
        Some((stem, "H")) => [64, 128].map(|width| format!("{stem}_{width}")).to_vec(),
        _ => vec![name],
    });
    widths.collect()
}

/// What the assembler says of a kernel.
struct Kernel {
    name: String,
    spilled: u32,
}

/// The assembler's report: `Compiling entry function 'NAME' for ...`, and later `N bytes spill stores`.
fn kernels(log: &str) -> Vec<Kernel> {
    let reports = log.split("Compiling entry function '").skip(1);
    reports
        .map(|report| {
            let name = report.split('\'').next().unwrap().to_owned();
            let before = report.split(" bytes spill stores").next().unwrap();
            let spilled = before.rsplit(' ').next().unwrap().parse().unwrap();
            Kernel { name, spilled }
        })
        .collect()
}

#[test]
fn every_kernel_of_the_contract_compiles_for_every_card() {
    let Some(compiler) = Compiler::find() else { return };
    let (programs, headers) = (sources("cu"), sources("cuh"));
    let tasks: Vec<(&Source, &str)> = programs
        .iter()
        .flat_map(|program| ARCHITECTURES.map(|architecture| (program, architecture)))
        .collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(vec![BTreeSet::new(); ARCHITECTURES.len()]));
    let work = || {
        while let Some((program, architecture)) = tasks.get(next.fetch_add(1, Ordering::SeqCst)) {
            let log = compiler.compile(program, &headers, architecture);
            assert!(!log.contains("warning"), "{} for {architecture}:\n{log}", program.name);
            let kernels = kernels(&log);
            assert!(!kernels.is_empty(), "{} for {architecture} has no kernel:\n{log}", program.name);
            for kernel in kernels {
                let Kernel { name, spilled } = kernel;
                assert!(spilled <= SPILLED, "{name} for {architecture} spills {spilled} bytes");
                let index = ARCHITECTURES.iter().position(|other| other == architecture).unwrap();
                assert!(found.lock().unwrap()[index].insert(name.clone()), "two kernels are named {name}");
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    for (names, architecture) in found.into_inner().unwrap().iter().zip(ARCHITECTURES) {
        assert_eq!(*names, contract(), "the kernels for {architecture}, and those of the contract");
    }
}
