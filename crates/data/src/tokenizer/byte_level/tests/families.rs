//! The rules of model families on the fixtures' vocabularies.

use serde_json::{Value, json};
use std::ops::RangeInclusive;
use std::path::PathBuf;

const SPACES: &str = r"\s+(?!\S)|\s+";
pub const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN3_5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// Does not cover a text: between its matches there are gaps.
const GAPS: &str = r"\p{Lu}\p{Ll}*|\p{N}{2,3}|\s+(?!\S)|\s+";
/// cl100k as Phi-4 has it; possessive, so it stays with the library's engine.
const CL100K: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

/// Those that the quick engine takes.
pub const PATTERNS: [&str; 8] = [GPT2, LLAMA3, QWEN2, QWEN3_5, TEKKEN, O200K, DEEPSEEK, GAPS];

/// A tokenizer and the share of random texts whose ids and ranges are found without the library.
pub struct Family {
    pub name: &'static str,
    pub library: tokenizers::Tokenizer,
    pub ids: RangeInclusive<f64>,
    pub ranges: RangeInclusive<f64>,
}

const ALL: RangeInclusive<f64> = 1.0..=1.0;
const NONE: RangeInclusive<f64> = 0.0..=0.0;
const SOME: RangeInclusive<f64> = 0.05..=0.95;

fn file(name: &str) -> Value {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data/tokenizers");
    let path = folder.join(name).join("tokenizer.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A fixture's tokenizer.
pub fn library(name: &str) -> tokenizers::Tokenizer {
    with(name, |_| ())
}

/// A fixture's tokenizer with changes to its file.
pub fn with(name: &str, change: impl FnOnce(&mut Value)) -> tokenizers::Tokenizer {
    let mut file = file(name);
    change(&mut file);
    tokenizers::Tokenizer::from_bytes(file.to_string()).unwrap()
}

fn bytes(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": use_regex})
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

fn in_order(stages: &[Value], use_regex: bool) -> Value {
    let mut stages = stages.to_vec();
    stages.push(bytes(use_regex));
    json!({"type": "Sequence", "pretokenizers": stages})
}

fn words(pattern: &str) -> tokenizers::Tokenizer {
    with("plain", |file| file["pre_tokenizer"] = in_order(&[split(pattern)], false))
}

fn pre(stages: &[Value], use_regex: bool) -> tokenizers::Tokenizer {
    with("plain", |file| file["pre_tokenizer"] = in_order(stages, use_regex))
}

fn digits(each: bool) -> Value {
    json!({"type": "Digits", "individual_digits": each})
}

/// Adds tokens with the given flags behind the vocabulary.
fn add(file: &mut Value, tokens: &[(&str, &[&str])]) {
    let added = file["added_tokens"].as_array_mut().unwrap();
    for (i, (content, flags)) in tokens.iter().enumerate() {
        let flag = |name: &str| flags.contains(&name);
        added.push(json!({
            "id": 640 + i, "content": content, "special": flag("special"), "normalized": flag("normalized"),
            "lstrip": flag("lstrip"), "rstrip": flag("rstrip"), "single_word": flag("single_word"),
        }));
    }
}

/// Whole words in the vocabulary that no merges make: `ignore_merges` decides whether they are found.
fn unmergeable(file: &mut Value, ignore_merges: bool) {
    let vocab = file["model"]["vocab"].as_object_mut().unwrap();
    for word in ["Ġquokkas", "quokkas", "Ġ12", "ðŁĻĤ"] {
        let id = vocab.len();
        vocab.insert(word.into(), json!(id));
    }
    file["model"]["ignore_merges"] = json!(ignore_merges);
}

/// Takes letters and parts of characters out of the vocabulary, with all that is made of them.
fn holes(file: &mut Value, unknown: Option<(&str, bool)>) {
    let missing = ['z', 'Ġ', 'Ŀ', 'Â', 'ð', '3'];
    let has = |token: &str| token.contains(missing) && !token.starts_with("<|");
    let model = &mut file["model"];
    model["vocab"].as_object_mut().unwrap().retain(|token, _| !has(token));
    model["merges"]
        .as_array_mut()
        .unwrap()
        .retain(|pair| !pair.as_array().unwrap().iter().any(|t| has(t.as_str().unwrap())));
    if let Some((token, fuse)) = unknown {
        model["unk_token"] = json!(token);
        model["fuse_unk"] = json!(fuse);
    }
}

/// All that is taken, one of each kind.
pub fn families() -> Vec<Family> {
    let all = |name, library| Family { name, library, ids: ALL, ranges: ALL };
    let deepseek = [split(r"\p{N}{1,3}"), split("[一-龥\u{3040}-ゟ゠-ヿ]+"), split(DEEPSEEK)];
    let string =
        json!({"type": "Split", "pattern": {"String": "a."}, "behavior": "Isolated", "invert": false});
    let mut families = vec![
        all("plain", library("plain")),
        all("bos", library("bos")),
        all("written", library("written")),
        all("gpt2", with("plain", |file| file["pre_tokenizer"] = bytes(true))),
        all("no rule at all", pre(&[], false)),
        all("llama 3", with("bos", |file| unmergeable(file, true))),
        all("merges count", with("bos", |file| unmergeable(file, false))),
        all("qwen 3.5 words", words(QWEN3_5)),
        all("mistral nemo", words(TEKKEN)),
        all("o200k", words(O200K)),
        all("deepseek", pre(&deepseek, false)),
        all("smollm", pre(&[digits(true)], true)),
        all("runs of digits", pre(&[digits(false)], true)),
        all("phi 4", words(CL100K)),
        all("gaps", words(GAPS)),
        all("gaps, then words", pre(&[split(GAPS), split(r"\p{L}+"), split(SPACES)], true)),
        all("a string", pre(&[string], true)),
        all("bytes missing", with("plain", |file| holes(file, None))),
        all("bytes unknown", with("plain", |file| holes(file, Some(("<|endoftext|>", false))))),
        all("bytes unknown in one", with("plain", |file| holes(file, Some(("<|endoftext|>", true))))),
        all(
            "added tokens",
            with("plain", |file| {
                let flags: &[&str] = &["normalized"];
                add(
                    file,
                    &[
                        ("<|im", &[]),
                        ("<|im_start|> ", &["special"]),
                        ("  ", flags),
                        ("n't", flags),
                        ("e\u{301}", flags),
                        ("im_end", flags),
                    ],
                );
            }),
        ),
    ];
    families.push(Family {
        name: "qwen 2",
        library: with("plain", |file| {
            file["normalizer"] = json!({"type": "NFC"});
            file["pre_tokenizer"] = in_order(&[split(QWEN2)], false);
        }),
        ids: ALL,
        ranges: SOME,
    });
    families.push(Family {
        name: "added tokens that NFC changes",
        library: with("plain", |file| {
            file["normalizer"] = json!({"type": "NFC"});
            add(file, &[("e\u{301}", &["normalized"]), ("a\u{301}", &[]), ("n't", &["normalized"])]);
        }),
        ids: ALL,
        ranges: SOME,
    });
    families.push(Family {
        name: "added tokens with spaces",
        library: with("plain", |file| {
            add(
                file,
                &[
                    ("<|l|>", &["lstrip"]),
                    ("<|r|>", &["rstrip"]),
                    ("one", &["single_word"]),
                    ("'s", &["lstrip", "normalized"]),
                ],
            );
        }),
        ids: SOME,
        ranges: SOME,
    });
    families.push(Family {
        name: "trimmed ranges",
        library: with("plain", |file| file["post_processor"]["trim_offsets"] = json!(true)),
        ids: ALL,
        ranges: NONE,
    });
    families
}
