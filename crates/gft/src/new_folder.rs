//! Model folders that commands write: aside first, then under their name.

use std::fs;
use std::path::Path;

use gft_model::folder::ADAPTER_CONFIG;

use crate::failure::Failure;

/// Whether a new model may go to `out`.
///
/// # Errors
/// A file of that name; files in the folder, unless `force`.
pub fn check(out: &Path, force: bool) -> Result<(), Failure> {
    if out.is_file() {
        return Err(Failure::usage(format!(
            "{}: a file of that name exists; OUT is a folder",
            out.display()
        )));
    }
    let count = fs::read_dir(out).map_or(0, |entries| entries.count());
    if count > 0 && !force {
        return Err(Failure::usage(format!(
            "{}: the folder has {count} files in it; give another one, or --force to replace the model in it",
            out.display()
        )));
    }
    Ok(())
}

/// A folder that takes its name only when it is complete; dropped before, it leaves nothing.
pub struct NewFolder(tempfile::TempDir);

impl NewFolder {
    /// An empty one beside `out`.
    ///
    /// # Errors
    /// A parent that cannot be written to.
    pub fn beside(out: &Path) -> Result<Self, Failure> {
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let failed =
            |error: std::io::Error| Failure::Run(format!("{}: cannot write: {error}", parent.display()));
        fs::create_dir_all(parent).map_err(failed)?;
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        tempfile::Builder::new()
            .prefix(&format!(".{name}.partial-"))
            .tempdir_in(parent)
            .map(Self)
            .map_err(failed)
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts the files where they belong. A folder that has a model or an adapter loses its weights and
    /// gets these files.
    ///
    /// # Errors
    /// A file that cannot be removed or written.
    pub fn replace(self, out: &Path) -> Result<(), Failure> {
        let failed =
            |error: std::io::Error| Failure::Run(format!("{}: cannot write: {error}", out.display()));
        fs::create_dir_all(out).map_err(failed)?;
        for entry in fs::read_dir(out).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let stale = name.ends_with(".safetensors")
                || name.ends_with(".safetensors.index.json")
                || [
                    ADAPTER_CONFIG,
                    "tokenizer.json",
                    "tokenizer_config.json",
                    "special_tokens_map.json",
                    "chat_template.jinja",
                ]
                .contains(&name.as_str());
            if stale {
                fs::remove_file(&path).map_err(failed)?;
            }
        }
        for entry in fs::read_dir(self.path()).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            fs::rename(&path, out.join(path.file_name().unwrap_or_default())).map_err(failed)?;
        }
        Ok(())
    }
}
