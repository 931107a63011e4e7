//! `gft plan`: what a run would do, without doing it.

use clap::Args as ClapArgs;
use gft_report::Progress;
use gft_train::plan;

use super::train::{ConfigArg, SettingFlags, check_model};
use crate::device::DeviceArgs;
use crate::failure::Failure;
use crate::output;

/// Arguments of `gft plan`.
#[derive(ClapArgs)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    settings: SettingFlags,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let resolved = args.settings.resolve(args.config.file()?)?;
    check_model(&resolved)?;
    let mut reading = Progress::new("reading rows", false);
    let device = args.device.memory();
    let plan = plan(&resolved, device.as_ref(), &mut |done, total| reading.count(done, total))?;
    drop(reading);
    if args.json {
        let text = serde_json::to_string_pretty(&plan).map_err(|error| Failure::Run(error.to_string()))?;
        output::write(&format!("{text}\n"));
    } else {
        output::write(&plan.to_string());
    }
    Ok(())
}
