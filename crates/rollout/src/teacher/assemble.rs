//! From a row and the answers in a cache to a group row: graded, without what is empty, cut or said twice.

use gft_data::{Completion, POLICY_COMPLETIONS, Prompt, Row};
use gft_reward::{Score, Verifier};
use serde::Serialize;
use serde_json::Value;

use super::{Answer, Cache, Respondent, TeacherError};

/// Which of the teachers' answers are kept beside those that are whole, new and not empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Answers that were cut at the limit on their length.
    pub truncated: bool,
    /// Right answers alone; what cannot be graded is then dropped too.
    pub only_right: bool,
    /// Answers with the text of another demonstration of the group.
    pub repeats: bool,
}

/// What became of a source's answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Answers of complete groups.
    pub answers: u64,
    /// Those that are the reference answer.
    pub right: u64,
    /// Those that are another, or none.
    pub wrong: u64,
    /// Those without a verdict: no reference answer, or one that nobody can read.
    pub unscorable: u64,
    /// Dropped without text.
    pub empty: u64,
    /// Dropped, cut at the limit on their length.
    pub truncated: u64,
    /// Dropped, the same text as another demonstration of the group.
    pub duplicate: u64,
    /// Dropped because only right ones are kept.
    pub not_right: u64,
    /// In the group rows.
    pub kept: u64,
    /// Of these, those that are the reference answer.
    pub kept_right: u64,
    /// Of these, those that are another, or none.
    pub kept_wrong: u64,
}

impl Counts {
    fn grade(&mut self, verified: Option<bool>) {
        self.answers += 1;
        *match verified {
            Some(true) => &mut self.right,
            Some(false) => &mut self.wrong,
            None => &mut self.unscorable,
        } += 1;
    }

    fn keep(&mut self, verified: Option<bool>) {
        self.kept += 1;
        self.kept_right += u64::from(verified == Some(true));
        self.kept_wrong += u64::from(verified == Some(false));
    }

    /// Adds another row's.
    pub fn add(&mut self, other: &Counts) {
        self.answers += other.answers;
        self.right += other.right;
        self.wrong += other.wrong;
        self.unscorable += other.unscorable;
        self.empty += other.empty;
        self.truncated += other.truncated;
        self.duplicate += other.duplicate;
        self.not_right += other.not_right;
        self.kept += other.kept;
        self.kept_right += other.kept_right;
        self.kept_wrong += other.kept_wrong;
    }
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Assembled {
    /// A group row.
    Group {
        /// The row with its new completions.
        row: Box<Row>,
        /// Whether its prompt was a text to be continued and is a question now.
        became_question: bool,
        /// Of what the row brought as experts.
        experts: Counts,
        /// Of each respondent, in the panel's order, the policy last.
        counts: Vec<Counts>,
    },
    /// There is nothing in it to respond to.
    NoQuestion,
    /// An answer of this respondent is missing.
    Unanswered(usize),
}

/// Teachers, and the policy if its samples are wanted.
#[derive(Debug, Clone, Default)]
pub struct Panel {
    /// Whose answers become `teacher_completions`.
    pub teachers: Vec<Respondent>,
    /// Whose answers become the column [`POLICY_COMPLETIONS`]. They are all kept: they say how the policy answers.
    pub policy: Option<Respondent>,
}

impl Panel {
    /// Everyone, the policy last.
    pub fn all(&self) -> impl Iterator<Item = &Respondent> {
        self.teachers.iter().chain(&self.policy)
    }

    /// Makes a row a group row. What it brought stays as it was, but for a text to be continued, which becomes a question:
    /// that is what teachers were asked.
    ///
    /// # Errors
    /// An answer in the cache that cannot be read.
    pub fn assemble(
        &self,
        mut row: Row,
        cache: &Cache,
        verifier: &Verifier,
        keep: Keep,
    ) -> Result<Assembled, TeacherError> {
        let mut answers = Vec::new();
        for (at, respondent) in self.all().enumerate() {
            let Some(question) = respondent.question(&row) else { return Ok(Assembled::NoQuestion) };
            match respondent.answers(cache, &question)? {
                Some(found) => answers.push(found),
                None => return Ok(Assembled::Unanswered(at)),
            }
        }
        let became_question = matches!(row.prompt, Prompt::Text(_));
        if let Prompt::Text(text) = &mut row.prompt {
            row.prompt = Prompt::Question(std::mem::take(text));
        }
        let gold = row.gold.clone().filter(|gold| !gold.trim().is_empty());
        let grade = |text: &str| match verifier.grade(text, gold.as_deref()?) {
            Score::Value(value) => Some(value > 0.0),
            _ => None,
        };
        let mut experts = Counts::default();
        for expert in &row.expert {
            let verified = grade(&expert.content);
            experts.grade(verified);
            experts.keep(verified);
        }
        let mut counts = vec![Counts::default(); answers.len()];
        for ((respondent, counts), answers) in self.all().zip(&mut counts).zip(answers) {
            let mut samples = Vec::new();
            for (k, answer) in answers.into_iter().enumerate() {
                let verified = grade(&answer.content);
                counts.grade(verified);
                let policy = self.policy.as_ref().is_some_and(|policy| std::ptr::eq(policy, respondent));
                let drop = if policy { None } else { dropped(counts, &row, &answer, verified, keep) };
                match drop {
                    Some(reason) => *reason += 1,
                    None => {
                        counts.keep(verified);
                        let completion = respondent.completion(k, answer, verified);
                        if policy { samples.push(completion) } else { row.teachers.push(completion) }
                    }
                }
            }
            if !samples.is_empty() {
                let samples: Vec<Value> = samples.iter().map(Completion::to_json).collect();
                row.columns.insert(POLICY_COMPLETIONS.into(), samples.into());
            }
        }
        Ok(Assembled::Group { row: Box::new(row), became_question, experts, counts })
    }
}

/// The counter of the reason for which a teacher's answer is left out; `None` if it is kept.
fn dropped<'a>(
    counts: &'a mut Counts,
    row: &Row,
    answer: &Answer,
    verified: Option<bool>,
    keep: Keep,
) -> Option<&'a mut u64> {
    let text = answer.content.trim();
    if text.is_empty() {
        return Some(&mut counts.empty);
    }
    if answer.truncated() && !keep.truncated {
        return Some(&mut counts.truncated);
    }
    if !keep.repeats && row.expert.iter().chain(&row.teachers).any(|other| other.content.trim() == text) {
        return Some(&mut counts.duplicate);
    }
    (keep.only_right && verified != Some(true)).then_some(&mut counts.not_right)
}
