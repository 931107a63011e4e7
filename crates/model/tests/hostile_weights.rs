//! T5: weights that are damaged, misnamed or made to harm give an error that names the file, never a panic, and never
//! an allocation that the file's own size does not justify.
#![allow(clippy::unwrap_used, clippy::panic)] // the lints' exception for tests does not reach helpers

mod golden;
mod models;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use gft_model::{Cpu, ModelError, ModelFolder, Policy};
use models::Random;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const FILE: &str = "model.safetensors";
const NORM: &str = "model.norm.weight";
const EMBED: &str = "model.embed_tokens.weight";

/// A folder with the configuration of a fixture and a weights file in parts that a test may change.
struct Folder {
    dir: TempDir,
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl Folder {
    fn of(case: &str) -> Self {
        let source = golden::root().join(case).join("model");
        let dir = tempfile::tempdir().unwrap();
        fs::copy(source.join("config.json"), dir.path().join("config.json")).unwrap();
        let (header, data) = parse(&fs::read(source.join(FILE)).unwrap());
        Folder { dir, header, data }
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.dir.path().join(file)
    }

    fn bytes(&self) -> Vec<u8> {
        encode(&Value::Object(self.header.clone()).to_string(), &self.data)
    }

    fn info(&mut self, tensor: &str) -> &mut Value {
        self.header.get_mut(tensor).unwrap()
    }

    fn offsets(&self, tensor: &str) -> [usize; 2] {
        [0, 1].map(|i| self.header[tensor]["data_offsets"][i].as_u64().unwrap() as usize)
    }

    /// The tensor whose bytes come last.
    fn last(&self) -> String {
        let tensors = self.header.keys().filter(|name| *name != "__metadata__");
        tensors.max_by_key(|name| self.offsets(name)[1]).unwrap().clone()
    }

    fn append(&mut self, tensor: &str, dtype: &str, shape: Value, bytes: &[u8]) {
        let start = self.data.len();
        self.data.extend_from_slice(bytes);
        let offsets = [start, self.data.len()];
        self.header.insert(tensor.into(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
    }

    /// Removes the last tensor and its bytes.
    fn remove_last(&mut self) -> String {
        let last = self.last();
        self.data.truncate(self.offsets(&last)[0]);
        self.header.remove(&last);
        last
    }

    fn write(&self) {
        self.write_bytes(&self.bytes());
    }

    fn write_bytes(&self, bytes: &[u8]) {
        // A new file, not the old one cut: some file systems wait for the disk when a cut file is closed.
        let _ = fs::remove_file(self.path(FILE));
        fs::write(self.path(FILE), bytes).unwrap();
    }

    fn load(&self) -> Result<Policy<Cpu>, ModelError> {
        ModelFolder::open(self.dir.path())?.load(Cpu::new())
    }

    fn error(&self) -> ModelError {
        self.load().err().unwrap()
    }
}

fn parse(bytes: &[u8]) -> (Map<String, Value>, Vec<u8>) {
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    (header, bytes[8 + header_len..].to_vec())
}

fn encode(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// What an error must be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Io,
    Config,
    Safetensors,
    Missing,
    Extra,
    Shape,
    Dtype,
}

fn kind(error: &ModelError) -> Option<Kind> {
    match error {
        ModelError::Io { .. } => Some(Kind::Io),
        ModelError::Config { .. } => Some(Kind::Config),
        ModelError::Safetensors { .. } => Some(Kind::Safetensors),
        ModelError::MissingTensor { .. } => Some(Kind::Missing),
        ModelError::ExtraTensor { .. } => Some(Kind::Extra),
        ModelError::Shape { .. } => Some(Kind::Shape),
        ModelError::Dtype { .. } => Some(Kind::Dtype),
        _ => None,
    }
}

/// Checks the error's variant, and that its message names the folder and everything in `names`.
fn refused(what: &str, folder: &Folder, expected: Kind, names: &[&str]) {
    let error = match catch_unwind(AssertUnwindSafe(|| folder.load().map(|_| ()))) {
        Ok(Err(error)) => error,
        Ok(Ok(())) => panic!("{what}: loaded"),
        Err(_) => panic!("{what}: panicked"),
    };
    let message = error.to_string();
    assert_eq!(kind(&error), Some(expected), "{what}: {message}");
    let dir = folder.dir.path().to_string_lossy();
    for name in [dir.as_ref()].iter().chain(names) {
        assert!(message.contains(name), "{what}: {name} is not in: {message}");
    }
}

/// Writes the bytes of a weights file and expects an error.
fn refused_bytes(what: &str, bytes: &[u8], expected: Kind, names: &[&str]) {
    let folder = Folder::of("rope_linear");
    fs::write(folder.path(FILE), bytes).unwrap();
    refused(what, &folder, expected, names);
}

/// Changes a folder's header or data and expects an error.
fn refused_change(what: &str, change: impl Fn(&mut Folder), expected: Kind, names: &[&str]) {
    let mut folder = Folder::of("rope_linear");
    change(&mut folder);
    folder.write();
    refused(what, &folder, expected, names);
}

#[test]
fn the_folder_that_the_cases_start_from_loads() {
    for case in ["rope_linear", "qwen2_untied"] {
        let folder = Folder::of(case);
        folder.write();
        folder.load().unwrap();
    }
}

#[test]
fn broken_containers() {
    let good = Folder::of("rope_linear");
    let bytes = good.bytes();
    let header = Value::Object(good.header.clone()).to_string();
    let one = encode(&header, &[0]);
    let long = |len: u64| [&len.to_le_bytes()[..], &bytes[8..]].concat();
    let mut not_text = bytes.clone();
    not_text[20] = 0xff;
    let cases: [(&str, Vec<u8>, &[&str]); 16] = [
        ("empty", vec![], &["0 bytes"]),
        ("seven bytes", vec![1; 7], &["7 bytes"]),
        ("only a length", 0u64.to_le_bytes().to_vec(), &[]),
        ("zeros", vec![0; 1000], &[]),
        ("a header longer than the file", long(bytes.len() as u64), &[]),
        ("a header of 2^64 - 1 bytes", long(u64::MAX), &["18446744073709551615"]),
        ("a header of 2^63 bytes", long(1 << 63), &["9223372036854775808"]),
        ("not text", not_text, &[]),
        ("not JSON", encode("{\"a\":", &[]), &[]),
        ("a list", encode("[]", &[]), &[]),
        ("JSON nested without end", encode(&"[".repeat(100_000), &[]), &[]),
        ("a pickle", b"\x80\x02}q\x00(X\x10\x00\x00\x00model.norm.weight".to_vec(), &[]),
        ("one byte of data", one, &["describes", "has"]),
        ("the last byte missing", bytes[..bytes.len() - 1].to_vec(), &["describes", "has"]),
        ("a byte too many", [&bytes[..], &[0]].concat(), &["describes", "has"]),
        ("twice", [&bytes[..], &bytes[..]].concat(), &["describes", "has"]),
    ];
    for (what, bytes, names) in cases {
        let names = [&[FILE], names].concat();
        refused_bytes(what, &bytes, Kind::Safetensors, &names);
    }
}

#[test]
fn headers_that_lie() {
    let edit = |what: &str, tensor: &'static str, key: &'static str, value: Value| {
        refused_change(what, |f| f.info(tensor)[key] = value.clone(), Kind::Safetensors, &[FILE]);
    };
    let embed = Folder::of("rope_linear").offsets(EMBED);
    edit("overlapping tensors", NORM, "data_offsets", json!([embed[0], embed[0] + 128]));
    edit("an end before the start", NORM, "data_offsets", json!([200, 100]));
    edit("an end far outside of the file", NORM, "data_offsets", json!([0, 1u64 << 60]));
    edit("an end of 2^64 - 1", NORM, "data_offsets", json!([0, u64::MAX]));
    edit("an end that no integer holds", NORM, "data_offsets", json!([0, 1e30]));
    edit("negative offsets", NORM, "data_offsets", json!([-128, 0]));
    edit("offsets in text", NORM, "data_offsets", json!(["0", "128"]));
    edit("three offsets", NORM, "data_offsets", json!([0, 64, 128]));
    edit("a negative dimension", NORM, "shape", json!([-32]));
    edit("a dimension that is no integer", NORM, "shape", json!([32.5]));
    edit("a shape whose size overflows", NORM, "shape", json!([1u64 << 33, 1u64 << 33]));
    edit("a shape whose bytes overflow", NORM, "shape", json!([1u64 << 62]));
    edit("a shape of zeros and overflow", NORM, "shape", json!([1u64 << 63, 2, 0]));
    edit("a shape larger than its bytes", NORM, "shape", json!([33]));
    edit("a shape smaller than its bytes", NORM, "shape", json!([31]));
    edit("an unknown dtype", NORM, "dtype", json!("F31"));
    edit("a dtype of another width", NORM, "dtype", json!("F64"));
    edit("no dtype", NORM, "dtype", Value::Null);
    refused_change(
        "a gap",
        |f| {
            let last = f.last();
            let [start, end] = f.offsets(&last);
            f.info(&last)["data_offsets"] = json!([start + 8, end + 8]);
            f.data.extend_from_slice(&[0; 8]);
        },
        Kind::Safetensors,
        &[FILE],
    );
    refused_change(
        "a tensor that is a number",
        |f| {
            f.header.insert("x".into(), json!(5));
        },
        Kind::Safetensors,
        &[FILE],
    );
}

#[test]
fn tensors_that_are_not_those_of_the_model() {
    let missing = Folder::of("rope_linear").last();
    refused_change(
        "a missing tensor",
        |f| {
            f.remove_last();
        },
        Kind::Missing,
        &[&missing],
    );
    refused_change("no tensors", |f| (f.header, f.data) = Default::default(), Kind::Missing, &[EMBED]);
    let extra = |f: &mut Folder| f.append("model.layers.1.mystery.weight", "F32", json!([1]), &[0; 4]);
    refused_change("an extra tensor", extra, Kind::Extra, &["model.layers.1.mystery.weight"]);
    let renamed = |f: &mut Folder| {
        let info = f.header.remove(NORM).unwrap();
        f.header.insert("transformer.norm.weight".into(), info);
    };
    refused_change("a tensor under another name", renamed, Kind::Missing, &[NORM]);
    let reshaped = |f: &mut Folder| f.info(EMBED)["shape"] = json!([36, 64]);
    refused_change(
        "a shape of as many elements",
        reshaped,
        Kind::Shape,
        &[FILE, EMBED, "[36, 64]", "[72, 32]"],
    );
    let flat = |f: &mut Folder| f.info(EMBED)["shape"] = json!([72 * 32]);
    refused_change("a flat matrix", flat, Kind::Shape, &[FILE, EMBED]);
    let scalar = |f: &mut Folder| f.info(NORM)["shape"] = json!([32, 1]);
    refused_change("a dimension more", scalar, Kind::Shape, &[FILE, NORM]);
    let retyped = |f: &mut Folder| f.info(NORM)["dtype"] = json!("I32");
    refused_change("integers", retyped, Kind::Dtype, &[FILE, NORM, "I32"]);
    let doubles = |f: &mut Folder| {
        f.info(NORM)["dtype"] = json!("F64");
        f.info(NORM)["shape"] = json!([16]);
    };
    refused_change("doubles", doubles, Kind::Dtype, &[FILE, NORM, "F64"]);

    let folder = Folder::of("rope_linear");
    refused("no weights", &folder, Kind::Io, &[FILE]);
    fs::create_dir(folder.path(FILE)).unwrap();
    refused("a folder in the file's place", &folder, Kind::Io, &[FILE]);
}

#[test]
fn a_tied_head_must_be_the_embedding() {
    let mut folder = Folder::of("rope_yarn"); // a tied model
    let [start, end] = folder.offsets(EMBED);
    let mut head = folder.data[start..end].to_vec();
    folder.append("lm_head.weight", "F32", json!([72, 32]), &head);
    folder.write();
    folder.load().unwrap();

    head[17] ^= 1;
    let at = folder.data.len() - head.len();
    folder.data[at..].copy_from_slice(&head);
    folder.write();
    refused("one bit of the head differs", &folder, Kind::Config, &["lm_head.weight", EMBED, "config.json"]);
}

/// A sharded fixture in a folder of its own, and its index.
fn sharded() -> (TempDir, Value) {
    let source = golden::root().join("llama_sharded/model");
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(&source).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let index = fs::read(dir.path().join(INDEX)).unwrap();
    (dir, serde_json::from_slice(&index).unwrap())
}

const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 3] = [
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
];

fn refused_shards(what: &str, change: impl Fn(&Path, &mut Value), expected: Kind, names: &[&str]) {
    let (dir, mut index) = sharded();
    change(dir.path(), &mut index);
    if !index.is_null() {
        fs::write(dir.path().join(INDEX), index.to_string()).unwrap();
    }
    let folder = Folder { dir, header: Map::new(), data: Vec::new() };
    refused(what, &folder, expected, names);
}

#[test]
fn shards_and_their_index() {
    let (dir, _) = sharded();
    ModelFolder::open(dir.path()).unwrap().load(Cpu::new()).unwrap();

    for path in [
        "../x.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..",
        ".",
        "",
        "model-00001-of-00003.safetensors/",
    ] {
        let points_outside = |_: &Path, index: &mut Value| index["weight_map"][NORM] = json!(path);
        refused_shards("a path", points_outside, Kind::Config, &[INDEX, NORM]);
    }
    let number = |_: &Path, index: &mut Value| index["weight_map"][NORM] = json!(3);
    refused_shards("a file that is a number", number, Kind::Config, &[INDEX, NORM]);
    let no_map = |_: &Path, index: &mut Value| *index = json!({"metadata": {}});
    refused_shards("no weight map", no_map, Kind::Config, &[INDEX, "weight_map"]);
    let list = |_: &Path, index: &mut Value| index["weight_map"] = json!([1]);
    refused_shards("a list for a map", list, Kind::Config, &[INDEX, "weight_map"]);
    let empty = |_: &Path, index: &mut Value| index["weight_map"] = json!({});
    refused_shards("an empty map", empty, Kind::Missing, &[EMBED]);
    let torn = |dir: &Path, index: &mut Value| {
        fs::write(dir.join(INDEX), &index.to_string()[..100]).unwrap();
        *index = Value::Null;
    };
    refused_shards("a torn index", torn, Kind::Config, &[INDEX]);
    let absent = |dir: &Path, _: &mut Value| fs::remove_file(dir.join(SHARDS[1])).unwrap();
    refused_shards("a shard that is not there", absent, Kind::Io, &[SHARDS[1]]);
    let wrong_place = |_: &Path, index: &mut Value| {
        let real = index["weight_map"][NORM].clone();
        index["weight_map"][NORM] = json!(SHARDS.iter().find(|shard| real != json!(shard)).unwrap());
    };
    refused_shards("a tensor in another shard", wrong_place, Kind::Config, &[INDEX, NORM]);
    let ghost = |_: &Path, index: &mut Value| index["weight_map"]["ghost"] = json!(SHARDS[0]);
    refused_shards("a tensor in no shard", ghost, Kind::Config, &[INDEX, "ghost", SHARDS[0]]);
    let forgotten = |_: &Path, index: &mut Value| {
        let map = index["weight_map"].as_object_mut().unwrap();
        map.retain(|_, shard| *shard != json!(SHARDS[2]));
    };
    refused_shards("a shard that the index forgets", forgotten, Kind::Missing, &[]);
    let duplicate = |dir: &Path, index: &mut Value| {
        let first = fs::read(dir.join(SHARDS[0])).unwrap();
        fs::write(dir.join("model-00004.safetensors"), first).unwrap();
        index["weight_map"]["again"] = json!("model-00004.safetensors");
    };
    refused_shards("a tensor in two shards", duplicate, Kind::Safetensors, &["tensor `", SHARDS[0]]);
    let truncated = |dir: &Path, _: &mut Value| {
        let bytes = fs::read(dir.join(SHARDS[2])).unwrap();
        fs::write(dir.join(SHARDS[2]), &bytes[..bytes.len() / 2]).unwrap();
    };
    refused_shards("a truncated shard", truncated, Kind::Safetensors, &[SHARDS[2]]);
}

#[test]
fn a_file_cut_at_two_hundred_places_is_refused() {
    let folder = Folder::of("rope_linear");
    let bytes = folder.bytes();
    let mut random = Random(1);
    // Every place in the first words, and places all over the rest.
    let places = (0..40).chain((0..160).map(|_| 40 + random.below(bytes.len() - 40)));
    for at in places.collect::<Vec<_>>() {
        folder.write_bytes(&bytes[..at]);
        refused(&format!("cut at {at}"), &folder, Kind::Safetensors, &[FILE]);
    }
}

/// Changes a header that stays JSON, so that what it says is what is wrong.
fn mutate_meaning(random: &mut Random, header: &mut Map<String, Value>) {
    let names: Vec<String> = header.keys().cloned().collect();
    let [one, other] = [0; 2].map(|_| names[random.below(names.len())].clone());
    let number = match random.below(6) {
        0 => json!(random.bits()),
        1 => json!(-(random.below(1000) as i64)),
        2 => json!(1u64 << random.below(64)),
        3 => json!(random.unit()),
        _ => json!(random.below(100)),
    };
    match random.below(9) {
        0 => {
            if let Some(dimension) = header[&one]["shape"].get_mut(0) {
                *dimension = number;
            }
        }
        1 => header[&one]["data_offsets"][random.below(2)] = number,
        2 => {
            header[&one]["dtype"] =
                json!(["F32", "F16", "BF16", "F64", "I8", "U64", "BOOL", "F4"][random.below(8)])
        }
        3 => header[&one] = header[&other].clone(),
        4 => {
            let info = header.remove(&one);
            header.insert(format!("{other}.x"), info.unwrap_or_default());
        }
        5 => drop(header.remove(&one)),
        6 => header[&one]["shape"] = json!([]),
        7 => header[&one]["extra"] = number,
        _ => drop(header.insert("__metadata__".into(), json!({"format": one}))),
    }
}

/// Changes some bytes the way that bad disks, bad editors and bad people do.
fn mutate_bytes(random: &mut Random, bytes: &mut Vec<u8>, header: usize) {
    for _ in 0..1 + random.below(3) {
        // Mostly in the header: any data is valid data.
        let at = match random.below(10) {
            0 => random.below(bytes.len()),
            1 => random.below(8),
            _ => 8 + random.below(header),
        }
        .min(bytes.len() - 1);
        let some = (1 + random.below(8)).min(bytes.len() - at);
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.bits() as u8,
            2 => bytes[at] = b"0123456789-.eE[]{}\",: \\"[random.below(23)],
            3 => drop(bytes.drain(at..at + some)),
            4 => {
                let copy = bytes[at..at + some].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            5 => drop(bytes.splice(at..at, b"99999999999999999999".iter().copied().take(some))),
            6 => bytes[at..at + some].fill(b'9'),
            _ => {
                let other = 8 + random.below(header.min(bytes.len() - 8));
                bytes.swap(at, other);
            }
        }
        if bytes.len() < 16 {
            return;
        }
    }
}

#[test]
fn ten_thousand_mutations_never_panic() {
    let before = address_space();
    // One tensor's bytes stand for all: small, so that ten thousand files are written in seconds.
    let mut folder = Folder::of("rope_yarn");
    let config = fs::read_to_string(folder.path("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    for (key, size) in [("hidden_size", 4), ("intermediate_size", 2), ("vocab_size", 3), ("head_dim", 2)] {
        config[key] = json!(size);
    }
    fs::write(folder.path("config.json"), config.to_string()).unwrap();
    let open = ModelFolder::open(folder.dir.path()).unwrap();
    let layout = gft_model::layout::Layout::new(open.architecture());
    (folder.header, folder.data) = Default::default();
    for parameter in &layout.parameters {
        let bytes = vec![0x3f; parameter.range.len() * 4];
        folder.append(&parameter.name, "F32", json!(parameter.shape), &bytes);
    }
    folder.write();
    folder.load().unwrap();

    let bytes = folder.bytes();
    let header = bytes.len() - folder.data.len() - 8;
    let mut random = Random(2);
    let (mut loaded, mut refused) = (0, 0);
    for round in 0..10_000 {
        let seed = random.bits();
        let own = &mut Random(seed);
        let mutated = if round % 2 == 0 {
            let mut mutated = bytes.clone();
            mutate_bytes(own, &mut mutated, header);
            mutated
        } else {
            let mut mutated = folder.header.clone();
            mutate_meaning(own, &mut mutated);
            encode(&Value::Object(mutated).to_string(), &folder.data)
        };
        folder.write_bytes(&mutated);
        match catch_unwind(AssertUnwindSafe(|| open.load(Cpu::new()).map(|_| ()))) {
            Ok(Ok(())) => loaded += 1,
            Ok(Err(error)) => {
                refused += 1;
                let dir = folder.dir.path().to_string_lossy();
                assert!(error.to_string().contains(dir.as_ref()), "round {round}: {error}");
            }
            Err(_) => panic!("round {round} (seed {seed}) panicked"),
        }
    }
    eprintln!("{loaded} mutated files loaded, {refused} were refused");
    // Mutations of data and of unused metadata load; most of the header's do not.
    assert!(loaded > 100 && refused > 5000, "{loaded} loaded, {refused} refused: the mutations test nothing");
    // What lies between is test threads and their stacks; a header that was believed would ask for terabytes.
    let grown = address_space() - before;
    assert!(grown < 1 << 30, "the address space grew by {grown} bytes");
}

/// Largest size that this process's address space has had, bytes; 0 where the system does not say.
fn address_space() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[test]
fn weights_that_change_under_the_reader_are_an_error() {
    let folder = Folder::of("rope_linear");
    folder.write();
    let open = ModelFolder::open(folder.dir.path()).unwrap();
    fs::write(folder.path(FILE), &folder.bytes()[..1000]).unwrap();
    let error = open.load(Cpu::new()).err().unwrap();
    assert_eq!(kind(&error), Some(Kind::Safetensors), "{error}");
    assert!(open.weights_dtype().is_err());
    fs::remove_file(folder.path(FILE)).unwrap();
    assert_eq!(kind(&folder.error()), Some(Kind::Io));
}
