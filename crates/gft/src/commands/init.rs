//! `gft init`: a folder with everything that a first experiment needs.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use gft_data::Row;
use gft_world::{MOST_DAYS_SEEN, Noise, Split, Target, held_out, pretraining, target};
use serde_json::json;

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
    #[command(flatten)]
    world: World,
    /// Write also this many rows of the mixture that the base was trained on, and a model with random weights: what
    /// recipes/demo/pretrain.toml starts from.
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    pretraining: u64,
    /// Most days of a target problem in that mixture: a base that has seen few lacks the skill.
    #[arg(long, value_name = "N", default_value_t = MOST_DAYS_SEEN as u8, value_parser = days_seen(), requires = "pretraining")]
    pretraining_days: u8,
    /// Write over a folder that is there.
    #[arg(long)]
    force: bool,
    /// A summary as JSON.
    #[arg(long)]
    json: bool,
}

/// How large the world is, and how wrong its demonstrations are.
#[derive(ClapArgs, Clone, Copy)]
pub struct World {
    /// Training rows.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Problems of the validation and the test set, and of other families in each.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    problems: u64,
    /// Days of a target problem: one number, or the least and the most. The base has seen up to 6.
    #[arg(long, value_name = "N|N-N", default_value = "4-6", value_parser = days)]
    days: (usize, usize),
    /// Share of wrong experts in train-wrong.jsonl.
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    wrong_experts: f64,
    /// Share of wrong answers of teachers.
    #[arg(long, value_name = "SHARE", default_value_t = Noise::default().teachers, value_parser = share)]
    wrong_teachers: f64,
    /// Seed of the world.
    #[arg(long, value_name = "N", default_value_t = 0)]
    world_seed: u64,
}

fn days(text: &str) -> Result<(usize, usize), String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.parse(), high.parse()) {
        (Ok(low), Ok(high)) if (1..=high).contains(&low) && high <= 7 => Ok((low, high)),
        _ => Err(format!("{text} is neither a number of days from 1 to 7 nor a range as in 4-6")),
    }
}

fn days_seen() -> clap::builder::RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(1..=MOST_DAYS_SEEN as i64)
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text} is not a number"))?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(format!("{text} is not between 0 and 1")) }
}

/// Runs `gft init`.
pub fn run(args: Args) -> Result<(), Failure> {
    let Kind::Demo = args.kind;
    let out = args.out.unwrap_or_else(|| "demo".into());
    if out.join("base").exists() && !args.force {
        return Err(Failure::usage(format!(
            "{}: there is a demo already; give another folder, or --force to write over its files",
            out.display()
        )));
    }
    write_demo(&out, &args.world)?;
    if args.pretraining > 0 {
        gft_world::start(&out.join("start"), args.world.world_seed)?;
        let rows = pretraining(args.world.world_seed, 0..args.pretraining, args.pretraining_days.into());
        write_rows(&out.join("data/mixture.jsonl"), rows)?;
    }
    let shown = out.display();
    if args.json {
        let World { rows, problems, days, wrong_experts, wrong_teachers, world_seed } = args.world;
        return output::json(&json!({
            "path": out, "rows": rows, "problems": problems, "days": days, "wrong_experts": wrong_experts,
            "wrong_teachers": wrong_teachers, "world_seed": world_seed, "pretraining": args.pretraining,
            "pretraining_days": args.pretraining_days,
            "base_sha256": gft_world::base_sha256(),
        }));
    }
    output::write(&format!(
        "{shown}/base                   the base model\n\
         {shown}/data/train.jsonl       {} prompts, each with an expert's and three teachers' solutions\n\
         {shown}/data/train-wrong.jsonl the same, with {:.0} % of the experts wrong\n\
         {shown}/data/test.jsonl        {} problems; validation.jsonl as many, others*.jsonl of other families\n\
         {shown}/sft.toml, gft.toml     recipes\n\
         try: gft demo --dir {shown}\n     gft train {shown}/gft.toml\n",
        args.world.rows,
        100.0 * args.world.wrong_experts,
        args.world.problems,
    ));
    Ok(())
}

/// Writes base, data and recipes.
///
/// # Errors
/// A folder that cannot be written.
pub fn write_demo(out: &Path, world: &World) -> Result<(), Failure> {
    let data = out.join("data");
    fs::create_dir_all(&data).map_err(cannot_write(&data))?;
    gft_world::write_base(&out.join("base"))?;
    let teachers = world.wrong_teachers;
    let seed = world.world_seed;
    let of =
        |experts: f64| Target { noise: Noise { experts, teachers }, days: world.days, ..Target::new(seed) };
    let rows = |name: &str| data.join(name);
    write_rows(&rows("train.jsonl"), target(of(0.0), Split::Train, 0..world.rows))?;
    write_rows(&rows("train-wrong.jsonl"), target(of(world.wrong_experts), Split::Train, 0..world.rows))?;
    for (split, name, others) in [
        (Split::Validation, "validation.jsonl", "others-validation.jsonl"),
        (Split::Test, "test.jsonl", "others.jsonl"),
    ] {
        write_rows(&rows(name), target(of(0.0), split, 0..world.problems))?;
        write_rows(&rows(others), held_out(seed, split, 0..world.problems))?;
    }
    for (name, recipe) in RECIPES {
        let path = out.join(name);
        fs::write(&path, recipe.replace("demo/", &format!("{}/", out.display())))
            .map_err(cannot_write(&path))?;
    }
    Ok(())
}

/// The demo's recipes, which name its folder `demo/`.
const RECIPES: [(&str, &str); 2] = [
    ("sft.toml", include_str!("../../../../recipes/demo/sft.toml")),
    ("gft.toml", include_str!("../../../../recipes/demo/gft.toml")),
];

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
