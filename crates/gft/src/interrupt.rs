//! Ctrl-C: by default a command ends with 130 and what it has written is whole lines; a chat stops the answer instead.

use std::sync::atomic::{AtomicU8, Ordering};

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
    ctrlc::set_handler(|| {
        // While something can be stopped the first Ctrl-C asks for that, and the second ends the process.
        if STATE.compare_exchange(ARMED, ASKED, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            eprintln!();
            output::exit_interrupted();
        }
    })
    .map_err(|error| Failure::Run(format!("cannot handle Ctrl-C: {error}")))
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
