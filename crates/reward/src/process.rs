//! A child process that is spoken to in lines, with a deadline on every exchange; nothing it does can block the caller.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Longer lines are not read: no reward is that long.
const MAX_LINE: u64 = 1 << 20;
/// Lines that may wait to be read; a process that writes more waits.
const WAITING: usize = 64;
/// Lines of standard error kept for messages.
const KEPT: usize = 4;
/// Longest wait for the rest of standard error.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What came instead of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The deadline passed.
    TimedOut,
    /// The process closed its output or ended.
    Ended,
}

/// A running child. Dropping it ends the process and its descendants.
pub(crate) struct Process {
    child: Child,
    input: Sender<Vec<u8>>,
    lines: Receiver<Vec<u8>>,
    complaints: Arc<Mutex<VecDeque<String>>>,
    /// Closed when standard error has been read to its end.
    complained: Receiver<()>,
    over: bool,
}

impl Process {
    /// Starts a program in a process group of its own, so that what it starts can be ended with it.
    pub(crate) fn start(program: &str, args: &[String]) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        command.args(args).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (input, to_write) = channel::<Vec<u8>>();
        let (found, lines) = sync_channel(WAITING);
        let complaints = Arc::new(Mutex::new(VecDeque::new()));
        let (complaining, complained) = channel::<()>();
        if let Some(mut stdin) = child.stdin.take() {
            thread::spawn(move || {
                while let Ok(bytes) = to_write.recv() {
                    if stdin.write_all(&bytes).and_then(|()| stdin.flush()).is_err() {
                        break;
                    }
                }
            });
        }
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || read_lines(stdout, &found));
        }
        if let Some(stderr) = child.stderr.take() {
            let complaints = Arc::clone(&complaints);
            thread::spawn(move || {
                keep_last(stderr, &complaints);
                drop(complaining);
            });
        }
        Ok(Self { child, input, lines, complaints, complained, over: false })
    }

    /// Hands over a line to be written. False if the process no longer reads.
    pub(crate) fn send(&self, line: Vec<u8>) -> bool {
        self.input.send(line).is_ok()
    }

    /// The next line, without its end.
    pub(crate) fn receive(&self, deadline: Instant) -> Result<Vec<u8>, Silence> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => Silence::TimedOut,
            RecvTimeoutError::Disconnected => Silence::Ended,
        })
    }

    /// Ends the process and says how it went: the exit status if it had ended by itself, and its last words.
    pub(crate) fn last_words(mut self) -> String {
        // The output closes a moment before the process can be waited for.
        let mut status = self.child.try_wait();
        for _ in 0..20 {
            if !matches!(status, Ok(None)) {
                break;
            }
            thread::sleep(Duration::from_millis(5));
            status = self.child.try_wait();
        }
        let ended = match status {
            Ok(Some(status)) => status.to_string(),
            _ => "output closed".into(),
        };
        self.end();
        // Its descendants have ended too, so this is short; only one in another group could hold standard error open.
        let _ = self.complained.recv_timeout(LAST_WORDS);
        let kept = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let words: Vec<&str> = kept.iter().map(String::as_str).collect();
        if words.is_empty() { ended } else { format!("{ended}; it said: {}", words.join(" | ")) }
    }

    /// Ends the process and its group, once: later the number of the group may be another's.
    fn end(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let group = rustix::process::Pid::from_child(&self.child);
        // An error says that the group has already ended.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Passes lines on until the output closes, a line is too long, or nobody listens.
fn read_lines(output: impl Read, found: &SyncSender<Vec<u8>>) {
    let mut reader = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let whole = line.last() == Some(&b'\n');
        if whole {
            line.pop();
        }
        // What is cut off can no longer be told from what follows, so it is the last that is read.
        if found.send(line).is_err() || !whole {
            return;
        }
    }
}

/// Keeps the last lines of standard error, each up to a bounded length.
fn keep_last(output: impl Read, complaints: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(4096).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text: String = String::from_utf8_lossy(&line).trim().chars().take(200).collect();
        if text.is_empty() {
            continue;
        }
        let mut kept = complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(text);
    }
}
