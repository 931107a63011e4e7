//! Names that TRL, transformers, LLaMA-Factory and verl have for what is no setting here, and what there is instead.
//!
//! Names that mean the same as a setting are its aliases in `settings.rs`; here stands what would otherwise be answered
//! with the nearest spelling, which is a setting of another meaning.

/// Names (with `_`) and what is said of them.
const FOREIGN: &[(&[&str], &str)] = &[
    (
        &["bf16", "fp16", "tf32", "half_precision_backend", "bf16_full_eval", "fp16_full_eval", "pure_bf16"],
        "`--precision bf16` on the command line rounds the operands of products to bf16; weights of 16 bits are read as they \
         lie on disk and trained in f32, and save_dtype says how they are saved",
    ),
    (
        &["torch_dtype", "dtype", "model_dtype"],
        "the model folder says its dtype, training is in f32; save_dtype says how weights are saved",
    ),
    (
        &["packing", "packing_strategy", "padding_free", "eval_packing", "group_by_length", "neat_packing"],
        "rows are always packed without padding and never see each other; tokens_per_pass bounds a pass",
    ),
    (
        &[
            "deepspeed",
            "fsdp",
            "fsdp_config",
            "accelerator_config",
            "ddp_timeout",
            "ddp_backend",
            "local_rank",
        ],
        "one process trains, so nothing is split over several; use_peft and gradient_checkpointing save memory",
    ),
    (
        &["trainer.n_gpus_per_node", "trainer.nnodes", "num_processes", "actor_rollout_ref.actor.strategy"],
        "one process trains, so there is nothing to count",
    ),
    (
        &[
            "use_vllm",
            "vllm_mode",
            "vllm_server_host",
            "vllm_server_port",
            "vllm_server_base_url",
            "vllm_server_timeout",
            "vllm_gpu_memory_utilization",
            "vllm_tensor_parallel_size",
            "vllm_enable_sleep_mode",
            "actor_rollout_ref.rollout.name",
            "actor_rollout_ref.rollout.gpu_memory_utilization",
            "actor_rollout_ref.rollout.tensor_model_parallel_size",
            "infer_backend",
        ],
        "the policy samples in the training process, with the weights that it has, so no server is needed; \
         generation_batch_size bounds the sequences sampled together",
    ),
    (
        &[
            "attn_implementation",
            "flash_attn",
            "use_liger_kernel",
            "torch_compile",
            "use_unsloth",
            "use_cache",
        ],
        "there is one implementation, so nothing is to be chosen; logits are never stored whole",
    ),
    (
        &["load_in_4bit", "load_in_8bit", "quantization_bit", "use_bnb_nested_quant", "bnb_4bit_quant_type"],
        "quantised bases are not read; with use_peft the base is kept in the 16 bits that it has on disk",
    ),
    (&["use_dora", "lora_bias", "lora_modules_to_save"], "adapters are LoRA and rsLoRA (use_rslora) alone"),
    (
        &["lora_target"],
        "the setting is lora_target_modules; LLaMA-Factory's `all` is all-linear, the default",
    ),
    (&["finetuning_type"], "LLaMA-Factory's `lora` is use_peft = true, its `full` the default"),
    (
        &["stage"],
        "LLaMA-Factory's stage is the method: method = \"sft\"; stages after each other are [[stages]] of a file",
    ),
    (&["template"], "the model folder's chat template is used; chat_template_path names another file"),
    (
        &["cutoff_len", "max_seq_length", "model_max_length"],
        "the setting is max_length; longer demonstrations are dropped and counted, or with truncation_mode = \"keep_start\" cut",
    ),
    (
        &["optim", "optimizer", "optim_args"],
        "the optimizer is AdamW with moments in f32: adam_beta1, adam_beta2, adam_epsilon",
    ),
    (
        &["evaluation_strategy", "eval_strategy", "do_eval", "do_train", "do_predict"],
        "eval_dataset is evaluated at the end, and with eval_steps = N every N steps",
    ),
    (
        &["save_strategy", "save_only_model", "save_safetensors", "save_on_each_node"],
        "checkpoints are whole and made every save_steps steps and at the end",
    ),
    (
        &["logging_strategy", "logging_first_step", "logging_dir"],
        "metrics.jsonl in the run's folder has every step; logging_steps is for the console",
    ),
    (
        &["load_best_model_at_end", "metric_for_best_model", "greater_is_better", "early_stopping_patience"],
        "the last model is kept; checkpoints within save_total_limit stay loadable, and metrics.jsonl has their evaluations",
    ),
    (
        &["per_device_eval_batch_size", "eval_batch_size"],
        "generation_batch_size bounds the sequences sampled together; results do not depend on it",
    ),
    (&["eval_accumulation_steps"], "evaluation keeps no logits, so there is nothing to accumulate"),
    (
        &["resume_from_checkpoint", "trainer.resume_mode", "trainer.resume_from_path"],
        "a run goes on by a flag: gft train ... --resume [CHECKPOINT]",
    ),
    (
        &["overwrite_output_dir"],
        "a folder with a run is never written over: choose another output_dir, or go on with --resume",
    ),
    (
        &[
            "push_to_hub",
            "hub_model_id",
            "hub_token",
            "hub_strategy",
            "hub_private_repo",
            "trust_remote_code",
            "token",
        ],
        "nothing is sent or fetched, and no code of a model folder is run",
    ),
    (
        &["model_revision", "cache_dir", "dataset_config", "dataset_dir", "dataset_streaming"],
        "models and data are local folders and files: model_name_or_path, dataset_name",
    ),
    (
        &["dataset_train_split", "dataset_test_split", "split"],
        "of a folder with splits `train` is read to train and `test` to evaluate; files are read as named",
    ),
    (
        &["dataset_text_field", "prompt_key", "data.prompt_key", "response_key"],
        "columns are detected; columns = \"prompt=NAME,solution=NAME\" names others",
    ),
    (
        &["completion_only_loss", "assistant_only_loss", "train_on_prompt", "mask_history"],
        "the last completion alone is learned; all_turns = true learns all turns of the assistant",
    ),
    (
        &[
            "dataset_num_proc",
            "dataloader_num_workers",
            "dataloader_pin_memory",
            "preprocessing_num_workers",
            "overwrite_cache",
            "remove_unused_columns",
        ],
        "rows are read by all threads (--threads); columns without a role are kept for reward functions",
    ),
    (
        &["max_samples", "max_train_samples"],
        "all rows are read; max_steps or num_train_epochs say how many are visited, `head -n` makes a smaller file",
    ),
    (&["val_size"], "rows to evaluate on are files of their own: eval_dataset"),
    (
        &["gradient_checkpointing_kwargs"],
        "gradient_checkpointing has no options: it changes memory and time, never a bit of the result",
    ),
    (
        &["neftune_noise_alpha", "label_smoothing_factor"],
        "there is no such term in the loss; `gft plan` lists what can be changed of it",
    ),
    (
        &["sync_ref_model", "ref_model_sync_steps", "ref_model_mixup_alpha", "ref_model"],
        "a KL term refers to the weights at the stage's start; without one no reference is kept",
    ),
    (&["steps_per_generation"], "updates_per_batch says how many updates a step's rollouts are split into"),
    (
        &["importance_sampling_level"],
        "the method says it (gspo has ratios of sequences); policy_rule changes the rule of own rows",
    ),
    (
        &["reward_model_path", "reward_model.path", "reward_model.enable"],
        "a reward model is a server or program: reward_funcs = \"http://host:port/path\" or \"cmd:program\"",
    ),
    (
        &["wandb_project", "run_project", "trainer.project_name", "swanlab_project", "use_swanlab"],
        "report_to knows tensorboard and none; trackers import TensorBoard's event files",
    ),
    (&["disable_tqdm", "log_level", "plot_loss"], "--quiet says less; `gft report RUN` draws the curves"),
];

/// What is said of a name of another trainer that no setting has; `name` is written with `_`.
pub fn instead_of(name: &str) -> Option<&'static str> {
    FOREIGN.iter().find(|(names, _)| names.contains(&name)).map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{KEYS, find_key};
    use crate::error::ConfigError;

    #[test]
    fn no_foreign_name_is_a_setting_or_twice_there() {
        let mut seen = BTreeSet::new();
        for name in FOREIGN.iter().flat_map(|(names, _)| *names) {
            assert!(seen.insert(name), "{name} twice");
            assert!(!name.contains('-'), "{name}");
            assert!(KEYS.iter().all(|key| key.name != *name && !key.aliases.contains(name)), "{name}");
            assert!(matches!(find_key(&name.replace('_', "-")), Err(ConfigError::Foreign { .. })), "{name}");
        }
    }

    /// What is said instead names settings that exist.
    #[test]
    fn the_settings_that_are_named_exist() {
        for (names, text) in FOREIGN {
            for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
                // A word with an underscore is a setting, or a value of one.
                if word.contains('_') && !["keep_start"].contains(&word) {
                    assert!(find_key(word).is_ok(), "{names:?}: {word}");
                }
            }
        }
    }
}
