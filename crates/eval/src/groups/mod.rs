//! What is in a file of groups: who answers right, how long, how differently, and which groups can teach anything.

mod diversity;

use std::collections::BTreeMap;

use gft_data::{Completion, Dataset, Lengths, Row};
use rayon::prelude::*;
use serde::Serialize;

use crate::{Error, Grader, Verdict};
use diversity::{NGRAM, distinct_answers, ngrams};

/// Who wrote a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The row's demonstration.
    Expert,
    /// Another model.
    Teacher,
    /// The policy.
    Policy,
}

/// Rewards of a group taken together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Signal {
    /// Groups with right and wrong completions: these alone teach by comparison.
    pub mixed: u64,
    /// Groups in which all are right.
    pub all_right: u64,
    /// Groups in which all are wrong.
    pub all_wrong: u64,
    /// Groups with fewer than two completions that can be graded.
    pub too_few: u64,
}

impl Signal {
    fn add(&mut self, right: usize, graded: usize) {
        *match (right, graded) {
            (_, 0 | 1) => &mut self.too_few,
            (0, _) => &mut self.all_wrong,
            (right, graded) if right == graded => &mut self.all_right,
            _ => &mut self.mixed,
        } += 1;
    }
}

/// The completions of one source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceStats {
    /// Who.
    pub kind: Kind,
    /// The model, where the file says it.
    pub name: String,
    /// Groups with completions of it.
    pub groups: u64,
    /// Its completions.
    pub completions: u64,
    /// Those with the reference answer.
    pub right: u64,
    /// Those with another one.
    pub wrong: u64,
    /// Those in which no answer was found that can be read; they count as not right.
    pub unparsed: u64,
    /// Those without a verdict; they count as nothing.
    pub unscorable: u64,
    /// Those of which the file says otherwise (`verified`, or a `reward` above 0).
    pub disagreeing: u64,
    /// Right among those with a verdict.
    pub accuracy: Option<f64>,
    /// Lengths of the texts, in the unit of [`GroupStats::unit`].
    pub lengths: Lengths,
    /// Distinct final answers of a group, mean over its groups.
    pub distinct_answers: f64,
    /// Distinct n-grams of words in a group over all its n-grams, mean over groups with several of its completions.
    pub distinct_ngrams: Option<f64>,
}

/// A demonstration that the verifier rejects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// The row.
    pub row: String,
    /// Its reference answer.
    pub gold: String,
    /// The answer found in the demonstration.
    pub answer: Option<String>,
    /// The demonstration.
    pub text: String,
}

/// Statistics of a file of groups.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupStats {
    /// Rows.
    pub groups: u64,
    /// Rows without a reference answer.
    pub without_gold: u64,
    /// What lengths are counted in.
    pub unit: &'static str,
    /// Words of an n-gram.
    pub ngram: usize,
    /// Experts, then teachers by name, then the policy.
    pub sources: Vec<SourceStats>,
    /// Of experts and teachers together: what a method without own samples sees.
    pub demonstrations: Signal,
    /// Of the policy's samples alone.
    pub policy: Option<Signal>,
    /// Of all completions of a group.
    pub all: Signal,
    /// Distinct final answers of a whole group, mean.
    pub distinct_answers: f64,
    /// Groups by what they hold.
    pub compositions: BTreeMap<String, u64>,
    /// Demonstrations that the verifier rejects.
    pub rejected_experts: u64,
    /// The first of them.
    pub rejected: Vec<Rejected>,
}

/// What one completion adds.
struct Seen {
    kind: Kind,
    name: String,
    verdict: Option<Verdict>,
    answer: Option<String>,
    length: usize,
    disagrees: bool,
    ngrams: Vec<u64>,
    text: Option<String>,
}

/// Rows that are looked at together.
const PIECE: u64 = 256;

impl GroupStats {
    /// Looks at every row. `length` measures a text, in `unit`; up to `examples` rejected demonstrations are kept;
    /// `progress` hears of rows done and asks to go on by returning true.
    ///
    /// # Errors
    /// A row that cannot be read, or whose policy completions are none.
    pub fn of(
        data: &Dataset,
        grader: &Grader,
        length: &(dyn Fn(&str) -> Result<usize, Error> + Sync),
        unit: &'static str,
        examples: usize,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, Error> {
        let mut sums = Sums::default();
        for start in (0..data.len()).step_by(PIECE as usize) {
            let seen: Vec<(Row, Vec<Seen>)> = (start..(start + PIECE).min(data.len()))
                .into_par_iter()
                .map(|index| {
                    let row = data.row(index)?;
                    let seen = look(&row, grader, length)?;
                    Ok::<_, Error>((row, seen))
                })
                .collect::<Result<_, Error>>()?;
            for (row, seen) in seen {
                sums.add(&row, seen, grader, examples);
            }
            progress((start + PIECE).min(data.len()));
        }
        Ok(sums.finish(data.len(), unit))
    }
}

fn look(
    row: &Row,
    grader: &Grader,
    length: &(dyn Fn(&str) -> Result<usize, Error> + Sync),
) -> Result<Vec<Seen>, Error> {
    let gold = row.gold.as_deref().filter(|gold| !gold.trim().is_empty());
    let policy = row.policy_completions()?;
    let all = [(Kind::Expert, &row.expert), (Kind::Teacher, &row.teachers), (Kind::Policy, &policy)];
    let mut seen = Vec::new();
    for (kind, completions) in all {
        for completion in completions {
            let text = &completion.content;
            let (verdict, answer) = match gold {
                Some(gold) => {
                    let (verdict, answer) = grader.answer(gold, text);
                    (Some(verdict), answer)
                }
                None => (None, grader.answer("", text).1),
            };
            let verdict = verdict.filter(|verdict| verdict.counts());
            let disagrees = stated(completion).zip(verdict).is_some_and(|(a, b)| a != (b == Verdict::Right));
            let default = match kind {
                Kind::Expert => "expert",
                Kind::Teacher => "teacher",
                Kind::Policy => "policy",
            };
            let rejected = kind == Kind::Expert && verdict.is_some_and(|verdict| verdict != Verdict::Right);
            seen.push(Seen {
                kind,
                name: completion.model.clone().unwrap_or_else(|| default.into()),
                verdict,
                answer,
                length: length(text)?,
                disagrees,
                ngrams: ngrams(text),
                text: rejected.then(|| text.clone()),
            });
        }
    }
    Ok(seen)
}

/// Whether the file calls a completion right.
fn stated(completion: &Completion) -> Option<bool> {
    let verified = completion.provenance.get("verified").and_then(serde_json::Value::as_bool);
    verified.or(completion.reward.map(|reward| reward > 0.0))
}

#[derive(Default)]
struct OfSource {
    counts: [u64; 4],
    groups: u64,
    completions: u64,
    disagreeing: u64,
    lengths: Vec<u32>,
    answers: u64,
    ngrams: (f64, u64),
}

#[derive(Default)]
struct Sums {
    sources: BTreeMap<(Kind, String), OfSource>,
    without_gold: u64,
    signals: [Signal; 3],
    policy: bool,
    answers: u64,
    compositions: BTreeMap<String, u64>,
    rejected_experts: u64,
    rejected: Vec<Rejected>,
}

impl Sums {
    fn add(&mut self, row: &Row, seen: Vec<Seen>, grader: &Grader, examples: usize) {
        let gold = row.gold.as_deref().filter(|gold| !gold.trim().is_empty());
        self.without_gold += u64::from(gold.is_none());
        let policy = &grader.verifier.policy;
        let count = |kind: Kind| seen.iter().filter(|one| one.kind == kind).count();
        *self.compositions.entry(composition(Kind::ALL.map(count))).or_default() += 1;
        let among = |wanted: &dyn Fn(Kind) -> bool| {
            let graded = || seen.iter().filter(|one| wanted(one.kind) && one.verdict.is_some());
            (graded().filter(|one| one.verdict == Some(Verdict::Right)).count(), graded().count())
        };
        let kinds: [&dyn Fn(Kind) -> bool; 3] =
            [&|kind| kind != Kind::Policy, &|kind| kind == Kind::Policy, &|_| true];
        for (signal, wanted) in self.signals.iter_mut().zip(kinds) {
            let (right, graded) = among(wanted);
            signal.add(right, graded);
        }
        self.policy |= count(Kind::Policy) > 0;
        self.answers += distinct_answers(seen.iter().map(|one| (one.verdict, one.answer.as_deref())), policy);
        let mut by_source: BTreeMap<(Kind, String), Vec<&Seen>> = BTreeMap::new();
        for one in &seen {
            by_source.entry((one.kind, one.name.clone())).or_default().push(one);
            if let Some(text) = &one.text {
                self.rejected_experts += 1;
                if self.rejected.len() < examples {
                    self.rejected.push(Rejected {
                        row: row.id.clone(),
                        gold: gold.unwrap_or_default().to_owned(),
                        answer: one.answer.clone(),
                        text: text.clone(),
                    });
                }
            }
        }
        for (source, seen) in by_source {
            self.sources.entry(source).or_default().add(&seen, policy);
        }
    }

    fn finish(self, groups: u64, unit: &'static str) -> GroupStats {
        let [demonstrations, policy, all] = self.signals;
        GroupStats {
            groups,
            without_gold: self.without_gold,
            unit,
            ngram: NGRAM,
            sources: self.sources.into_iter().map(|((kind, name), sums)| sums.finish(kind, name)).collect(),
            demonstrations,
            policy: self.policy.then_some(policy),
            all,
            distinct_answers: self.answers as f64 / groups.max(1) as f64,
            compositions: self.compositions,
            rejected_experts: self.rejected_experts,
            rejected: self.rejected,
        }
    }
}

impl OfSource {
    fn add(&mut self, seen: &[&Seen], policy: &gft_verify::Policy) {
        self.groups += 1;
        self.answers += distinct_answers(seen.iter().map(|one| (one.verdict, one.answer.as_deref())), policy);
        for one in seen {
            self.completions += 1;
            self.disagreeing += u64::from(one.disagrees);
            self.lengths.push(u32::try_from(one.length).unwrap_or(u32::MAX));
            self.counts[match one.verdict {
                Some(Verdict::Right) => 0,
                Some(Verdict::Wrong) => 1,
                Some(_) => 2,
                None => 3,
            }] += 1;
        }
        let grams: Vec<u64> = seen.iter().flat_map(|one| &one.ngrams).copied().collect();
        if seen.len() > 1 && !grams.is_empty() {
            let distinct: std::collections::HashSet<u64> = grams.iter().copied().collect();
            self.ngrams.0 += distinct.len() as f64 / grams.len() as f64;
            self.ngrams.1 += 1;
        }
    }

    fn finish(self, kind: Kind, name: String) -> SourceStats {
        let [right, wrong, unparsed, unscorable] = self.counts;
        let graded = right + wrong + unparsed;
        SourceStats {
            kind,
            name,
            groups: self.groups,
            completions: self.completions,
            right,
            wrong,
            unparsed,
            unscorable,
            disagreeing: self.disagreeing,
            accuracy: (graded > 0).then(|| right as f64 / graded as f64),
            lengths: Lengths::of(self.lengths),
            distinct_answers: self.answers as f64 / self.groups.max(1) as f64,
            distinct_ngrams: (self.ngrams.1 > 0).then(|| self.ngrams.0 / self.ngrams.1 as f64),
        }
    }
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Expert, Kind::Teacher, Kind::Policy];
}

/// As in `1 expert + 3 teacher + 4 policy`.
fn composition(counts: [usize; 3]) -> String {
    let parts: Vec<String> = counts
        .iter()
        .zip(["expert", "teacher", "policy"])
        .filter(|(count, _)| **count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    if parts.is_empty() { "nothing".into() } else { parts.join(" + ") }
}

#[cfg(test)]
mod tests;
