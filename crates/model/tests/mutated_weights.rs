//! T5: weights files cut anywhere and changed at random: never a panic, and never an allocation that the file's own size
//! does not justify.
#![allow(clippy::unwrap_used, clippy::panic)] // the lints except #[test] functions only

mod folders;
mod golden;
mod models;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use folders::{FILE, Folder, Kind, address_space, encode, refused};
use gft_model::{Cpu, ModelFolder};
use models::Random;
use serde_json::{Map, Value, json};

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
