//! T5: weights that are damaged, misnamed or made to harm give an error of the right kind that names file and tensor.
#![allow(clippy::unwrap_used, clippy::panic)] // the lints except #[test] functions only

mod folders;
mod golden;

use std::fs;
use std::path::Path;

use folders::{EMBED, FILE, Folder, Kind, NORM, encode, kind, refused};
use gft_model::{Cpu, ModelFolder};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

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
