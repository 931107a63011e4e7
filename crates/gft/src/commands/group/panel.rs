//! From teachers as they were named to teachers that can be asked: an endpoint or a folder, with every setting.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use gft_model::folder::ADAPTER_CONFIG;
use gft_model::generate::Sampling as Distribution;
use gft_remote::Retry;
use gft_rollout::teacher::{Endpoint, EndpointSettings, Framing, Price, Respondent, Sampling, place};

use super::spec::{self, Spec};
use crate::failure::Failure;
use crate::model_path;
use crate::sampling::{GenerationConfig, SamplingArgs};

/// How teachers are asked where `--teacher` does not say it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Asking")]
pub struct Asking {
    /// Address of the endpoint up to its version, as in http://127.0.0.1:8000/v1 [default: OPENAI_BASE_URL].
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Environment variable that holds the key; an empty name sends none.
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    key_env: String,
    /// Answers of each teacher to each prompt.
    #[arg(short = 'n', long, value_name = "N", default_value = "1", value_parser = spec::positive)]
    samples: u32,
    /// Logits are divided by this [default: the server's; a folder's generation_config.json, else 1].
    #[arg(long, value_name = "T", value_parser = spec::temperature)]
    temperature: Option<f64>,
    /// Only the likeliest tokens that together reach this probability [default: as for --temperature].
    #[arg(long, value_name = "P", value_parser = spec::top_p)]
    top_p: Option<f64>,
    /// Tokens of an answer at most.
    #[arg(long, alias = "max-new-tokens", value_name = "N", default_value = "1024", value_parser = spec::positive)]
    max_tokens: u32,
    /// Seed of sample 0, sample k has seed + k; none sends no seed.
    #[arg(long, value_name = "N|none", default_value = "0")]
    seed: String,
    /// System message for prompts that bring none.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Text put behind each question.
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// Requests under way at once.
    #[arg(long, value_name = "N", default_value = "8", value_parser = spec::positive)]
    concurrency: u32,
    /// Requests a minute at most, to each teacher [default: no limit].
    #[arg(long, value_name = "N", value_parser = spec::above_zero)]
    requests_per_minute: Option<f64>,
    /// Seconds for one request, from connecting to the end of the answer.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = spec::above_zero)]
    timeout: f64,
    /// How often a request is tried; twice where no connection to the server was ever made.
    #[arg(long, value_name = "N", default_value = "6", value_parser = spec::positive)]
    tries: u32,
    /// Seconds before the second try; the wait doubles up to a minute, and a server's Retry-After stands.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = spec::above_zero)]
    retry_wait: f64,
    /// Prompts in a row without an answer after which the server is taken to be gone.
    #[arg(long, value_name = "N", default_value = "20", value_parser = spec::positive)]
    give_up_after: u32,
    /// Prices of a million tokens of prompts and of answers.
    #[arg(long, value_name = "PROMPT/ANSWER", value_parser = spec::price)]
    price: Option<Price>,
}

/// Who can be asked, and how.
pub enum Means {
    /// A server.
    Endpoint(Box<Endpoint>),
    /// A model folder on this machine.
    Folder(PathBuf, Distribution),
}

/// A respondent and the means to ask it.
pub struct Voice {
    pub who: Respondent,
    pub means: Means,
}

impl Voice {
    /// Who it is, where it is and how it is asked, in a line.
    pub fn description(&self) -> String {
        let Respondent { name, n, sampling, .. } = &self.who;
        let place = match &self.means {
            Means::Endpoint(endpoint) => endpoint.url().to_owned(),
            Means::Folder(path, _) => format!("model folder {}", path.display()),
        };
        format!("{name}: {place}, {n} answers to each prompt, {sampling:?}")
    }

    /// The price of its tokens; 0 for a folder.
    pub fn price(&self) -> Price {
        match &self.means {
            Means::Endpoint(endpoint) => endpoint.settings().price,
            Means::Folder(..) => Price::default(),
        }
    }
}

/// Whether a name means a folder: there is one with a model in it, or it can be nothing else.
fn is_folder(spec: &Spec) -> bool {
    let path = Path::new(&spec.who);
    let written = path.is_absolute() || spec.who.starts_with("./") || spec.who.starts_with("../");
    let model = ["config.json", ADAPTER_CONFIG].iter().any(|name| path.join(name).is_file());
    spec.url.is_none() && (written || model)
}

impl Asking {
    /// A teacher with every setting; nothing is asked yet.
    ///
    /// # Errors
    /// An endpoint without address, a variable that is not set, a folder without model.
    pub fn teacher(&self, spec: &Spec) -> Result<Voice, Failure> {
        let framing = Framing {
            system: spec.system.clone().or(self.system.clone()),
            suffix: spec.instruction.clone().or(self.instruction.clone()),
        };
        let n = spec.n.unwrap_or(self.samples as usize);
        if is_folder(spec) {
            // Of an adapter it may be the base's; what is no model folder is said below, after wrong options.
            let path = Path::new(&spec.who);
            let model = model_path::open(path).ok();
            let settings = model.as_ref().map_or(path, |model| model.dir_of("generation_config.json"));
            let config = GenerationConfig::read(settings)?;
            let drawn = SamplingArgs::default().resolve(&config, Vec::new(), 1, 1)?;
            let own = drawn.options.sampling;
            let temperature = spec.temperature.or(self.temperature).unwrap_or(exact(own.temperature));
            let top_p = spec.top_p.or(self.top_p).unwrap_or(exact(own.top_p));
            return self.folder(spec, n, framing, Some(temperature), Some(top_p), own);
        }
        let url = spec.url.clone().or(self.url.clone()).or_else(|| variable("OPENAI_BASE_URL"));
        let Some(url) = url else {
            return Err(Failure::usage(format!(
                "--teacher {0}: no such model folder, and no address to ask for a model of that name: give --url \
                 http://host:port/v1, set OPENAI_BASE_URL, or write --teacher {0},url=...",
                spec.who
            )));
        };
        // A year is as good as for ever.
        let seconds = |x: f64| Duration::from_secs_f64(x.min(365.0 * 86_400.0));
        let minute = Duration::from_secs(60);
        let first_wait = seconds(self.retry_wait);
        let endpoint = Endpoint::new(EndpointSettings {
            base_url: url,
            model: spec.who.clone(),
            api_key: self.key(spec)?,
            concurrency: self.concurrency as usize,
            requests_per_minute: self.requests_per_minute,
            timeout: seconds(self.timeout),
            retry: Retry {
                tries: self.tries as usize,
                first_wait,
                longest_wait: minute.max(first_wait),
                longest_retry_after: 10 * minute,
            },
            give_up_after: self.give_up_after as usize,
            price: spec.price.or(self.price).unwrap_or_default(),
        })?;
        let who = Respondent {
            name: spec.name.clone().unwrap_or_else(|| spec.who.clone()),
            model: spec.who.clone(),
            place: endpoint.settings().base_url.trim_end_matches('/').to_owned(),
            origin: ("endpoint", host(endpoint.url())),
            framing,
            sampling: self.sampling(
                spec,
                spec.temperature.or(self.temperature),
                spec.top_p.or(self.top_p),
            )?,
            n,
        };
        Ok(Voice { who, means: Means::Endpoint(Box::new(endpoint)) })
    }

    /// The policy, which draws as training draws: at temperature 1 and from the row's prompt alone unless told otherwise.
    ///
    /// # Errors
    /// A folder without model.
    pub fn policy(&self, spec: &Spec, n: usize) -> Result<Voice, Failure> {
        let framing = Framing { system: spec.system.clone(), suffix: spec.instruction.clone() };
        let temperature = Some(spec.temperature.unwrap_or(1.0));
        let top_p = Some(spec.top_p.unwrap_or(1.0));
        self.folder(spec, spec.n.unwrap_or(n), framing, temperature, top_p, Distribution::default())
    }

    fn folder(
        &self,
        spec: &Spec,
        n: usize,
        framing: Framing,
        temperature: Option<f64>,
        top_p: Option<f64>,
        distribution: Distribution,
    ) -> Result<Voice, Failure> {
        let remote = [
            ("url", spec.url.is_some()),
            ("key-env", spec.key_env.is_some()),
            ("price", spec.price.is_some()),
        ];
        if let Some((key, _)) = remote.iter().find(|(_, given)| *given) {
            return Err(Failure::usage(format!(
                "{}: a model folder on this machine; {key} is an option of endpoints",
                spec.who
            )));
        }
        let path = PathBuf::from(&spec.who);
        let model = model_path::open(&path)?;
        let place = place(&path, model.base_dir(), &distribution)?;
        let (folder, hash) = place.rsplit_once('#').unwrap_or((&place, ""));
        let name = Path::new(folder).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let who = Respondent {
            name: spec.name.clone().unwrap_or_else(|| name.clone()),
            model: name.clone(),
            origin: ("folder", format!("{name}#{hash}")),
            framing,
            sampling: self.sampling(spec, temperature, top_p)?,
            n,
            place,
        };
        Ok(Voice { who, means: Means::Folder(path, distribution) })
    }

    fn sampling(
        &self,
        spec: &Spec,
        temperature: Option<f64>,
        top_p: Option<f64>,
    ) -> Result<Sampling, Failure> {
        let seed = spec::seed(&self.seed).map_err(|why| Failure::usage(format!("--seed: {why}")))?;
        Ok(Sampling {
            temperature,
            top_p,
            max_tokens: spec.max_tokens.unwrap_or(self.max_tokens),
            seed: spec.seed.unwrap_or(seed),
            stop: Vec::new(),
        })
    }

    /// The key. A variable that was named and is not set is a mistake; the usual one may be absent.
    fn key(&self, spec: &Spec) -> Result<Option<String>, Failure> {
        let name = spec.key_env.as_ref().unwrap_or(&self.key_env);
        if name.is_empty() {
            return Ok(None);
        }
        let found = variable(name);
        if found.is_none() && name != "OPENAI_API_KEY" {
            return Err(Failure::usage(format!(
                "--teacher {}: the environment has no {name}, which is to hold its key",
                spec.who
            )));
        }
        Ok(found)
    }
}

/// A variable of the environment that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The shortest decimal fraction of an f32, as f64: 0.7, not 0.699999988.
fn exact(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// Host and port of an address, without names and passwords in it.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_numbers() {
        assert_eq!(host("https://user:secret@api.example.org:8443/v1/chat"), "api.example.org:8443");
        assert_eq!(host("http://127.0.0.1:1"), "127.0.0.1:1");
        assert_eq!(exact(0.7), 0.7);
    }
}
