//! Where the rows lie: byte ranges of lines, so that row number n is one seek away and the file never has to fit in memory.

use crate::{DataError, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tempfile::SpooledTempFile;

/// Lines of a file on disk, or of a temporary file that another format was unpacked into.
#[derive(Debug)]
pub(super) struct LineStore {
    path: PathBuf,
    source: Mutex<Source>,
    spans: Vec<Span>,
}

/// One row.
#[derive(Clone, Copy, Debug)]
struct Span {
    offset: u64,
    line: u64,
    length: u32,
}

#[derive(Debug)]
pub(super) enum Source {
    File(File),
    /// In memory up to a size, then in an unnamed temporary file.
    Spool(SpooledTempFile),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Spool(spool) => spool.read(buffer),
        }
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::File(file) => file.seek(to),
            Self::Spool(spool) => spool.seek(to),
        }
    }
}

/// Lines on their way to being looked at: at most so many are in memory at once, and no more once they have so many bytes.
const BATCH_LINES: usize = 8192;
const BATCH_BYTES: usize = 32 << 20;

/// A line with its number, from 1.
pub(super) type Line = (u64, Vec<u8>);

/// FNV-1a in 64 bits: the same on every machine and in every version.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

impl LineStore {
    pub fn new(path: &Path, source: Source) -> Self {
        Self { path: path.to_path_buf(), source: Mutex::new(source), spans: Vec::new() }
    }

    pub fn len(&self) -> u64 {
        self.spans.len() as u64
    }

    /// Line number of a row, from 1.
    pub fn number(&self, row: u64) -> u64 {
        self.spans[row as usize].line
    }

    /// The first lines that are not blank.
    pub fn sample(&mut self, count: usize) -> Result<Vec<Vec<u8>>> {
        let mut samples = Vec::new();
        self.each(|_, bytes| {
            if !bytes.trim_ascii().is_empty() {
                samples.push(bytes.to_vec());
            }
            Ok(samples.len() < count)
        })?;
        Ok(samples)
    }

    /// Passes all lines in batches and remembers where those lie for which `judge` answers true. `progress` is told of the
    /// share that is read.
    pub fn scan(
        &mut self,
        progress: &mut dyn FnMut(f64),
        mut judge: impl FnMut(&[Line]) -> Result<Vec<bool>>,
    ) -> Result<()> {
        let source = self.source.get_mut().unwrap_or_else(PoisonError::into_inner);
        let size = source.seek(SeekFrom::End(0)).map_err(DataError::io(&self.path, "seek in"))?;
        let (mut kept, mut spans, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        let mut waiting = 0;
        let mut flush = |spans: &mut Vec<Span>, lines: &mut Vec<Line>| -> Result<()> {
            let good = judge(lines)?;
            kept.extend(spans.drain(..).zip(good).filter(|(_, good)| *good).map(|(span, _)| span));
            lines.clear();
            Ok(())
        };
        // Blank lines at the end of a file are no rows; between rows they are for `judge`.
        let mut blank: Vec<(Span, Vec<u8>)> = Vec::new();
        self.each(|span, bytes| {
            if bytes.trim_ascii().is_empty() {
                blank.push((span, bytes.to_vec()));
                return Ok(true);
            }
            for (span, bytes) in blank.drain(..) {
                lines.push((span.line, bytes));
                spans.push(span);
            }
            lines.push((span.line, bytes.to_vec()));
            spans.push(span);
            waiting += bytes.len();
            if lines.len() >= BATCH_LINES || waiting >= BATCH_BYTES {
                waiting = 0;
                progress(span.offset as f64 / size.max(1) as f64);
                flush(&mut spans, &mut lines)?;
            }
            Ok(true)
        })?;
        flush(&mut spans, &mut lines)?;
        kept.shrink_to_fit();
        self.spans = kept;
        Ok(())
    }

    /// The bytes of a row.
    pub fn read(&self, row: u64) -> io::Result<Vec<u8>> {
        let span = self.spans[row as usize];
        let mut bytes = vec![0; span.length as usize];
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.seek(SeekFrom::Start(span.offset))?;
        source.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Passes lines one by one until `visit` answers false.
    fn each(&mut self, mut visit: impl FnMut(Span, &[u8]) -> Result<bool>) -> Result<()> {
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
            // A byte order mark belongs to the file, not to its first row.
            let start = if line == 1 && buffer.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
            let mut end = buffer.len();
            while end > start && matches!(buffer[end - 1], b'\n' | b'\r') {
                end -= 1;
            }
            let length = u32::try_from(end - start).map_err(|_| DataError::Row {
                path: self.path.clone(),
                line,
                message: "a row of more than 4 GiB".into(),
            })?;
            if !visit(Span { offset: offset + start as u64, line, length }, &buffer[start..end])? {
                return Ok(());
            }
            offset += read as u64;
        }
    }
}
