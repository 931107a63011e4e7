//! What a study runs: experiments with settings, a grid over some of them, and seeds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gft_train::config::{ConfigFile, Resolved, Section, Values, flag_values, resolve};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// A study: its name, what all runs share, its experiments.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its name in the results.
    pub name: String,
    /// The model that runs start from and that distances are measured to.
    pub base: PathBuf,
    /// Folder of the data files.
    pub data: PathBuf,
    /// Problems that models are measured on.
    pub problems: String,
    /// Problems of other families.
    pub others: String,
    /// Seeds of each run.
    pub seeds: Vec<u64>,
    /// Settings of all runs, under the names of `gft train`.
    #[serde(default)]
    pub settings: BTreeMap<String, toml::Value>,
    /// The experiments.
    pub experiments: Vec<Experiment>,
}

/// One experiment of a study.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Its name in the results.
    pub name: String,
    /// File of its training rows in the study's data folder.
    #[serde(default = "train_file")]
    pub rows: String,
    /// Its settings, over those of the study.
    #[serde(default)]
    pub settings: BTreeMap<String, toml::Value>,
    /// Its stages, each with settings of its own over all of these; none for a run of one stage.
    #[serde(default)]
    pub stages: Vec<BTreeMap<String, toml::Value>>,
    /// Settings of which each value is tried with each of the others'.
    #[serde(default)]
    pub grid: BTreeMap<String, Vec<toml::Value>>,
}

fn train_file() -> String {
    "train.jsonl".into()
}

/// One run of a study.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Name of the study.
    pub study: String,
    /// Name of the experiment.
    pub experiment: String,
    /// File of training rows.
    pub rows: String,
    /// What the grid chose.
    pub chosen: BTreeMap<String, String>,
    /// All settings, those of the grid included.
    pub settings: BTreeMap<String, String>,
    /// What each stage sets over them; empty for a run of one stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<BTreeMap<String, String>>,
    /// Seed of the run.
    pub seed: u64,
}

impl Job {
    /// What tells this run from every other: SHA-256 over all of it.
    pub fn key(&self) -> String {
        let mut text =
            format!("{:?}", (&self.study, &self.experiment, &self.rows, &self.settings, self.seed));
        if !self.stages.is_empty() {
            text.push_str(&format!("{:?}", self.stages));
        }
        Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The configuration of the run, with `place` (model, data, folder of the run) under the job's own settings.
    ///
    /// # Errors
    /// Settings that `gft train` would refuse.
    pub fn resolve(&self, place: &[(String, String)]) -> Result<Resolved> {
        let settings = place.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let run = flag_values(settings.chain(pairs(&self.settings)))?;
        let stages = self.stages.iter().map(|stage| flag_values(pairs(stage)).map(Section::from));
        let stages = stages.collect::<std::result::Result<Vec<Section>, _>>()?;
        // As a file, so that a stage's settings go over the run's.
        let file = ConfigFile { path: PathBuf::from(&self.study), run: run.into(), stages };
        Ok(Resolved { path: None, ..resolve(Some(&file), &Values::new())? })
    }
}

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    /// A file that cannot be read or has an unknown name in it.
    pub fn read(path: &Path) -> Result<Table> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
        toml::from_str(&text).map_err(|error| Error::file(path, error.to_string()))
    }

    /// Its runs: all experiments with the first seed, then all with the second, so that a study that is stopped has
    /// something to say of every experiment.
    pub fn jobs(&self) -> Vec<Job> {
        self.seeds
            .iter()
            .flat_map(|seed| self.experiments.iter().flat_map(move |experiment| self.of(experiment, *seed)))
            .collect()
    }

    fn of(&self, experiment: &Experiment, seed: u64) -> Vec<Job> {
        let mut chosen: Vec<BTreeMap<String, String>> = vec![BTreeMap::new()];
        for (name, values) in &experiment.grid {
            let with = |before: &BTreeMap<String, String>| {
                let before = before.clone();
                values.iter().map(move |value| {
                    let mut choice = before.clone();
                    choice.insert(name.clone(), flag(value));
                    choice
                })
            };
            chosen = chosen.iter().flat_map(with).collect();
        }
        let shared = self.settings.iter().chain(&experiment.settings);
        let shared = flags(shared);
        let stages: Vec<BTreeMap<String, String>> = experiment.stages.iter().map(flags).collect();
        chosen
            .into_iter()
            .map(|chosen| {
                let mut settings = shared.clone();
                settings.extend(chosen.clone());
                let (study, name) = (self.name.clone(), experiment.name.clone());
                let (rows, stages) = (experiment.rows.clone(), stages.clone());
                Job { study, experiment: name, rows, chosen, settings, stages, seed }
            })
            .collect()
    }
}

fn pairs(settings: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn flags<'a>(settings: impl IntoIterator<Item = (&'a String, &'a toml::Value)>) -> BTreeMap<String, String> {
    settings.into_iter().map(|(name, value)| (name.clone(), flag(value))).collect()
}

/// A value as a flag of `gft train` has it.
fn flag(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        name = "s"
        base = "base"
        data = "data"
        problems = "validation.jsonl"
        others = "others.jsonl"
        seeds = [0, 1]
        settings = { train_batch_size = 32 }
        [[experiments]]
        name = "sft"
        settings = { method = "sft" }
        grid = { learning_rate = [1e-4, 1e-3], num_train_epochs = [1, 2] }
        [[experiments]]
        name = "gft"
        settings = { method = "gft", train_batch_size = 16 }
    "#;

    #[test]
    fn a_grid_is_a_product_and_seeds_come_last() {
        let jobs = toml::from_str::<Table>(TEXT).unwrap().jobs();
        assert_eq!(jobs.len(), 10);
        assert!(jobs[..5].iter().all(|job| job.seed == 0));
        assert_eq!(jobs[1].chosen["learning_rate"], "0.0001");
        assert_eq!(
            (jobs[1].settings["num_train_epochs"].as_str(), jobs[4].settings["train_batch_size"].as_str()),
            ("2", "16")
        );
        let keys: std::collections::BTreeSet<String> = jobs.iter().map(Job::key).collect();
        assert_eq!(keys.len(), 10);
    }

    /// A finished run is known by its key: if this changes, every run of a study is made again.
    #[test]
    fn a_key_stays_what_it_was() {
        let jobs = toml::from_str::<Table>(TEXT).unwrap().jobs();
        assert_eq!(jobs[0].key(), "8f968b29522cd8d2");
    }

    #[test]
    fn a_stage_goes_over_the_settings_and_tells_runs_apart() {
        let mut jobs = toml::from_str::<Table>(
            r#"
            name = "s"
            base = "base"
            data = "data"
            problems = "validation.jsonl"
            others = "others.jsonl"
            seeds = [0]
            settings = { max_steps = 8, learning_rate = 1e-3 }
            [[experiments]]
            name = "one"
            stages = [{ method = "sft" }, { method = "grpo", learning_rate = 1e-4 }]
            [[experiments]]
            name = "one"
            stages = [{ method = "sft" }, { method = "dapo", learning_rate = 1e-4 }]
            "#,
        )
        .unwrap()
        .jobs();
        assert_ne!(jobs[0].key(), jobs[1].key());
        let place = [("dataset_name".to_owned(), "rows.jsonl".to_owned())];
        let stages = jobs[1].resolve(&place).unwrap().stages;
        let told: Vec<_> = stages
            .iter()
            .map(|s| (s.settings.method.as_str(), s.settings.learning_rate, s.settings.max_steps))
            .collect();
        assert_eq!(told, [("sft", Some(1e-3), 8), ("dapo", Some(1e-4), 8)]);
        jobs[0].stages.clear();
        assert_eq!(jobs[0].resolve(&place).unwrap().stages.len(), 1);
        jobs[0].stages = vec![BTreeMap::from([("seed".to_owned(), "1".to_owned())])];
        assert!(jobs[0].resolve(&place).is_err(), "a seed belongs to the whole run");
    }

    #[test]
    fn an_unknown_name_is_refused() {
        assert!(toml::from_str::<Table>(&TEXT.replace("seeds", "seed")).is_err());
    }
}
