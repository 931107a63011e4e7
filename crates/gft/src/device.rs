//! Where a command computes: the one place that knows which devices there are.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use gft_cuda::{Cuda, Unavailable};
use gft_model::Cpu;
use gft_model::device::{Device, DeviceMemory};

use crate::failure::Failure;
use crate::terminal::Verbosity;

/// The flags of commands that compute.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Device")]
pub struct DeviceArgs {
    /// Where to compute: cpu, cuda, cuda:N, or auto, which takes the first CUDA card if it can be used. The kernels for cards
    /// are tested on processors alone so far, so no card is taken unasked.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Choice,
    /// Numbers that products of training take: weights, moments and sums are f32 in both [default: bf16 on a card, else f32].
    #[arg(long, value_enum, value_name = "TYPE")]
    precision: Option<Precision>,
}

/// What `--device` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Auto,
    Cpu,
    Cuda(usize),
}

/// What `--precision` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Precision {
    /// Operands rounded to bfloat16, sums in f32.
    #[value(alias = "bfloat16")]
    Bf16,
    /// f32 throughout, without TF32.
    #[value(alias = "float32", alias = "fp32")]
    F32,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("cuda:").map(str::parse)) {
            ("auto", _) => Ok(Choice::Auto),
            ("cpu", _) => Ok(Choice::Cpu),
            ("cuda" | "gpu", _) => Ok(Choice::Cuda(0)),
            (_, Some(Ok(index))) => Ok(Choice::Cuda(index)),
            _ => Err("not a device; there are auto, cpu, cuda and cuda:N".into()),
        }
    }
}

/// What a command does once it has a device, whichever that is.
pub trait Work {
    /// What it gives.
    type Output;

    /// Does it.
    ///
    /// # Errors
    /// The command's own.
    fn on<D: Device + Clone>(self, device: D) -> Result<Self::Output, Failure>;
}

impl DeviceArgs {
    /// Does the work on the device that was asked for. A card that `auto` takes is said, and so is one that it cannot take;
    /// a machine without a driver has nothing to say.
    ///
    /// # Errors
    /// A device that is not there; what the work says.
    pub fn run<W: Work>(self, verbosity: Verbosity, work: W) -> Result<W::Output, Failure> {
        match self.card(verbosity)? {
            Some(card) => work.on(card),
            None => work.on(self.processor()?),
        }
    }

    /// The memory of the device that was asked for, for predictions: nothing is opened, and a card need not be there. `None`
    /// for the processor.
    pub fn memory(self) -> Option<DeviceMemory> {
        let cards =
            if self.device == Choice::Cpu { Vec::new() } else { gft_cuda::cards().unwrap_or_default() };
        let index = match self.device {
            Choice::Auto if !cards.is_empty() => 0,
            Choice::Cpu | Choice::Auto => return None,
            Choice::Cuda(index) => index,
        };
        let card = cards.get(index);
        let name =
            card.map_or_else(|| format!("cuda:{index}"), |card| format!("cuda:{index} ({})", card.name));
        Some(DeviceMemory {
            device: name,
            formats: gft_cuda::formats(self.card_precision()),
            room: card.map(|card| (card.memory, card.memory)),
        })
    }

    fn card_precision(self) -> gft_cuda::Precision {
        match self.precision {
            Some(Precision::F32) => gft_cuda::Precision::F32,
            Some(Precision::Bf16) | None => gft_cuda::Precision::Bf16,
        }
    }

    /// The card to compute on; `None` for the processor.
    fn card(self, verbosity: Verbosity) -> Result<Option<Cuda>, Failure> {
        let precision = self.card_precision();
        let opened = match self.device {
            Choice::Cpu => return Ok(None),
            Choice::Auto => gft_cuda::open(0, precision),
            Choice::Cuda(index) => {
                let opened = gft_cuda::open(index, precision);
                return opened.map(Some).map_err(|why| {
                    Failure::usage(format!(
                        "--device cuda:{index}: {why}; or compute without a card: --device cpu"
                    ))
                });
            }
        };
        match opened {
            Ok(card) => {
                let numbers = match precision {
                    gft_cuda::Precision::Bf16 => "products of bf16",
                    gft_cuda::Precision::F32 => "f32",
                };
                verbosity.note(&format!("computing on {}, {numbers}; --device cpu does not", card.name()));
                Ok(Some(card))
            }
            Err(Unavailable::NoDriver) => Ok(None),
            Err(why) => {
                verbosity.note(&format!("computing on the processor: {why}"));
                Ok(None)
            }
        }
    }

    /// The processor, with the products that were asked for.
    fn processor(self) -> Result<Cpu, Failure> {
        if self.precision != Some(Precision::Bf16) {
            return Ok(Cpu::new());
        }
        Cpu::with_bf16_products().ok_or_else(|| {
            Failure::usage(format!(
                "--precision bf16: this processor computes {}; those take AVX512_BF16 or AMX, and would be less exact and no faster here; \
                 leave it out to compute in f32",
                Cpu::products_in_words()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_the_names_that_other_tools_give_them() {
        let choice = |text: &str| text.parse::<Choice>().ok();
        assert_eq!(choice("auto"), Some(Choice::Auto));
        assert_eq!(choice("cpu"), Some(Choice::Cpu));
        assert_eq!(choice("cuda"), Some(Choice::Cuda(0)));
        assert_eq!(choice("cuda:3"), Some(Choice::Cuda(3)));
        for wrong in ["", "cuda:", "cuda:x", "cuda:-1", "mps", "cpu:0"] {
            assert_eq!(choice(wrong), None, "{wrong}");
        }
    }
}
