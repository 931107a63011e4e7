//! Where a chat template comes from.

use super::ChatTemplate;
use crate::tokenizer::read_object;
use crate::{DataError, Result, Tokenizer};
use serde_json::Value;
use std::path::Path;

/// The template for base models that bring none: the contents of the messages, one below the other, and the model's
/// turn closed with EOS.
const PLAIN: &str = "{%- for message in messages %}\
{%- if message.role == 'assistant' %}{% generation %}{{ message.content + eos_token }}{% endgeneration %}{{ '\\n' }}\
{%- else %}{{ message.content + '\\n' }}{% endif %}\
{%- endfor %}";

impl ChatTemplate {
    /// The template of a model folder: `given` (a file), else `chat_template.jinja`, else the key `chat_template` of
    /// `tokenizer_config.json` (a string, or a list of named ones of which `name` or `default` is taken).
    /// `None` if there is none of them.
    ///
    /// # Errors
    /// A file that cannot be read, a template with a syntax error, or a name that is not among the named ones.
    pub fn load(tokenizer: &Tokenizer, given: Option<&Path>, name: Option<&str>) -> Result<Option<Self>> {
        let specials = tokenizer.specials().clone();
        let from_file = |path: &Path, specials| {
            let source = std::fs::read_to_string(path).map_err(DataError::io(path, "read"))?;
            Self::new(&source, &path.display().to_string(), specials)
        };
        if let Some(path) = given {
            return from_file(path, specials).map(Some);
        }
        let Some(folder) = tokenizer.folder() else { return Ok(None) };
        if let Some(name) = name.filter(|name| *name != "default") {
            let path = folder.join("additional_chat_templates").join(format!("{name}.jinja"));
            if path.is_file() {
                return from_file(&path, specials).map(Some);
            }
        }
        let path = folder.join("chat_template.jinja");
        if path.is_file() && name.is_none_or(|name| name == "default") {
            return from_file(&path, specials).map(Some);
        }
        let path = folder.join("tokenizer_config.json");
        let config = read_object(&path)?.unwrap_or_default();
        let origin = format!("{} (chat_template)", path.display());
        match config.get("chat_template") {
            Some(Value::String(source)) if name.is_none_or(|name| name == "default") => {
                Self::new(source, &origin, specials).map(Some)
            }
            Some(Value::Array(list)) => {
                let wanted = name.unwrap_or("default");
                let template = list.iter().find(|t| t.get("name").and_then(Value::as_str) == Some(wanted));
                let source =
                    template.and_then(|t| t.get("template")).and_then(Value::as_str).ok_or_else(|| {
                        let names: Vec<&str> = list.iter().filter_map(|t| t.get("name")?.as_str()).collect();
                        DataError::file(
                            &path,
                            format!("no chat template named {wanted:?}; there are {names:?}"),
                        )
                    })?;
                Self::new(source, &format!("{origin} {wanted:?}"), specials).map(Some)
            }
            Some(Value::Null | Value::String(_)) | None => match name {
                Some(name) if name != "default" => {
                    Err(DataError::file(&path, format!("no chat template named {name:?}")))
                }
                _ => Ok(None),
            },
            Some(other) => {
                Err(DataError::file(&path, format!("chat_template must be text or a list, not {other}")))
            }
        }
    }

    /// The built-in template for a base model: contents one below the other, no roles.
    ///
    /// # Errors
    /// A tokenizer without EOS: the model could never learn to stop.
    pub fn plain(tokenizer: &Tokenizer) -> Result<Self> {
        if tokenizer.eos_id().is_none() {
            return Err(DataError::Template {
                origin: "built-in plain".into(),
                message: "the tokenizer has no EOS token to end a turn with".into(),
            });
        }
        Self::new(PLAIN, "built-in plain", tokenizer.specials().clone())
    }

    /// Whether this is [`Self::plain`].
    pub fn is_plain(&self) -> bool {
        self.source == PLAIN
    }
}
