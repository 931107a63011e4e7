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
use crate::model_path;
use crate::terminal::Verbosity;

/// Arguments of `gft train`.
#[derive(ClapArgs)]
pub struct Args {
    /// Configuration file (TOML); flags win over it.
    config: Option<PathBuf>,
    /// Continue the run in the output folder from its last checkpoint, or from the given one.
    #[arg(long, value_name = "CHECKPOINT", num_args = 0..=1, alias = "resume-from-checkpoint")]
    resume: Option<Option<PathBuf>>,
    /// Say only the banner, notes and errors.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    settings: SettingFlags,
}

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
    let list = if key.kind.contains("list") { " Several: with commas, or the flag again." } else { "" };
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
                // Other trainers' dotted names would hide the help behind them.
                .visible_aliases(
                    key.aliases
                        .iter()
                        .filter(|alias| !alias.contains('.'))
                        .flat_map(|alias| names(alias).into_iter().take(1)),
                )
                .aliases(
                    key.aliases
                        .iter()
                        .flat_map(|alias| names(alias).into_iter().skip(usize::from(!alias.contains('.'))))
                        .chain(names(key.name).into_iter().skip(1)),
                );
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
    let resolved = args.settings.resolve(args.config.as_ref())?;
    if args.resume.is_none() {
        check_model(&resolved)?;
    }
    let begin = match args.resume {
        None => Begin::Fresh,
        Some(None) => Begin::Resume,
        Some(Some(path)) => Begin::At(path),
    };
    let stop = stop_flag()?;
    let mut console = Console::new(std::io::stderr(), args.quiet);
    let verbosity = Verbosity { quiet: args.quiet, verbose: false };
    let training = Training { resolved: &resolved, begin: &begin, console: &mut console, stop: &stop };
    match args.device.run(verbosity, training)? {
        Ok(finished) => {
            console.summary(&finished, args.config.as_deref());
            println!("{}", finished.model.display());
            Ok(())
        }
        Err(gft_train::Error::Interrupted) => {
            let command = std::env::args().filter(|arg| !arg.starts_with("--resume")).collect::<Vec<_>>();
            eprintln!("interrupted; the state is saved. Continue with: {} --resume", command.join(" "));
            Err(Failure::Interrupted)
        }
        Err(error) => Err(error.into()),
    }
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
