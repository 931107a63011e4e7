//! `gft init-model`: a new model folder from a small description, with a tokenizer trained on given text.

mod texts;
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use gft_data::write_tokenizer_folder;
use gft_model::architecture::{Architecture, Dtype, Family};
use gft_model::device::cpu::CpuBuffer;
use gft_model::folder::SaveOptions;
use gft_model::init::{NewModel, SpecialIds, random_weights};
use gft_model::layout::Layout;
use gft_model::{Cpu, ModelFolder, Policy};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::new_folder::{self, NewFolder};
use crate::output;
use crate::terminal::Verbosity;
use tokens::Template;

/// The families by the name of their `model_type`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FamilyName {
    /// Llama 2 and 3.
    Llama,
    /// Mistral, without a sliding window.
    Mistral,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
}

/// Arguments of `gft init-model`.
#[derive(ClapArgs)]
pub struct Args {
    /// The folder to write.
    out: PathBuf,
    /// Texts to train the byte-level BPE tokenizer on: plain text files, or JSONL of which all strings are used.
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "no_tokenizer")]
    text: Vec<PathBuf>,
    /// Write no tokenizer: the model then takes token ids alone.
    #[arg(long, conflicts_with_all = ["text", "chat_template"])]
    no_tokenizer: bool,
    /// Architecture.
    #[arg(long, value_enum, default_value = "llama")]
    family: FamilyName,
    /// Width of the residual stream.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = size())]
    hidden: u32,
    /// Decoder layers.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = size())]
    layers: u32,
    /// Query heads.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = size())]
    heads: u32,
    /// Key and value heads; divides --heads.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = size())]
    kv_heads: u32,
    /// Width of a head [default: hidden / heads].
    #[arg(long, value_name = "N", value_parser = size())]
    head_dim: Option<u32>,
    /// Width of the SwiGLU.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = size())]
    ffn: u32,
    /// Tokens at most, special tokens included; the text may give fewer.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = size())]
    vocab_size: u32,
    /// Longest sequence that the configuration promises.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = size())]
    max_positions: u32,
    /// Base of the rotary positions.
    #[arg(long, value_name = "X", default_value_t = 10_000.0)]
    rope_theta: f64,
    /// A head of its own instead of the embedding's transpose.
    #[arg(long)]
    untied: bool,
    /// Type of the weights on disk: float32, bfloat16 or float16.
    #[arg(long, value_name = "TYPE", default_value = "float32", value_parser = |text: &str| text.parse::<Dtype>())]
    dtype: Dtype,
    /// Seed of the weights.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Chat template to write: plain, chatml or a file [default: none, which gft reads as plain].
    #[arg(long, value_name = "plain|chatml|FILE")]
    chat_template: Option<String>,
    /// Write into a folder that has files; its model is replaced.
    #[arg(long)]
    force: bool,
    /// A summary as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

fn size() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

/// Runs `gft init-model`.
pub fn run(args: Args) -> Result<(), Failure> {
    check_sizes(&args)?;
    new_folder::check(&args.out, args.force)?;
    let target = NewFolder::beside(&args.out)?;
    let tokenizer = Vocabulary::write(&args, target.path())?;
    let new = description(&args, tokenizer.rows, tokenizer.special);
    let written = write_model(&new, args.seed, target.path())?;
    target.replace(&args.out)?;
    let summary = summary(&args, &new, &tokenizer, &written);
    if args.json {
        return output::json(&summary);
    }
    output::write(&in_words(&args, &new, &tokenizer, &written));
    Ok(())
}

/// Sizes that fit each other, said in the words of the flags.
fn check_sizes(args: &Args) -> Result<(), Failure> {
    let Args { hidden, heads, kv_heads, head_dim, .. } = *args;
    if head_dim.is_none() && hidden % heads != 0 {
        return Err(Failure::usage(format!(
            "--hidden {hidden} is not a multiple of --heads {heads}; choose others, or give --head-dim"
        )));
    }
    if heads % kv_heads != 0 {
        let fitting: Vec<String> = (1..=heads).filter(|n| heads % n == 0).map(|n| n.to_string()).collect();
        return Err(Failure::usage(format!(
            "--kv-heads {kv_heads} does not divide --heads {heads}; it can be {}",
            fitting.join(", ")
        )));
    }
    let dim = head_dim.unwrap_or(hidden / heads);
    if dim % 2 != 0 {
        return Err(Failure::usage(format!(
            "a head is {dim} wide; rotary positions need an even width (--head-dim)"
        )));
    }
    if !(args.rope_theta.is_finite() && args.rope_theta > 0.0) {
        return Err(Failure::usage(format!("--rope-theta {} must be above 0", args.rope_theta)));
    }
    Ok(())
}

fn description(args: &Args, vocab: usize, special: SpecialIds) -> NewModel {
    NewModel {
        family: match args.family {
            FamilyName::Llama => Family::Llama,
            FamilyName::Mistral => Family::Mistral,
            FamilyName::Qwen2 => Family::Qwen2,
            FamilyName::Qwen3 => Family::Qwen3,
        },
        hidden: args.hidden as usize,
        layers: args.layers as usize,
        heads: args.heads as usize,
        kv_heads: args.kv_heads as usize,
        head_dim: args.head_dim.map(|n| n as usize),
        ffn: args.ffn as usize,
        vocab,
        max_positions: args.max_positions as usize,
        rope_theta: args.rope_theta,
        tied: !args.untied,
        dtype: args.dtype,
        special,
    }
}

/// The tokens of the new model.
struct Vocabulary {
    rows: usize,
    special: SpecialIds,
    text_bytes: usize,
    text_tokens: usize,
}

impl Vocabulary {
    /// Trains and writes the tokenizer, if there is to be one.
    fn write(args: &Args, target: &Path) -> Result<Self, Failure> {
        let asked = args.vocab_size as usize;
        if args.no_tokenizer {
            return Ok(Self { rows: asked, special: SpecialIds::default(), text_bytes: 0, text_tokens: 0 });
        }
        let template = Template::find(args.chat_template.as_deref())?;
        let texts = texts::read(&args.text)?;
        let tokenizer = template.train(&texts, asked)?;
        let rows = tokenizer.vocab_size();
        if rows < asked {
            args.verbosity.note(&format!(
                "the text has no more to merge: {rows} tokens instead of --vocab-size {asked}; more text gives more"
            ));
        }
        let lengths = texts.iter().map(|text| tokenizer.encode(text).map(|ids| ids.len()));
        let text_tokens = lengths.sum::<gft_data::Result<usize>>()?;
        let text_bytes = texts.iter().map(String::len).sum();
        write_tokenizer_folder(target, &tokenizer, template.source.as_deref(), args.max_positions as usize)?;
        Ok(Self { rows, special: tokens::special_ids(&tokenizer), text_bytes, text_tokens })
    }
}

/// What was written.
struct Written {
    parameters: usize,
    weight_bytes: u64,
}

fn write_model(new: &NewModel, seed: u64, target: &Path) -> Result<Written, Failure> {
    let config = new.config();
    let architecture = Architecture::from_config(&config, &target.join("config.json"))
        .map_err(|error| Failure::usage(error.to_string()))?;
    let parameters = Layout::new(&architecture).len;
    let weights = CpuBuffer::owned(&random_weights(&architecture, seed));
    let policy = Policy::new(Cpu::new(), architecture, weights)?;
    let folder = ModelFolder::from_config(target, format!("{config:#}\n"))?;
    folder.save(&policy, target, &SaveOptions { dtype: Some(new.dtype), ..SaveOptions::default() })?;
    let path = target.join("generation_config.json");
    fs::write(&path, format!("{:#}\n", new.generation_config()))
        .map_err(|error| Failure::Run(format!("{}: {error}", path.display())))?;
    Ok(Written { parameters, weight_bytes: (parameters * new.dtype.bytes()) as u64 })
}

fn summary(args: &Args, new: &NewModel, tokens: &Vocabulary, written: &Written) -> Value {
    let SpecialIds { eos, pad, .. } = tokens.special;
    json!({
        "path": args.out,
        "family": new.config()["model_type"],
        "parameters": written.parameters,
        "weight_bytes": written.weight_bytes,
        "dtype": new.dtype.config_name(),
        "vocab_size": tokens.rows,
        "vocab_size_asked": args.vocab_size,
        "tokenizer": !args.no_tokenizer,
        "text_bytes": tokens.text_bytes,
        "text_tokens": tokens.text_tokens,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "chat_template": args.chat_template,
        "seed": args.seed,
    })
}

fn in_words(args: &Args, new: &NewModel, tokens: &Vocabulary, written: &Written) -> String {
    let out = args.out.display();
    let tied = if new.tied { "tied" } else { "untied" };
    let mut text = format!(
        "{out}: {} with {}, {} of {}\n  {} layers, hidden {}, {} heads / {} kv, ffn {}, {} positions, {tied} embedding\n",
        new.config()["model_type"].as_str().unwrap_or_default(),
        millions(written.parameters),
        bytes(written.weight_bytes),
        new.dtype.config_name(),
        new.layers,
        new.hidden,
        new.heads,
        new.kv_heads,
        new.ffn,
        new.max_positions,
    );
    if args.no_tokenizer {
        text.push_str(&format!("  no tokenizer: token ids 0 to {}\n", tokens.rows - 1));
    } else {
        let ratio = tokens.text_bytes as f64 / tokens.text_tokens.max(1) as f64;
        text.push_str(&format!(
            "  tokenizer: {} tokens from {} of text ({ratio:.1} bytes a token), chat template {}\n\
             try: gft generate --model {out} --prompt \"...\"\n",
            tokens.rows,
            bytes(tokens.text_bytes as u64),
            args.chat_template.as_deref().unwrap_or("none (plain)"),
        ));
    }
    text
}

fn bytes(count: u64) -> String {
    match count as f64 {
        n if n >= 1e9 => format!("{:.2} GB", n / 1e9),
        n if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        n => format!("{:.1} kB", n / 1e3),
    }
}

fn millions(parameters: usize) -> String {
    match parameters as f64 {
        n if n >= 1e9 => format!("{:.2} B parameters", n / 1e9),
        n if n >= 1e6 => format!("{:.2} M parameters", n / 1e6),
        n => format!("{n} parameters"),
    }
}
