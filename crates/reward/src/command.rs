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
            time_limit: Duration::from_secs(10),
            start_limit: Duration::from_secs(120),
            tries: 3,
            workers: 1,
        }
    }

    /// A function of a Python file, run by `python3`: `compute_score(data_source, solution_str, ground_truth,
    /// extra_info)` as verl calls it, `f(prompts, completions, **columns)` as TRL does, or `reward_func(queries,
    /// prompts, labels)` as OpenRLHF does; the names of the parameters decide.
    ///
    /// # Errors
    /// [`Error::File`] if the file is not there.
    pub fn python(file: &Path, function: &str) -> Result<Self, Error> {
        if !file.is_file() {
            return Err(Error::File { path: file.to_owned() });
        }
        let path = file.display().to_string();
        let shown = format!("{path}:{function}");
        Ok(Self { shown, ..Self::new("python3", ["-u", "-c", SHIM, &path, function]) })
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

    /// One completion, with as many tries as are allowed. The second value is true if they were used up.
    fn answer(&self, slot: &mut Slot, candidate: &Candidate<'_>) -> (Answer, bool) {
        let mut last = String::new();
        for _ in 0..self.settings.tries {
            match self.attempt(slot, candidate) {
                Ok(answer) => return (answer, false),
                // What was too slow once would be so again.
                Err(Trouble::Slow) => {
                    return (Answer { score: Score::TimedOut, metrics: BTreeMap::new() }, false);
                }
                Err(Trouble::Died(why)) => last = why,
            }
        }
        let why = format!("tried {} times; the last time {last}", self.settings.tries);
        (self.failed(candidate, &why), true)
    }

    /// An answer that is a failure, with the reward, the row and the program in its message.
    fn failed(&self, candidate: &Candidate<'_>, why: &str) -> Answer {
        let why = format!("reward {}: row {}: `{}` {why}", self.name, candidate.row.id, self.settings.shown);
        Answer { score: Score::Failed(why), metrics: BTreeMap::new() }
    }

    fn attempt(&self, slot: &mut Slot, candidate: &Candidate<'_>) -> Result<Answer, Trouble> {
        let settings = &self.settings;
        let mut limit = settings.time_limit;
        let process = match &slot.process {
            Some(process) => process,
            None => {
                limit += settings.start_limit;
                let started = Process::start(&settings.program, &settings.args);
                let started = started.map_err(|e| Trouble::Died(format!("it could not be started: {e}")))?;
                slot.process.insert(started)
            }
        };
        slot.asked += 1;
        let deadline = Instant::now() + limit;
        // What cannot be written shows in what is read: the rest of the output, then its end.
        let _ = process.send(exchange::question(slot.asked, candidate));
        let silence = loop {
            match process.receive(deadline) {
                Ok(line) => match exchange::read(&line, slot.asked) {
                    Line::Answer(Answer { score: Score::Failed(why), .. }) => {
                        return Ok(self.failed(candidate, &why));
                    }
                    Line::Answer(answer) => return Ok(answer),
                    Line::Late => continue,
                    Line::Nonsense(what) => return Ok(self.failed(candidate, &what)),
                },
                Err(silence) => break silence,
            }
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

    /// Answers questions from the common list until there are none left.
    fn work(
        &self,
        slot: &Mutex<Slot>,
        next: &AtomicUsize,
        candidates: &[Candidate<'_>],
    ) -> Vec<(usize, Answer)> {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answers = Vec::new();
        let (mut used_up, mut last) = (0, None);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(candidate) = candidates.get(at) else { return answers };
            let answer = match &last {
                Some(last) if used_up >= HOPELESS => {
                    let why = format!("given up after {used_up} completions in a row: {last}");
                    Answer { score: Score::Failed(why), metrics: BTreeMap::new() }
                }
                _ => {
                    let (answer, exhausted) = self.answer(&mut slot, candidate);
                    used_up = if exhausted { used_up + 1 } else { 0 };
                    if let Score::Failed(why) = &answer.score {
                        last = Some(why.clone());
                    }
                    answer
                }
            };
            answers.push((at, answer));
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
        let mut answers: Vec<Option<Answer>> = vec![None; candidates.len()];
        thread::scope(|scope| {
            let slots = self.slots.iter().take(candidates.len());
            let workers: Vec<_> =
                slots.map(|slot| scope.spawn(|| self.work(slot, &next, candidates))).collect();
            for (at, answer) in workers.into_iter().filter_map(|worker| worker.join().ok()).flatten() {
                answers[at] = Some(answer);
            }
        });
        let mut judged = Judged::default();
        for (candidate, answer) in candidates.iter().zip(answers) {
            let answer = answer.unwrap_or_else(|| self.failed(candidate, "was asked by a thread that ended"));
            if answer.score == Score::TimedOut && judged.failure.is_none() {
                let (row, shown, limit) = (&candidate.row.id, &self.settings.shown, self.settings.time_limit);
                let slow =
                    format!("reward {}: row {row}: `{shown}` gave no answer within {limit:?}", self.name);
                judged.failure = Some(slow);
            }
            judged.push(answer.score, answer.metrics);
        }
        judged
    }
}
