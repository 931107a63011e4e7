//! Memory of a device of its own: what a run holds there all the time, what an update and sampling take in turn, and which
//! setting makes a run fit that does not.

use std::fmt;

use gft_model::device::{DeviceMemory, HalfFormat};
use gft_model::footprint::{Footprint, PassSize, SamplingSize};
use gft_model::policy::Keep;
use gft_model::{Adapter, Cpu, Dtype, ModelFolder};
use gft_report::bytes;
use serde::Serialize;

use crate::adapters;
use crate::error::{Error, Result};
use crate::memory::{drawn, longest_own, memory_of, tokens_of_a_pass};
use crate::setup::StagePlan;

/// The predicted memory of a device, in bytes by part.
#[derive(Debug, Clone, Serialize)]
pub struct DevicePlan {
    /// The device, as its errors name it.
    pub device: String,
    /// Bytes that are free and bytes in all; `None` where the device is not there.
    pub room: Option<(u64, u64)>,
    /// What is there all the time.
    pub held: Vec<(String, u64)>,
    /// What an update has beside that at its largest.
    pub update: Vec<(String, u64)>,
    /// What sampling has beside that at its largest; it and the update take turns.
    pub sampling: Vec<(String, u64)>,
}

fn sum(parts: &[(String, u64)]) -> u64 {
    parts.iter().map(|(_, bytes)| bytes).sum()
}

impl DevicePlan {
    /// The peak: what is held and the larger of what takes turns.
    pub fn peak(&self) -> u64 {
        sum(&self.held) + sum(&self.update).max(sum(&self.sampling))
    }
}

impl fmt::Display for DevicePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let room = match self.room {
            Some((free, total)) if free < total => format!(" of {}, {} free", bytes(total), bytes(free)),
            Some((_, total)) => format!(" of {}", bytes(total)),
            None => ", which is not there".to_owned(),
        };
        writeln!(f, "Memory of {} (predicted peak)  {}{room}", self.device, bytes(self.peak()))?;
        if self.room.is_some_and(|(free, _)| self.peak() > free) {
            writeln!(
                f,
                "  That is more than is free: gft train refuses such a run, and says what would make it fit"
            )?;
        }
        let groups = [("", &self.held), ("update: ", &self.update), ("or sampling: ", &self.sampling)];
        for (when, parts) in groups {
            for (part, count) in parts {
                writeln!(f, "  {:<46} {}", format!("{when}{part}"), bytes(*count))?;
            }
        }
        Ok(())
    }
}

/// A stage on a device.
struct OnDevice<'a> {
    planned: &'a StagePlan,
    print: Footprint<'a>,
    memory: &'a DeviceMemory,
}

/// The settings that a refusal may ask to change.
#[derive(Clone, Copy)]
struct Sizes {
    tokens_per_pass: usize,
    gradient_checkpointing: bool,
    generation_batch_size: usize,
}

impl OnDevice<'_> {
    fn sizes(&self) -> Sizes {
        let settings = &self.planned.settings;
        Sizes {
            tokens_per_pass: settings.tokens_per_pass,
            gradient_checkpointing: settings.gradient_checkpointing,
            generation_batch_size: settings.generation_batch_size,
        }
    }

    fn held(&self) -> Vec<(String, u64)> {
        let (print, trained) = (self.print, 4 * self.print.trained());
        let masters =
            if print.adapters.is_some() { "weights" } else { "weights (f32, the optimizer's masters)" };
        let mut parts = vec![(masters, print.weights())];
        if print.adapters.is_some() {
            parts.push(("adapters", trained));
        }
        parts.push(("weights rounded to bf16", print.rounded_weights()));
        parts.extend([("gradients", trained), ("optimizer moments", 2 * trained)]);
        if self.planned.needs_reference() && print.adapters.is_none() {
            parts.push(("reference weights", print.weights() + print.rounded_weights()));
        }
        parts.push(("libraries", print.formats.libraries));
        named(parts)
    }

    fn update(&self, sizes: Sizes) -> Vec<(String, u64)> {
        let tokens = tokens_of_a_pass(self.planned, sizes.tokens_per_pass) as usize;
        let keep = if sizes.gradient_checkpointing { Keep::LayerInputs } else { Keep::Activations };
        // Any token of a pass may predict a target, and any prompt may have several responses.
        let reference = self.planned.method.reference_kl != 0.0;
        let found = self.print.update(PassSize { tokens, rows: tokens, keep, reference, trees: true });
        named(vec![("activations", found.activations), ("logits and workspace", found.workspace)])
    }

    fn sampling(&self, sizes: Sizes) -> Vec<(String, u64)> {
        let drawn = drawn(self.planned);
        let sequences = sizes.generation_batch_size.min(drawn);
        if sequences == 0 {
            return Vec::new();
        }
        let own = self.planned.composition.own.max(1);
        let size = SamplingSize {
            sequences,
            // A batch may begin and end within a prompt's samples.
            prompts: (sequences.div_ceil(own) + 1).min(drawn.div_ceil(own)),
            prompt: self.planned.rows.survey().longest_prompt,
            completion: longest_own(self.planned),
        };
        let found = self.print.sampling(size);
        named(vec![
            ("arranged weights", found.arranged),
            ("key-value cache", found.cache),
            ("logits and workspace", found.workspace),
        ])
    }

    fn plan(&self) -> DevicePlan {
        let sizes = self.sizes();
        let DeviceMemory { device, room, .. } = self.memory;
        let (held, update, sampling) = (self.held(), self.update(sizes), self.sampling(sizes));
        DevicePlan { device: device.clone(), room: *room, held, update, sampling }
    }

    /// What to change so that no more than `free` bytes are needed.
    fn advice(&self, free: u64) -> String {
        let Some(left) = free.checked_sub(sum(&self.held())) else {
            let held = bytes(sum(&self.held()));
            return if self.print.adapters.is_some() {
                format!("weights and adapters alone take {held}: a smaller model, or a card with more memory")
            } else {
                format!(
                    "weights, gradients and moments alone take {held}: set use_peft = true to train adapters"
                )
            };
        };
        let sizes = self.sizes();
        let mut changes = Vec::new();
        if sum(&self.update(sizes)) > left {
            changes.push(self.smaller_update(sizes, left));
        }
        if sum(&self.sampling(sizes)) > left {
            let fits = |n| sum(&self.sampling(Sizes { generation_batch_size: n, ..sizes })) <= left;
            changes.push(match largest(sizes.generation_batch_size, fits) {
                Some(n) => format!("lower generation_batch_size from {} to {n}", sizes.generation_batch_size),
                None => "lower max_completion_length, or leave out long prompts (max_length)".to_owned(),
            });
        }
        changes.join(", and ")
    }

    fn smaller_update(&self, sizes: Sizes, left: u64) -> String {
        let needed = |tokens_per_pass, gradient_checkpointing| {
            sum(&self.update(Sizes { tokens_per_pass, gradient_checkpointing, ..sizes }))
        };
        if !sizes.gradient_checkpointing && needed(sizes.tokens_per_pass, true) <= left {
            return "set gradient_checkpointing = true".to_owned();
        }
        let (given, checkpointing) = (sizes.tokens_per_pass, sizes.gradient_checkpointing);
        if let Some(n) = largest(given, |n| needed(n, checkpointing) <= left) {
            return format!("lower tokens_per_pass from {given} to {n}");
        }
        if let Some(n) = largest(given, |n| needed(n, true) <= left) {
            return format!(
                "set gradient_checkpointing = true and lower tokens_per_pass from {given} to {n}"
            );
        }
        "set gradient_checkpointing = true and leave out long rows (max_length, max_completion_length)"
            .to_owned()
    }
}

fn named(parts: Vec<(&str, u64)>) -> Vec<(String, u64)> {
    parts.into_iter().filter(|(_, bytes)| *bytes > 0).map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// The largest number from 1 to `most` that fits, where all below one that fits do.
fn largest(most: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut low, mut high) = (0, most + 1);
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if fits(middle) { low = middle } else { high = middle }
    }
    (low > 0).then_some(low)
}

fn on_device<'a>(
    planned: &'a StagePlan,
    folder: &'a ModelFolder,
    memory: &'a DeviceMemory,
) -> Result<OnDevice<'a>> {
    let arch = folder.architecture();
    let adapters = adapters::of_run(&planned.settings, folder)?;
    let half = match (&adapters, folder.weights_dtype()?) {
        (Some(_), Dtype::Bf16) => Some(HalfFormat::Bf16),
        (Some(_), Dtype::F16) => Some(HalfFormat::F16),
        _ => None,
    };
    let adapters = match &adapters {
        // Queries, keys and values are one product.
        Some(config) => Some((Adapter::<Cpu>::len_of(arch, config)? as u64, 3 * config.r)),
        None => None,
    };
    Ok(OnDevice { planned, memory, print: Footprint { arch, formats: memory.formats, half, adapters } })
}

/// What a stage takes of a device.
///
/// # Errors
/// Adapters that do not fit the model, weights that cannot be opened.
pub(crate) fn device_plan(
    planned: &StagePlan,
    folder: &ModelFolder,
    memory: &DeviceMemory,
) -> Result<DevicePlan> {
    Ok(on_device(planned, folder, memory)?.plan())
}

/// The predicted peak of a stage in bytes: of the device where it has memory of its own, else of the host.
///
/// # Errors
/// [`Error::Memory`] with what to change, where that is more of the device than is free; as [`device_plan`].
pub(crate) fn peak_that_fits(
    planned: &StagePlan,
    folder: &ModelFolder,
    memory: Option<&DeviceMemory>,
) -> Result<u64> {
    let Some(memory) = memory else {
        return Ok(sum(&memory_of(planned, folder)?));
    };
    let stage = on_device(planned, folder, memory)?;
    let needed = stage.plan().peak();
    match memory.room {
        Some((free, _)) if needed > free => {
            Err(Error::Memory { device: memory.device.clone(), needed, free, advice: stage.advice(free) })
        }
        _ => Ok(needed),
    }
}

#[cfg(test)]
#[path = "../../gft/tests/world/model.rs"]
mod model;

#[cfg(test)]
mod tests {
    use gft_model::device::MemoryFormats;
    use tempfile::TempDir;

    use super::*;
    use crate::config::load;
    use crate::setup::encoder;

    /// A stage of a small model with these flags.
    fn stage(flags: &[(&str, &str)]) -> (TempDir, ModelFolder, StagePlan) {
        let root = tempfile::tempdir().unwrap();
        let size =
            model::Size { hidden: 64, layers: 2, vocab: 400, positions: 1024, dtype: Dtype::F32, tied: true };
        model::make_model(root.path(), &model::texts(), size, 1);
        let (dir, data) = (root.path().display().to_string(), model::gsm8k().display().to_string());
        let mut all = vec![("method", "gft"), ("model", &*dir), ("data", &*data), ("max-steps", "4")];
        all.extend([
            ("truncation-mode", "keep_start"),
            ("train-batch-size", "8"),
            ("tokens-per-pass", "4000"),
        ]);
        all.extend(flags);
        let settings = load(None, all).unwrap().stages[0].settings.clone();
        let folder = ModelFolder::open(root.path()).unwrap();
        let encoder = encoder(root.path(), &settings, folder.architecture()).unwrap();
        let planned = StagePlan::new(&settings, encoder, &mut |_, _| {}).unwrap();
        (root, folder, planned)
    }

    fn card(free: u64) -> DeviceMemory {
        let formats = MemoryFormats {
            rounds: true,
            activation: 2,
            attention: &[64, 128],
            cached: 2,
            logits_at_once: 1 << 27,
            fixed_rows: 256,
            widened: 1 << 24,
            libraries: 0,
        };
        DeviceMemory { device: "cuda:0".into(), formats, room: Some((free, 1 << 40)) }
    }

    fn advice(flags: &[(&str, &str)], free: impl Fn(&DevicePlan) -> u64) -> String {
        let (_root, folder, planned) = stage(flags);
        let free = free(&device_plan(&planned, &folder, &card(0)).unwrap());
        match peak_that_fits(&planned, &folder, Some(&card(free))) {
            Err(Error::Memory { advice, needed, .. }) if needed > free => advice,
            other => panic!("{other:?}"),
        }
    }

    /// Follows the advice of a refusal until the stage fits; every step changes one setting to a value that is said.
    fn follow(mut flags: Vec<(&'static str, String)>, free: u64) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            let given: Vec<(&str, &str)> = flags.iter().map(|(name, value)| (*name, &**value)).collect();
            let (_root, folder, planned) = stage(&given);
            let Err(error) = peak_that_fits(&planned, &folder, Some(&card(free))) else { return said };
            let Error::Memory { advice, .. } = error else { panic!("{error}") };
            assert!(said.len() < 3, "{said:?}");
            for (name, change) in [
                ("gradient-checkpointing", "set gradient_checkpointing = "),
                ("tokens-per-pass", "lower tokens_per_pass from "),
                ("generation-batch-size", "lower generation_batch_size from "),
            ] {
                if let Some((_, rest)) = advice.split_once(change) {
                    let words = rest.split([',', ' ']).take(3).collect::<Vec<_>>();
                    let value = if words[0] == "true" { words[0] } else { words[2] };
                    flags.retain(|(known, _)| *known != name);
                    flags.push((name, value.to_owned()));
                }
            }
            said.push(advice);
        }
    }

    #[test]
    fn a_stage_that_fits_is_not_refused_and_one_byte_less_is() {
        let (_root, folder, planned) = stage(&[]);
        let plan = device_plan(&planned, &folder, &card(0)).unwrap();
        let fits = |free| peak_that_fits(&planned, &folder, Some(&card(free)));
        assert_eq!(fits(plan.peak()).unwrap(), plan.peak());
        assert!(fits(plan.peak() - 1).is_err());
        // A card that is not there refuses nothing.
        let nowhere = DeviceMemory { room: None, ..card(0) };
        assert_eq!(peak_that_fits(&planned, &folder, Some(&nowhere)).unwrap(), plan.peak());
        let parameters = gft_model::layout::Layout::new(folder.architecture()).len as u64;
        assert_eq!(sum(&plan.held), (4 + 2 + 4 + 8) * parameters, "{:?}", plan.held);
    }

    #[test]
    fn a_refusal_says_what_makes_the_stage_fit() {
        let (_root, folder, planned) = stage(&[]);
        let plan = device_plan(&planned, &folder, &card(0)).unwrap();
        let held = sum(&plan.held);
        let said = follow(Vec::new(), held + sum(&plan.update) * 9 / 10);
        assert_eq!(said, ["set gradient_checkpointing = true"]);
        let said = follow(Vec::new(), held + sum(&plan.update) / 2);
        assert!(said.len() == 1 && said[0].contains("tokens_per_pass"), "{said:?}");
        // Sampling is the larger where a pass is small.
        let small = ("tokens-per-pass", "600".to_owned());
        let said =
            follow(vec![small, ("max-completion-length", "900".into())], held + sum(&plan.sampling) / 2);
        assert!(said.iter().any(|advice| advice.contains("generation_batch_size")), "{said:?}");
    }

    #[test]
    fn what_no_size_makes_fit_is_said_to_be_the_weights() {
        let full = advice(&[], |plan| sum(&plan.held) - 1);
        assert!(full.contains("use_peft = true") && full.contains("alone"), "{full}");
        let adapters = advice(&[("use-peft", "true")], |plan| sum(&plan.held) / 2);
        assert!(adapters.contains("smaller model"), "{adapters}");
    }

    #[test]
    fn the_largest_that_fits_is_found() {
        for bound in 0..20 {
            assert_eq!(largest(12, |n| n <= bound), (bound > 0).then_some(bound.min(12)));
        }
    }
}
