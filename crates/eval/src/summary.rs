//! From records to numbers: what is right, how sure that is, and what went wrong on the way.

use std::collections::BTreeMap;

use gft_reward::Verifier;
use gft_verify::verify;
use serde::Serialize;

use crate::grade::Verdict;
use crate::record::{Record, Sample};
use crate::stats::{Bootstrap, Estimate, Paired, Votes, majority_at_k, paired, pass_at_k};

/// Lengths of completions in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// Their mean.
    pub mean: f64,
    /// The shortest.
    pub min: usize,
    /// Half are at most this long.
    pub median: usize,
    /// The longest.
    pub max: usize,
}

impl Lengths {
    /// Of these lengths; zeros if there are none.
    pub fn of(mut lengths: Vec<usize>) -> Self {
        lengths.sort_unstable();
        let (Some(min), Some(max)) = (lengths.first(), lengths.last()) else { return Self::default() };
        let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
        Self { mean, min: *min, median: lengths[(lengths.len() - 1) / 2], max: *max }
    }
}

/// The numbers of one task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Problems that were done.
    pub problems: usize,
    /// Problems of which no sample could be graded; they are in no estimate.
    pub excluded: usize,
    /// Samples of each problem.
    pub samples: usize,
    /// Mean share of right samples: avg@n, with n the samples of a problem.
    pub avg: Option<Estimate>,
    /// pass@k by k, unbiased.
    pub pass_at: BTreeMap<usize, Estimate>,
    /// maj@k by k, over all subsets of k samples.
    pub maj_at: BTreeMap<usize, Estimate>,
    /// Distinct answers of a problem, on average.
    pub distinct_answers: Option<f64>,
    /// Share of samples that were cut.
    pub truncated: Option<f64>,
    /// Share of samples without an answer that can be read.
    pub unparsed: Option<f64>,
    /// Samples that could not be graded because the reference answer cannot be read.
    pub unscorable: usize,
    /// Samples on which grading gave up; they count as nothing.
    pub timed_out: usize,
    /// Lengths of all samples.
    pub lengths: Lengths,
    /// Mean log-probability of a token.
    pub logprob_per_token: Option<f64>,
}

impl Summary {
    /// The numbers of these records, with intervals over problems.
    pub fn of(records: &[Record], bootstrap: &Bootstrap) -> Summary {
        let all = || records.iter().flat_map(|record| &record.samples);
        let count = |verdict| all().filter(|sample| sample.verdict == verdict).count();
        let total = all().count();
        let share = |count: usize| (total > 0).then(|| count as f64 / total as f64);
        let samples = records.iter().map(|record| record.samples.len()).max().unwrap_or(0);
        let means: Vec<f64> = records.iter().filter_map(Record::mean).collect();
        let votes: Vec<Votes> =
            records.iter().filter(|r| r.counted() > 0).map(|r| votes(&r.samples)).collect();
        let estimates = |of: &dyn Fn(&Votes, usize) -> Option<f64>| -> BTreeMap<usize, Estimate> {
            let of_k = |k| bootstrap.mean(&votes.iter().filter_map(|v| of(v, k)).collect::<Vec<f64>>());
            steps(samples).into_iter().filter_map(|k| Some((k, of_k(k)?))).collect()
        };
        let answers = |v: &Votes| (v.wrong.len() + usize::from(v.right > 0)) as f64;
        let tokens: usize = all().map(|sample| sample.tokens).sum();
        let logprobs: f64 = all().map(|sample| sample.logprob).sum();
        Summary {
            problems: records.len(),
            excluded: records.len() - means.len(),
            samples,
            avg: bootstrap.mean(&means),
            pass_at: estimates(&|v, k| pass_at_k(v.samples(), v.right, k)),
            maj_at: estimates(&majority_at_k),
            distinct_answers: (!votes.is_empty())
                .then(|| votes.iter().map(answers).sum::<f64>() / votes.len() as f64),
            truncated: share(all().filter(|sample| sample.finish.is_cut()).count()),
            unparsed: share(count(Verdict::Unparsed)),
            unscorable: count(Verdict::Unscorable),
            timed_out: count(Verdict::TimedOut),
            lengths: Lengths::of(all().map(|sample| sample.tokens).collect()),
            logprob_per_token: (tokens > 0).then(|| logprobs / tokens as f64),
        }
    }
}

/// 1, 2, 4, ... below n, and n.
fn steps(n: usize) -> Vec<usize> {
    let mut steps: Vec<usize> =
        std::iter::successors(Some(1), |k| Some(k * 2)).take_while(|&k| k < n).collect();
    if n > 0 {
        steps.push(n);
    }
    steps
}

/// How often each answer was given. Wrong answers are the same where the verifier says so.
pub fn votes(samples: &[Sample]) -> Votes {
    let policy = Verifier::default().policy;
    let mut votes = Votes::default();
    let mut wrong: Vec<(&str, usize)> = Vec::new();
    for sample in samples {
        match (sample.verdict, &sample.answer) {
            (Verdict::Right, _) => votes.right += 1,
            (Verdict::Wrong, Some(answer)) => {
                let same = wrong.iter().position(|(other, _)| other == answer).or_else(|| {
                    wrong.iter().position(|(other, _)| verify(other, answer, &policy).is_equal())
                });
                match same {
                    Some(at) => wrong[at].1 += 1,
                    None => wrong.push((answer, 1)),
                }
            }
            (Verdict::Wrong | Verdict::Unparsed, _) => votes.silent += 1,
            (Verdict::Unscorable | Verdict::TimedOut, _) => {}
        }
    }
    votes.wrong = wrong.into_iter().map(|(_, count)| count).collect();
    votes
}

/// Two models on the problems that both have done: the paired difference, first minus second, of each metric.
pub fn compare(first: &[Record], second: &[Record], bootstrap: &Bootstrap) -> BTreeMap<String, Paired> {
    let by_doc: BTreeMap<usize, &Record> = second.iter().map(|record| (record.doc, record)).collect();
    let pairs: Vec<(&Record, &Record)> = first
        .iter()
        .filter_map(|record| Some((record, *by_doc.get(&record.doc)?)))
        .filter(|(a, b)| a.counted() > 0 && b.counted() > 0)
        .collect();
    let n = pairs.iter().map(|(a, b)| a.counted().min(b.counted())).min().unwrap_or(0);
    let mut found = BTreeMap::new();
    let mut add = |name: String, of: &dyn Fn(&Record) -> Option<f64>| {
        let first: Option<Vec<f64>> = pairs.iter().map(|(record, _)| of(record)).collect();
        let second: Option<Vec<f64>> = pairs.iter().map(|(_, record)| of(record)).collect();
        if let Some(difference) = first.zip(second).and_then(|(a, b)| paired(&a, &b, bootstrap)) {
            found.insert(name, difference);
        }
    };
    add("avg".into(), &Record::mean);
    if n > 1 {
        add(format!("pass@{n}"), &|record| pass_at_k(record.counted(), record.right(), n));
        add(format!("maj@{n}"), &|record| majority_at_k(&votes(&record.samples), n));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Finish;

    fn sample(verdict: Verdict, answer: Option<&str>) -> Sample {
        let finish = if verdict == Verdict::Unparsed { Finish::Length } else { Finish::Stop };
        Sample {
            verdict,
            answer: answer.map(Into::into),
            finish,
            tokens: 4,
            logprob: -2.0,
            text: String::new(),
        }
    }

    fn record(doc: usize, samples: Vec<Sample>) -> Record {
        Record { doc, id: doc.to_string(), prompt: String::new(), gold: "1".into(), samples }
    }

    fn records() -> Vec<Record> {
        use Verdict::*;
        vec![
            record(0, vec![sample(Right, Some("1")), sample(Wrong, Some("2")), sample(Wrong, Some("2.0"))]),
            record(1, vec![sample(Right, Some("1")), sample(Right, Some("1")), sample(Unparsed, None)]),
            record(2, vec![sample(Unscorable, Some("x")); 3]),
        ]
    }

    #[test]
    fn counts_and_estimates() {
        let found = Summary::of(&records(), &Bootstrap::default());
        assert_eq!((found.problems, found.excluded, found.samples, found.unscorable), (3, 1, 3, 3));
        assert!((found.avg.unwrap().mean - 0.5).abs() < 1e-15); // (1/3 + 2/3) / 2
        assert_eq!(found.pass_at.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        // 1 - C(2,2)/C(3,2) and 1.
        assert!((found.pass_at[&2].mean - (2.0 / 3.0 + 1.0) / 2.0).abs() < 1e-15);
        // 2 and 2.0 are one answer, which outvotes the right one; two right ones win.
        assert_eq!(found.maj_at[&3].mean, 0.5);
        assert_eq!(found.distinct_answers, Some(1.5));
        assert_eq!((found.truncated, found.unparsed), (Some(1.0 / 9.0), Some(1.0 / 9.0)));
        assert_eq!(found.logprob_per_token, Some(-0.5));
        assert_eq!(found.lengths, Lengths { mean: 4.0, min: 4, median: 4, max: 4 });
    }

    #[test]
    fn pairs_are_the_problems_that_both_have() {
        let (first, mut second) = (records(), records());
        second.remove(1);
        second[0].samples[0] = sample(Verdict::Wrong, Some("3"));
        let found = compare(&first, &second, &Bootstrap::default());
        assert_eq!(found["avg"].difference.problems, 1);
        assert!((found["avg"].difference.mean - 1.0 / 3.0).abs() < 1e-15);
        assert_eq!(found["pass@3"].difference.mean, 1.0);
    }

    #[test]
    fn powers_of_two_and_all() {
        assert_eq!(steps(1), [1]);
        assert_eq!(steps(6), [1, 2, 4, 6]);
        assert_eq!(steps(8), [1, 2, 4, 8]);
        assert!(steps(0).is_empty());
    }
}
