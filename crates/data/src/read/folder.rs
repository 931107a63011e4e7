//! The data files of a folder. Splits are kept apart: training on a test file must not happen by naming its folder.

use crate::{DataError, Result};
use std::path::{Path, PathBuf};

/// The files to read, and those of other splits that are left out.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub read: Vec<PathBuf>,
    pub left_out: Vec<PathBuf>,
}

const EXTENSIONS: [&str; 8] = ["jsonl", "ndjson", "json", "parquet", "txt", "gz", "zst", "zstd"];
const SPLITS: [&str; 7] = ["train", "validation", "valid", "val", "dev", "test", "eval"];
/// Files that describe data and are none.
const DESCRIPTIONS: [&str; 4] =
    ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];

/// A file as it is; of a folder the files of `split` (default `train`), all of them if none is named after a split.
///
/// # Errors
/// A path that does not exist, a folder without data files, or one without the split asked for.
pub(super) fn files(path: &Path, split: Option<&str>) -> Result<Files> {
    if !path.is_dir() {
        if let Some(message) = hub_name(path) {
            return Err(DataError::file(path, message));
        }
        return Ok(Files { read: vec![path.to_path_buf()], left_out: Vec::new() });
    }
    let mut all = data_files(path)?;
    if all.is_empty() && path.join("data").is_dir() {
        all = data_files(&path.join("data"))?;
    }
    if all.is_empty() {
        return Err(DataError::file(
            path,
            format!("no data files ({}) in this folder", EXTENSIONS.join(", ")),
        ));
    }
    if split.is_none() && all.iter().all(|file| split_of(file).is_none()) {
        return Ok(Files { read: all, left_out: Vec::new() });
    }
    let wanted = split.unwrap_or("train");
    let (read, left_out): (Vec<_>, Vec<_>) = all.into_iter().partition(|file| split_of(file) == Some(wanted));
    if read.is_empty() {
        let names: Vec<_> = left_out.iter().filter_map(|f| f.file_name()?.to_str()).collect();
        return Err(DataError::file(
            path,
            format!("no file of the split {wanted:?}; there are {}", names.join(", ")),
        ));
    }
    Ok(Files { read, left_out })
}

/// What to do about a name of a data set on a hub; `None` for what may be a path: something is there, or its folder is,
/// or it ends as a data file does.
fn hub_name(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    let (owner, name) = text.split_once('/')?;
    let valid = |part: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(known)
    };
    let file = path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known));
    if !valid(owner) || !valid(name) || file || path.exists() || Path::new(owner).exists() {
        return None;
    }
    Some(format!(
        "no such file or folder. It looks like a data set on the Hugging Face Hub; rows are read from local files and \
         nothing is downloaded: fetch it first (hf download {text} --repo-type dataset --local-dir {name}) and give the \
         folder in {name} that its Parquet files lie in, or one of them"
    ))
}

fn data_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io(folder, "list"))? {
        let path = entry.map_err(DataError::io(folder, "list"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let known = path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known));
        if path.is_file() && known && !name.starts_with('.') && !DESCRIPTIONS.contains(&name.as_str()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The split that a file is named after: `train.jsonl`, `train-00000-of-00002.parquet`, `gsm8k_test.jsonl`.
fn split_of(file: &Path) -> Option<&'static str> {
    let name = file.file_name()?.to_str()?.to_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphabetic()).collect();
    SPLITS.into_iter().find(|split| words.contains(split))
}
