//! File formats, damaged files, folders, rows by number.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

mod files;

use files::{folder, golden, open};
use gft_data::{Dataset, Prompt, ReadOptions};
use std::io::Write;

fn texts(set: &Dataset) -> Vec<String> {
    set.iter().map(|row| row.unwrap().expert[0].content.clone()).collect()
}

#[test]
fn file_formats() {
    let lines = "\u{feff}{\"text\": \"one\"}\n{\"text\": \"two é\"}\n";
    let folder = folder(&[
        ("lines.jsonl", lines),
        ("array.json", "\n [ {\"text\": \"one\"},\n {\"text\":\n \"two é\"} ]\n"),
        ("under.json", "{\"version\": 1, \"data\": [{\"text\": \"one\"}, {\"text\": \"two é\"}]}"),
        ("by_id.json", "{\"a\": {\"text\": \"one\"}, \"b\": {\"text\": \"two é\"}}"),
        ("plain.txt", "one\n\n  \ntwo é\n"),
        ("lines.json", &lines[3..]),
    ]);
    let path = |name: &str| folder.path().join(name);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(lines.as_bytes()).unwrap();
    // Several members, as concatenated files have them.
    let mut packed = gzip.finish().unwrap();
    packed.extend({
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(b"{\"text\": \"three\"}\n").unwrap();
        gzip.finish().unwrap()
    });
    std::fs::write(path("lines.jsonl.gz"), packed).unwrap();
    std::fs::write(path("named_wrongly"), zstd::encode_all(lines.as_bytes(), 1).unwrap()).unwrap();
    std::fs::write(path("array.json.zst"), zstd::encode_all(&b"[{\"text\": \"one\"}]"[..], 1).unwrap())
        .unwrap();
    for (name, format) in [
        ("lines.jsonl", "JSONL"),
        ("array.json", "JSON array"),
        ("under.json", "JSON, the list under \"data\""),
        ("by_id.json", "JSON, rows by id"),
        ("plain.txt", "plain text, a row a line, 2 blank lines left out"),
        ("lines.json", "JSONL"),
        ("named_wrongly", "JSONL, zstd"),
    ] {
        let set = open(&path(name));
        assert_eq!(texts(&set), ["one", "two é"], "{name}");
        assert!(set.description().contains(&format!("{name}: {format}, text")), "{}", set.description());
    }
    assert_eq!(texts(&open(&path("lines.jsonl.gz"))), ["one", "two é", "three"]);
    assert_eq!(texts(&open(&path("array.json.zst"))), ["one"]);
    assert_eq!(open(&path("by_id.json")).row(1).unwrap().id, "b");
}

#[test]
fn damaged_files_are_refused() {
    let gzip_cut = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all("{\"text\": \"one\"}\n".repeat(50).as_bytes()).unwrap();
        let bytes = gzip.finish().unwrap();
        bytes[..bytes.len() - 9].to_vec()
    };
    let folder =
        folder(&[("cut.json", "[{\"text\": \"one\"}, "), ("empty.jsonl", ""), ("more.json", "[] {}")]);
    std::fs::write(folder.path().join("cut.gz"), gzip_cut).unwrap();
    std::fs::write(
        folder.path().join("cut.parquet"),
        &std::fs::read(golden("rows/verl.parquet")).unwrap()[..900],
    )
    .unwrap();
    std::fs::write(folder.path().join("latin1.txt"), b"caf\xe9\n").unwrap();
    for name in
        ["cut.json", "empty.jsonl", "more.json", "cut.gz", "cut.parquet", "latin1.txt", "absent.jsonl"]
    {
        let error =
            Dataset::open(&[folder.path().join(name)], &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[cfg(feature = "parquet")]
#[test]
fn parquet() {
    let set = open(&golden("rows/verl.parquet"));
    assert_eq!(set.len(), 4);
    let row = set.row(0).unwrap();
    assert!(
        matches!(&row.prompt, Prompt::Messages(m) if m[0].role() == "user" && m[0].content().unwrap().ends_with("step by step."))
    );
    assert_eq!(row.gold.as_deref(), Some("72"));
    assert!(row.expert[0].content.ends_with("#### 72"));
    assert_eq!(row.columns["data_source"], "openai/gsm8k");
    assert_eq!(row.columns["extra_info"]["index"], 0);

    let set = open(&golden("rows/messages-zstd.parquet"));
    assert_eq!((set.len(), set.row(2).unwrap().columns["score"].as_f64()), (3, Some(0.5)));
    assert!(set.description().contains("(raw as base64)"), "{}", set.description());
}

#[test]
fn folders_keep_splits_apart() {
    let line = |text: &str| format!("{{\"text\": \"{text}\"}}\n");
    let files = [
        ("test.jsonl", line("test")),
        ("train-00001-of-00002.jsonl", line("b")),
        ("train-00000-of-00002.jsonl", line("a")),
        ("README.md", "x".into()),
        ("dataset_info.json", "{}".into()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let splits = folder(&files);
    let set = open(splits.path());
    assert_eq!(texts(&set), ["a", "b"]);
    let text = set.description();
    assert!(text.contains("left out, other splits: ") && text.contains("test.jsonl"), "{text}");
    let split = |name: &str| ReadOptions { split: Some(name.into()), ..ReadOptions::default() };
    assert_eq!(texts(&Dataset::open(&[splits.path()], &split("test")).unwrap()), ["test"]);
    let error = Dataset::open(&[splits.path()], &split("valid")).unwrap_err().to_string();
    assert!(error.contains("no file of the split \"valid\"") && error.contains("test.jsonl"), "{error}");

    let plain = folder(&[("b.jsonl", &line("b")), ("a.jsonl", &line("a"))]);
    assert_eq!(texts(&open(plain.path())), ["a", "b"]);
    assert!(
        Dataset::open(&[folder(&[]).path()], &ReadOptions::default())
            .unwrap_err()
            .to_string()
            .contains("no data files")
    );
    let paths = [plain.path().join("b.jsonl"), plain.path().join("a.jsonl"), plain.path().join("b.jsonl")];
    let several = Dataset::open(&paths, &ReadOptions::default()).unwrap();
    assert_eq!(texts(&several), ["b", "a", "b"]);
    assert_eq!(several.row(1).unwrap().id, "a:1");
}

/// More lines than one batch of the reader, found by number in any order.
#[test]
fn rows_by_number() {
    let lines: String =
        (0..20_000).map(|i| format!("{{\"text\": \"row {i} {}\"}}\n", "x".repeat(i % 50))).collect();
    let folder = folder(&[("many.jsonl", &lines)]);
    let set = open(&folder.path().join("many.jsonl"));
    assert_eq!(set.len(), 20_000);
    for i in [19_999, 0, 8191, 8192, 8193, 12_345] {
        let row = set.row(i).unwrap();
        assert!(row.expert[0].content.starts_with(&format!("row {i} ")));
        assert_eq!(row.id, format!("many:{}", i + 1));
    }
}

#[test]
fn a_file_changed_under_the_reader_is_noticed() {
    let folder = folder(&[("data.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n")]);
    let path = folder.path().join("data.jsonl");
    let set = open(&path);
    std::fs::write(&path, "{\"text\": \"longer than before\"}\n").unwrap();
    assert!(set.row(1).is_err());
}

#[test]
fn the_fingerprint_is_that_of_the_rows_in_order() {
    let print = |lines: &str| open(&folder(&[("x.jsonl", lines)]).path().join("x.jsonl")).fingerprint();
    let (a, b) = ("{\"text\": \"a\"}\n", "{\"text\": \"b\"}\n");
    assert_eq!(print(&format!("{a}{b}")), print(&format!("{a}{b}")));
    let others =
        [print(&format!("{b}{a}")), print(a), print(&format!("{a}{a}")), print(&format!("{a}{b}{b}"))];
    assert!(!others.contains(&print(&format!("{a}{b}"))));
}
