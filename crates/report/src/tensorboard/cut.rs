//! Event files of a run that goes back to an earlier step: what they hold of later steps, which is written again, is cut.

use std::fs::{self, OpenOptions};
use std::path::Path;

use super::PREFIX;
use crate::{ReportError, Result};

/// Cuts every event file in `dir` before its first event of a step after `step`, and a record that is not whole. With
/// this each step is there once, whatever program reads the files; a running TensorBoard learns of it by
/// [`EventWriter::resumed`](super::EventWriter::resumed).
///
/// # Errors
/// [`ReportError::Io`] with the path.
pub fn cut_after(dir: &Path, step: u64) -> Result<()> {
    let failed = |path: &Path, action| {
        let path = path.to_owned();
        move |source| ReportError::Io { path, action, source }
    };
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(failed(dir, "read"))? {
        let path = entry.map_err(failed(dir, "read"))?.path();
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if !ours || !path.is_file() {
            continue;
        }
        let bytes = fs::read(&path).map_err(failed(&path, "read"))?;
        let keep = kept(&bytes, step);
        if keep < bytes.len() {
            let file = OpenOptions::new().write(true).open(&path).map_err(failed(&path, "open"))?;
            file.set_len(keep as u64).map_err(failed(&path, "shorten"))?;
        }
    }
    Ok(())
}

/// Bytes of whole records up to the first one of a later step.
fn kept(bytes: &[u8], step: u64) -> usize {
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 12) {
        let length = head.iter().take(8).rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        let start = at + 12;
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length)?.checked_add(4));
        let Some(record) = end.and_then(|end| bytes.get(start..end)) else { break };
        if step_of(record) > step {
            break;
        }
        at = start + record.len();
    }
    at
}

/// The step of an encoded event; 0 where it has none.
fn step_of(mut event: &[u8]) -> u64 {
    while let Some((key, rest)) = varint(event) {
        let (value, rest) = match key & 7 {
            0 => match varint(rest) {
                Some((value, rest)) => (Some(value), Some(rest)),
                None => return 0,
            },
            1 => (None, rest.get(8..)),
            5 => (None, rest.get(4..)),
            // A message or text: the steps are before the first of them.
            _ => return 0,
        };
        if let (2, Some(value)) = (key >> 3, value) {
            return value;
        }
        let Some(rest) = rest else { return 0 };
        event = rest;
    }
    0
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}
