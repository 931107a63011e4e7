//! Flags that a command with settings does not have: what gft does instead of another trainer's, or the nearest setting.
//!
//! clap stops at the first unknown flag and offers what is spelled alike, which of `--bf16` or `--deepspeed` is a setting
//! of another meaning. Here all unknown flags of the line are answered at once, from the table that files are read with.

use std::ffi::OsString;

use clap::Command;
use clap::error::ErrorKind;
use gft_train::ConfigError;
use gft_train::config::{KEYS, find_key};

/// What is said of the unknown flags of a command line; `None` where clap's own words are as good: other mistakes, and
/// commands without settings.
pub fn flags(error: &clap::Error, root: &Command, line: &[OsString]) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let words: Vec<&str> = line.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let command = words.iter().find_map(|word| root.find_subcommand(word))?;
    let known = |name: &str| {
        let mut all = command.get_arguments().chain(root.get_arguments());
        all.any(|arg| {
            arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|names| names.contains(&name))
        })
    };
    // A command with settings has all of them.
    if !KEYS.iter().all(|key| known(key.name)) {
        return None;
    }
    let given = words.iter().take_while(|word| **word != "--").filter_map(|word| word.strip_prefix("--"));
    let mut said: Vec<String> = Vec::new();
    for name in given.map(|flag| flag.split('=').next().unwrap_or_default()) {
        if !known(name) && !["help", "version"].contains(&name) {
            let line = format!("--{name}: {}", instead(name));
            if !said.contains(&line) {
                said.push(line);
            }
        }
    }
    match said.len() {
        0 => None,
        1 => said.pop(),
        several => Some(format!("{several} unknown flags\n  {}", said.join("\n  "))),
    }
}

fn instead(name: &str) -> String {
    match find_key(name) {
        Err(ConfigError::Foreign { instead, .. }) => format!("no flag of gft: {instead}"),
        Err(ConfigError::Unknown { nearest: Some(near), .. }) => {
            let flag = if near.contains('.') { near.to_owned() } else { near.replace('_', "-") };
            format!("no such flag; did you mean --{flag}?")
        }
        _ => "no such flag; `gft train --help` lists all".to_owned(),
    }
}
