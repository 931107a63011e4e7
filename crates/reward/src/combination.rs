//! Several rewards as one: a weighted sum that keeps errors apart from zeros.

use std::collections::BTreeMap;

use crate::{Candidate, Error, Judged, Reward, Score};

/// Rewards and their weights.
pub struct Combination {
    parts: Vec<(Box<dyn Reward>, f64)>,
    on_failure: OnFailure,
}

/// What becomes of a completion whose scoring failed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum OnFailure {
    /// It is unscorable and counted; the run goes on.
    #[default]
    Drop,
    /// The same, up to this share of a batch under one reward; above it the run stops. Failures and the time limits of
    /// external rewards count.
    StopAbove(f64),
}

/// A mean in the making.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mean {
    /// Values seen.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

impl Mean {
    /// The mean; `None` without values.
    pub fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// What happened to the completions under one reward.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Completions with a number.
    pub scored: u64,
    /// Sum of the numbers.
    pub sum: f64,
    /// Sum of their squares.
    pub squares: f64,
    /// Completions that cannot be scored.
    pub unscorable: u64,
    /// Completions whose work was spent.
    pub timed_out: u64,
    /// Completions whose scoring failed.
    pub failed: u64,
}

impl Summary {
    fn add(&mut self, score: &Score) {
        match score {
            Score::Value(value) => {
                self.scored += 1;
                self.sum += value;
                self.squares += value * value;
            }
            Score::Unscorable => self.unscorable += 1,
            Score::TimedOut => self.timed_out += 1,
            Score::Failed(_) => self.failed += 1,
        }
    }

    /// Mean of the numbers.
    pub fn mean(&self) -> Option<f64> {
        (self.scored > 0).then(|| self.sum / self.scored as f64)
    }

    /// Standard deviation of the numbers (ddof 1); 0 for one of them.
    pub fn std(&self) -> Option<f64> {
        let mean = self.mean()?;
        let n = self.scored as f64;
        Some(if n > 1.0 { ((self.squares - n * mean * mean) / (n - 1.0)).max(0.0).sqrt() } else { 0.0 })
    }

    /// Completions seen.
    pub fn seen(&self) -> u64 {
        self.scored + self.unscorable + self.timed_out + self.failed
    }
}

/// The combined rewards of some completions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grades {
    /// One per completion; `None` is unscorable.
    pub rewards: Vec<Option<f64>>,
    /// What each reward said, by its name.
    pub by_reward: BTreeMap<String, Summary>,
    /// The rewards' own metrics, by `{reward}/{metric}`.
    pub metrics: BTreeMap<String, Mean>,
    /// The first failure, if there was one.
    pub failure: Option<String>,
}

impl Combination {
    /// Rewards with weights; without weights every reward has 1.
    ///
    /// # Errors
    /// [`Error::Weights`] and [`Error::Weight`].
    pub fn new(rewards: Vec<Box<dyn Reward>>, weights: &[f64]) -> Result<Self, Error> {
        if !weights.is_empty() && weights.len() != rewards.len() {
            return Err(Error::Weights { weights: weights.len(), rewards: rewards.len() });
        }
        if let Some(bad) = weights.iter().find(|weight| !weight.is_finite()) {
            return Err(Error::Weight(*bad));
        }
        let weight = |at: usize| weights.get(at).copied().unwrap_or(1.0);
        let parts = rewards.into_iter().enumerate().map(|(at, reward)| (reward, weight(at))).collect();
        Ok(Self { parts, on_failure: OnFailure::default() })
    }

    /// The same rewards with another way with failures.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Whether there is any reward.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether a row without a reference answer cannot be scored: because of the first reward, by its name, that needs
    /// one.
    pub fn needs_gold(&self) -> Option<&str> {
        self.parts.iter().find(|(reward, _)| reward.needs_gold()).map(|(reward, _)| reward.name())
    }

    /// Names of the rewards.
    pub fn names(&self) -> Vec<&str> {
        self.parts.iter().map(|(reward, _)| reward.name()).collect()
    }

    /// The weighted sum for each candidate. A part that cannot score a completion leaves it unscorable as a whole,
    /// because a sum without one of its terms is another reward.
    ///
    /// # Errors
    /// [`Error::Scores`] when a reward does not answer for every candidate, [`Error::Failed`] with [`OnFailure::Stop`].
    pub fn score(&self, candidates: &[Candidate<'_>]) -> Result<Grades, Error> {
        let mut grades = Grades { rewards: vec![Some(0.0); candidates.len()], ..Grades::default() };
        for (reward, weight) in &self.parts {
            let name = reward.name();
            let mut judged = reward.judge(candidates);
            if judged.scores.len() != candidates.len() {
                let (expected, found) = (candidates.len(), judged.scores.len());
                return Err(Error::Scores { name: name.to_owned(), expected, found });
            }
            let failure = refuse_what_is_not_finite(name, &mut judged);
            let lost = |score: &&Score| matches!(score, Score::Failed(_) | Score::TimedOut);
            let (failed, seen) = (judged.scores.iter().filter(lost).count() as u64, candidates.len() as u64);
            if let (Some(message), OnFailure::StopAbove(share)) = (&failure, self.on_failure)
                && failed as f64 > share * seen as f64
            {
                let name = name.to_owned();
                return Err(Error::Failed { name, failed, seen, message: message.clone() });
            }
            grades.failure = grades.failure.or(failure);
            grades.add(name, *weight, &judged);
        }
        Ok(grades)
    }
}

impl Grades {
    /// Adds what one reward said.
    fn add(&mut self, name: &str, weight: f64, judged: &Judged) {
        let summary = self.by_reward.entry(name.to_owned()).or_default();
        for (total, score) in self.rewards.iter_mut().zip(&judged.scores) {
            summary.add(score);
            *total = match (*total, score) {
                (Some(sum), Score::Value(value)) => Some(sum + weight * value),
                _ => None,
            };
        }
        for (metric, value) in judged.metrics.iter().flatten() {
            let mean = self.metrics.entry(format!("{name}/{metric}")).or_default();
            mean.count += 1;
            mean.sum += value;
        }
    }
}

/// Makes failures of numbers that are none, and returns the first failure.
fn refuse_what_is_not_finite(name: &str, judged: &mut Judged) -> Option<String> {
    for score in &mut judged.scores {
        if matches!(score, Score::Value(value) if !value.is_finite()) {
            *score = Score::Failed(format!("{name} gave a reward that is not finite"));
        }
    }
    let said = judged.scores.iter().find_map(|score| match score {
        Score::Failed(message) => Some(message.clone()),
        _ => None,
    });
    said.or_else(|| judged.failure.take())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gft_data::{Prompt, Row};

    struct Fixed(&'static str, Vec<Score>);

    impl Reward for Fixed {
        fn name(&self) -> &str {
            self.0
        }

        fn score(&self, _: &[Candidate<'_>]) -> Vec<Score> {
            self.1.clone()
        }
    }

    fn row() -> Row {
        Row {
            id: "r".into(),
            prompt: Prompt::Question("q".into()),
            solution: None,
            gold: None,
            expert: Vec::new(),
            teachers: Vec::new(),
            columns: Default::default(),
            named: Default::default(),
        }
    }

    fn score(parts: Vec<Box<dyn Reward>>, weights: &[f64], n: usize) -> Result<Grades, Error> {
        let row = row();
        let one = Candidate { row: &row, text: "", tokens: 1, truncated: false, demonstration: false };
        Combination::new(parts, weights)?.score(&vec![one; n])
    }

    #[test]
    fn a_failure_is_never_a_zero() {
        let a = Fixed("a", vec![Score::Value(1.0), Score::Value(2.0), Score::Value(3.0), Score::TimedOut]);
        let b = vec![Score::Value(1.0), Score::Unscorable, Score::Failed("no".into()), Score::Value(0.0)];
        let grades = score(vec![Box::new(a), Box::new(Fixed("b", b))], &[1.0, 0.5], 4).unwrap();
        assert_eq!(grades.rewards, [Some(1.5), None, None, None]);
        assert_eq!(grades.failure.as_deref(), Some("no"));
        let b = &grades.by_reward["b"];
        assert_eq!((b.scored, b.unscorable, b.failed, b.mean()), (2, 1, 1, Some(0.5)));
        assert_eq!(grades.by_reward["a"].timed_out, 1);
    }

    #[test]
    fn numbers_that_are_none_are_failures() {
        let grades = score(vec![Box::new(Fixed("a", vec![Score::Value(f64::NAN)]))], &[], 1).unwrap();
        assert_eq!((grades.rewards[0], grades.by_reward["a"].failed), (None, 1));
    }

    #[test]
    fn a_failure_stops_where_it_shall() {
        let row = row();
        let one = Candidate { row: &row, text: "", tokens: 1, truncated: false, demonstration: false };
        let stopping = |scores: Vec<Score>| {
            let part: Box<dyn Reward> = Box::new(Fixed("a", scores));
            Combination::new(vec![part], &[]).unwrap().on_failure(OnFailure::StopAbove(0.0)).score(&[one; 2])
        };
        let failed = stopping(vec![Score::Value(1.0), Score::Failed("no".into())]).unwrap_err().to_string();
        assert_eq!(failed, "the reward `a` failed for 1 of 2 completions: no");
        let tolerant = |share: f64| {
            let scores =
                vec![Score::Failed("no".into()), Score::Value(1.0), Score::TimedOut, Score::Value(0.0)];
            let part: Box<dyn Reward> = Box::new(Fixed("a", scores));
            Combination::new(vec![part], &[])
                .unwrap()
                .on_failure(OnFailure::StopAbove(share))
                .score(&[one; 4])
        };
        assert_eq!(tolerant(0.5).unwrap().rewards, [None, Some(1.0), None, Some(0.0)]);
        assert!(tolerant(0.49).is_err());
        // Work that the verifier spent is a property of the completion and no failure.
        assert!(stopping(vec![Score::TimedOut, Score::Unscorable]).is_ok());
    }

    #[test]
    fn contradictions_are_refused() {
        let parts = || -> Vec<Box<dyn Reward>> { vec![Box::new(Fixed("a", vec![])) as Box<dyn Reward>] };
        assert!(matches!(score(parts(), &[1.0, 2.0], 0), Err(Error::Weights { .. })));
        assert!(matches!(score(parts(), &[f64::INFINITY], 0), Err(Error::Weight(_))));
        assert!(matches!(score(parts(), &[], 1), Err(Error::Scores { .. })));
    }

    #[test]
    fn standard_deviation_by_hand() {
        let scores = [1.0, 2.0, 3.0, 6.0].map(Score::Value).to_vec();
        let grades = score(vec![Box::new(Fixed("a", scores))], &[], 4).unwrap();
        // Deviations from 3 are 2, 1, 0, 3; 1e-12 for the difference of squares.
        assert!((grades.by_reward["a"].std().unwrap() - (14.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    }
}
