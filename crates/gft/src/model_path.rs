//! From what the user typed after `--model` to a model folder, or to an error that says what lies there instead.

use std::fs;
use std::path::{Path, PathBuf};

use gft_model::ModelFolder;
use gft_model::folder::ADAPTER_CONFIG;

use crate::failure::Failure;

/// Opens a model folder. Weights and tokenizer are looked for here, and read by those who need them.
///
/// # Errors
/// What is not a model folder, with what it is instead and what to give in its place.
pub fn open(path: &Path) -> Result<ModelFolder, Failure> {
    exists(path)?;
    if path.join(ADAPTER_CONFIG).is_file() {
        return open_adapter(path);
    }
    if !path.join("config.json").is_file() {
        return Err(Failure::data(format!("{}: not a model folder: {}", path.display(), no_config(path))));
    }
    if !path.join("model.safetensors").is_file() && !path.join("model.safetensors.index.json").is_file() {
        return Err(Failure::data(format!("{}: no weights: {}", path.display(), no_weights(path))));
    }
    Ok(ModelFolder::open(path)?)
}

/// Whether there is a folder, whatever is in it.
///
/// # Errors
/// No such folder, or a file, with what to give in its place.
pub fn exists(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        return Err(Failure::data(absent(path)));
    }
    if path.is_file() {
        return Err(Failure::data(file(path)));
    }
    Ok(())
}

/// Opens an adapter, whose base model must be a model folder.
fn open_adapter(path: &Path) -> Result<ModelFolder, Failure> {
    let folder = ModelFolder::open(path)?;
    let base = folder.base_dir();
    if !base.join("model.safetensors").is_file() && !base.join("model.safetensors.index.json").is_file() {
        return Err(Failure::data(format!(
            "{}: the adapter's base model {} has no weights: {}",
            path.display(),
            base.display(),
            no_weights(base)
        )));
    }
    Ok(folder)
}

fn absent(path: &Path) -> String {
    let shown = path.display();
    if is_hub_name(path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        return format!(
            "{shown}: no such folder. It looks like a name on the Hugging Face Hub; --model takes a local folder and \
             nothing is downloaded: fetch it first (hf download {shown} --local-dir {name}) and give --model {name}"
        );
    }
    match nearest(path) {
        Some(near) => format!("{shown}: no such folder; did you mean {}?", near.display()),
        None => {
            format!("{shown}: no such folder; --model takes a folder with config.json and model.safetensors")
        }
    }
}

/// `owner/name` with nothing of the kind on disk.
fn is_hub_name(path: &Path) -> bool {
    let Some(text) = path.to_str() else { return false };
    let valid = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    match text.split_once('/') {
        Some((owner, name)) => valid(owner) && valid(name) && !Path::new(owner).exists(),
        None => false,
    }
}

/// The model folder beside `path` whose name is nearest, if it is near.
fn nearest(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut found: Vec<(usize, PathBuf)> = models_in(parent)
        .into_iter()
        .filter_map(|folder| {
            let distance = edit_distance(&name, &folder.file_name()?.to_string_lossy());
            (distance <= 1 + name.chars().count() / 4).then_some((distance, folder))
        })
        .collect();
    found.sort();
    let (_, folder) = found.into_iter().next()?;
    Some(folder.strip_prefix("./").map(Path::to_path_buf).unwrap_or(folder))
}

/// Levenshtein's distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Folders directly in `parent` that have a `config.json`, by name.
fn models_in(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.join("config.json").is_file()).collect();
    found.sort();
    found
}

fn file(path: &Path) -> String {
    let shown = path.display();
    if ends_with(path, "gguf") {
        return format!(
            "{shown}: a GGUF file; gft reads and writes Hugging Face folders (config.json, model.safetensors): \
             give the folder that it was converted from"
        );
    }
    match path.parent().filter(|parent| parent.join("config.json").is_file()) {
        Some(parent) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            format!("{shown}: a file; --model takes the folder that it lies in: --model {}", parent.display())
        }
        None => format!("{shown}: a file; --model takes a folder with config.json and model.safetensors"),
    }
}

fn ends_with(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension))
}

/// What a folder without `config.json` is.
fn no_config(path: &Path) -> String {
    let names: Vec<String> = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let mut models = models_in(path);
    // The cache of the Hub's tools: models--owner--name/snapshots/<revision>/.
    models.extend(models_in(&path.join("snapshots")));
    if let [.., last] = models.as_slice() {
        let names: Vec<String> = models.iter().rev().take(3).map(|m| m.display().to_string()).collect();
        return match names.len() {
            1 => format!("it has no config.json, but {} has: give that one", last.display()),
            _ => format!("it has no config.json, but folders in it have: give one of {}", names.join(", ")),
        };
    }
    if names.iter().any(|name| name.ends_with(".gguf")) {
        return "it holds GGUF files; gft reads config.json with model.safetensors: give the folder that they were \
                converted from"
            .into();
    }
    if names.iter().any(|name| name == "params.json" || name.starts_with("consolidated.")) {
        return "it holds weights in their authors' own format; give the folder in Hugging Face format (config.json, \
                model.safetensors)"
            .into();
    }
    if names.is_empty() {
        return "it is empty".into();
    }
    "it has no config.json; a model folder has config.json, model.safetensors and, for text, tokenizer.json"
        .into()
}

fn no_weights(path: &Path) -> String {
    let names: Vec<String> = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    if names.iter().any(|name| name.ends_with(".bin") || name.ends_with(".pth") || name.ends_with(".pt")) {
        return "it has PyTorch's pickled weights, which are not read because unpickling runs code; in Python, \
                AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder) writes model.safetensors"
            .into();
    }
    if let Some(name) = names.iter().find(|name| name.ends_with(".safetensors")) {
        return format!(
            "there is {name}, but neither model.safetensors nor model.safetensors.index.json: is the copy complete?"
        );
    }
    "it has config.json, but neither model.safetensors nor model.safetensors.index.json: is the copy complete?".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("demo", "demo"), 0);
    }

    #[test]
    fn names_of_the_hub() {
        assert!(is_hub_name(Path::new("Qwen/Qwen2.5-0.5B")));
        for local in ["demo", "./a/b", "/a/b", "a/b/c", "../a", "a/", ".."] {
            assert!(!is_hub_name(Path::new(local)), "{local}");
        }
    }
}
