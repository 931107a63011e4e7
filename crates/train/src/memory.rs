//! Memory: the peak that a run is predicted to reach, by part, and the one that the process has reached.
//!
//! The prediction counts the buffers that exist at the same time. `bench/plan_memory.py` holds it against measured peaks.

use gft_model::architecture::Architecture;
use gft_model::layout::Layout;
use gft_model::{Adapter, Cpu, ModelFolder};

use crate::adapters;
use crate::error::Result;
use crate::setup::StagePlan;

/// Bytes of one number.
const F32: u64 = 4;
/// Program, libraries and the small buffers of a pass: what a run of a model of 100 kB takes.
const PROGRAM: u64 = 30_000_000;
/// Bytes that a byte of a file of rows takes as parsed JSON with its texts.
const PER_DATA_BYTE: u64 = 3;

/// The parts of a stage's predicted peak in bytes.
///
/// # Errors
/// Adapters that do not fit the model, weights that cannot be opened.
pub(crate) fn memory_of(planned: &StagePlan, folder: &ModelFolder) -> Result<Vec<(String, u64)>> {
    let arch = folder.architecture();
    let parameters = Layout::new(arch).len as u64;
    let adapters = adapters::of_run(&planned.settings, folder)?;
    let (trained, bytes) = match &adapters {
        Some(config) => {
            (Adapter::<Cpu>::len_of(arch, config)? as u64, folder.weights_dtype()?.bytes() as u64)
        }
        None => (parameters, F32),
    };
    let mut parts = vec![host_bytes(planned), ("weights".to_owned(), bytes * parameters)];
    if adapters.is_some() {
        parts.push(("adapters".to_owned(), F32 * trained));
    }
    parts.push(("gradients".to_owned(), F32 * trained));
    parts.push(("optimizer moments".to_owned(), 2 * F32 * trained));
    if planned.needs_reference() && adapters.is_none() {
        parts.push(("reference weights".to_owned(), F32 * parameters));
    }
    parts.push(("activations of the update".to_owned(), update_bytes(planned, arch)));
    // Sampling and the update take turns, but the allocator keeps most of what sampling has given back.
    let rollout = rollout_bytes(planned, arch, bytes);
    if rollout > 0 {
        parts.push(("arranged weights and cache of sampling".to_owned(), rollout));
    }
    Ok(parts)
}

/// What the host holds whatever computes.
pub(crate) fn host_bytes(planned: &StagePlan) -> (String, u64) {
    ("program and data".to_owned(), PROGRAM + PER_DATA_BYTE * data_bytes(planned))
}

fn data_bytes(planned: &StagePlan) -> u64 {
    let settings = &planned.settings;
    let paths = settings.dataset_name.iter().chain(&settings.eval_dataset);
    paths.filter_map(|path| std::fs::metadata(path).ok()).map(|file| file.len()).sum()
}

/// Tokens of the longest completion that is drawn.
pub(crate) fn longest_own(planned: &StagePlan) -> usize {
    planned.settings.max_completion_length.unwrap_or(512)
}

/// Tokens of the largest pass: as many as `tokens_per_pass` allows and the update has, but at least the longest row.
pub(crate) fn tokens_of_a_pass(planned: &StagePlan, tokens_per_pass: usize) -> u64 {
    let survey = planned.rows.survey();
    let own = planned.composition.own as u64;
    let longest_own = if own > 0 { longest_own(planned) } else { 0 };
    let row = survey.longest_prompt + survey.longest_demonstration.max(longest_own);
    let rows = survey.usable.max(1);
    let group = (survey.prompt_tokens + survey.demonstration_tokens) / rows + own * longest_own as u64;
    let update = group * planned.prompts_per_step.div_ceil(planned.updates_per_batch) as u64;
    update.min(tokens_per_pass as u64).max(row as u64)
}

/// Forward and backward pass: per token and layer the input, the projections, the attention's output, the residual in
/// the middle, gate and up; then what one layer and the head's chunk of logits need while they are computed.
fn update_bytes(planned: &StagePlan, arch: &Architecture) -> u64 {
    let tokens = tokens_of_a_pass(planned, planned.settings.tokens_per_pass);
    let (hidden, ffn) = (arch.hidden as u64, arch.ffn as u64);
    let projections = arch.qkv_width() as u64 * if arch.qk_norm { 2 } else { 1 };
    let kept = 2 * hidden + projections + (arch.attention_width() + arch.heads + 2) as u64 + 2 * ffn;
    let layers = arch.layers as u64;
    let layers = if planned.settings.gradient_checkpointing { layers * hidden + kept } else { layers * kept };
    // The gradient of a layer's output, the SwiGLU's output and its gradient, a normed input.
    let working = 2 * hidden + 2 * ffn;
    // Inputs of the head and their gradients.
    let head = 4 * hidden;
    F32 * (tokens * (layers + working + head) + chunk_of_logits(arch))
}

/// The head's logits exist for one chunk of rows: 2^21 numbers, but 256 rows at least.
fn chunk_of_logits(arch: &Architecture) -> u64 {
    (1 << 21).max(256 * arch.vocab as u64)
}

/// Completions that are drawn at a time at most: by a step, or by an evaluation.
pub(crate) fn drawn(planned: &StagePlan) -> usize {
    let settings = &planned.settings;
    let evaluated = planned
        .eval
        .as_ref()
        .map_or(0, |rows| (rows.len() as usize).min(settings.eval_rows) * settings.num_generations_eval);
    (planned.prompts_per_step * planned.composition.own).max(evaluated)
}

/// Sampling: the matrices arranged a second time, the keys and values of the sequences that run together, their logits.
fn rollout_bytes(planned: &StagePlan, arch: &Architecture, bytes: u64) -> u64 {
    let settings = &planned.settings;
    let drawn = drawn(planned);
    if drawn == 0 {
        return 0;
    }
    let matrix = |n: usize, k: usize| (n * k) as u64 * bytes;
    let of_layer = matrix(arch.qkv_width(), arch.hidden)
        + matrix(arch.hidden, arch.attention_width())
        + matrix(2 * arch.ffn, arch.hidden)
        + matrix(arch.hidden, arch.ffn);
    let arranged = of_layer * arch.layers as u64 + matrix(arch.vocab, arch.hidden);
    let sequences = settings.generation_batch_size.min(drawn) as u64;
    let length = (planned.rows.survey().longest_prompt + longest_own(planned)) as u64;
    let cache = 2 * (arch.layers * arch.kv_heads * arch.head_dim) as u64 * sequences * length;
    // Of the tokens just run, and of prompts whose samples have not all started.
    let logits = 2 * sequences * arch.vocab as u64;
    arranged + F32 * (cache + logits)
}

/// Largest resident memory of this process so far, in bytes; `None` where the system does not say (`/proc` of Linux).
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
