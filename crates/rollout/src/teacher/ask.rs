//! Asking an endpoint for what the cache lacks, many prompts at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use gft_remote::{Kind, Trouble};

use super::{Budget, Cache, Endpoint, Question, TeacherError};

/// A prompt that brought no complete set of answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Its number.
    pub index: u64,
    /// The last trouble.
    pub why: String,
}

/// How far the asking is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Prompts looked at: answered, failed or without a question.
    pub prompts: u64,
    /// Prompts with all the answers wanted.
    pub complete: u64,
    /// Answers that were in the cache.
    pub cached: u64,
    /// Answers that came now.
    pub answered: u64,
    /// Troubles by kind, those that another try overcame included.
    pub troubles: BTreeMap<&'static str, u64>,
    /// Prompts that failed; the first [`LISTED`] in words.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<Failed>,
}

/// How many failures are kept in words.
const LISTED: usize = 10;

/// How the asking ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every prompt was looked at.
    Whole,
    /// The cost bound was reached before.
    Bounded,
}

/// What the threads share.
struct Shared<'a, F> {
    endpoint: &'a Endpoint,
    cache: &'a Cache,
    budget: &'a Budget,
    n: usize,
    question: F,
    next: AtomicUsize,
    prompts: u64,
    tally: Mutex<Tally>,
    /// Prompts in a row that brought nothing.
    in_a_row: AtomicUsize,
    ending: AtomicBool,
    bounded: AtomicBool,
    fatal: Mutex<Option<TeacherError>>,
    stop: &'a (dyn Fn() -> bool + Sync),
}

/// Asks `endpoint` for `n` answers to each of `prompts` prompts, as far as `cache` lacks them, and puts them there.
/// `question` makes the question of a prompt, `None` for one that asks nothing; `progress` hears of the state every so
/// often and at the end. A prompt that fails is counted and the others go on.
///
/// # Errors
/// A server that refuses everything or is gone, a cache that cannot be written, a question that cannot be read;
/// [`TeacherError::Interrupted`] when `stop` said so. What was answered before that is in the cache.
#[allow(
    clippy::too_many_arguments,
    reason = "three places to keep things in, the work, and two ways to hear of it"
)]
pub fn ask(
    endpoint: &Endpoint,
    cache: &Cache,
    budget: &Budget,
    n: usize,
    prompts: u64,
    question: impl Fn(u64) -> Result<Option<Question>, TeacherError> + Sync,
    progress: &mut dyn FnMut(&Tally),
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<(Tally, Ended), TeacherError> {
    let shared = Shared {
        endpoint,
        cache,
        budget,
        n,
        question,
        next: AtomicUsize::new(0),
        prompts,
        tally: Mutex::default(),
        in_a_row: AtomicUsize::new(0),
        ending: AtomicBool::new(false),
        bounded: AtomicBool::new(false),
        fatal: Mutex::new(None),
        stop,
    };
    let threads = endpoint.settings().concurrency.min(usize::try_from(prompts).unwrap_or(usize::MAX)).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| shared.work())).collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            progress(&shared.tally());
            thread::sleep(Duration::from_millis(20));
        }
    });
    progress(&shared.tally());
    let (bounded, tally) = (shared.bounded.load(Ordering::Relaxed), shared.tally().clone());
    if let Some(error) = shared.fatal.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    if stop() {
        return Err(TeacherError::Interrupted);
    }
    Ok((tally, if bounded { Ended::Bounded } else { Ended::Whole }))
}

/// How a prompt ended.
enum Prompt {
    Complete,
    Failed(Trouble),
    /// The cost bound, an interrupt or another thread's failure stood against it.
    Abandoned,
}

impl<F: Fn(u64) -> Result<Option<Question>, TeacherError> + Sync> Shared<'_, F> {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stops(&self) -> bool {
        self.ending.load(Ordering::Relaxed) || (self.stop)()
    }

    fn work(&self) {
        while !self.stops() {
            let index = self.next.fetch_add(1, Ordering::Relaxed) as u64;
            if index >= self.prompts {
                return;
            }
            if let Err(error) = self.one(index) {
                self.end(error);
            }
        }
    }

    fn end(&self, error: TeacherError) {
        self.ending.store(true, Ordering::Relaxed);
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn one(&self, index: u64) -> Result<(), TeacherError> {
        let Some(question) = (self.question)(index)? else {
            self.tally().prompts += 1;
            return Ok(());
        };
        match self.complete(&question)? {
            Prompt::Complete => {
                self.in_a_row.store(0, Ordering::Relaxed);
                let mut tally = self.tally();
                tally.prompts += 1;
                tally.complete += 1;
            }
            Prompt::Failed(trouble) => {
                {
                    let mut tally = self.tally();
                    tally.prompts += 1;
                    tally.failed += 1;
                    if tally.failures.len() < LISTED {
                        tally.failures.push(Failed { index, why: trouble.why.clone() });
                    }
                }
                return self.consider(trouble);
            }
            Prompt::Abandoned => {}
        }
        Ok(())
    }

    /// Whether a failure means that all others would fail too.
    fn consider(&self, trouble: Trouble) -> Result<(), TeacherError> {
        let settings = self.endpoint.settings();
        let (teacher, why) = (settings.model.clone(), trouble.why);
        let url = self.endpoint.url().to_owned();
        if let Kind::Refused(401 | 403 | 404 | 405) = trouble.kind {
            return Err(TeacherError::Refused { teacher, url, why });
        }
        let failed = self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if failed >= settings.give_up_after {
            Err(TeacherError::Gone { teacher, url, failed, why })
        } else {
            Ok(())
        }
    }

    /// Asks until all samples of a question are in the cache.
    fn complete(&self, question: &Question) -> Result<Prompt, TeacherError> {
        let mut missing: Vec<usize> = (0..self.n).filter(|&k| !self.cache.has(question, k)).collect();
        self.tally().cached += (self.n - missing.len()) as u64;
        while let Some(&first) = missing.first() {
            let asked = self.endpoint.ask(question, first, missing.len(), self.budget, &|| self.stops());
            self.count(&asked.overcome);
            if asked.bounded {
                self.bounded.store(true, Ordering::Relaxed);
                self.ending.store(true, Ordering::Relaxed);
                return Ok(Prompt::Abandoned);
            }
            let answers = match asked.result {
                Ok(answers) => answers,
                Err(_) if self.stops() => return Ok(Prompt::Abandoned),
                Err(trouble) => {
                    self.count(std::slice::from_ref(&trouble));
                    return Ok(Prompt::Failed(trouble));
                }
            };
            // More answers than were asked for are not used: they are nobody's sample.
            let taken = answers.len().min(missing.len());
            for (k, answer) in missing.drain(..taken).zip(&answers) {
                self.cache.put(question, k, answer)?;
            }
            self.tally().answered += taken as u64;
        }
        Ok(Prompt::Complete)
    }

    fn count(&self, troubles: &[Trouble]) {
        let mut tally = self.tally();
        for trouble in troubles {
            let name = match trouble.kind {
                Kind::Unreachable => "no connection",
                Kind::Broken => "broken or senseless answer",
                Kind::Slow => "too slow",
                Kind::Busy => "busy (429, 5xx)",
                Kind::Refused(_) => "refused",
            };
            *tally.troubles.entry(name).or_default() += 1;
        }
    }
}
