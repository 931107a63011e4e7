//! Ctrl-C: by default a command ends with 130 and what it has written is whole lines; a chat stops the answer instead, and
//! a training run saves and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;
use crate::output;

const ENDS: u8 = 0;
const ARMED: u8 = 1;
const ASKED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(ENDS);

/// Takes over Ctrl-C for the rest of the process.
///
/// # Errors
/// When the operating system refuses.
pub fn install() -> Result<(), Failure> {
    let mut signals =
        Signals::new([SIGINT]).map_err(|error| Failure::Run(format!("cannot handle Ctrl-C: {error}")))?;
    // On a thread of its own, because what it does is not allowed within a handler.
    std::thread::spawn(move || {
        for _ in signals.forever() {
            // While something can be stopped the first Ctrl-C asks for that, and the second ends the process.
            if STATE.compare_exchange(ARMED, ASKED, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                eprintln!();
                output::exit_interrupted();
            }
        }
    });
    Ok(())
}

/// A flag that SIGINT, SIGTERM and the terminal's end (SIGHUP) set; a second SIGINT or SIGTERM ends the process at once
/// with 130. A closed terminal may say so twice, by the system and by the shell: that does not.
///
/// # Errors
/// When the operating system refuses.
pub fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let failed = |error| Failure::Run(format!("cannot listen to signals: {error}"));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(failed)?;
    }
    if !hangup_is_ignored() {
        signal_hook::flag::register(SIGHUP, Arc::clone(&stop)).map_err(failed)?;
    }
    Ok(stop)
}

/// Whether whoever started the process (`nohup`) wants it to outlive its terminal. Where the system does not tell, that is
/// left as it is.
fn hangup_is_ignored() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask & 1 != 0)
}

/// From here on Ctrl-C asks to stop what is running.
pub fn arm() {
    STATE.store(ARMED, Ordering::SeqCst);
}

/// From here on Ctrl-C ends the process. Returns whether a stop was asked for meanwhile.
pub fn disarm() -> bool {
    STATE.swap(ENDS, Ordering::SeqCst) == ASKED
}

/// Whether a stop was asked for.
pub fn asked() -> bool {
    STATE.load(Ordering::SeqCst) == ASKED
}
