//! Names of folders in a run folder: finished checkpoints and the states that other folders can be in.

use crate::process::Process;

/// The name of a finished checkpoint.
pub(crate) fn checkpoint_name(step: u64) -> String {
    format!("checkpoint-{step}")
}

/// The state of a folder that is not a finished checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Being written.
    Partial,
    /// Complete, but a new save of its step is about to take its name.
    Replaced,
    /// Being deleted.
    Trash,
    /// Of a future that the run went back from; kept, but no longer looked at.
    Superseded,
}

impl State {
    const ALL: [(Self, &str); 4] = [
        (Self::Partial, "partial"),
        (Self::Replaced, "replaced"),
        (Self::Trash, "trash"),
        (Self::Superseded, "superseded"),
    ];

    /// The folder name of `step` in this state, owned by `process`.
    pub(crate) fn name(self, step: u64, process: Process) -> String {
        let word = Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, word)| word);
        format!("{}.{word}-{process}", checkpoint_name(step))
    }
}

/// What a folder name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// `checkpoint-<step>`
    Final(u64),
    /// `checkpoint-<step>.<state>-<process>`
    Passing(u64, State, Process),
}

impl Name {
    /// `None` for every name that this crate does not write; steps have no sign and no leading zero.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("checkpoint-")?;
        let (digits, state) = match rest.split_once('.') {
            Some((digits, state)) => (digits, Some(state)),
            None => (rest, None),
        };
        let step: u64 = digits.parse().ok()?;
        if step.to_string() != digits {
            return None;
        }
        let Some(state) = state else { return Some(Self::Final(step)) };
        let (word, process) = state.split_once('-')?;
        let (state, _) = State::ALL.into_iter().find(|(_, known)| *known == word)?;
        Some(Self::Passing(step, state, Process::parse(process)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_read() {
        assert_eq!(Name::parse("checkpoint-0"), Some(Name::Final(0)));
        assert_eq!(Name::parse("checkpoint-18446744073709551615"), Some(Name::Final(u64::MAX)));
        let process = Process::current();
        for state in [State::Partial, State::Replaced, State::Trash, State::Superseded] {
            assert_eq!(Name::parse(&state.name(7, process)), Some(Name::Passing(7, state, process)));
        }
        for other in [
            "checkpoint-",
            "checkpoint-007",
            "checkpoint-+7",
            "checkpoint-7 ",
            "checkpoint-7.partial",
            "checkpoint-7.partial-",
            "checkpoint-7.bak-12",
            "checkpoint-7.partial-12x",
            "checkpoint-18446744073709551616",
            "checkpoint-best",
            "xcheckpoint-7",
            "runs",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
