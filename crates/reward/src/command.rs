//! A reward that an external program gives: long-lived processes, one JSON line in, one out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::exchange::{self, Answer, Line};
use crate::process::{Process, Silence};
use crate::{Candidate, Error, Judged, Reward, Score};

/// The program that calls a Python function; it is run with `python3 -u -c`.
const SHIM: &str = include_str!("shim.py");
/// Completions in a row that used up all their tries before the rest of the batch is given up.
const HOPELESS: usize = 2;

/// How an external program is run.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandSettings {
    /// Program, found on the path if it has no slash.
    pub program: String,
    /// Its arguments, as they stand: no shell reads them.
    pub args: Vec<String>,
    /// What messages call it.
    pub shown: String,
    /// Whether the program says first, in a line `{"groups": true}` or false, if it takes the completions of a prompt
    /// together, and does so.
    pub says_first: bool,
    /// Time for one completion. After it the process is ended and a new one started.
    pub time_limit: Duration,
    /// Time for a start, on top of that of the first completion.
    pub start_limit: Duration,
    /// Times that a completion is tried when the process dies over it; at least 1.
    pub tries: usize,
    /// Processes side by side; at least 1.
    pub workers: usize,
}

impl CommandSettings {
    /// A program with 10 s for a completion, 120 s for a start, 3 tries, one process.
    pub fn new(program: impl Into<String>, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let program = program.into();
        Self {
            shown: program.clone(),
            program,
            args: args.into_iter().map(Into::into).collect(),
            says_first: false,
            time_limit: Duration::from_secs(10),
            start_limit: Duration::from_secs(120),
            tries: 3,
            workers: 1,
        }
    }

    /// A function of a Python file, run by `python3`: `compute_score(data_source, solution_str, ground_truth,
    /// extra_info)` as verl calls it, `f(prompts, completions, **columns)` as TRL does, or `reward_func(queries,
    /// prompts, labels)` as OpenRLHF does; the names of the parameters decide. TRL's form is called with all completions
    /// of a prompt at once, the others with one.
    ///
    /// # Errors
    /// [`Error::File`] if the file is not there.
    pub fn python(file: &Path, function: &str) -> Result<Self, Error> {
        if !file.is_file() {
            return Err(Error::File { path: file.to_owned() });
        }
        let path = file.display().to_string();
        let shown = format!("{path}:{function}");
        let shim = Self::new("python3", ["-u", "-c", SHIM, &path, function]);
        Ok(Self { shown, says_first: true, ..shim })
    }
}

/// A reward from an external program. A process that dies is started again; one that is too slow is ended; an answer
/// that makes no sense is a failure of its completion and never a zero.
pub struct CommandReward {
    name: String,
    settings: CommandSettings,
    slots: Vec<Mutex<Slot>>,
}

/// One process and the number of its last question.
#[derive(Default)]
struct Slot {
    process: Option<Process>,
    asked: u64,
    /// Whether the process has not answered yet: its first answer has the time for a start.
    fresh: bool,
    /// Whether it takes the completions of a prompt together.
    groups: bool,
}

/// Why a try brought nothing.
enum Trouble {
    Died(String),
    Slow,
}

impl CommandReward {
    /// The reward; the processes start with the first batch.
    ///
    /// # Errors
    /// [`Error::Setting`] for a limit, number of tries or of workers that is zero.
    pub fn new(name: impl Into<String>, settings: CommandSettings) -> Result<Self, Error> {
        let name = name.into();
        let zero = [
            ("time_limit", settings.time_limit.is_zero()),
            ("tries", settings.tries == 0),
            ("workers", settings.workers == 0),
        ];
        if let Some((setting, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return Err(Error::Setting { name, setting, problem: "must be above 0".into() });
        }
        let slots = (0..settings.workers).map(|_| Mutex::default()).collect();
        Ok(Self { name, settings, slots })
    }

    /// Completions that are asked about together, with as many tries as are allowed. The second value is true if they were
    /// used up.
    fn answers(&self, slot: &mut Slot, candidates: &[Candidate<'_>]) -> (Vec<Answer>, bool) {
        let all = |score: Score| vec![Answer { score, metrics: BTreeMap::new() }; candidates.len()];
        let mut last = String::new();
        for _ in 0..self.settings.tries {
            match self.attempt(slot, candidates) {
                Ok(answers) => return (answers, false),
                // What was too slow once would be so again.
                Err(Trouble::Slow) => return (all(Score::TimedOut), false),
                Err(Trouble::Died(why)) => last = why,
            }
        }
        let why = format!("tried {} times; the last time {last}", self.settings.tries);
        (candidates.iter().map(|candidate| self.failed(candidate, &why)).collect(), true)
    }

    /// An answer that is a failure, with the reward, the row and the program in its message.
    fn failed(&self, candidate: &Candidate<'_>, why: &str) -> Answer {
        let why = format!("reward {}: row {}: `{}` {why}", self.name, candidate.row.id, self.settings.shown);
        Answer { score: Score::Failed(why), metrics: BTreeMap::new() }
    }

    /// The process of a slot, started if there is none.
    fn process<'s>(&self, slot: &'s mut Slot) -> Result<&'s Process, Trouble> {
        if slot.process.is_none() {
            let settings = &self.settings;
            let started = Process::start(&settings.program, &settings.args);
            let started = started.map_err(|e| Trouble::Died(format!("it could not be started: {e}")))?;
            slot.process = Some(started);
            (slot.fresh, slot.groups) = (true, false);
            if settings.says_first {
                let deadline = Instant::now() + settings.time_limit + settings.start_limit;
                let line = self.receive(slot, deadline)?;
                slot.groups = exchange::takes_groups(&line).unwrap_or(false);
                slot.fresh = false;
            }
        }
        // It was put there above.
        slot.process.as_ref().ok_or_else(|| Trouble::Died("it could not be started".into()))
    }

    /// The next line of a slot's process; one that says nothing more is ended.
    fn receive(&self, slot: &mut Slot, deadline: Instant) -> Result<Vec<u8>, Trouble> {
        let silence = match slot.process.as_ref().map(|process| process.receive(deadline)) {
            Some(Ok(line)) => return Ok(line),
            Some(Err(silence)) => silence,
            None => Silence::Ended,
        };
        let words = slot.process.take().map(|process| match silence {
            Silence::Ended => process.last_words(),
            Silence::TimedOut => String::new(),
        });
        Err(match silence {
            Silence::Ended => Trouble::Died(format!("it died ({})", words.unwrap_or_default())),
            Silence::TimedOut => Trouble::Slow,
        })
    }

    fn attempt(&self, slot: &mut Slot, candidates: &[Candidate<'_>]) -> Result<Vec<Answer>, Trouble> {
        self.process(slot)?;
        slot.asked += 1;
        let (asked, whole, count) = (slot.asked, slot.groups, candidates.len());
        // What cannot be written shows in what is read: the rest of the output, then its end.
        let _ = self.process(slot)?.send(exchange::question(asked, candidates, whole));
        let start = if slot.fresh { self.settings.start_limit } else { Duration::ZERO };
        let deadline = Instant::now() + start + self.settings.time_limit.saturating_mul(count as u32);
        let all_failed = |why: &str| candidates.iter().map(|candidate| self.failed(candidate, why)).collect();
        loop {
            let line = self.receive(slot, deadline)?;
            slot.fresh = false;
            let group = whole.then_some(count);
            match exchange::read(&line, asked, group) {
                Line::Answer(answers) => {
                    let placed = |(answer, candidate): (Answer, &Candidate<'_>)| match answer.score {
                        Score::Failed(why) => self.failed(candidate, &why),
                        _ => answer,
                    };
                    return Ok(answers.into_iter().zip(candidates).map(placed).collect());
                }
                Line::Late => {}
                Line::Nonsense(what) => return Ok(all_failed(&what)),
            }
        }
    }

    /// Answers questions from the common list, of completions that may be asked about together, until there are none left.
    fn work(
        &self,
        slot: &Mutex<Slot>,
        next: &AtomicUsize,
        asked: &[&[Candidate<'_>]],
    ) -> Vec<(usize, Vec<Answer>)> {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answers = Vec::new();
        let (mut used_up, mut last) = (0, None);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(group) = asked.get(at) else { return answers };
            // How a function takes them shows when it has started; one that does not start fails for all of them.
            let one_by_one =
                group.len() > 1 && used_up < HOPELESS && self.process(&mut slot).is_ok() && !slot.groups;
            let mut of_group = Vec::with_capacity(group.len());
            for part in group.chunks(if one_by_one { 1 } else { group.len() }) {
                match &last {
                    Some(last) if used_up >= HOPELESS => {
                        let why = format!("given up after {used_up} completions in a row: {last}");
                        let given_up = Answer { score: Score::Failed(why), metrics: BTreeMap::new() };
                        of_group.extend(vec![given_up; part.len()]);
                    }
                    _ => {
                        let (found, exhausted) = self.answers(&mut slot, part);
                        used_up = if exhausted { used_up + part.len() } else { 0 };
                        let failed = found.iter().find_map(|answer| match &answer.score {
                            Score::Failed(why) => Some(why.clone()),
                            _ => None,
                        });
                        last = failed.or(last);
                        of_group.extend(found);
                    }
                }
            }
            answers.push((at, of_group));
        }
    }
}

impl Reward for CommandReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, candidates: &[Candidate<'_>]) -> Vec<Score> {
        self.judge(candidates).scores
    }

    fn judge(&self, candidates: &[Candidate<'_>]) -> Judged {
        let next = AtomicUsize::new(0);
        // Completions of a prompt stand beside each other.
        let of_one_prompt =
            |a: &Candidate<'_>, b: &Candidate<'_>| self.settings.says_first && std::ptr::eq(a.row, b.row);
        let asked: Vec<&[Candidate<'_>]> = candidates.chunk_by(of_one_prompt).collect();
        let mut answers: Vec<Option<Vec<Answer>>> = vec![None; asked.len()];
        thread::scope(|scope| {
            let slots = self.slots.iter().take(asked.len());
            let workers: Vec<_> = slots.map(|slot| scope.spawn(|| self.work(slot, &next, &asked))).collect();
            for (at, answer) in workers.into_iter().filter_map(|worker| worker.join().ok()).flatten() {
                answers[at] = Some(answer);
            }
        });
        let answers = asked.iter().zip(answers).flat_map(|(group, answers)| match answers {
            Some(answers) => answers.into_iter().map(Some).collect(),
            None => vec![None; group.len()],
        });
        let mut judged = Judged::default();
        for (candidate, answer) in candidates.iter().zip(answers) {
            let answer = answer.unwrap_or_else(|| self.failed(candidate, "was asked by a thread that ended"));
            if answer.score == Score::TimedOut && judged.failure.is_none() {
                let (row, shown, limit) = (&candidate.row.id, &self.settings.shown, self.settings.time_limit);
                let slow = format!(
                    "reward {}: row {row}: `{shown}` gave no answer within {limit:?} a completion",
                    self.name
                );
                judged.failure = Some(slow);
            }
            judged.push(answer.score, answer.metrics);
        }
        judged
    }
}
