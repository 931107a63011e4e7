//! A reward from a server in OpenRLHF's shape: `{"query", "prompts", "labels"}` in, `{"rewards", ...}` out.

use std::collections::BTreeMap;
use std::time::Duration;

use gft_remote::{Client, Kind, Retry, Trouble, quoted};
use serde_json::{Value, json};

use crate::exchange::number;
use crate::{Candidate, Error, Judged, Reward, Score};

/// Waits between the tries of a request.
const RETRY: Retry = Retry {
    tries: 1,
    first_wait: Duration::from_millis(100),
    longest_wait: Duration::from_secs(5),
    longest_retry_after: Duration::from_secs(60),
};

/// How a server is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSettings {
    /// Address, `http://...` or `https://...`.
    pub url: String,
    /// Time for one request, from connecting to the end of the answer.
    pub timeout: Duration,
    /// Times that a request is tried when the server cannot be reached, is too slow, or says 429 or 5xx; at least 1.
    pub tries: usize,
    /// Completions in one request; at least 1.
    pub batch: usize,
}

impl HttpSettings {
    /// A server with OpenRLHF's 180 s and 5 tries, 64 completions a request.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), timeout: Duration::from_secs(180), tries: 5, batch: 64 }
    }
}

/// A reward from a server. What cannot be had or makes no sense is a failure of its completions and never a zero.
pub struct HttpReward {
    name: String,
    settings: HttpSettings,
    client: Client,
}

/// The answers of one request.
type Answers = Vec<(Score, BTreeMap<String, f64>)>;

impl HttpReward {
    /// The reward; nothing is sent before the first batch.
    ///
    /// # Errors
    /// [`Error::Setting`] for something else than an address of HTTP or HTTPS, and for a limit, number of tries or batch that is
    /// zero.
    pub fn new(name: impl Into<String>, settings: HttpSettings) -> Result<Self, Error> {
        let name = name.into();
        let wrong = |setting, problem: &str| {
            Err(Error::Setting { name: name.clone(), setting, problem: problem.to_owned() })
        };
        let client = match Client::new(&settings.url, settings.timeout) {
            Ok(client) => client,
            Err(problem) => return wrong("url", &problem),
        };
        let zero = [
            ("timeout", settings.timeout.is_zero()),
            ("tries", settings.tries == 0),
            ("batch", settings.batch == 0),
        ];
        if let Some((setting, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return wrong(setting, "must be above 0");
        }
        Ok(Self { name, settings, client })
    }

    /// One request, tried up to `tries` times.
    fn answers(&self, candidates: &[Candidate<'_>], tries: usize) -> Result<Answers, Trouble> {
        let body = question(candidates);
        let retry = Retry { tries, ..RETRY };
        let tried = retry.run(0, &|| false, &|_, _| {}, || self.client.post(&body));
        let times = tried.overcome.len() + 1;
        let failed = |trouble: Trouble| match times {
            1 => trouble,
            _ => Trouble { why: format!("{} (tried {times} times)", trouble.why), ..trouble },
        };
        let reply = tried.result.map_err(failed)?;
        // An answer that makes no sense is the server's last word: asking again would bring it again.
        read(&reply.body, candidates.len()).map_err(|what| Trouble {
            why: format!("{what}: {}", quoted(&reply.body)),
            kind: Kind::Refused(200),
            retry_after: None,
        })
    }
}

/// The body of a request.
fn question(candidates: &[Candidate<'_>]) -> Vec<u8> {
    let prompts: Vec<String> = candidates.iter().map(|candidate| candidate.row.prompt.text()).collect();
    let queries: Vec<String> = prompts
        .iter()
        .zip(candidates)
        .map(|(prompt, candidate)| format!("{prompt}{}", candidate.text))
        .collect();
    let label =
        |candidate: &Candidate<'_>| candidate.row.gold.clone().or_else(|| candidate.row.solution.clone());
    let labels: Vec<Option<String>> = candidates.iter().map(label).collect();
    json!({"query": queries, "prompts": prompts, "labels": labels}).to_string().into_bytes()
}

/// Reads an answer for `expected` completions.
fn read(text: &[u8], expected: usize) -> Result<Answers, String> {
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(text) else {
        return Err("answered with something that is not a JSON object".into());
    };
    let Some(Value::Array(rewards)) = object.get("rewards") else {
        return Err("answered without a list `rewards`".into());
    };
    if rewards.len() != expected {
        return Err(format!("answered with {} rewards for {expected} completions", rewards.len()));
    }
    let mut answers = Answers::with_capacity(expected);
    for (index, reward) in rewards.iter().enumerate() {
        let score = match (reward, number(reward)) {
            (Value::Null, _) => Score::Unscorable,
            (_, Some(value)) => Score::Value(value),
            _ => Score::Failed(format!("reward {index} is {}", quoted(reward.to_string().as_bytes()))),
        };
        answers.push((score, BTreeMap::new()));
    }
    // Logs are there to be looked at: a value that is no number is left out, the reward stands.
    for (name, values) in object.get("extra_logs").and_then(Value::as_object).into_iter().flatten() {
        let values = values.as_array().filter(|values| values.len() == expected);
        for ((_, metrics), value) in answers.iter_mut().zip(values.into_iter().flatten()) {
            metrics.extend(number(value).map(|value| (name.clone(), value)));
        }
    }
    Ok(answers)
}

impl Reward for HttpReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, candidates: &[Candidate<'_>]) -> Vec<Score> {
        self.judge(candidates).scores
    }

    fn judge(&self, candidates: &[Candidate<'_>]) -> Judged {
        let mut judged = Judged::default();
        let mut tries = self.settings.tries;
        for chunk in candidates.chunks(self.settings.batch) {
            let said = |what: &str| format!("reward {}: {}: {what}", self.name, self.settings.url);
            match self.answers(chunk, tries) {
                Ok(answers) => {
                    tries = self.settings.tries;
                    for (score, metrics) in answers {
                        let score = match score {
                            Score::Failed(why) => Score::Failed(said(&why)),
                            other => other,
                        };
                        judged.push(score, metrics);
                    }
                }
                Err(trouble) => {
                    // A server that is not there is not waited for as long with every request of a batch.
                    tries = if trouble.again() { 1 } else { tries };
                    let why = said(&trouble.why);
                    let score =
                        if trouble.kind == Kind::Slow { Score::TimedOut } else { Score::Failed(why.clone()) };
                    judged.failure.get_or_insert(why);
                    chunk.iter().for_each(|_| judged.push(score.clone(), BTreeMap::new()));
                }
            }
        }
        judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_nonsense() {
        let text = br#"{"rewards": [1, null, "x"], "extra_logs": {"acc": [0.5, "?", true], "odd": [1]}}"#;
        let answers = read(text, 3).unwrap();
        assert_eq!(answers[0], (Score::Value(1.0), [("acc".to_owned(), 0.5)].into()));
        assert_eq!(answers[1], (Score::Unscorable, BTreeMap::new()));
        assert!(matches!(&answers[2].0, Score::Failed(why) if why.contains("reward 2")));
        for bad in ["[1, 2, 3]", "{}", r#"{"rewards": [1, 2]}"#, r#"{"rewards": 1}"#, "<html>", ""] {
            assert!(read(bad.as_bytes(), 3).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_that_make_no_sense() {
        let make = |change: fn(&mut HttpSettings)| {
            let mut settings = HttpSettings::new("http://127.0.0.1:1/get_reward");
            change(&mut settings);
            HttpReward::new("remote", settings)
        };
        assert!(make(|_| {}).is_ok());
        assert!(make(|s| s.url = "https://example.org/get_reward".into()).is_ok());
        assert!(make(|s| s.url = "http://a b".into()).is_err());
        assert!(make(|s| s.url = "example.org".into()).is_err());
        assert!(make(|s| s.tries = 0).is_err());
        assert!(make(|s| s.batch = 0).is_err());
        assert!(make(|s| s.timeout = Duration::ZERO).is_err());
    }
}
