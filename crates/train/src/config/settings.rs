//! Every setting of a run: name, type, default, aliases of other trainers, and one line of help, in one table.
//!
//! Names are TRL's where TRL has one; verl's dotted names are read as aliases where they mean the same. A setting that
//! is `None` is decided by the method or by the model.

use serde_json::Value;

use super::value::{Key, Setting};
use crate::error::ConfigError;

/// Declares [`Settings`], its defaults, [`KEYS`], and the way from values to settings and back.
macro_rules! settings {
    ($([$group:literal] $($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr $(, $alias:literal)*;)+)+) => {
        /// The settings of one stage of a run, every one with a value.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Settings {
            $($($(#[doc = $doc])+ pub $name: $type,)+)+
        }

        impl Default for Settings {
            fn default() -> Self {
                Settings { $($($name: $default,)+)+ }
            }
        }

        /// All settings in the order in which they are printed.
        pub const KEYS: &[Key] = &[
            $($(Key {
                name: stringify!($name),
                group: $group,
                help: concat!($($doc),+),
                aliases: &[$($alias),*],
                kind: <$type as Setting>::KIND,
                parse: <$type as Setting>::parse,
                reads: |value| <$type as Setting>::read(value).is_some(),
            },)+)+
        ];

        impl Settings {
            /// Settings from values by name; what is absent has its default.
            ///
            /// # Errors
            /// [`ConfigError::Value`] naming the setting whose value has the wrong type.
            pub fn from_values(
                values: impl Fn(&str) -> Option<Value>,
            ) -> Result<Settings, ConfigError> {
                let default = Settings::default();
                Ok(Settings {
                    $($($name: match values(stringify!($name)) {
                        None => default.$name,
                        Some(value) => <$type as Setting>::read(&value).ok_or_else(|| ConfigError::Value {
                            key: stringify!($name),
                            value: value.to_string(),
                            expected: <$type as Setting>::KIND,
                        })?,
                    },)+)+
                })
            }

            /// The value of every setting, in the order of [`KEYS`].
            pub fn values(&self) -> Vec<(&'static str, Value)> {
                vec![$($((stringify!($name), self.$name.write()),)+)+]
            }
        }
    };
}

settings! {
    ["Model, data, output"]
    /// Training method: a preset of the objective (sft, sft-mix, dft, gft, gft-reference, gft-stable, grpo, dapo ...).
    method: String = "gft-paper".into(), "algorithm.adv_estimator";
    /// Folder of the model to start from (config.json, safetensors, tokenizer).
    model_name_or_path: Option<String> = None, "model", "actor_rollout_ref.model.path";
    /// Files or folders of training rows (JSONL, JSON, Parquet).
    dataset_name: Vec<String> = Vec::new(), "data", "train_file", "dataset", "data.train_files";
    /// Files or folders of rows to evaluate on.
    eval_dataset: Vec<String> = Vec::new(), "eval_data", "validation_file", "data.val_files";
    /// Folder of the run: metrics, checkpoints, the final model.
    output_dir: Option<String> = None, "trainer.default_local_dir";
    /// Name of the run in logs.
    run_name: Option<String> = None, "trainer.experiment_name";
    /// Dtype of saved weights (float32, bfloat16, float16); absent: that of the model folder.
    save_dtype: Option<String> = None;

    ["Adapters (LoRA)"]
    /// Train adapters instead of all weights; a model folder that is an adapter is continued either way.
    use_peft: bool = false, "lora";
    /// Rank of the adapters.
    lora_r: usize = 16, "lora_rank";
    /// Numerator of their scaling: alpha / r.
    lora_alpha: f64 = 32.0, "actor_rollout_ref.model.lora_alpha";
    /// Probability with which their inputs are dropped (TRL has 0.05; own rollouts are drawn without).
    lora_dropout: f64 = 0.0;
    /// Modules that have one (q_proj ... down_proj, or longer ends of their paths), all-linear, or one pattern for whole paths.
    lora_target_modules: Vec<String> = vec!["all-linear".into()], "actor_rollout_ref.model.target_modules";
    /// Scaling alpha / sqrt(r) instead (rsLoRA).
    use_rslora: bool = false;

    ["Rows and tokens"]
    /// Names of columns where detection does not know them: prompt=question,solution=answer (roles: prompt, input, system, messages, solution, answer, expert, teachers, text, id).
    columns: Vec<String> = Vec::new();
    /// A prompt with more tokens is dropped and counted.
    max_prompt_length: Option<usize> = None, "data.max_prompt_length";
    /// Tokens of a completion at most: sampled ones end there, longer demonstrations follow `truncation_mode`.
    max_completion_length: Option<usize> = None, "data.max_response_length", "max_new_tokens";
    /// Tokens of prompt and completion together at most; absent: what the model takes.
    max_length: Option<usize> = None;
    /// Demonstrations beyond the limit: drop them, or keep_start.
    truncation_mode: String = "drop".into();
    /// Chat template file instead of the model's own.
    chat_template_path: Option<String> = None;
    /// How prompts are presented: auto, chat or verbatim.
    presentation: String = "auto".into();
    /// How completions become text: template or verbatim.
    rendering: String = "template".into();
    /// System message for conversations without one.
    system_prompt: Option<String> = None;
    /// Text appended to each question.
    instruction_suffix: Option<String> = None;
    /// Learn all assistant turns of a conversation, not only the last.
    all_turns: bool = false;
    /// Remove GSM8K's calculator annotations from solutions.
    strip_calculator: bool = false;
    /// A row that cannot be read: error, or drop and count it.
    bad_rows: String = "error".into();

    ["Batch and length of the run"]
    /// Prompts of a step (verl's meaning); absent: from the two settings below, else the method's.
    train_batch_size: Option<usize> = None, "prompts_per_step", "data.train_batch_size";
    /// Rows of a pass: demonstrations, or completions where the policy samples (TRL's meaning).
    per_device_train_batch_size: Option<usize> = None;
    /// Passes that make one update (TRL's meaning); the loss is divided once, over all of them.
    gradient_accumulation_steps: Option<usize> = None;
    /// Optimizer updates that a step's prompts are split into.
    updates_per_batch: Option<usize> = None;
    /// Prompts of an update, instead of `updates_per_batch`.
    mini_batch_size: Option<usize> = None, "actor_rollout_ref.actor.ppo_mini_batch_size";
    /// Passes over the same rollouts (TRL's mu).
    num_iterations: usize = 1, "actor_rollout_ref.actor.ppo_epochs";
    /// Tokens computed in one pass at most; a longer row raises it. Only memory and time depend on it.
    tokens_per_pass: usize = 4096, "actor_rollout_ref.actor.ppo_max_token_len_per_gpu";
    /// Passes over the data, if `max_steps` is not given.
    num_train_epochs: f64 = 1.0, "trainer.total_epochs";
    /// Steps in all; -1: by epochs.
    max_steps: i64 = -1, "trainer.total_training_steps";
    /// Save and stop after this step, to be resumed later; 0 for none.
    stop_after_steps: u64 = 0;
    /// Seed of everything that is random.
    seed: u64 = 42;
    /// Seed of the order of rows, if another.
    data_seed: Option<u64> = None;
    /// Visit rows in random order.
    shuffle_dataset: bool = true, "data.shuffle";

    ["Group"]
    /// Expert completions of a group; absent: the method's.
    num_experts: Option<usize> = None;
    /// Teacher completions of a group; absent: the method's.
    num_teachers: Option<usize> = None, "teacher_count", "data.teacher_count";
    /// Completions of a group that the policy samples; absent: the method's.
    num_generations: Option<usize> = None, "actor_rollout_ref.rollout.n";
    /// Sampling temperature; the log-probabilities of training use it too.
    temperature: f64 = 1.0, "actor_rollout_ref.rollout.temperature";
    /// Nucleus sampling.
    top_p: f64 = 1.0, "actor_rollout_ref.rollout.top_p";
    /// Only the most likely tokens; 0 or -1 for all.
    top_k: i64 = 0, "actor_rollout_ref.rollout.top_k";
    /// Only tokens at least this fraction as likely as the likeliest.
    min_p: f64 = 0.0;
    /// Penalty on tokens seen before.
    repetition_penalty: f64 = 1.0;
    /// Sequences sampled together at most.
    generation_batch_size: usize = 64;
    /// Replace groups whose rewards do not vary by further ones (DAPO); absent: the method's.
    dynamic_sampling: Option<bool> = None, "algorithm.filter_groups.enable";
    /// Rounds of dynamic sampling at most.
    max_sampling_rounds: usize = 10, "algorithm.filter_groups.max_num_gen_batches";

    ["Reward"]
    /// Rewards of a completion: verifier, reasoning_accuracy, format, think_format, soft_overlong, cosine, repetition, `file.py:function`, `cmd:program arguments`, `http://host:port/path`.
    reward_funcs: Vec<String> = vec!["verifier".into()];
    /// Their weights; absent: 1 each.
    reward_weights: Vec<f64> = Vec::new();
    /// Seconds for one completion of a function or program (absent: 10; TRL's form has them for all of a prompt together) or one request to a server (absent: 180).
    reward_time_limit: Option<f64> = None;
    /// Times that a completion or request is tried when the program dies or the server fails; absent: 3, servers 5.
    reward_tries: Option<usize> = None;
    /// Processes side by side of each reward function or program.
    reward_workers: usize = 1;
    /// Share of a step's completions that a reward may fail on (they are left out); above it the run stops. 1: never.
    max_reward_error_frac: f64 = 0.1;
    /// Let the verifier fall back on the last number of a completion.
    last_number: bool = false;
    /// Reward of expert rows: verify, or one.
    expert_reward: String = "verify".into();
    /// When the verifier rejects the expert: keep, drop-row or drop-group.
    rejected_expert: String = "keep".into();
    /// Tokens below the maximum length where soft_overlong begins.
    overlong_buffer: usize = 0, "reward_model.overlong_buffer.len", "soft_punish_cache";
    /// cosine: value of a wrong answer without length.
    cosine_min_value_wrong: f64 = -1.0;
    /// cosine: value of a wrong answer of full length.
    cosine_max_value_wrong: f64 = -0.5;
    /// cosine: value of a right answer of full length.
    cosine_min_value_correct: f64 = 0.5;
    /// cosine: value of a right answer without length.
    cosine_max_value_correct: f64 = 1.0;
    /// cosine: full length in tokens; absent: max_completion_length.
    cosine_max_len: Option<usize> = None;
    /// repetition: words of an n-gram.
    repetition_n_grams: usize = 3;
    /// repetition: reward where everything is repeated.
    repetition_max_penalty: f64 = -1.0;

    ["Objective (absent: the method's)"]
    /// DCR's threshold tau.
    tau: Option<f64> = None, "tao", "actor_rollout_ref.actor.policy_loss.tao";
    /// Which side of p = tau is rectified: below or at-or-below.
    tau_boundary: Option<String> = None;
    /// Rule of expert and teacher rows: plain, dft, dcr, smooth-dcr, luffy, chord, psft.
    demonstration_rule: Option<String> = None;
    /// Rule of the policy's own rows: dcr, plain, ratio, ratio-clip, cispo.
    policy_rule: Option<String> = None;
    /// Lower half-width of the ratio's clip.
    epsilon: Option<f64> = None, "actor_rollout_ref.actor.clip_ratio", "actor_rollout_ref.actor.clip_ratio_low";
    /// Upper half-width of the ratio's clip; absent: epsilon's.
    epsilon_high: Option<f64> = None, "actor_rollout_ref.actor.clip_ratio_high";
    /// Dual clip: bound of the ratio where A < 0.
    delta: Option<f64> = None, "actor_rollout_ref.actor.clip_ratio_c";
    /// What is subtracted from a reward: mixed, on-policy, per-source, leave-one-out or none.
    baseline: Option<String> = None;
    /// What the difference is divided by: std of the group (TRL: group), batch-std (TRL: batch) or none.
    scale_rewards: Option<String> = None;
    /// Delta degrees of freedom of the standard deviation: 1 or 0.
    ddof: Option<u64> = None;
    /// Added to the standard deviation.
    advantage_eps: Option<f64> = None;
    /// A row alone in its group: zero or reward.
    singleton: Option<String> = None;
    /// Advantages used on expert rows: both, positive or negative.
    expert_signs: Option<String> = None;
    /// Advantages used on teacher rows: both, positive or negative.
    teacher_signs: Option<String> = None;
    /// Advantages used on own rows: both, positive or negative.
    policy_signs: Option<String> = None;
    /// What the loss is divided by: token-mean, seq-mean-token-mean, seq-mean-token-sum, fixed-length ...
    normaliser: Option<String> = None, "normalise", "loss_type", "loss_agg_mode", "actor_rollout_ref.actor.loss_agg_mode";
    /// Which rows the denominator counts: all or active.
    denominator: Option<String> = None;
    /// Weight of the KL penalty on own rows.
    beta: Option<f64> = None, "actor_rollout_ref.actor.kl_loss_coef";
    /// Estimator of the KL penalty: k1, k2, k3 or low-var-kl.
    kl_estimator: Option<String> = None, "actor_rollout_ref.actor.kl_loss_type";
    /// Weight of KL(p_ref || p) over the vocabulary on every row (ASFT's lambda).
    reference_kl: Option<f64> = None;
    /// Weight of the entropy bonus on own rows.
    entropy_coef: Option<f64> = None, "actor_rollout_ref.actor.entropy_coeff";
    /// Leave the tokens of truncated own completions out of the loss (DAPO's overlong filtering).
    mask_truncated_completions: bool = false;
    /// Measure the entropy of the rows that are trained on (costs little).
    log_entropy: bool = true;

    ["Optimizer"]
    /// Peak learning rate; absent: the method's.
    learning_rate: Option<f64> = None, "lr", "actor_rollout_ref.actor.optim.lr";
    /// Schedule: constant, constant_with_warmup, linear, cosine or cosine_with_min_lr.
    lr_scheduler_type: Option<String> = None;
    /// Last factor of cosine_with_min_lr.
    min_lr_rate: f64 = 0.1, "lr_scheduler_kwargs.min_lr_rate";
    /// Updates of warm-up.
    warmup_steps: u64 = 0, "actor_rollout_ref.actor.optim.lr_warmup_steps";
    /// Share of all updates that is warm-up, if `warmup_steps` is 0.
    warmup_ratio: f64 = 0.0, "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio";
    /// Decoupled weight decay of matrices.
    weight_decay: Option<f64> = None, "actor_rollout_ref.actor.optim.weight_decay";
    /// Decay of AdamW's first moment.
    adam_beta1: f64 = 0.9;
    /// Decay of AdamW's second moment.
    adam_beta2: f64 = 0.999;
    /// Added to the root of AdamW's second moment.
    adam_epsilon: f64 = 1e-8;
    /// Gradients are scaled down to this norm; 0 switches clipping off.
    max_grad_norm: f64 = 1.0, "actor_rollout_ref.actor.grad_clip";
    /// Compute each layer twice instead of keeping its activations.
    gradient_checkpointing: bool = false, "actor_rollout_ref.model.enable_gradient_checkpointing";
    /// Refused updates in a row after which the run stops.
    guard_abort_after: u32 = 10;
    /// Refuse updates this many standard deviations above the last ones; 0 for none.
    guard_spike_z: f64 = 0.0;

    ["Logging, evaluation, checkpoints"]
    /// Steps between lines on the console; metrics.jsonl has every step.
    logging_steps: u64 = 10;
    /// Where numbers go beside metrics.jsonl: tensorboard or none.
    report_to: Vec<String> = vec!["tensorboard".into()], "trainer.logger";
    /// Steps between files of completions; 0 for none.
    completions_steps: u64 = 10, "log_completions_steps";
    /// Write each token's id, log-probability and coefficient into those files, for `gft report`.
    completions_tokens: bool = true;
    /// Show completions on the console as often as they are written.
    log_completions: bool = false;
    /// Completions shown at a time; absent: those of one group.
    num_completions_to_print: Option<usize> = None;
    /// Steps between evaluations; 0: only at the end.
    eval_steps: u64 = 0, "trainer.test_freq";
    /// Evaluate before the first step.
    eval_on_start: bool = false, "trainer.val_before_train";
    /// Rows of an evaluation at most.
    eval_rows: usize = 256;
    /// Completions per row in an evaluation.
    num_generations_eval: usize = 1;
    /// Temperature of an evaluation; 0 is greedy.
    eval_temperature: f64 = 0.0;
    /// Steps between checkpoints; 0: only at the end.
    save_steps: u64 = 500, "trainer.save_freq";
    /// Checkpoints that are kept.
    save_total_limit: usize = 3, "trainer.max_actor_ckpt_to_keep";
}

/// Settings of a run as a whole: a stage cannot have its own.
pub const RUN_KEYS: &[&str] = &[
    "model_name_or_path",
    "output_dir",
    "run_name",
    "save_dtype",
    "use_peft",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "use_rslora",
    "seed",
    "stop_after_steps",
    "logging_steps",
    "report_to",
    "save_steps",
    "save_total_limit",
];
