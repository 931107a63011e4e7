//! Which process a folder name belongs to, and whether that process still lives although process ids are reused.

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::fmt;
use std::fs;

/// A process: its id and, where the system tells (Linux), its start time in clock ticks since boot.
///
/// Written `<id>-<start>`, or `<id>` where the start is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    id: u32,
    start: Option<u64>,
}

impl Process {
    /// This process.
    pub(crate) fn current() -> Self {
        let id = std::process::id();
        Self { id, start: stat(id).map(|stat| stat.start) }
    }

    /// The inverse of `Display`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, start) = match text.split_once('-') {
            Some((id, start)) => (id, Some(start.parse().ok()?)),
            None => (text, None),
        };
        Some(Self { id: id.parse().ok()?, start })
    }

    /// Whether another process than this one, and not a later one with its id, is running.
    ///
    /// Errs on the side of "alive": a live process whose start cannot be compared counts as the one meant.
    pub(crate) fn is_alive_elsewhere(self) -> bool {
        if self.id == std::process::id() {
            // Ours, or of a dead process whose id we have: either way nobody else's.
            return false;
        }
        let Some(pid) = i32::try_from(self.id).ok().and_then(Pid::from_raw) else { return false };
        if test_kill_process(pid) == Err(Errno::SRCH) {
            return false;
        }
        match stat(self.id) {
            Some(stat) => !stat.ended && self.start.is_none_or(|start| start == stat.start),
            None => true,
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.start {
            Some(start) => write!(f, "{}-{start}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

struct Stat {
    /// A zombie: dead, only not yet waited for.
    ended: bool,
    start: u64,
}

/// `/proc/<id>/stat` (proc_pid_stat(5)): field 3 is the state, field 22 the start time. The name in field 2 may hold
/// blanks and parentheses, so fields are counted from the last parenthesis.
fn stat(id: u32) -> Option<Stat> {
    let bytes = fs::read(format!("/proc/{id}/stat")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some(Stat { ended: matches!(state, "Z" | "X"), start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_reads_as_it_is_written() {
        for text in ["1", "4711-88", "4711-18446744073709551615"] {
            assert_eq!(Process::parse(text).map(|p| p.to_string()).as_deref(), Some(text));
        }
        for text in ["", "-", "x", "1-", "-1", "1-x", "1-2-3", "4294967296"] {
            assert_eq!(Process::parse(text), None, "{text:?}");
        }
        let current = Process::current();
        assert_eq!(Process::parse(&current.to_string()), Some(current));
    }

    #[test]
    fn life_and_death_and_reuse_of_an_id() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read x"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let id = child.id();
        let start = stat(id).map(|stat| stat.start);
        assert!(Process { id, start }.is_alive_elsewhere());
        assert!(
            Process { id, start: None }.is_alive_elsewhere(),
            "a start that is unknown is no reason to delete"
        );
        if let Some(start) = start {
            assert!(!Process { id, start: Some(start + 1) }.is_alive_elsewhere(), "the id was reused");
        }
        // A killed child that was not waited for is a zombie: it still has its id, but writes no more.
        child.kill().unwrap();
        let died = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            !Process { id, start }.is_alive_elsewhere()
        });
        assert!(died || start.is_none());
        child.wait().unwrap();
        assert!(!Process { id, start }.is_alive_elsewhere());
        assert!(!Process { id: 0, start: None }.is_alive_elsewhere());
        assert!(!Process { id: u32::MAX, start: None }.is_alive_elsewhere());
        assert!(!Process::current().is_alive_elsewhere());
    }
}
