//! One teacher as the command line names it: `NAME[,key=value...]`.

use std::str::FromStr;

use gft_rollout::teacher::Price;

use crate::sampling::number;

/// What stands behind `--teacher` and `--policy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// A model's name at an endpoint, or a model folder.
    pub who: String,
    /// Another name for the group rows.
    pub name: Option<String>,
    pub url: Option<String>,
    /// Environment variable of the key; empty for none.
    pub key_env: Option<String>,
    pub n: Option<usize>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub max_tokens: Option<u32>,
    /// `Some(None)` sends no seed.
    pub seed: Option<Option<u64>>,
    pub system: Option<String>,
    pub instruction: Option<String>,
    pub price: Option<Price>,
}

/// The keys, for messages.
const KEYS: &str = "name, url, key-env, n, temperature, top-p, max-tokens, seed, system, instruction, price";

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = text.split(',');
        let who = pieces.next().unwrap_or_default().trim().to_owned();
        if who.is_empty() {
            return Err("begins with the name of a model or a folder".into());
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for piece in pieces {
            let known = piece.split_once('=').filter(|(key, _)| KEYS.split(", ").any(|k| k == key.trim()));
            match (known, pairs.last_mut()) {
                (Some((key, value)), _) => pairs.push((key.trim().to_owned(), value.to_owned())),
                // A text may have commas of its own.
                (None, Some((key, value))) if matches!(key.as_str(), "system" | "instruction") => {
                    value.push(',');
                    value.push_str(piece);
                }
                _ => return Err(format!("`{piece}` is not one of the options of a teacher: {KEYS}")),
            }
        }
        let mut spec = Self { who, ..Self::default() };
        for (key, value) in pairs {
            spec.set(&key, value).map_err(|why| format!("{key}: {why}"))?;
        }
        Ok(spec)
    }
}

impl Spec {
    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        match key {
            "name" => self.name = Some(value),
            "url" => self.url = Some(value),
            "key-env" => self.key_env = Some(value),
            "n" => self.n = Some(positive(&value)? as usize),
            "temperature" => self.temperature = Some(temperature(&value)?),
            "top-p" => self.top_p = Some(top_p(&value)?),
            "max-tokens" => self.max_tokens = Some(positive(&value)?),
            "seed" => self.seed = Some(seed(&value)?),
            "system" => self.system = Some(value),
            "instruction" => self.instruction = Some(value),
            _ => self.price = Some(price(&value)?),
        }
        Ok(())
    }
}

/// A whole number from 1 on.
pub fn positive(text: &str) -> Result<u32, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("`{text}` is not a whole number above 0"))
}

/// A temperature.
pub fn temperature(text: &str) -> Result<f64, String> {
    in_range("temperature", text)
}

/// A nucleus.
pub fn top_p(text: &str) -> Result<f64, String> {
    in_range("top_p", text)
}

fn in_range(name: &str, text: &str) -> Result<f64, String> {
    number(name, text.trim())?;
    text.trim().parse().map_err(|_| "not a number".into())
}

/// A seed, or that none is sent.
pub fn seed(text: &str) -> Result<Option<u64>, String> {
    match text.trim() {
        "none" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("`{text}` is neither a whole number nor none")),
    }
}

/// Prices of a million tokens of prompts and of answers.
pub fn price(text: &str) -> Result<Price, String> {
    let amount = |text: &str| text.trim().parse::<f64>().ok().filter(|x| x.is_finite() && *x >= 0.0);
    let found = text.split_once('/').and_then(|(a, b)| Some((amount(a)?, amount(b)?)));
    found.map(|(prompt, completion)| Price { prompt, completion }).ok_or_else(|| {
        format!("`{text}` is not PROMPT/ANSWER, the prices of a million tokens, such as 0.5/1.5")
    })
}

/// An amount or a number of seconds above 0.
pub fn above_zero(text: &str) -> Result<f64, String> {
    let found = text.parse::<f64>().ok().filter(|x| x.is_finite() && *x > 0.0);
    found.ok_or_else(|| "must be a number above 0".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teachers_in_words() {
        let spec: Spec =
            "org/m-70b,url=http://h:1/v1,n=4,temperature=0.7,seed=none,system=Be brief, please=now,price=0.5/1.5"
                .parse()
                .unwrap();
        assert_eq!((spec.who.as_str(), spec.n, spec.temperature), ("org/m-70b", Some(4), Some(0.7)));
        assert_eq!(spec.url.as_deref(), Some("http://h:1/v1"));
        assert_eq!((spec.seed, spec.system.as_deref()), (Some(None), Some("Be brief, please=now")));
        assert_eq!(spec.price, Some(Price { prompt: 0.5, completion: 1.5 }));
        for (bad, says) in [
            ("", "begins with"),
            (",n=2", "begins with"),
            ("m,temp=1", "`temp=1`"),
            ("m,n=0", "n: `0`"),
            ("m,temperature=-1", "temperature: must be"),
            ("m,price=3", "price: `3`"),
            ("m,seed=x", "seed: `x`"),
        ] {
            let error = bad.parse::<Spec>().unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
