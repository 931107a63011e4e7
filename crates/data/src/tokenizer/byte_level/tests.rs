//! The quick way against the library's own: ids and byte ranges of random texts, for the tokenizers of many model
//! families as far as their rules go (the vocabularies are the fixtures').

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

mod families;
mod texts;

use super::cache::WordCache;
use super::pattern::WordPattern;
use super::*;
use families::{Family, families, library, with};
use rayon::prelude::*;
use serde_json::{Value, json};
use texts::Texts;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

/// Ids and byte ranges as the library gives them.
fn expected(library: &tokenizers::Tokenizer, text: &str) -> Encoded {
    let encoding = library.encode(text, false).unwrap();
    assert_eq!(encoding.get_ids(), library.encode_fast(text, false).unwrap().get_ids(), "{text:?}");
    let bytes = encoding.get_offsets().iter().map(|&(start, end)| start..end).collect();
    Encoded { ids: encoding.get_ids().to_vec(), bytes }
}

/// Compares on one text; gives what of ids and ranges was found without the library.
fn compare(name: &str, library: &tokenizers::Tokenizer, quick: &ByteLevelBpe, text: &str) -> (bool, bool) {
    let expected = expected(library, text);
    let ids = quick.ids(library, text).unwrap();
    if let Some(ids) = &ids {
        assert_eq!(*ids, expected.ids, "{name}: ids of {text:?}");
    }
    let all = quick.ids_and_ranges(library, text).unwrap();
    if let Some(all) = &all {
        assert_eq!(*all, expected, "{name}: ranges of {text:?}");
    }
    (ids.is_some(), all.is_some())
}

#[test]
fn random_texts() {
    const CASES: u64 = 4_400;
    let families = families();
    assert!(families.len() as u64 * CASES > 100_000);
    families.par_iter().enumerate().for_each(|(i, Family { name, library, ids, ranges })| {
        let quick = ByteLevelBpe::of(library).unwrap_or_else(|| panic!("{name} is not taken"));
        let texts = Texts::new(library);
        let (mut found_ids, mut found_ranges) = (0, 0);
        for case in 0..CASES {
            let text = texts.text((i as u64) << 32 | case);
            let (id, range) = compare(name, library, &quick, &text);
            found_ids += u64::from(id);
            found_ranges += u64::from(range);
        }
        // What is left to the library must be what is said to be left to it.
        let share = |found: u64| found as f64 / CASES as f64;
        assert!(ids.contains(&share(found_ids)), "{name}: {} of the ids", share(found_ids));
        assert!(ranges.contains(&share(found_ranges)), "{name}: {} of the ranges", share(found_ranges));
    });
}

#[test]
fn rows_of_data_in_every_family() {
    let rows = texts::rows();
    assert!(rows.len() >= 20);
    families().par_iter().for_each(|Family { name, library, .. }| {
        let quick = ByteLevelBpe::of(library).unwrap();
        for row in &rows {
            let chat = format!("<|im_start|>user\n{row}<|im_end|>\n<|im_start|>assistant\n");
            for text in ["", row.as_str(), chat.as_str()] {
                compare(name, library, &quick, text);
            }
        }
    });
}

/// One tokenizer used by many threads at once, again and again: what its caches hold by then changes nothing.
#[test]
fn shared_between_threads() {
    let library = library("bos");
    let quick = ByteLevelBpe::of(&library).unwrap();
    let texts = Texts::new(&library);
    (0..4_000_u64).into_par_iter().for_each(|case| {
        assert_eq!(compare("bos", &library, &quick, &texts.text(case % 500)), (true, true));
    });
    let idle = quick.idle.lock().unwrap().len();
    assert!((1..=rayon::current_num_threads()).contains(&idle), "{idle} workspaces");
}

#[test]
fn a_full_cache_gives_the_same_and_grows_no_more() {
    let library = library("plain");
    let texts = Texts::new(&library);
    let words: Vec<String> = (0..2_000).map(|case| texts.text(case)).filter(|t| !t.is_empty()).collect();
    let (mut small, mut large) = (WordCache::bounded(4_000), WordCache::default());
    for word in words.iter().chain(&words) {
        let mut tokens = [Vec::new(), Vec::new()];
        for (cache, tokens) in [&mut small, &mut large].into_iter().zip(&mut tokens) {
            cache.tokens(library.get_model(), word, |id, bytes| tokens.push((id, bytes))).unwrap();
        }
        assert_eq!(tokens[0], tokens[1], "{word:?}");
    }
    assert!(small.held() > 3_000 && small.held() <= 4_000, "{}", small.held());
    assert!(large.held() > 100_000);
}

/// The patterns of model families in the engine without look-ahead find what the library's engine finds.
#[test]
fn patterns_match_alike() {
    let library = library("plain");
    let texts = Texts::new(&library);
    for pattern in families::PATTERNS {
        let words = WordPattern::of(pattern).unwrap_or_else(|| panic!("{pattern} is not taken"));
        let split = SplitPattern::Regex(pattern.to_string());
        let split = Split::new(split, SplitDelimiterBehavior::Isolated, false).unwrap();
        let mut engine = words.engine();
        for case in 0..4_000 {
            let text = texts.text(case);
            let mut found = Vec::new();
            let pushed: Result<(), ()> = words.find(&mut engine, &text, |bytes| {
                found.push((bytes.start, bytes.end));
                Ok(())
            });
            pushed.unwrap();
            assert_eq!(found, split.regex.find_iter(&text).collect::<Vec<_>>(), "{pattern} on {text:?}");
        }
    }
}

/// What the two engines might read differently stays with the library's.
#[test]
fn patterns_that_are_not_taken() {
    let others = [
        r"\p{L}++",
        r"\p{L}*+",
        r"\p{L}{2}+",
        r"\p{L}+?",
        r"\p{L}??",
        r"(?=a)b",
        r"(?!a)b",
        r"(?<=a)b",
        r"(?<!a)b",
        r"(?>a+)b",
        r"(a)\1",
        r"(a)",
        r"^a",
        r"a$",
        r".+",
        r"\ba",
        r"\Ba",
        r"\Aa",
        r"\Ga",
        r"\Ka",
        r"\h",
        r"\<a",
        r"[[a]b]",
        r"[a&&b]",
        r"[a--b]",
        r"[a~~b]",
        r"[]a]",
        r"(?x:a)",
        r"(?s:a)",
        r"a{,3}",
        r"a{2,}",
        r"a)",
        r"(?:a",
        r"[a",
        r"\p{L",
        r"\p{^L}",
        r"\x41",
        r"a*",
        "",
        r"a\",
    ];
    for other in others {
        assert!(WordPattern::of(&format!(r"{other}|\s+(?!\S)|\s+")).is_none(), "{other} is taken");
    }
    for pattern in [r"\p{L}+", r"\p{L}+|\s+", r"\p{L}+|\s+(?!\S)", r"\p{L}+|\s+|\s+(?!\S)"] {
        assert!(WordPattern::of(pattern).is_none(), "{pattern} is taken");
    }
}

#[test]
fn tokenizers_that_are_not_taken() {
    assert!(ByteLevelBpe::of(&library("pieces")).is_none());
    let bytes = |prefix: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": false, "use_regex": true});
    let in_order = |all: Value| json!({"type": "Sequence", "pretokenizers": all});
    let split = |behavior: &str, invert: bool| json!({"type": "Split", "pattern": {"Regex": "a"}, "behavior": behavior, "invert": invert});
    let template = |single: Value| json!({"type": "TemplateProcessing", "single": single, "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": {}});
    let a = json!({"Sequence": {"id": "A", "type_id": 0}});
    let cases = [
        ("/pre_tokenizer", Value::Null),
        ("/pre_tokenizer", bytes(true)),
        ("/pre_tokenizer", json!({"type": "Whitespace"})),
        ("/pre_tokenizer", in_order(json!([bytes(false), {"type": "Digits", "individual_digits": true}]))),
        ("/pre_tokenizer", in_order(json!([{"type": "Punctuation", "behavior": "Isolated"}, bytes(false)]))),
        ("/pre_tokenizer", in_order(json!([split("Removed", false), bytes(false)]))),
        ("/pre_tokenizer", in_order(json!([split("MergedWithNext", false), bytes(false)]))),
        ("/pre_tokenizer", in_order(json!([split("Isolated", true), bytes(false)]))),
        ("/pre_tokenizer", in_order(json!([]))),
        ("/normalizer", json!({"type": "Lowercase"})),
        ("/normalizer", json!({"type": "NFKC"})),
        ("/model/dropout", json!(0.5)),
        ("/model/end_of_word_suffix", json!("</w>")),
        ("/model/continuing_subword_prefix", json!("##")),
        ("/post_processor", json!({"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]})),
        ("/post_processor", template(json!([a, a]))),
        (
            "/truncation",
            json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}),
        ),
    ];
    for (place, value) in cases {
        let what = format!("{place}: {value}");
        let changed = with("plain", |file| {
            if place == "/model/continuing_subword_prefix" {
                file["model"]["merges"] = json!([]);
            }
            *file.pointer_mut(place).unwrap() = value;
        });
        assert!(ByteLevelBpe::of(&changed).is_none(), "{what} is taken");
    }
    let mut specials_as_text = library("plain");
    specials_as_text.set_encode_special_tokens(true);
    assert!(ByteLevelBpe::of(&specials_as_text).is_none());
}
