//! From settings to a stage that is ready to step: data, objective, schedule; then weights and optimizer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gft_data::{
    BadRows, ColumnMap, Dataset, EncodeOptions, Encoder, Presentation, ReadOptions, Rendering, Tokenizer,
};
use gft_model::architecture::Architecture;
use gft_model::device::Device;
use gft_model::generate::Sampling;
use gft_model::optimizer::{AdamW, AdamWConfig};
use gft_model::policy::{Keep, Policy};
use gft_objective::{Decay, GuardConfig, GuardHistory, Method, Schedule, SpikeRule, Warmup};
use gft_reward::Combination;
use gft_rollout::{Composition, LongDemonstrations};

use crate::checks::{check, check_preferences};
use crate::config::{Settings, build_method, composition};
use crate::error::{ConfigError, Error, Result};
use crate::rows::{Needs, Rows};
use crate::trainer::{RejectedExpert, Trainer};

/// A stage with its data, before any weights are loaded.
#[derive(Debug)]
pub struct StagePlan {
    /// Its settings.
    pub settings: Settings,
    /// Its objective.
    pub method: Method,
    /// Its groups.
    pub composition: Composition,
    /// Its rows.
    pub rows: Rows,
    /// Rows to evaluate on.
    pub eval: Option<Rows>,
    /// Its steps.
    pub steps: u64,
    /// Rows that it visits; `None` without bound.
    pub total_rows: Option<u64>,
    /// Prompts of a step.
    pub prompts_per_step: usize,
    /// Updates that a step's prompts are split into.
    pub updates_per_batch: usize,
    /// Learning-rate schedule over all updates.
    pub schedule: Schedule,
}

/// One of a few names, or an error that lists them.
fn choice<T: Copy>(key: &str, given: &str, known: &[(&str, T)]) -> Result<T, ConfigError> {
    let wanted = given.replace('_', "-");
    let found = known.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        ConfigError::Contradiction(format!("unknown {key} `{given}`; known: {}", names.join(", ")))
    })
}

/// The folder of the model that a run starts from.
///
/// # Errors
/// [`ConfigError::Required`].
pub fn model_dir(settings: &Settings) -> Result<PathBuf, ConfigError> {
    let help = "give the folder of a model, as in --model-name-or-path ./Qwen2.5-0.5B";
    let dir = settings.model_name_or_path.as_ref();
    dir.map(PathBuf::from).ok_or(ConfigError::Required { key: "model_name_or_path", help })
}

/// The tokenizer and template of a model folder with a stage's options.
///
/// # Errors
/// Files that are missing or malformed.
pub fn encoder(dir: &Path, settings: &Settings, arch: &Architecture) -> Result<Arc<Encoder>> {
    let presentation = choice(
        "presentation",
        &settings.presentation,
        &[("auto", Presentation::Auto), ("chat", Presentation::Chat), ("verbatim", Presentation::Verbatim)],
    )?;
    let rendering = choice(
        "rendering",
        &settings.rendering,
        &[("template", Rendering::Template), ("verbatim", Rendering::Verbatim)],
    )?;
    if let Some(max_length) = settings.max_length.filter(|length| *length > arch.max_positions) {
        return Err(ConfigError::Contradiction(format!(
            "max_length = {max_length}, but the model takes {} positions (max_position_embeddings)",
            arch.max_positions
        ))
        .into());
    }
    let options = EncodeOptions {
        presentation,
        rendering,
        all_turns: settings.all_turns,
        system_prompt: settings.system_prompt.clone(),
        instruction_suffix: settings.instruction_suffix.clone(),
        max_prompt_tokens: settings.max_prompt_length,
        max_completion_tokens: settings.max_completion_length,
        max_length: Some(settings.max_length.unwrap_or(arch.max_positions)),
        template_path: settings.chat_template_path.as_ref().map(PathBuf::from),
        ..EncodeOptions::default()
    };
    let tokenizer = Tokenizer::load(dir)?;
    if tokenizer.vocab_size() > arch.vocab {
        return Err(Error::Rows(format!(
            "{}: the tokenizer has {} tokens, the model only {} (vocab_size): they do not belong together",
            dir.display(),
            tokenizer.vocab_size(),
            arch.vocab
        )));
    }
    Ok(Arc::new(Encoder::new(Arc::new(tokenizer), options)?))
}

fn read_options(settings: &Settings) -> Result<ReadOptions, ConfigError> {
    let bad_rows =
        choice("bad_rows", &settings.bad_rows, &[("error", BadRows::Error), ("drop", BadRows::Drop)])?;
    let columns = ColumnMap::from_pairs(settings.columns.iter().map(String::as_str))
        .map_err(|error| ConfigError::Contradiction(error.to_string()))?;
    Ok(ReadOptions {
        columns,
        bad_rows,
        strip_calculator: settings.strip_calculator,
        ..ReadOptions::default()
    })
}

impl StagePlan {
    /// Reads and surveys a stage's data and settles its batch and length. `progress` is told of rows read and of all there
    /// are.
    ///
    /// # Errors
    /// Settings that contradict each other, data that cannot be used.
    pub fn new(
        settings: &Settings,
        encoder: Arc<Encoder>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self> {
        let method = build_method(settings)?;
        let composition = composition(settings);
        check(settings, composition)?;
        if settings.dataset_name.is_empty() {
            let help = "give one or several files of rows, as in --dataset-name train.jsonl";
            return Err(ConfigError::Required { key: "dataset_name", help }.into());
        }
        let long = choice(
            "truncation_mode",
            &settings.truncation_mode,
            &[("drop", LongDemonstrations::Drop), ("keep-start", LongDemonstrations::KeepStart)],
        )?;
        let options = read_options(settings)?;
        let dataset = Dataset::open(&settings.dataset_name, &options)?;
        check_preferences(&dataset, &method, composition)?;
        let seed = settings.shuffle_dataset.then(|| settings.data_seed.unwrap_or(settings.seed));
        let needs = Needs::of(&method, &rewards(settings, &method)?, composition, long);
        let rows = Rows::new(dataset, encoder.clone(), needs, seed, progress)?;
        let eval = if settings.eval_dataset.is_empty() {
            None
        } else {
            let composition = Composition { experts: 1, ..Composition::default() };
            let long = LongDemonstrations::KeepStart;
            let needs = Needs { composition, long, gold: false, least: 0 };
            let options = ReadOptions { split: Some("test".into()), ..read_options(settings)? };
            let options = if settings.eval_dataset.iter().all(|path| Path::new(path).is_file()) {
                read_options(settings)?
            } else {
                options
            };
            Some(Rows::new(Dataset::open(&settings.eval_dataset, &options)?, encoder, needs, None, progress)?)
        };
        let prompts_per_step = settings.train_batch_size.unwrap_or(8);
        let updates_per_batch = settings.updates_per_batch.unwrap_or(1).clamp(1, prompts_per_step);
        let (steps, total_rows) = length(settings, rows.len(), prompts_per_step);
        let updates = steps * (updates_per_batch * settings.num_iterations) as u64;
        let schedule = schedule(settings, updates)?;
        let settings = settings.clone();
        Ok(Self {
            settings,
            method,
            composition,
            rows,
            eval,
            steps,
            total_rows,
            prompts_per_step,
            updates_per_batch,
            schedule,
        })
    }

    /// Whether a term of the objective compares with the weights at the stage's start.
    pub fn needs_reference(&self) -> bool {
        self.method.kl.is_some() || self.method.reference_kl != 0.0
    }

    /// Groups that the stage visits, but for those that dynamic sampling replaces.
    pub fn groups(&self) -> u64 {
        self.total_rows.unwrap_or(self.steps * self.prompts_per_step as u64)
    }

    /// AdamW as the settings ask for it; norms and biases are not decayed, as transformers does.
    pub fn adamw(&self) -> AdamWConfig {
        let settings = &self.settings;
        AdamWConfig {
            beta1: settings.adam_beta1,
            beta2: settings.adam_beta2,
            eps: settings.adam_epsilon,
            weight_decay: settings.weight_decay.unwrap_or(0.0),
            decay_all: false,
        }
    }

    /// The rewards that the settings name.
    ///
    /// # Errors
    /// An unknown name, a file that is not there, or weights that do not match.
    pub fn rewards(&self) -> Result<Combination> {
        rewards(&self.settings, &self.method)
    }

    /// The stage with its weights, ready to step from `position`.
    ///
    /// # Errors
    /// Rewards that are not known, names that are not.
    pub fn trainer<D: Device>(
        self,
        policy: Policy<D>,
        optimizer: AdamW<D>,
        reference: Option<Policy<D>>,
        guard: GuardHistory,
        position: u64,
    ) -> Result<(Trainer<D>, Option<Rows>)> {
        let combination = self.rewards()?;
        let settings = self.settings;
        let rejected = [
            ("keep", RejectedExpert::Keep),
            ("drop-row", RejectedExpert::DropRow),
            ("drop-group", RejectedExpert::DropGroup),
        ];
        let spikes = (settings.guard_spike_z > 0.0)
            .then(|| SpikeRule { z_max: settings.guard_spike_z, ..SpikeRule::default() });
        let gradients = policy.gradients();
        let trainer = Trainer {
            policy,
            optimizer,
            gradients,
            reference,
            method: self.method,
            rows: self.rows,
            combination,
            guard,
            guard_config: GuardConfig {
                abort_after: settings.guard_abort_after.max(1),
                spikes,
                ..GuardConfig::default()
            },
            position,
            total_rows: self.total_rows,
            prompts_per_step: self.prompts_per_step,
            updates_per_batch: self.updates_per_batch,
            num_iterations: settings.num_iterations,
            schedule: self.schedule,
            peak_learning_rate: settings.learning_rate.unwrap_or(0.0),
            max_grad_norm: settings.max_grad_norm,
            tokens_per_pass: settings.tokens_per_pass,
            keep_activations: if settings.gradient_checkpointing {
                Keep::LayerInputs
            } else {
                Keep::Activations
            },
            max_completion_length: settings.max_completion_length,
            own_samples: self.composition.own,
            sampling: sampling(&settings),
            generation_batch: settings.generation_batch_size.max(1),
            max_new_tokens: settings.max_completion_length.unwrap_or(512),
            dynamic_sampling: settings.dynamic_sampling.unwrap_or(false),
            max_sampling_rounds: settings.max_sampling_rounds,
            mask_truncated: settings.mask_truncated_completions,
            entropy: settings.log_entropy,
            expert_reward_is_one: choice(
                "expert_reward",
                &settings.expert_reward,
                &[("verify", false), ("one", true)],
            )?,
            rejected_expert: choice("rejected_expert", &settings.rejected_expert, &rejected)?,
            seed: settings.seed,
        };
        Ok((trainer, self.eval))
    }
}

/// The rewards that the settings name; none where the method asks for none.
fn rewards(settings: &Settings, method: &Method) -> Result<Combination> {
    if crate::config::uses_rewards(method) {
        crate::rewards::combination(settings, method.name)
    } else {
        Ok(Combination::new(Vec::new(), &[])?)
    }
}

/// How own rollouts are drawn.
pub(crate) fn sampling(settings: &Settings) -> Sampling {
    Sampling {
        temperature: settings.temperature as f32,
        top_k: usize::try_from(settings.top_k).unwrap_or(0),
        top_p: settings.top_p as f32,
        min_p: settings.min_p as f32,
        repetition_penalty: settings.repetition_penalty as f32,
    }
}

/// Steps of a stage, and the rows that it visits.
fn length(settings: &Settings, rows: u64, prompts: usize) -> (u64, Option<u64>) {
    if let Ok(steps) = u64::try_from(settings.max_steps) {
        return (steps, None);
    }
    let total = (settings.num_train_epochs * rows as f64).round() as u64;
    // A replaced group needs further rows: with dynamic sampling the number of steps is kept, not that of rows.
    let bound = if settings.dynamic_sampling == Some(true) { None } else { Some(total) };
    (total.div_ceil(prompts as u64), bound)
}

fn schedule(settings: &Settings, updates: u64) -> Result<Schedule, ConfigError> {
    let wrong = |error: gft_objective::Error| ConfigError::Contradiction(error.to_string());
    let mut decay: Decay =
        settings.lr_scheduler_type.as_deref().unwrap_or("linear").parse().map_err(wrong)?;
    if let Decay::CosineWithMinLr { min_rate, .. } = &mut decay {
        *min_rate = settings.min_lr_rate;
    }
    let warmup = match settings.warmup_steps {
        0 => Warmup::Ratio(settings.warmup_ratio),
        steps => Warmup::Steps(steps),
    };
    if decay == Decay::Constant && warmup.steps(updates) > 0 {
        return Err(ConfigError::Contradiction(
            "lr_scheduler_type = \"constant\" has no warm-up, but warmup_steps or warmup_ratio is set: use \
             constant_with_warmup"
                .into(),
        ));
    }
    let schedule = Schedule { decay, warmup, total_steps: updates };
    schedule.validate().map_err(wrong)?;
    Ok(schedule)
}
