//! Writing a tokenizer as the files that transformers loads.

use super::Tokenizer;
use crate::{DataError, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Writes `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and, with a template,
/// `chat_template.jinja` into `folder`, which is created if needed.
///
/// The template also stands in `tokenizer_config.json`, where older servers look for it. `model_max_length` is the
/// model's number of positions.
///
/// # Errors
/// A file that cannot be written; the message names it.
pub fn write_tokenizer_folder(
    folder: &Path,
    tokenizer: &Tokenizer,
    chat_template: Option<&str>,
    model_max_length: usize,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(DataError::io(folder, "create"))?;
    let text = tokenizer.inner.to_string(true).map_err(|e| DataError::Tokenizer(e.to_string()))?;
    write(&folder.join("tokenizer.json"), &text)?;

    let roles = roles(tokenizer);
    let mut config = tokenizer.config().clone();
    config.extend(roles.clone());
    config.entry("tokenizer_class").or_insert_with(|| json!("PreTrainedTokenizerFast"));
    config.entry("clean_up_tokenization_spaces").or_insert(json!(false));
    config.insert("model_max_length".into(), json!(model_max_length));
    if let Some(template) = chat_template {
        config.insert("chat_template".into(), json!(template));
        write(&folder.join("chat_template.jinja"), template)?;
    }
    write_json(&folder.join("tokenizer_config.json"), &Value::Object(config))?;
    write_json(&folder.join("special_tokens_map.json"), &Value::Object(roles))
}

fn roles(tokenizer: &Tokenizer) -> Map<String, Value> {
    let specials = tokenizer.specials();
    let mut roles = Map::new();
    let named = [
        ("bos_token", &specials.bos),
        ("eos_token", &specials.eos),
        ("pad_token", &specials.pad),
        ("unk_token", &specials.unk),
    ];
    for (name, token) in named {
        if let Some(token) = token {
            roles.insert(name.into(), json!(token));
        }
    }
    if !specials.additional.is_empty() {
        roles.insert("additional_special_tokens".into(), json!(specials.additional));
    }
    roles
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| DataError::file(path, e.to_string()))?;
    write(path, &(text + "\n"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(DataError::io(path, "write"))
}
