//! An OpenAI-compatible endpoint: how it is asked, and what it turns out not to understand.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gft_remote::{Client, Kind, Reply, Retry, Trouble};
use serde_json::{Map, Value, json};

use super::budget::Budget;
use super::pace::Pace;
use super::{Answer, Price, Question, TeacherError, answer};

/// How an endpoint is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSettings {
    /// Its address up to the version: `https://api.openai.com/v1`.
    pub base_url: String,
    /// The model's name there, and in group rows.
    pub model: String,
    /// Sent as `Authorization: Bearer`.
    pub api_key: Option<String>,
    /// Requests under way at once; at least 1.
    pub concurrency: usize,
    /// Requests a minute at most.
    pub requests_per_minute: Option<f64>,
    /// Time for one request, from connecting to the end of the answer.
    pub timeout: Duration,
    /// How often a request is tried.
    pub retry: Retry,
    /// Prompts in a row that may bring nothing before the server is taken to be gone; at least 1.
    pub give_up_after: usize,
    /// Its price of a million tokens.
    pub price: Price,
}

/// An endpoint that is being asked. Shared between threads.
#[derive(Debug)]
pub struct Endpoint {
    settings: EndpointSettings,
    client: Client,
    pace: Pace,
    /// It gives one answer a request, whatever `n` says.
    one_by_one: AtomicBool,
    /// It wants `max_completion_tokens` for `max_tokens`.
    newer_limit: AtomicBool,
    /// A connection was made.
    reached: AtomicBool,
    /// The first trouble that another try may overcome.
    first_trouble: OnceLock<String>,
}

/// How often a request is tried where no connection was ever made: a server that has never been there is more likely an
/// address with a mistake than a server that comes back.
const TRIES_UNREACHED: usize = 2;

/// What came of one request.
pub(super) struct Asked {
    pub result: Result<Vec<Answer>, Trouble>,
    /// Troubles before that.
    pub overcome: Vec<Trouble>,
    /// The cost bound stood against it.
    pub bounded: bool,
}

impl Endpoint {
    /// The endpoint; nothing is sent yet.
    ///
    /// # Errors
    /// [`TeacherError::Setting`] for an address that is none and numbers that must be above 0.
    pub fn new(settings: EndpointSettings) -> Result<Self, TeacherError> {
        let wrong = |setting, problem: String| {
            Err(TeacherError::Setting { teacher: settings.model.clone(), setting, problem })
        };
        let url = format!("{}/chat/completions", settings.base_url.trim_end_matches('/'));
        let client = match Client::new(&url, settings.timeout) {
            Ok(client) => client.with_bearer(settings.api_key.clone()),
            Err(problem) => return wrong("url", problem),
        };
        let zero = [
            ("concurrency", settings.concurrency == 0),
            ("tries", settings.retry.tries == 0),
            ("timeout", settings.timeout.is_zero()),
            ("give_up_after", settings.give_up_after == 0),
            ("requests_per_minute", settings.requests_per_minute.is_some_and(|n| n <= 0.0 || n.is_nan())),
        ];
        if let Some((setting, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return wrong(setting, "must be above 0".into());
        }
        let pace = Pace::new(settings.requests_per_minute);
        let (one_by_one, newer_limit) = (AtomicBool::new(false), AtomicBool::new(false));
        let (reached, first_trouble) = (AtomicBool::new(false), OnceLock::new());
        Ok(Self { settings, client, pace, one_by_one, newer_limit, reached, first_trouble })
    }

    /// Its settings.
    pub fn settings(&self) -> &EndpointSettings {
        &self.settings
    }

    /// The whole address that is asked.
    pub fn url(&self) -> &str {
        self.client.url()
    }

    /// What went wrong first, whether or not another try overcomes it.
    pub fn first_trouble(&self) -> Option<&str> {
        self.first_trouble.get().map(String::as_str)
    }

    /// Whether several answers take several requests.
    pub fn one_by_one(&self) -> bool {
        self.one_by_one.load(Ordering::Relaxed)
    }

    /// Asks for `n` answers, sample `first` being the first of them, with retries. A server that does not take `n` is
    /// asked for one; so fewer than `n` may come.
    pub(super) fn ask(
        &self,
        question: &Question,
        first: usize,
        n: usize,
        budget: &Budget,
        stop: &dyn Fn() -> bool,
    ) -> Asked {
        let mut bounded = false;
        let key = u64::from_str_radix(&question.key(first).as_str()[..16], 16).unwrap_or_default();
        let hold = |trouble: &Trouble, wait: Duration| {
            if trouble.retry_after.is_some() {
                self.pace.hold(wait);
            }
        };
        let unreached = Cell::new(0);
        let enough =
            || stop() || (unreached.get() >= TRIES_UNREACHED && !self.reached.load(Ordering::Relaxed));
        let tried = self.settings.retry.run(key, &enough, &hold, || {
            let none = |why: &str| Trouble { why: why.into(), kind: Kind::Refused(0), retry_after: None };
            if !self.pace.turn(stop) {
                return Err(none("interrupted"));
            }
            let n = if self.one_by_one() { 1 } else { n };
            let reserved = budget.reserve(question.at_most(n), self.settings.price, stop);
            let Some(reserved) = reserved else {
                bounded = true;
                return Err(none("the cost bound is reached"));
            };
            let result = self.post(question, first, n).and_then(|reply| {
                let nonsense = |why| Trouble { why, kind: Kind::Broken, retry_after: None };
                answer::read(&reply.body).map_err(nonsense)
            });
            match &result {
                Err(Trouble { kind: Kind::Unreachable, .. }) => unreached.set(unreached.get() + 1),
                _ => self.reached.store(true, Ordering::Relaxed),
            }
            match result {
                Ok((answers, usage)) => {
                    budget.answered(reserved, usage);
                    if answers.len() < n {
                        self.one_by_one.store(true, Ordering::Relaxed);
                    }
                    Ok(answers)
                }
                Err(trouble) => {
                    if trouble.again() {
                        let _ = self.first_trouble.set(trouble.why.clone());
                    }
                    if trouble.may_be_charged() {
                        budget.perhaps(reserved)
                    } else {
                        budget.released(reserved)
                    }
                    Err(trouble)
                }
            }
        });
        Asked { result: tried.result, overcome: tried.overcome, bounded }
    }

    /// One request; where the server refuses what it does not understand, the same in its words.
    fn post(&self, question: &Question, first: usize, n: usize) -> Result<Reply, Trouble> {
        let mut n = n;
        loop {
            let newer = self.newer_limit.load(Ordering::Relaxed);
            let trouble = match self.client.post(body(question, first, n, newer).to_string().as_bytes()) {
                Err(trouble) if matches!(trouble.kind, Kind::Refused(400 | 422)) => trouble,
                result => return result,
            };
            if !newer && trouble.why.contains("max_completion_tokens") {
                self.newer_limit.store(true, Ordering::Relaxed);
            } else if n > 1 {
                // Only if one answer is then given was `n` the reason.
                n = 1;
            } else {
                return Err(trouble);
            }
        }
    }
}

/// The body of a request.
fn body(question: &Question, first: usize, n: usize, newer_limit: bool) -> Value {
    let sampling = &question.sampling;
    let limit = if newer_limit { "max_completion_tokens" } else { "max_tokens" };
    let mut body = Map::new();
    body.insert("model".into(), question.model.as_str().into());
    body.insert("messages".into(), json!(question.messages));
    body.insert(limit.into(), sampling.max_tokens.into());
    // Left out where it says nothing: some servers refuse the word itself.
    if n > 1 {
        body.insert("n".into(), n.into());
    }
    if let Some(temperature) = sampling.temperature {
        body.insert("temperature".into(), temperature.into());
    }
    if let Some(top_p) = sampling.top_p {
        body.insert("top_p".into(), top_p.into());
    }
    if let Some(seed) = sampling.seed {
        body.insert("seed".into(), seed.wrapping_add(first as u64).into());
    }
    if !sampling.stop.is_empty() {
        body.insert("stop".into(), json!(sampling.stop));
    }
    Value::Object(body)
}
