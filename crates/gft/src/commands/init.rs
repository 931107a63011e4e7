//! `gft init`: a folder with everything that a first experiment needs.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use gft_data::Row;
use gft_world::{Split, Target, held_out, pretraining, target};

use crate::failure::Failure;
use crate::output;

/// What can be set up.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A small world: generated problems, experts, teachers, a trained base model and recipes.
    Demo,
}

/// Arguments of `gft init`.
#[derive(ClapArgs)]
pub struct Args {
    /// What to set up.
    #[arg(value_enum)]
    kind: Kind,
    /// The folder to write [default: the kind's name].
    out: Option<PathBuf>,
    /// Rows of the mixture that the base was trained on, and a model with random weights: what
    /// recipes/demo/pretrain.toml starts from.
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    pretraining: u64,
    /// Seed of the world.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// A summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `gft init`.
pub fn run(args: Args) -> Result<(), Failure> {
    let Kind::Demo = args.kind;
    let out = args.out.unwrap_or_else(|| "demo".into());
    let data = out.join("data");
    fs::create_dir_all(&data).map_err(cannot_write(&data))?;
    if args.pretraining > 0 {
        gft_world::start(&out.join("start"), args.seed)?;
        write_rows(&data.join("mixture.jsonl"), pretraining(args.seed, 0..args.pretraining))?;
    }
    let clean = Target::new(args.seed);
    write_rows(&data.join("train.jsonl"), target(clean, Split::Train, 0..2000))?;
    write_rows(&data.join("test.jsonl"), target(clean, Split::Test, 0..256))?;
    write_rows(&data.join("others.jsonl"), held_out(args.seed, Split::Test, 0..256))?;
    output::write("done\n");
    Ok(())
}

fn write_rows(path: &Path, rows: impl Iterator<Item = Row>) -> Result<(), Failure> {
    let mut file = BufWriter::new(File::create(path).map_err(cannot_write(path))?);
    for row in rows {
        serde_json::to_writer(&mut file, &row.to_json()).map_err(|error| cannot_write(path)(error.into()))?;
        file.write_all(b"\n").map_err(cannot_write(path))?;
    }
    file.flush().map_err(cannot_write(path))
}

fn cannot_write(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.to_path_buf();
    move |error| Failure::Run(format!("{}: cannot write: {error}", path.display()))
}
