//! Learning-rate schedules as pure functions of the step, equal to those of transformers.
//!
//! The factor multiplies the peak learning rate. Steps count from 0: the first optimizer update uses the
//! factor at step 0, which is 0 when there is a warm-up, as with `torch.optim.lr_scheduler.LambdaLR`.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::error::in_range;

/// Shape after the warm-up. `S` steps in all, `W` of warm-up, progress `x = (step - W) / max(1, S - W)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decay {
    /// 1 throughout, without any warm-up (`constant`).
    Constant,
    /// 1 after the warm-up (`constant_with_warmup`).
    ConstantWithWarmup,
    /// `max(0, 1 - x)` (`linear`).
    Linear,
    /// `max(0, (1 + cos(2 pi cycles x)) / 2)` (`cosine`).
    Cosine {
        /// Number of waves: 0.5 falls once from 1 to 0.
        cycles: f64,
    },
    /// The cosine between 1 and `min_rate` (`cosine_with_min_lr`).
    CosineWithMinLr {
        /// Number of waves: 0.5.
        cycles: f64,
        /// Last factor: transformers' `min_lr_rate`, or `min_lr / learning_rate`.
        min_rate: f64,
    },
}

/// Length of the linear rise from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Warmup {
    /// A number of steps (`warmup_steps`).
    Steps(u64),
    /// A share of all steps, rounded up (`warmup_ratio`).
    Ratio(f64),
}

/// A learning-rate schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Shape after the warm-up.
    pub decay: Decay,
    /// The warm-up.
    pub warmup: Warmup,
    /// Optimizer steps in all.
    pub total_steps: u64,
}

impl Warmup {
    /// Steps of warm-up of a run of `total_steps`.
    pub fn steps(self, total_steps: u64) -> u64 {
        match self {
            Warmup::Steps(steps) => steps,
            Warmup::Ratio(ratio) => (total_steps as f64 * ratio).ceil() as u64,
        }
    }
}

impl Schedule {
    /// Factor of the peak learning rate at the 0-based optimizer step `step`.
    pub fn factor(&self, step: u64) -> f64 {
        let warmup = self.warmup.steps(self.total_steps);
        if step < warmup && self.decay != Decay::Constant {
            return step as f64 / warmup.max(1) as f64;
        }
        // In f64, because the step may lie beyond the last one and the warm-up may be longer than the run.
        let (step, warmup, total) = (step as f64, warmup as f64, self.total_steps as f64);
        let length = (total - warmup).max(1.0);
        let wave = |cycles: f64| 0.5 * (1.0 + (PI * cycles * 2.0 * ((step - warmup) / length)).cos());
        match self.decay {
            Decay::Constant | Decay::ConstantWithWarmup => 1.0,
            Decay::Linear => ((total - step) / length).max(0.0),
            Decay::Cosine { cycles } => wave(cycles).max(0.0),
            Decay::CosineWithMinLr { cycles, min_rate } => {
                (wave(cycles) * (1.0 - min_rate) + min_rate).max(0.0)
            }
        }
    }

    /// Learning rate at the 0-based optimizer step `step` for the peak rate `peak`.
    pub fn learning_rate(&self, peak: f64, step: u64) -> f64 {
        peak * self.factor(step)
    }

    /// Checks the ranges of the parameters.
    ///
    /// # Errors
    /// [`Error::Parameter`].
    pub fn validate(&self) -> Result<(), Error> {
        if let Warmup::Ratio(ratio) = self.warmup {
            in_range("warmup_ratio", ratio, 0.0, 1.0, "a share in [0, 1]")?;
        }
        match self.decay {
            Decay::Constant | Decay::ConstantWithWarmup | Decay::Linear => Ok(()),
            Decay::Cosine { cycles } => in_range("num_cycles", cycles, 0.0, f64::MAX, "a number >= 0"),
            Decay::CosineWithMinLr { cycles, min_rate } => {
                in_range("num_cycles", cycles, 0.0, f64::MAX, "a number >= 0")?;
                in_range("min_lr_rate", min_rate, 0.0, 1.0, "a share in [0, 1]")
            }
        }
    }
}

impl Decay {
    /// transformers' `lr_scheduler_type` for this shape.
    pub fn as_str(self) -> &'static str {
        match self {
            Decay::Constant => "constant",
            Decay::ConstantWithWarmup => "constant_with_warmup",
            Decay::Linear => "linear",
            Decay::Cosine { .. } => "cosine",
            Decay::CosineWithMinLr { .. } => "cosine_with_min_lr",
        }
    }
}

impl fmt::Display for Decay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Decay {
    type Err = Error;

    /// Reads transformers' `lr_scheduler_type`: `constant`, `constant_with_warmup`, `linear`, `cosine` (half
    /// a wave) and `cosine_with_min_lr` (half a wave down to a tenth).
    fn from_str(name: &str) -> Result<Self, Error> {
        match name.replace('-', "_").as_str() {
            "constant" => Ok(Decay::Constant),
            "constant_with_warmup" => Ok(Decay::ConstantWithWarmup),
            "linear" => Ok(Decay::Linear),
            "cosine" => Ok(Decay::Cosine { cycles: 0.5 }),
            "cosine_with_min_lr" => Ok(Decay::CosineWithMinLr { cycles: 0.5, min_rate: 0.1 }),
            _ => Err(Error::Unknown {
                what: "learning-rate schedule",
                given: name.to_owned(),
                known: "constant, constant_with_warmup, linear, cosine, cosine_with_min_lr".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factor(decay: Decay, step: u64) -> f64 {
        Schedule { decay, warmup: Warmup::Steps(10), total_steps: 110 }.factor(step)
    }

    #[test]
    fn landmarks() {
        let cosine = Decay::Cosine { cycles: 0.5 };
        let with_min = Decay::CosineWithMinLr { cycles: 0.5, min_rate: 0.1 };
        // (shape, factors at the start, mid warm-up, peak, half way, end, beyond)
        let cases = [
            (Decay::Constant, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
            (Decay::ConstantWithWarmup, [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]),
            (Decay::Linear, [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]),
            (cosine, [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]),
            (with_min, [0.0, 0.5, 1.0, 0.55, 0.1, 0.55]),
        ];
        for (decay, expected) in cases {
            for (step, expected) in [0, 5, 10, 60, 110, 160].into_iter().zip(expected) {
                // 1e-15: the cosine of a rounded multiple of pi.
                assert!((factor(decay, step) - expected).abs() < 1e-15, "{decay} at {step}");
            }
        }
    }

    #[test]
    fn a_ratio_is_rounded_up() {
        assert_eq!(Warmup::Ratio(0.1).steps(101), 11);
        assert_eq!(Warmup::Ratio(0.0).steps(101), 0);
    }

    #[test]
    fn degenerate_lengths_stay_finite() {
        for decay in ["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_min_lr"] {
            let decay: Decay = decay.parse().unwrap();
            for (warmup, total) in [(0, 0), (5, 5), (9, 5), (0, 1)] {
                let schedule = Schedule { decay, warmup: Warmup::Steps(warmup), total_steps: total };
                for step in 0..12 {
                    let factor = schedule.factor(step);
                    assert!((0.0..=1.0).contains(&factor), "{decay} {warmup} {total} {step}: {factor}");
                }
            }
        }
    }

    #[test]
    fn names_and_ranges() {
        assert!("polynomial".parse::<Decay>().is_err());
        assert_eq!("cosine-with-min-lr".parse::<Decay>().unwrap().as_str(), "cosine_with_min_lr");
        let schedule = |decay, warmup| Schedule { decay, warmup, total_steps: 1 };
        assert!(schedule(Decay::Linear, Warmup::Ratio(1.5)).validate().is_err());
        let rate = Decay::CosineWithMinLr { cycles: 0.5, min_rate: -0.1 };
        assert!(schedule(rate, Warmup::Steps(0)).validate().is_err());
        assert_eq!(schedule(Decay::Linear, Warmup::Ratio(0.1)).validate(), Ok(()));
    }
}
