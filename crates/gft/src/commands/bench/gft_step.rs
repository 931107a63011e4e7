//! A whole step of GFT as `gft train` runs it: sampling, grading, advantages, packed trees, backward, update. What
//! `bench/pytorch/gft_step.py` writes plainly with PyTorch and transformers, at the same shapes; there tokens stand for
//! texts, here tokenizing and the verifier are inside of the time.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use gft_data::{SpecialTokens, Tokenizer, train_bpe, write_tokenizer_folder};
use gft_model::device::Device;
use gft_model::optimizer::AdamW;
use gft_model::random::Stream;
use gft_objective::GuardHistory;
use gft_train::setup::{StagePlan, encoder};
use gft_train::{Phase, Trainer, config};
use serde_json::json;

use super::measure::Figure;
use super::shapes::{Preset, Shape};
use crate::failure::Failure;

/// The paper's group: 1 expert, 3 teachers, 4 own.
const GIVEN: usize = 4;
const OWN: usize = 4;
/// Tokens of the tokenizer; the model's vocabulary may have more.
const VOCABULARY: usize = 4096;

/// Sizes of a step.
pub struct Sizes {
    pub prompts: usize,
    /// Tokens of a prompt.
    pub prompt: usize,
    /// Tokens of an own completion; given ones have from half of it to all of it.
    pub new_tokens: usize,
    pub warmup: usize,
    pub runs: usize,
}

/// Median times of the phases and of the whole.
///
/// # Errors
/// A temporary folder that cannot be written.
pub fn gft_step<D: Device + Clone>(
    device: &D,
    preset: Preset,
    shape: &Shape,
    sizes: &Sizes,
) -> Result<Vec<Figure>, Failure> {
    let dir = tempfile::tempdir().map_err(|error| Failure::Run(format!("temporary folder: {error}")))?;
    let mut trainer = trainer(device, dir.path(), shape, sizes)?;
    let mut times: [Vec<f64>; 3] = Default::default();
    let (mut drawn, mut computed) = (0, 0);
    for run in 0..sizes.warmup + sizes.runs {
        let (mut rollout, mut began) = (0.0, Instant::now());
        let mut phase = |phase: Phase| match phase {
            Phase::Rollout => began = Instant::now(),
            Phase::Statistics => rollout = began.elapsed().as_secs_f64(),
            Phase::Update | Phase::Evaluation => {}
        };
        let whole = Instant::now();
        let report = trainer.step(run as u64, &mut phase, &|| false)?;
        let whole = whole.elapsed().as_secs_f64();
        if run >= sizes.warmup {
            for (times, seconds) in times.iter_mut().zip([rollout, whole - rollout, whole]) {
                times.push(seconds);
            }
            let own = report.groups.iter().flat_map(|group| group.rollouts.iter().skip(GIVEN));
            drawn = own.map(|rollout| rollout.tokens).sum();
            let all = report.groups.iter().flat_map(|group| &group.rollouts);
            computed = all.map(|rollout| rollout.tokens + sizes.prompt).sum();
        }
    }
    let name = format!("gft-step.{}", preset.name());
    let size = format!("[{}x({} + {}x{})]", sizes.prompts, sizes.prompt, GIVEN + OWN, sizes.new_tokens);
    let [rollout, update, whole] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    Ok(vec![
        Figure::new(format!("{name}.rollout {size}"), rollout, sizes.runs).tokens(drawn),
        Figure::new(format!("{name}.update {size}"), update, sizes.runs).tokens(computed),
        Figure::new(format!("{name} {size}"), whole, sizes.runs).tokens(computed),
    ])
}

fn trainer<D: Device + Clone>(
    device: &D,
    dir: &Path,
    shape: &Shape,
    sizes: &Sizes,
) -> Result<Trainer<D>, Failure> {
    let policy = shape.policy(device.clone())?;
    let tokenizer = tokenizer()?;
    write_tokenizer_folder(dir, &tokenizer, None, 4096)?;
    let data = dir.join("rows.jsonl");
    let rows = rows(&tokenizer, sizes)?;
    std::fs::write(&data, rows).map_err(|error| Failure::Run(format!("{}: {error}", data.display())))?;
    let (data, prompts, new) =
        (data.display().to_string(), sizes.prompts.to_string(), sizes.new_tokens.to_string());
    let steps = (sizes.warmup + sizes.runs).to_string();
    let resolved = config::load(
        None,
        [
            ("method", "gft-paper"),
            ("dataset_name", &data),
            ("presentation", "verbatim"),
            ("train_batch_size", &prompts),
            ("max_completion_length", &new),
            ("max_steps", &steps),
            ("log_entropy", "false"),
        ],
    )?;
    let settings = &resolved.stages[0].settings;
    let encoder = encoder(dir, settings, policy.architecture())?;
    let plan = StagePlan::new(settings, encoder, &mut |_, _| {})?;
    let optimizer = AdamW::new(&policy, plan.adamw());
    Ok(plan.trainer(policy, optimizer, None, GuardHistory::default(), 0)?.0)
}

/// A word made of syllables.
fn word(random: Stream, at: u64) -> String {
    let (consonants, vowels) = (b"bcdfghjklmnpqrstvwz", b"aeiou");
    let draw = |k: u64, from: &[u8]| char::from(from[(random.bits(8 * at + k) % from.len() as u64) as usize]);
    let syllables = 1 + random.bits(8 * at + 7) % 3;
    (0..syllables).flat_map(|k| [draw(2 * k, consonants), draw(2 * k + 1, vowels)]).collect()
}

fn tokenizer() -> Result<Tokenizer, Failure> {
    let random = Stream::new(1);
    let texts = (0..200)
        .map(|line| (0..200).fold(String::new(), |text, at| text + " " + &word(random, line * 200 + at)));
    let specials = SpecialTokens { eos: Some("<|endoftext|>".into()), ..SpecialTokens::default() };
    Ok(train_bpe(texts.collect::<Vec<_>>().iter(), VOCABULARY, specials)?)
}

/// A text of exactly `tokens` tokens: words, then `end`.
fn text(tokenizer: &Tokenizer, random: Stream, tokens: usize, end: &str) -> Result<String, Failure> {
    let mut words = String::new();
    for at in 0.. {
        let longer = format!("{words} {}", word(random, at));
        let count = tokenizer.encode(&format!("{longer}{end}"))?.len();
        if count <= tokens {
            words = longer;
        }
        if count == tokens {
            break;
        }
    }
    Ok(format!("{words}{end}"))
}

/// Rows enough for every step: each a prompt with an expert that is right and three teachers, two of them wrong.
fn rows(tokenizer: &Tokenizer, sizes: &Sizes) -> Result<String, Failure> {
    let mut lines = String::new();
    for row in 0..(sizes.prompts * (sizes.warmup + sizes.runs)) as u64 {
        let random = Stream::new(2).child(row);
        let prompt = text(tokenizer, random, sizes.prompt, "")?;
        let given: Result<Vec<String>, Failure> = (0..GIVEN as u64)
            .map(|k| {
                let half = sizes.new_tokens / 2;
                // With the token that ends it.
                let tokens = half + (random.bits(k) % (sizes.new_tokens - half) as u64) as usize;
                let answer = if k < 2 { 7 } else { 8 };
                text(tokenizer, random.child(k), tokens, &format!(" \\boxed{{{answer}}}"))
            })
            .collect();
        let mut given = given?.into_iter();
        let expert = given.next();
        let teachers: Vec<String> = given.collect();
        let row = json!({"prompt": prompt, "solution": "7", "expert_completions": [expert], "teacher_completions": teachers});
        let _ = writeln!(lines, "{row}");
    }
    Ok(lines)
}
