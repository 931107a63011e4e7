//! `adapter_config.json` as PEFT writes and reads it, and the same from settings.

use std::fmt;
use std::path::Path;

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::error::{ModelError, Result};

/// The linear layers of a decoder layer, by the last part of their path.
pub const LINEAR: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Which modules have adapters, as PEFT's `target_modules` says it.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Modules whose path is one of these or ends with one of them after a dot; `all-linear` alone is all seven.
    Names(Vec<String>),
    /// Modules whose whole path matches a regular expression.
    Pattern(String),
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Targets::Names(names) => write!(f, "[{}]", names.join(", ")),
            Targets::Pattern(pattern) => write!(f, "`{pattern}`"),
        }
    }
}

/// A LoRA's shape.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank.
    pub r: usize,
    /// Numerator of the scaling.
    pub alpha: f64,
    /// Probability with which an input of an adapter is dropped in training.
    pub dropout: f64,
    /// Scaling `alpha / sqrt(r)` instead of `alpha / r`.
    pub rslora: bool,
    /// Which modules.
    pub targets: Targets,
    /// Only in these layers; `None` in all.
    pub layers: Option<Vec<usize>>,
    /// Ranks of modules whose path ends with a pattern, instead of `r`.
    pub rank_pattern: Vec<(String, usize)>,
    /// The same of `alpha`.
    pub alpha_pattern: Vec<(String, f64)>,
}

impl Default for LoraConfig {
    /// TRL's defaults, without dropout and on all linear layers.
    fn default() -> Self {
        LoraConfig {
            r: 16,
            alpha: 32.0,
            dropout: 0.0,
            rslora: false,
            targets: Targets::Names(LINEAR.map(String::from).to_vec()),
            layers: None,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
        }
    }
}

/// Keys that change what an adapter computes or holds, and that are understood only at these values (or absent).
const ONLY: [(&str, &[&str]); 17] = [
    ("bias", &["\"none\""]),
    ("modules_to_save", &["null", "[]"]),
    ("use_dora", &["false", "null"]),
    ("lora_bias", &["false", "null"]),
    ("fan_in_fan_out", &["false", "null"]),
    ("exclude_modules", &["null", "[]"]),
    ("trainable_token_indices", &["null", "{}", "[]"]),
    ("target_parameters", &["null", "[]"]),
    ("alora_invocation_tokens", &["null", "[]"]),
    ("use_qalora", &["false", "null"]),
    ("layer_replication", &["null", "[]"]),
    ("arrow_config", &["null"]),
    ("use_bdlora", &["false", "null"]),
    ("kasa_config", &["null"]),
    ("velora_config", &["null"]),
    ("monteclora_config", &["null"]),
    ("ensure_weight_tying", &["false", "null"]),
];

impl LoraConfig {
    /// Reads a parsed `adapter_config.json`, and the base model that it names.
    ///
    /// # Errors
    /// Another kind of adapter than LoRA, an option that would change what it computes and is not supported, a value of
    /// the wrong type: each with the key.
    pub fn from_json(config: &Value, path: &Path) -> Result<(Self, Option<String>)> {
        let keys = Keys { config, path };
        match keys.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            found => {
                return Err(
                    keys.wrong(format!("`peft_type` is {found:?}; only adapters of type LORA are read"))
                );
            }
        }
        for (key, known) in ONLY {
            let value = keys.get(key).map_or_else(|| "null".to_owned(), Value::to_string);
            if value != "null" && !known.contains(&value.as_str()) {
                return Err(keys.wrong(format!("`{key}` is {value}, which is not supported")));
            }
        }
        let targets = match keys.get("target_modules") {
            Some(Value::String(pattern)) if pattern == "all-linear" => {
                Targets::Names(LINEAR.map(String::from).to_vec())
            }
            Some(Value::String(pattern)) => Targets::Pattern(pattern.clone()),
            Some(Value::Array(names)) => {
                let names = names.iter().map(|name| name.as_str().map(str::to_owned));
                let names: Option<Vec<String>> = names.collect();
                Targets::Names(
                    names.ok_or_else(|| {
                        keys.wrong("`target_modules` lists something that is no text".into())
                    })?,
                )
            }
            other => {
                return Err(keys.wrong(format!("`target_modules` is {other:?}: neither names nor a pattern")));
            }
        };
        let layers = match keys.get("layers_to_transform") {
            None | Some(Value::Null) => None,
            Some(Value::Number(only)) => {
                Some(vec![keys.whole("layers_to_transform", &Value::Number(only.clone()))?])
            }
            Some(Value::Array(list)) => {
                Some(list.iter().map(|n| keys.whole("layers_to_transform", n)).collect::<Result<_>>()?)
            }
            Some(other) => return Err(keys.wrong(format!("`layers_to_transform` is {other}"))),
        };
        let pattern = |key: &str| -> Vec<(String, Value)> {
            let map = keys.get(key).and_then(Value::as_object);
            map.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let ranks = pattern("rank_pattern").into_iter();
        let alphas = pattern("alpha_pattern").into_iter();
        let r = keys.get("r").ok_or_else(|| keys.wrong("`r` is missing".into()))?;
        let this = Self {
            r: keys.whole("r", r)?,
            alpha: keys.number("lora_alpha")?.ok_or_else(|| keys.wrong("`lora_alpha` is missing".into()))?,
            dropout: keys.number("lora_dropout")?.unwrap_or(0.0),
            rslora: keys.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
            targets,
            layers,
            rank_pattern: ranks
                .map(|(name, n)| Ok((name, keys.whole("rank_pattern", &n)?)))
                .collect::<Result<_>>()?,
            alpha_pattern: alphas
                .map(|(name, x)| {
                    Ok((name, x.as_f64().ok_or_else(|| keys.wrong(format!("`alpha_pattern` has {x}")))?))
                })
                .collect::<Result<_>>()?,
        };
        this.check().map_err(|error| keys.wrong(error.to_string()))?;
        let base = keys.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned);
        Ok((this, base))
    }

    /// The file that PEFT, vLLM and SGLang read.
    pub fn to_json(&self, base: &str) -> Value {
        let targets = match &self.targets {
            Targets::Names(names) => json!(names),
            Targets::Pattern(pattern) => json!(pattern),
        };
        let map = |pairs: Vec<(String, Value)>| Value::Object(Map::from_iter(pairs));
        let ranks = self.rank_pattern.iter().map(|(name, r)| (name.clone(), json!(r))).collect();
        let alphas = self.alpha_pattern.iter().map(|(name, a)| (name.clone(), number(*a))).collect();
        json!({
            "alpha_pattern": map(alphas),
            "auto_mapping": null,
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": self.layers,
            "lora_alpha": number(self.alpha),
            "lora_dropout": self.dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.r,
            "rank_pattern": map(ranks),
            "revision": null,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": self.rslora,
        })
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`ModelError::Option`] names the one that is out of range.
    pub fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(ModelError::Option(text));
        if let Some(r) =
            std::iter::once(self.r).chain(self.rank_pattern.iter().map(|p| p.1)).find(|r| *r == 0)
        {
            return refuse(format!("a LoRA of rank {r}: it must be at least 1"));
        }
        let mut alphas = std::iter::once(self.alpha).chain(self.alpha_pattern.iter().map(|p| p.1));
        if let Some(alpha) = alphas.find(|alpha| !alpha.is_finite() || *alpha == 0.0) {
            return refuse(format!("lora_alpha = {alpha}: the adapter would do nothing"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(format!("lora_dropout = {}: expected 0 to below 1", self.dropout));
        }
        Ok(())
    }

    /// The rules that say which module has an adapter.
    pub(super) fn resolve(&self) -> Result<Resolved<'_>> {
        self.check()?;
        let whole = |pattern: &str| {
            Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
                ModelError::Option(format!("the pattern `{pattern}` cannot be read: {error}"))
            })
        };
        let target = match &self.targets {
            Targets::Names(names) => {
                Matcher::Names(names.iter().map(|name| (name.as_str(), false)).collect())
            }
            Targets::Pattern(pattern) => Matcher::Pattern(whole(pattern)?),
        };
        let ending = |pattern: &str| whole(&format!(r"(?:.*\.)?(?:{pattern})"));
        let ranks = self.rank_pattern.iter().map(|(p, r)| Ok((ending(p)?, *r))).collect::<Result<_>>()?;
        let alphas = self.alpha_pattern.iter().map(|(p, a)| Ok((ending(p)?, *a))).collect::<Result<_>>()?;
        Ok(Resolved { config: self, target, ranks, alphas })
    }
}

/// Whole numbers without a decimal point, as PEFT writes them.
fn number(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e15 { json!(x as i64) } else { json!(x) }
}

enum Matcher<'a> {
    /// Each with whether it has matched anything.
    Names(Vec<(&'a str, bool)>),
    Pattern(Regex),
}

/// A configuration with its patterns compiled.
pub(super) struct Resolved<'a> {
    config: &'a LoraConfig,
    target: Matcher<'a>,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
}

impl Resolved<'_> {
    /// Rank and scaling of the module at `path`, if it has an adapter.
    pub fn of(&mut self, layer: usize, path: &str) -> Result<Option<(usize, f32)>> {
        let chosen = match &mut self.target {
            Matcher::Pattern(pattern) => pattern.is_match(path),
            Matcher::Names(names) => {
                let mut any = false;
                for (name, used) in names {
                    if path == *name || path.strip_suffix(*name).is_some_and(|rest| rest.ends_with('.')) {
                        (any, *used) = (true, true);
                    }
                }
                any
            }
        };
        if !chosen || self.config.layers.as_ref().is_some_and(|layers| !layers.contains(&layer)) {
            return Ok(None);
        }
        let rank = self.ranks.iter().find(|(p, _)| p.is_match(path)).map_or(self.config.r, |(_, r)| *r);
        let alpha = self.alphas.iter().find(|(p, _)| p.is_match(path)).map_or(self.config.alpha, |(_, a)| *a);
        let over = if self.config.rslora { (rank as f64).sqrt() } else { rank as f64 };
        Ok(Some((rank, (alpha / over) as f32)))
    }

    /// A name that matches no module would be a no-op.
    pub fn check_all_used(&self) -> Result<()> {
        let Matcher::Names(names) = &self.target else { return Ok(()) };
        match names.iter().find(|(_, used)| !used) {
            Some((name, _)) => Err(ModelError::Option(format!(
                "target_modules: `{name}` names no linear layer of this model; known are {}",
                LINEAR.join(", ")
            ))),
            None => Ok(()),
        }
    }
}

/// The keys of a configuration file.
struct Keys<'a> {
    config: &'a Value,
    path: &'a Path,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.config.get(key)
    }

    fn wrong(&self, reason: String) -> ModelError {
        ModelError::Config { path: self.path.into(), reason }
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_f64()
                .map(Some)
                .ok_or_else(|| self.wrong(format!("`{key}` is {value}, not a number"))),
        }
    }

    fn whole(&self, key: &str, value: &Value) -> Result<usize> {
        let found = value.as_u64().and_then(|n| usize::try_from(n).ok());
        found.ok_or_else(|| self.wrong(format!("`{key}` has {value}, not a whole number")))
    }
}
