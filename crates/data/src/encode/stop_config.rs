//! The stop ids in a model folder: a base model that has learned to end its turns must also be served so.

use super::Encoder;
use crate::tokenizer::read_object;
use crate::{DataError, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

impl Encoder {
    /// Writes what was learned as the end of a turn into a model folder: `eos_token_id` of `generation_config.json` (all
    /// stop ids, the turn's first) and `eos_token` of `tokenizer_config.json`. Other keys stay.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn write_stop_config(&self, folder: &Path) -> Result<()> {
        let end = self.turn_end();
        let mut ids = vec![end.id];
        ids.extend(self.stop_ids().into_iter().filter(|&id| id != end.id));
        let ids = if let [id] = ids.as_slice() { json!(id) } else { json!(ids) };
        update(&folder.join("generation_config.json"), "eos_token_id", ids)?;
        let token = self.tokenizer.id_to_token(end.id);
        update(&folder.join("tokenizer_config.json"), "eos_token", json!(token))?;
        let map = folder.join("special_tokens_map.json");
        if map.is_file() {
            update(&map, "eos_token", json!(token))?;
        }
        Ok(())
    }
}

fn update(path: &Path, key: &str, value: Value) -> Result<()> {
    let mut object: Map<String, Value> = read_object(path)?.unwrap_or_default();
    object.insert(key.into(), value);
    let text = serde_json::to_string_pretty(&object).map_err(|e| DataError::file(path, e.to_string()))?;
    std::fs::write(path, text + "\n").map_err(DataError::io(path, "write"))
}
