//! What a study runs: experiments with settings, a grid over some of them, and seeds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// Seed of the run.
    pub seed: u64,
}

impl Job {
    /// What tells this run from every other: SHA-256 over all of it.
    pub fn key(&self) -> String {
        let text = format!("{:?}", (&self.study, &self.experiment, &self.rows, &self.settings, self.seed));
        Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
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
        let shared: BTreeMap<String, String> =
            shared.map(|(name, value)| (name.clone(), flag(value))).collect();
        chosen
            .into_iter()
            .map(|chosen| {
                let mut settings = shared.clone();
                settings.extend(chosen.clone());
                let (study, name) = (self.name.clone(), experiment.name.clone());
                Job { study, experiment: name, rows: experiment.rows.clone(), chosen, settings, seed }
            })
            .collect()
    }
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

    #[test]
    fn an_unknown_name_is_refused() {
        assert!(toml::from_str::<Table>(&TEXT.replace("seeds", "seed")).is_err());
    }
}
