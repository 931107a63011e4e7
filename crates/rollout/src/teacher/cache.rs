//! Answers on disk, one file each, under the hash of their question.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::{Answer, Question, TeacherError};

/// A folder of answers: `ab/abcdef....json`. A file under its final name is whole, whatever happens while it is written.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    question: Value,
    answer: Answer,
}

fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> TeacherError {
    let path = path.to_path_buf();
    move |source| TeacherError::Io { path, action, source }
}

impl Cache {
    /// Opens a folder, made if it is not there.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn open(folder: &Path) -> Result<Self, TeacherError> {
        fs::create_dir_all(folder).map_err(io(folder, "make this folder"))?;
        Ok(Self { folder: folder.to_path_buf() })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, question: &Question, k: usize) -> PathBuf {
        let key = question.key(k);
        self.folder.join(&key.as_str()[..2]).join(format!("{}.json", key.as_str()))
    }

    /// The answer to sample `k` of a question, if it was given before.
    ///
    /// # Errors
    /// A file that cannot be read or was damaged: it is never taken for an answer that is not there.
    pub fn get(&self, question: &Question, k: usize) -> Result<Option<Answer>, TeacherError> {
        let path = self.path(question, k);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(&path, "read")(error)),
        };
        match serde_json::from_slice::<Entry>(&bytes) {
            Ok(entry) => Ok(Some(entry.answer)),
            Err(error) => Err(TeacherError::Damaged { path, message: error.to_string() }),
        }
    }

    /// Whether sample `k` of a question has an answer.
    pub fn has(&self, question: &Question, k: usize) -> bool {
        self.path(question, k).is_file()
    }

    /// Keeps an answer: written beside its place, made durable, then renamed.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn put(&self, question: &Question, k: usize, answer: &Answer) -> Result<(), TeacherError> {
        let path = self.path(question, k);
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(io(folder, "make this folder"))?;
        let mut file = NamedTempFile::with_prefix_in(".partial-", folder).map_err(io(folder, "write in"))?;
        let entry = Entry { question: question.describe(k), answer: answer.clone() };
        let text = serde_json::to_string(&entry).map_err(|error| io(&path, "write")(error.into()))?;
        file.write_all(text.as_bytes()).map_err(io(&path, "write"))?;
        file.as_file().sync_all().map_err(io(&path, "write"))?;
        file.persist(&path).map_err(|error| io(&path, "write")(error.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gft_data::Message;

    use super::*;
    use crate::teacher::Sampling;

    #[test]
    fn what_was_put_is_got_and_damage_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("deep/er")).unwrap();
        let sampling = Sampling { temperature: None, top_p: None, max_tokens: 1, seed: None, stop: vec![] };
        let messages = vec![Message::user("q")];
        let question = Question { place: "p".into(), model: "m".into(), messages, sampling };
        let answer =
            Answer { content: "é\n".into(), reasoning: None, finish_reason: None, usage: None, of: 1 };
        assert_eq!(cache.get(&question, 0).unwrap(), None);
        cache.put(&question, 0, &answer).unwrap();
        assert_eq!(cache.get(&question, 0).unwrap(), Some(answer));
        assert!(cache.has(&question, 0) && !cache.has(&question, 1));
        fs::write(cache.path(&question, 0), "{\"answer\"").unwrap();
        let error = cache.get(&question, 0).unwrap_err().to_string();
        assert!(error.contains("delete the file to ask again"), "{error}");
    }
}
