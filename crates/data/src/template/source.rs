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
    /// The template of a model folder: `given` (a file), else the one called `name` (default `default`) of those that the
    /// folder brings. `None` if it brings none.
    ///
    /// They stand in `chat_template.jinja` and `additional_chat_templates/NAME.jinja`, or under `chat_template` in
    /// `tokenizer_config.json` (text, or a list of named ones); files go first. One called `tool_use` takes over for
    /// conversations with tools unless a name is given.
    ///
    /// # Errors
    /// A file that cannot be read, a template with a syntax error, or a name that is not among the named ones.
    pub fn load(tokenizer: &Tokenizer, given: Option<&Path>, name: Option<&str>) -> Result<Option<Self>> {
        let compile = |source: &str, origin: &str| Self::new(source, origin, tokenizer.specials().clone());
        if let Some(path) = given {
            return compile(&read(path)?, &path.display().to_string()).map(Some);
        }
        let Some(folder) = tokenizer.folder() else { return Ok(None) };
        let all = sources(folder)?;
        let find = |name: &str| all.iter().find(|source| source.name == name);
        let Some(source) = find(name.unwrap_or("default")) else {
            if all.is_empty() && name.is_none() {
                return Ok(None);
            }
            let names: Vec<&str> = all.iter().map(|source| source.name.as_str()).collect();
            let wanted = name.unwrap_or("default");
            let message =
                format!("no chat template named {wanted:?}; there are {names:?}, choose with template_name");
            return Err(DataError::file(folder, message));
        };
        let mut template = compile(&source.text, &source.origin)?;
        if let (None, Some(tools)) = (name, find("tool_use")) {
            template.with_tools = Some(Box::new(compile(&tools.text, &tools.origin)?));
        }
        Ok(Some(template))
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

/// A template that a model folder brings.
struct Source {
    name: String,
    text: String,
    origin: String,
}

/// All templates of a folder; files hide what `tokenizer_config.json` has.
fn sources(folder: &Path) -> Result<Vec<Source>> {
    let mut all = Vec::new();
    let mut add = |name: &str, path: &Path| -> Result<()> {
        all.push(Source { name: name.into(), text: read(path)?, origin: path.display().to_string() });
        Ok(())
    };
    let path = folder.join("chat_template.jinja");
    if path.is_file() {
        add("default", &path)?;
    }
    let more = folder.join("additional_chat_templates");
    if more.is_dir() {
        for entry in std::fs::read_dir(&more).map_err(DataError::io(&more, "list"))? {
            let path = entry.map_err(DataError::io(&more, "list"))?.path();
            if path.extension().is_some_and(|e| e == "jinja") {
                add(&path.file_stem().unwrap_or_default().to_string_lossy(), &path)?;
            }
        }
    }
    if !all.is_empty() {
        return Ok(all);
    }
    let path = folder.join("tokenizer_config.json");
    let config = read_object(&path)?.unwrap_or_default();
    let origin = format!("{} (chat_template)", path.display());
    match config.get("chat_template") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => all.push(Source { name: "default".into(), text: text.clone(), origin }),
        Some(Value::Array(list)) => {
            let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_string);
            for entry in list {
                let (Some(name), Some(text)) = (text(entry, "name"), text(entry, "template")) else {
                    return Err(DataError::file(
                        &path,
                        "an entry of chat_template needs a name and a template",
                    ));
                };
                all.push(Source { origin: format!("{origin} {name:?}"), name, text });
            }
        }
        Some(other) => {
            return Err(DataError::file(&path, format!("chat_template must be text or a list, not {other}")));
        }
    }
    Ok(all)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(DataError::io(path, "read"))
}
