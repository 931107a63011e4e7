//! Loading of model folders, stop ids and streaming. Parity of ids is in `tests/parity.rs`.

use super::*;
use serde_json::json;

fn specials() -> SpecialTokens {
    SpecialTokens { eos: Some("<e>".into()), additional: vec!["<f>".into()], ..SpecialTokens::default() }
}

/// A folder whose files are then changed.
fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_tokenizer_folder(folder.path(), &train_bpe(["ab ab"].iter(), 270, specials()).unwrap(), None, 9)
        .unwrap();
    for (name, value) in files {
        std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    }
    folder
}

fn stops(files: &[(&str, Value)]) -> Vec<u32> {
    Tokenizer::load(folder(files).path()).unwrap().stop_ids().to_vec()
}

fn error(files: &[(&str, Value)]) -> String {
    Tokenizer::load(folder(files).path()).unwrap_err().to_string()
}

#[test]
fn stop_ids_from_every_place() {
    assert_eq!(stops(&[]), [0]);
    assert_eq!(stops(&[("generation_config.json", json!({"eos_token_id": 1}))]), [0, 1]);
    assert_eq!(stops(&[("generation_config.json", json!({"eos_token_id": [7, 1, 7]}))]), [0, 1, 7]);
    // config.json counts only where the generation config says nothing.
    assert_eq!(stops(&[("config.json", json!({"eos_token_id": 5}))]), [0, 5]);
    assert_eq!(
        stops(&[
            ("generation_config.json", json!({"eos_token_id": null})),
            ("config.json", json!({"eos_token_id": 5}))
        ]),
        [0, 5]
    );
    assert_eq!(
        stops(&[
            ("generation_config.json", json!({"eos_token_id": 1})),
            ("config.json", json!({"eos_token_id": 5}))
        ]),
        [0, 1]
    );
}

#[test]
fn errors_name_the_file() {
    for (name, value, reason) in [
        ("generation_config.json", json!({"eos_token_id": "x"}), "a token id"),
        ("generation_config.json", json!([]), "not a JSON object"),
        ("tokenizer_config.json", json!({"eos_token": "<absent>"}), "\"<absent>\" is not in the vocabulary"),
        (
            "tokenizer_config.json",
            json!({"added_tokens_decoder": {"9999": {"content": "<new>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}}}),
            "the id 9999",
        ),
        ("tokenizer.json", json!({"model": 1}), "not a tokenizer file"),
    ] {
        let error = error(&[(name, value)]);
        assert!(error.contains(name) && error.contains(reason), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(Tokenizer::load(empty.path()).unwrap_err().to_string().contains("tokenizer.json: no such file"));
}

#[test]
fn special_tokens_as_text_or_object_from_either_file() {
    let object = json!({"content": "<f>", "lstrip": false});
    let files = [
        ("tokenizer_config.json", json!({"pad_token": object})),
        ("special_tokens_map.json", json!({"eos_token": "<e>", "pad_token": "<e>"})),
    ];
    let tokenizer = Tokenizer::load(folder(&files).path()).unwrap();
    assert_eq!(
        (tokenizer.eos_id(), tokenizer.pad_id(), tokenizer.bos_id(), tokenizer.unk_id()),
        (Some(0), Some(1), None, None)
    );
    // An explicit null is an answer.
    let files = [
        ("tokenizer_config.json", json!({"eos_token": null})),
        ("special_tokens_map.json", json!({"eos_token": "<e>"})),
    ];
    assert_eq!(Tokenizer::load(folder(&files).path()).unwrap().eos_id(), None);
}

/// Tokens that only `tokenizer_config.json` declares are added with their ids.
#[test]
fn declared_tokens_are_added() {
    let size = Tokenizer::load(folder(&[]).path()).unwrap().vocab_size() as u32;
    let token = |content: &str| json!({"content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let declared =
        json!({(size + 1).to_string(): token("<two>"), size.to_string(): token("<one>"), "0": token("<e>")});
    let config = json!({"eos_token": "<e>", "added_tokens_decoder": declared});
    let tokenizer = Tokenizer::load(folder(&[("tokenizer_config.json", config)]).path()).unwrap();
    assert_eq!(tokenizer.encode("<two><one>").unwrap(), [size + 1, size]);
    assert!(tokenizer.is_special(size) && !tokenizer.is_special(size - 1));
}

/// Padding and truncation that a former user left in tokenizer.json must not reach the ids.
#[test]
fn leftover_padding_and_truncation_are_ignored() {
    let folder = folder(&[]);
    let path = folder.path().join("tokenizer.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    file["truncation"] =
        json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    file["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<e>"});
    std::fs::write(&path, file.to_string()).unwrap();
    assert_eq!(Tokenizer::load(folder.path()).unwrap().encode("a b c").unwrap().len(), 5);
}

#[test]
fn an_id_outside_the_vocabulary_is_an_error() {
    let tokenizer = Tokenizer::load(folder(&[]).path()).unwrap();
    assert!(tokenizer.decode(&[2, 99_999], true).unwrap_err().to_string().contains("99999"));
}

#[test]
fn streams_whole_characters() {
    let tokenizer = Tokenizer::load(folder(&[]).path()).unwrap();
    let ids = tokenizer.encode("é🙂<f>a").unwrap();
    assert_eq!(ids.len(), 2 + 4 + 2);
    let mut stream = tokenizer.stream(true);
    let pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(pieces, ["", "é", "", "", "", "🙂", "", "a"]);
    assert_eq!(stream.finish().unwrap(), "");
    // A character that is never completed comes out at the end, as decoding all ids gives it.
    let mut stream = tokenizer.stream(false);
    for &id in &ids[..4] {
        stream.push(id).unwrap();
    }
    assert_eq!(format!("é{}", stream.finish().unwrap()), tokenizer.decode(&ids[..4], false).unwrap());
}
