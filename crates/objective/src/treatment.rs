//! What a method does with the rows of one source.

use crate::names::names;
use crate::{Reward, Rule};

/// What a row's advantage is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Signal {
    /// The rewards of its group ([`crate::AdvantageConfig`]).
    Group,
    /// A number, whatever the reward: 1 in SFT, DFT, PSFT, CHORD's expert part.
    Constant(f64),
    /// One number for right rows and one for wrong ones: PSR, NSR, W-REINFORCE. A row is right when its
    /// reward is above `threshold`; an unscorable row has advantage 0.
    Correctness {
        /// Advantage of a right row: +1, or lambda in W-REINFORCE.
        right: f64,
        /// Advantage of a wrong row: -1.
        wrong: f64,
        /// Rewards above this are right: 0.5 suits 0/1 and -1/+1.
        threshold: f64,
    },
}

/// Which signs of the advantage are used; the other has advantage 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signs {
    /// Both.
    Both,
    /// Only rows that are better than the baseline.
    Positive,
    /// Only rows that are worse.
    Negative,
}

/// What a method does with the rows of one source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Treatment {
    /// What the advantage is made from.
    pub signal: Signal,
    /// The signs that are used.
    pub signs: Signs,
    /// How the probability of a token weighs its gradient.
    pub rule: Rule,
    /// Factor of the loss of these rows. Rows of weight 0 still enter the group's baseline, nothing else.
    pub weight: f64,
}

names!(Signs, "choice of signs", { Both = "both", Positive = "positive", Negative = "negative", });

impl Treatment {
    /// The advantage of a row with this treatment, given the one its group gives it.
    pub(crate) fn advantage(&self, reward: Reward, of_group: f64) -> f64 {
        let advantage = match (self.signal, reward) {
            (Signal::Group, _) => of_group,
            (Signal::Constant(value), _) => value,
            (Signal::Correctness { right, threshold, .. }, Some(reward)) if reward > threshold => right,
            (Signal::Correctness { wrong, .. }, Some(_)) => wrong,
            (Signal::Correctness { .. }, None) => 0.0,
        };
        let used = match self.signs {
            Signs::Both => true,
            Signs::Positive => advantage > 0.0,
            Signs::Negative => advantage < 0.0,
        };
        if used { advantage } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Group, Method, Source};
    use Source::{Expert, Policy, Teacher};

    fn group<'a>(sources: &'a [Source], rewards: &'a [Reward]) -> [Group<'a>; 1] {
        [Group { sources, rewards }]
    }

    #[test]
    fn signs_are_chosen_per_source() {
        let mut method = Method::gft_paper();
        for (source, signs) in [(Expert, Signs::Positive), (Policy, Signs::Negative)] {
            if let Some(treatment) = &mut method.sources[source] {
                treatment.signs = signs;
            }
        }
        let sources = [Expert, Expert, Teacher, Teacher, Policy, Policy];
        let rewards = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0].map(Some);
        let found = method.advantages(&group(&sources, &rewards)).unwrap().remove(0).advantages;
        let signs: Vec<f64> = found.iter().map(|a| if *a == 0.0 { 0.0 } else { a.signum() }).collect();
        assert_eq!(signs, [1.0, 0.0, 1.0, -1.0, 0.0, -1.0]);
    }

    #[test]
    fn constant_and_correctness_signals() {
        let rewards = [Some(1.0), Some(0.0), None, Some(-1.0)];
        let advantages = |method: Method, source| {
            method.advantages(&group(&[source; 4], &rewards)).unwrap().remove(0).advantages
        };
        assert_eq!(advantages(Method::sft(), Expert), [1.0; 4]);
        assert_eq!(advantages(Method::psr(), Policy), [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(advantages(Method::nsr(), Policy), [0.0, -1.0, 0.0, -1.0]);
        assert_eq!(advantages(Method::w_reinforce(0.1), Policy), [0.1, -1.0, 0.0, -1.0]);
    }
}
