//! `gft train`: a run from a configuration file and flags.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Arg, ArgAction, ArgMatches, Args as ClapArgs, Command, FromArgMatches};
use gft_model::device::Device;
use gft_train::config::{KEYS, Key, Resolved, Settings, load};
use gft_train::{Begin, Console, Finished, train};
use serde_json::Value;

use crate::device::{DeviceArgs, Work};
use crate::failure::Failure;
use crate::interrupt::stop_flag;
use crate::terminal::Verbosity;
use crate::{model_path, output, terminal};

/// Arguments of `gft train`.
#[derive(ClapArgs)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Continue the run in the output folder from its last checkpoint, or from the given one; `auto`: from its last
    /// checkpoint if there is one, else from the start. A run whose learning rate does not hang on its length
    /// (lr_scheduler_type constant) may be given more max_steps or num_train_epochs.
    #[arg(
        long,
        value_name = "CHECKPOINT|auto",
        num_args = 0..=1,
        aliases = ["resume-from-checkpoint", "resume_from_checkpoint"]
    )]
    resume: Option<Option<PathBuf>>,
    /// Say only the banner, notes and errors.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    settings: SettingFlags,
}

/// The configuration file as an argument.
#[derive(ClapArgs)]
pub struct ConfigArg {
    /// Configuration file (TOML); flags win over it.
    config: Option<PathBuf>,
    /// What stands behind it by mistake, to be answered for what it is.
    #[arg(hide = true)]
    more: Vec<PathBuf>,
}

impl ConfigArg {
    /// The file, if one is given.
    ///
    /// # Errors
    /// Several files, or one that is a data file: what a shell makes of `--data *.jsonl`.
    pub fn file(&self) -> Result<Option<&PathBuf>, Failure> {
        let files: Vec<&PathBuf> = self.config.iter().chain(&self.more).collect();
        let data = |path: &&&PathBuf| {
            let name = path.to_string_lossy().to_lowercase();
            DATA.iter().any(|end| name.ends_with(end))
        };
        if let Some(path) = files.iter().find(data) {
            return Err(Failure::usage(format!(
                "{}: a data file where the configuration (TOML) stands; several data files are given with commas, \
                 --data a.jsonl,b.jsonl, by the flag again, --data a.jsonl --data b.jsonl, or as their folder",
                path.display()
            )));
        }
        if let Some(folder) = files.iter().find(|path| path.join("config.toml").is_file()) {
            return Err(Failure::usage(format!(
                "{}: a run's folder where the configuration (TOML) stands; its own is {}",
                folder.display(),
                folder.join("config.toml").display()
            )));
        }
        match files.as_slice() {
            [] => Ok(None),
            [file] => Ok(Some(file)),
            [first, second, ..] => Err(Failure::usage(format!(
                "two configuration files, {} and {}: a run has one; stages after each other are [[stages]] in it",
                first.display(),
                second.display()
            ))),
        }
    }
}

/// How names of data files end.
const DATA: [&str; 10] =
    [".jsonl", ".ndjson", ".json", ".parquet", ".txt", ".csv", ".gz", ".zst", ".zstd", ".arrow"];

/// Every setting as a flag, from the table of settings.
pub struct SettingFlags(Vec<(String, String)>);

impl SettingFlags {
    /// The configuration of a file and these flags.
    pub fn resolve(&self, config: Option<&PathBuf>) -> Result<Resolved, Failure> {
        let flags = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Ok(load(config.map(PathBuf::as_path), flags)?)
    }
}

/// A name as a flag, with `-` and, where that differs, with `_`.
fn names(name: &str) -> Vec<String> {
    let mut names = vec![name.replace('_', "-")];
    if names[0] != name {
        names.push(name.to_owned());
    }
    names
}

/// A setting's line of help, with its default where it has one.
fn help(key: &Key, default: &Value) -> String {
    let text = key.help.trim();
    let list = if key.kind.contains("list") {
        " Several: with commas (\\, is one of a name), or the flag again."
    } else {
        ""
    };
    match default {
        Value::Null => format!("{text}{list}"),
        Value::Array(items) if items.is_empty() => format!("{text}{list}"),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            format!("{text}{list} [default: {}]", items.join(","))
        }
        value => format!("{text} [default: {}]", plain(value)),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl ClapArgs for SettingFlags {
    fn augment_args(mut command: Command) -> Command {
        let defaults = Settings::default().values();
        for (key, (_, default)) in KEYS.iter().zip(&defaults) {
            let others = key.aliases.iter().flat_map(|alias| names(alias));
            // Other trainers' dotted names would hide the help behind them, spellings with `_` say nothing new.
            let (hidden, shown): (Vec<String>, Vec<String>) =
                others.chain(names(key.name).into_iter().skip(1)).partition(|name| name.contains(['.', '_']));
            let mut arg = Arg::new(key.name)
                .long(key.name.replace('_', "-"))
                .help(help(key, default))
                .help_heading(key.group)
                .value_name(match key.kind {
                    "true or false" => "BOOL",
                    kind if kind.contains("number") => "N",
                    _ => "TEXT",
                })
                .allow_negative_numbers(true)
                .visible_aliases(shown)
                .aliases(hidden);
            if key.kind.contains("list") {
                arg = arg.action(ArgAction::Append);
            }
            if key.kind == "true or false" {
                arg = arg.num_args(0..=1).default_missing_value("true").value_parser(["true", "false"]);
            }
            command = command.arg(arg);
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = SettingFlags(Vec::new());
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in KEYS {
            // A list given in parts is one list; of anything else the last counts.
            if let Some(values) = matches.get_many::<String>(key.name) {
                let values: Vec<&str> = values.map(String::as_str).collect();
                self.0.push((key.name.into(), values.join(",")));
            }
        }
        Ok(())
    }
}

pub fn run(args: Args) -> Result<(), Failure> {
    let config = args.config.file()?;
    let resolved = args.settings.resolve(config)?;
    let begin = match &args.resume {
        None => Begin::Fresh,
        Some(None) => Begin::Resume,
        Some(Some(word)) if word == Path::new("auto") => Begin::Auto,
        // As transformers' trainer takes it.
        Some(Some(word)) if word == Path::new("True") || word == Path::new("true") => Begin::Resume,
        Some(Some(path)) => Begin::At(path.clone()),
    };
    if matches!(begin, Begin::Fresh | Begin::Auto) {
        check_model(&resolved)?;
    }
    let stop = stop_flag()?;
    let mut console = Console::new(std::io::stderr(), args.quiet);
    let verbosity = Verbosity { quiet: args.quiet, verbose: false };
    let training = Training { resolved: &resolved, begin: &begin, console: &mut console, stop: &stop };
    match args.device.run(verbosity, training)? {
        Ok(finished) => {
            console.summary(&finished, config.map(PathBuf::as_path));
            output::write(&format!("{}\n", finished.model.display()));
            Ok(())
        }
        Err(gft_train::Error::Interrupted) => {
            let command = without_resume(std::env::args());
            let command = command.join(" ");
            terminal::say(&format!("interrupted; the state is saved. Continue with: {command} --resume"));
            Err(Failure::Interrupted)
        }
        Err(error) => Err(error.into()),
    }
}

/// A command line without `--resume` and what it was given.
fn without_resume(line: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = line.peekable();
    while let Some(word) = words.next() {
        if !word.starts_with("--resume") {
            kept.push(word);
        } else if !word.contains('=') {
            words.next_if(|value| !value.starts_with('-'));
        }
    }
    kept
}

/// A run whose settings are known.
struct Training<'a, W: Write> {
    resolved: &'a Resolved,
    begin: &'a Begin,
    console: &'a mut Console<W>,
    stop: &'a AtomicBool,
}

impl<W: Write> Work for Training<'_, W> {
    type Output = Result<Finished, gft_train::Error>;

    fn on<D: Device + Clone>(self, device: D) -> Result<Self::Output, Failure> {
        let wants_to_stop = || self.stop.load(Ordering::Relaxed);
        Ok(train(&device, self.resolved, self.begin, self.console, &wants_to_stop))
    }
}

/// Says what lies where the model should, as every command that takes a model does. A model that is missing from the
/// settings is for the training to name.
///
/// # Errors
/// Of [`model_path::open`].
pub fn check_model(resolved: &Resolved) -> Result<(), Failure> {
    let first = resolved.stages.first().and_then(|stage| stage.settings.model_name_or_path.as_ref());
    first.map_or(Ok(()), |path| model_path::open(Path::new(path)).map(|_| ()))
}

/// Used by tests of the table: every flag names a setting.
#[cfg(test)]
mod tests {
    use super::*;
    use gft_train::config::find_key;

    #[test]
    fn a_switch_does_not_swallow_the_next_flag() {
        let command = SettingFlags::augment_args(Command::new("train"));
        let words = ["train", "--eval-on-start", "--max-steps", "-1", "--shuffle-dataset", "false"];
        let flags = SettingFlags::from_arg_matches(&command.get_matches_from(words)).unwrap().0;
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected =
            [pair("max_steps", "-1"), pair("shuffle_dataset", "false"), pair("eval_on_start", "true")];
        assert_eq!(flags, expected);
    }

    #[test]
    fn the_command_that_continues_has_no_old_checkpoint() {
        let line = |text: &str| without_resume(text.split(' ').map(str::to_owned)).join(" ");
        assert_eq!(line("gft train --resume auto --lr 1"), "gft train --lr 1");
        assert_eq!(line("gft train c.toml --resume"), "gft train c.toml");
        assert_eq!(line("gft train --resume --lr 1"), "gft train --lr 1");
        assert_eq!(line("gft train --resume=run/checkpoint-1 c.toml"), "gft train c.toml");
    }

    #[test]
    fn every_setting_is_a_flag() {
        let command = SettingFlags::augment_args(Command::new("train"));
        for key in KEYS {
            let flag = key.name.replace('_', "-");
            assert!(command.get_arguments().any(|arg| arg.get_long() == Some(&flag)), "{flag}");
            assert_eq!(find_key(&flag).unwrap().name, key.name);
        }
        command.debug_assert();
    }
}
