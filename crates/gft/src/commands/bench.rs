//! `gft bench`: this machine's own peak, and how much of it the engine reaches.

mod gft_step;
mod measure;
mod shapes;

use clap::{Args as ClapArgs, ValueEnum};
use gft_model::device::{Buffer, Device, MatMul};
use gft_model::generate::{Generator, Options, Request, Sampling};
use gft_model::optimizer::{AdamW, AdamWConfig, clip_scale, gradient_norm};
use gft_model::policy::{Keep, Seeds, Want};
use gft_model::random::Stream;
use gft_model::{Batch, ModelError, Policy};

use crate::device::{DeviceArgs, Work};
use crate::failure::Failure;
use crate::output;
use crate::terminal::Verbosity;
use gft_step::{Sizes, gft_step};
use measure::{Figure, median_seconds};
use shapes::{Preset, Shape};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Matrix products of the sizes that a step has.
    Matmul,
    /// Reading memory.
    Memory,
    /// A training step: forward, backward, clipping, AdamW.
    Train,
    /// The same tokens as one group: a prompt and responses that share it.
    Group,
    /// Greedy generation with a key-value cache.
    Decode,
    /// A whole step of GFT: rollouts, rewards, update.
    GftStep,
}

/// Arguments of `gft bench`.
#[derive(ClapArgs)]
pub struct Args {
    /// What to measure.
    #[arg(value_enum, default_values = ["matmul", "memory", "train"])]
    what: Vec<What>,
    /// Sizes of the model.
    #[arg(long, value_enum, default_value = "small")]
    preset: Preset,
    /// Sequences in a step [default: the preset's].
    #[arg(long)]
    batch: Option<usize>,
    /// Tokens of a sequence [default: the preset's].
    #[arg(long)]
    seq: Option<usize>,
    /// Group: tokens of the prompt.
    #[arg(long, default_value_t = 192)]
    prompt: usize,
    /// Group: tokens of a response.
    #[arg(long, default_value_t = 64)]
    response: usize,
    /// Decode: tokens of each prompt.
    #[arg(long, default_value_t = 32)]
    decode_prompt: usize,
    /// Decode: new tokens of each sequence.
    #[arg(long, default_value_t = 64)]
    new_tokens: usize,
    /// Decode: sequences [default: 32 for the small preset, 1 for larger ones].
    #[arg(long)]
    decode_batch: Option<usize>,
    /// Group: responses.
    #[arg(long, default_value_t = 8)]
    responses: usize,
    /// GFT step: prompts of a step, each with a group of 1 expert, 3 teacher and 4 own completions.
    #[arg(long, default_value_t = 4)]
    step_prompts: usize,
    /// GFT step: tokens of a prompt.
    #[arg(long, default_value_t = 64)]
    step_prompt: usize,
    /// GFT step: tokens of an own completion.
    #[arg(long, default_value_t = 64)]
    step_tokens: usize,
    /// Compute each layer twice instead of keeping its activations.
    #[arg(long)]
    recompute: bool,
    /// Train: LoRA adapters of this rank on all linear layers of a base in bfloat16, instead of all weights.
    #[arg(long, value_name = "RANK")]
    lora: Option<usize>,
    /// Runs that count; the median is reported.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Runs before them that do not.
    #[arg(long, default_value_t = 1)]
    warmup: usize,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs `gft bench`.
pub fn run(args: Args) -> Result<(), Failure> {
    args.device.run(args.verbosity, Measuring { args: &args })
}

/// Measuring a device.
struct Measuring<'a> {
    args: &'a Args,
}

impl Work for Measuring<'_> {
    type Output = ();

    fn on<D: Device + Clone>(self, device: D) -> Result<(), Failure> {
        let Measuring { args } = self;
        let shape = args.preset.shape();
        for what in &args.what {
            let figures = match what {
                What::Matmul => matmul(&device, args, &shape),
                What::Memory => vec![memory(args)],
                What::Train => vec![train(&device, args, &shape)?],
                What::Group => group(&device, args, &shape)?,
                What::Decode => vec![decode(&device, args, &shape)?],
                What::GftStep => {
                    let sizes = Sizes {
                        prompts: args.step_prompts,
                        prompt: args.step_prompt,
                        new_tokens: args.step_tokens,
                        warmup: args.warmup,
                        runs: args.runs,
                    };
                    gft_step(&device, args.preset, &shape, &sizes)?
                }
            };
            for figure in figures {
                let shown = if args.json { figure.json().to_string() } else { figure.to_string() };
                output::write(&format!("{shown}\n"));
            }
        }
        Ok(device.status().map_err(ModelError::from)?)
    }
}

/// Waits until all that was asked of a device is done: what is read has been computed.
fn wait<D: Device>(device: &D, x: &D::Buf) {
    device.read(x.part(0..1), &mut [0.0]);
}

fn buffer<D: Device>(device: &D, len: usize) -> D::Buf {
    let mut x = device.alloc(len);
    let values: Vec<f32> = (0..len).map(|i| (i % 97) as f32 * 0.01 - 0.5).collect();
    device.write(&values, x.all_mut());
    x
}

fn matmul<D: Device>(device: &D, args: &Args, shape: &Shape) -> Vec<Figure> {
    let tokens = args.batch.unwrap_or(shape.batch) * args.seq.unwrap_or(shape.seq);
    let sizes = [("square", 2048, 2048, 2048), ("gate_up", tokens, 2 * shape.ffn, shape.hidden)];
    let forms = [("nt", false, true), ("nn", false, false), ("tn", true, false)];
    let mut figures = Vec::new();
    for (name, m, n, k) in sizes {
        let (a, b, mut c) = (buffer(device, m * k), buffer(device, k * n), device.zeros(m * n));
        for (form, transpose_a, transpose_b) in forms {
            let op = MatMul { m, n, k, transpose_a, transpose_b, accumulate: false };
            let seconds = median_seconds(args.warmup, args.runs, || {
                device.matmul(op, a.all(), b.all(), c.all_mut());
                wait(device, &c);
            });
            let flops = 2.0 * (m * n * k) as f64;
            figures.push(
                Figure::new(format!("matmul.{name}.{form} [{m}x{k}x{n}]"), seconds, args.runs).flops(flops),
            );
        }
    }
    figures
}

fn memory(args: &Args) -> Figure {
    use rayon::prelude::*;
    let x = vec![1.0f32; 1 << 28];
    let mut total = 0.0;
    let seconds = median_seconds(args.warmup, args.runs, || {
        let sum = |part: &[f32]| {
            let mut lanes = [0.0f32; 64];
            for chunk in part.chunks_exact(64) {
                for (lane, x) in lanes.iter_mut().zip(chunk) {
                    *lane += x;
                }
            }
            lanes.iter().sum::<f32>()
        };
        total += x.par_chunks(1 << 20).map(sum).sum::<f32>();
    });
    assert!(total > 0.0);
    Figure::new("memory.read", seconds, args.runs).bytes(4.0 * x.len() as f64)
}

/// Generation from prompts that differ; arranging the weights is part of it.
fn decode<D: Device + Clone>(device: &D, args: &Args, shape: &Shape) -> Result<Figure, Failure> {
    let count = args.decode_batch.unwrap_or(shape.decode_batch);
    let policy = shape.policy(device.clone())?;
    let request = |i| Request {
        prompt: tokens(args.decode_prompt, shape.vocab, i),
        samples: 1,
        stream: Stream::new(i as u64),
    };
    let requests: Vec<Request> = (0..count).map(request).collect();
    let options = Options {
        sampling: Sampling::greedy(),
        max_new_tokens: args.new_tokens,
        max_batch: count,
        ..Options::default()
    };
    let mut failed = None;
    let seconds = median_seconds(args.warmup, args.runs, || {
        let generator = Generator::new(&policy);
        if let Err(error) = generator.run(&requests, &options, &mut ()) {
            failed = Some(error);
        }
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let (prompt, new) = (args.decode_prompt, args.new_tokens);
    let name = format!("decode.{} [{count}x({prompt}+{new})]", args.preset.name());
    let figure = Figure::new(name, seconds, args.runs).tokens(count * new);
    // Every weight of a product is read once for each new token of the batch.
    Ok(figure.bytes(4.0 * shape.product_weights() as f64 * new as f64))
}

fn tokens(count: usize, vocab: usize, salt: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7919 + salt * 104_729 + 13) % vocab) as u32).collect()
}

fn step<D: Device>(
    policy: &mut Policy<D>,
    optimizer: &mut AdamW<D>,
    grads: &mut gft_model::Gradients<D>,
    batch: &Batch,
    keep: Keep,
) -> Result<(), Failure> {
    let n = batch.targets().len() as f32;
    let forward = policy.forward(batch, keep)?;
    grads.reset();
    policy.backward_with(batch, forward, &Want::default(), grads, |stats, _| Seeds {
        logprobs: vec![-1.0 / n; stats.logprobs.len()],
        ..Seeds::default()
    })?;
    let scale = clip_scale(gradient_norm(policy, grads)?, 1.0);
    optimizer.update(policy, grads, 1e-4, scale)?;
    wait(policy.device(), policy.params());
    Ok(())
}

fn train<D: Device + Clone>(device: &D, args: &Args, shape: &Shape) -> Result<Figure, Failure> {
    let (count, seq) = (args.batch.unwrap_or(shape.batch), args.seq.unwrap_or(shape.seq));
    let mut batch = Batch::new();
    for i in 0..count {
        batch.push_sequence(&tokens(seq, shape.vocab, i))?;
    }
    let seconds = steps(device, args, shape, &batch)?;
    let recompute = if args.recompute { ".recompute" } else { "" };
    let lora = args.lora.map_or(String::new(), |rank| format!(".lora{rank}"));
    let name = format!("train.{}{recompute}{lora}", args.preset.name());
    let figure = Figure::new(format!("{name} [{count}x{seq}]"), seconds, args.runs);
    let flops = match args.lora {
        None => shape.step_flops(batch.len(), seq),
        Some(_) => shape.frozen_step_flops(batch.len(), seq),
    };
    Ok(figure.tokens(batch.len()).flops(flops))
}

fn steps<D: Device + Clone>(device: &D, args: &Args, shape: &Shape, batch: &Batch) -> Result<f64, Failure> {
    let keep = if args.recompute { Keep::LayerInputs } else { Keep::Activations };
    let mut policy = match args.lora {
        None => shape.policy(device.clone())?,
        Some(rank) => shape.adapted(device.clone(), rank)?,
    };
    let mut optimizer = AdamW::new(&policy, AdamWConfig::default());
    let mut grads = policy.gradients();
    let mut failed = None;
    let seconds = median_seconds(args.warmup, args.runs, || {
        if let Err(failure) = step(&mut policy, &mut optimizer, &mut grads, batch, keep) {
            failed = Some(failure);
        }
    });
    failed.map_or(Ok(seconds), Err)
}

/// The same group as a tree and as separate sequences.
fn group<D: Device + Clone>(device: &D, args: &Args, shape: &Shape) -> Result<Vec<Figure>, Failure> {
    let prompt = tokens(args.prompt, shape.vocab, 0);
    let responses: Vec<Vec<u32>> =
        (1..=args.responses).map(|i| tokens(args.response, shape.vocab, i)).collect();
    let mut tree = Batch::new();
    tree.push_group(&prompt, &responses)?;
    let mut separate = Batch::new();
    for response in &responses {
        let sequence: Vec<u32> = prompt.iter().chain(response).copied().collect();
        separate.push(None, &sequence, |i| i >= prompt.len())?;
    }
    let size = format!("[{} + {}x{}]", args.prompt, args.responses, args.response);
    [("tree", tree), ("separate", separate)]
        .into_iter()
        .map(|(form, batch)| {
            let seconds = steps(device, args, shape, &batch)?;
            let name = format!("group.{}.{form} {size}", args.preset.name());
            Ok(Figure::new(name, seconds, args.runs).tokens(batch.len()))
        })
        .collect()
}
