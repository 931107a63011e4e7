//! The methods of the papers, each one as a value of [`Method`].
//!
//! The settings are those of the paper or of its published script, as the comment of each constructor says.
//! Learning rates, batch sizes and data are not part of an objective; they are listed in the crate's README.

use crate::advantage::{AdvantageConfig, Baseline, Scale, Singleton};
use crate::method::{KeepGroups, Method, Parts};
use crate::normaliser::{CountedRows, Normaliser};
use crate::treatment::{Signal, Signs, Treatment};
use crate::{Boundary, BySource, Error, Rule, Source};

/// The clip of PPO and GRPO: 0.2 on both sides.
const PPO_CLIP: Rule = Rule::RatioClip { eps_low: 0.2, eps_high: 0.2, dual_clip: None };

/// A constructor of a preset by its name.
type Preset = (&'static str, fn() -> Method);

/// The presets that need no argument, or have the paper's value for it.
const PRESETS: &[Preset] = &[
    ("sft", Method::sft),
    ("sft-mix", Method::sft_mix),
    ("dft", Method::dft),
    ("asft", || Method::asft(0.1)),
    ("psft", Method::psft),
    ("eaft", Method::eaft),
    ("idft", || Method::idft(1.0)),
    ("gft-paper", Method::gft_paper),
    ("gft-reference", Method::gft_reference),
    ("gft-stable", Method::gft_stable),
    ("grpo", Method::grpo),
    ("dr-grpo", Method::dr_grpo),
    ("dapo", Method::dapo),
    ("cispo", || Method::cispo(5.0)),
    ("rloo", Method::rloo),
    ("psr", Method::psr),
    ("nsr", Method::nsr),
    ("w-reinforce", || Method::w_reinforce(0.1)),
    ("luffy", Method::luffy),
    ("chord-mu", || Method::chord(0.9)),
    ("chord-phi", || Method::chord_phi(0.1)),
];

/// A treatment with both signs and weight 1.
fn treat(signal: Signal, rule: Rule) -> Option<Treatment> {
    Some(Treatment { signal, signs: Signs::Both, rule, weight: 1.0 })
}

/// `treatment` with another weight.
fn weigh(treatment: Option<Treatment>, weight: f64) -> Option<Treatment> {
    treatment.map(|treatment| Treatment { weight, ..treatment })
}

const NO_SOURCE: BySource<Option<Treatment>> = BySource { expert: None, teacher: None, policy: None };

impl Method {
    /// The preset called `name`; `_` and `-` are the same, and `gft` is `gft-paper`.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the list of names.
    pub fn named(name: &str) -> Result<Method, Error> {
        let wanted = match name.replace('_', "-").as_str() {
            "gft" => "gft-paper".to_owned(),
            other => other.to_owned(),
        };
        let found = PRESETS.iter().find(|(preset, _)| *preset == wanted);
        let known = || Method::names().collect::<Vec<_>>().join(", ");
        found.map(|(_, make)| make()).ok_or_else(|| Error::Unknown {
            what: "method",
            given: name.to_owned(),
            known: known(),
        })
    }

    /// The names of all presets.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// No source, group advantages, token mean: what the presets start from.
    fn blank(name: &'static str) -> Method {
        Method {
            name,
            advantage: AdvantageConfig::default(),
            sources: NO_SOURCE,
            normaliser: Normaliser::TokenMean,
            counted: CountedRows::All,
            parts: Parts::Joint,
            keep: KeepGroups::All,
            kl: None,
            reference_kl: 0.0,
            entropy_bonus: 0.0,
        }
    }

    /// One treatment for the expert's rows with advantage 1.
    fn on_expert(name: &'static str, rule: Rule) -> Method {
        let expert = treat(Signal::Constant(1.0), rule);
        Method { sources: BySource { expert, ..NO_SOURCE }, ..Method::blank(name) }
    }

    /// One treatment for the policy's own rows.
    fn on_policy(name: &'static str, signal: Signal, rule: Rule) -> Method {
        Method { sources: BySource { policy: treat(signal, rule), ..NO_SOURCE }, ..Method::blank(name) }
    }

    /// One treatment for all rows of a group.
    fn on_group(name: &'static str, rule: Rule) -> Method {
        Method { sources: BySource::from_fn(|_| treat(Signal::Group, rule)), ..Method::blank(name) }
    }

    /// SFT: `-log p` on expert rows.
    pub fn sft() -> Method {
        Method::on_expert("sft", Rule::Plain)
    }

    /// SFT(mix): `-log p` on expert and teacher rows.
    pub fn sft_mix() -> Method {
        let mut method = Method::on_expert("sft-mix", Rule::Plain);
        method.sources.teacher = method.sources.expert;
        method
    }

    /// DFT (arXiv 2508.05629): `-sg(p) log p` on expert rows.
    pub fn dft() -> Method {
        Method::on_expert("dft", Rule::Dft)
    }

    /// ASFT (arXiv 2509.23753): DFT plus `lambda KL(p_ref || p)` over the whole vocabulary; lambda 0.1 in the
    /// script, 0.05 in its README.
    pub fn asft(lambda: f64) -> Method {
        Method { reference_kl: lambda, ..Method::on_expert("asft", Rule::Dft) }
    }

    /// PSFT (arXiv 2508.17784): `-min(r, 1.28)` on expert rows; the ratio is to the policy at the start of a
    /// batch, of which several updates must be made, else it is SFT.
    pub fn psft() -> Method {
        Method::on_expert("psft", Rule::Psft { eps_high: 0.28 })
    }

    /// EAFT (arXiv 2601.02151): `-sg(H_top20 / 3) log p` on expert rows.
    pub fn eaft() -> Method {
        Method::on_expert("eaft", Rule::Eaft { alpha: 1.0, scale: 3.0 })
    }

    /// IDFT (arXiv 2602.12222) with its ramp at `lambda` (see [`crate::idft_ramp`]): 0 is DFT, 1 the full
    /// rule.
    pub fn idft(lambda: f64) -> Method {
        Method::on_expert("idft", Rule::Idft { beta: 1.0, low: 0.1, high: 2.0, lambda })
    }

    /// GFT as the paper writes it (arXiv 2604.14258, eq. 4, 5, 21): mixed baseline, DCR with tau 0.7 on all
    /// rows, `p < tau`. The paper's group is 1 expert + 3 teacher + 4 own rows. eps and ddof are the code's.
    pub fn gft_paper() -> Method {
        Method::on_group("gft-paper", Rule::Dcr { tau: 0.7, boundary: Boundary::Below })
    }

    /// GFT as the published code runs it (commit 763384d): tau 0.1 with `p <= tau` rectified, ddof 1, eps
    /// 1e-6, a row alone keeps its reward, token mean. Not reproduced: the code's mean of micro-batch means.
    pub fn gft_reference() -> Method {
        let mut method =
            Method::on_group("gft-reference", Rule::Dcr { tau: 0.1, boundary: Boundary::AtOrBelow });
        method.advantage.singleton = Singleton::Reward;
        method
    }

    /// GFT that learns from positive advantages alone: DCR with tau 0.7 on demonstrations, the clipped ratio on
    /// the policy's own rows, and only rows with a signal in the denominator. DCR on own rows is not unbiased
    /// (token weights break the score-function identity), and on the small world of `STUDY.md`, where this
    /// form was chosen, rows that are pushed down cost more accuracy than they teach. Not a paper's method: this crate's, and its settings may change.
    pub fn gft_stable() -> Method {
        let mut method = Method::gft_paper();
        method.name = "gft-stable";
        method.sources.policy =
            treat(Signal::Group, Rule::RatioClip { eps_low: 0.2, eps_high: 0.28, dual_clip: None });
        for source in Source::ALL {
            if let Some(treatment) = &mut method.sources[source] {
                treatment.signs = Signs::Positive;
            }
        }
        method.counted = CountedRows::Active;
        method
    }

    /// GRPO (arXiv 2402.03300) on own rows: group advantage, clip 0.2, mean over rows of token means,
    /// no KL (the paper's beta is 0.04; set [`Method::kl`]).
    pub fn grpo() -> Method {
        Method {
            normaliser: Normaliser::SeqMeanTokenMean,
            ..Method::on_policy("grpo", Signal::Group, PPO_CLIP)
        }
    }

    /// Dr. GRPO (arXiv 2503.20783): `r - mean` without the standard deviation, divided by rows times the
    /// maximum completion length.
    pub fn dr_grpo() -> Method {
        let mut method = Method::on_policy("dr-grpo", Signal::Group, PPO_CLIP);
        method.advantage.scale = Scale::None;
        method.normaliser = Normaliser::FixedLength;
        method
    }

    /// DAPO (arXiv 2503.14476): clip 0.2 / 0.28, token mean, groups without variance dropped; dual
    /// clip 10 as in its script. The soft overlong penalty is [`crate::SoftOverlong`].
    pub fn dapo() -> Method {
        let rule = Rule::RatioClip { eps_low: 0.2, eps_high: 0.28, dual_clip: Some(10.0) };
        Method { keep: KeepGroups::Varied, ..Method::on_policy("dapo", Signal::Group, rule) }
    }

    /// CISPO (MiniMax-M1, arXiv 2506.13585): `-A sg(min(r, eps_max)) log p`, token mean.
    pub fn cispo(eps_max: f64) -> Method {
        Method::on_policy("cispo", Signal::Group, Rule::Cispo { eps_max })
    }

    /// RLOO (arXiv 2402.14740): leave-one-out baseline, no scale, no clip, sum over the tokens of a row.
    pub fn rloo() -> Method {
        let mut method = Method::on_policy("rloo", Signal::Group, Rule::Plain);
        method.advantage.baseline = Baseline::LeaveOneOut;
        method.advantage.scale = Scale::None;
        method.normaliser = Normaliser::SeqMeanTokenSum;
        method
    }

    /// `A = right` for right rows and `wrong` for wrong ones, PPO clip; only rows with a signal are counted.
    fn by_correctness(name: &'static str, right: f64, wrong: f64) -> Method {
        let signal = Signal::Correctness { right, wrong, threshold: 0.5 };
        Method { counted: CountedRows::Active, ..Method::on_policy(name, signal, PPO_CLIP) }
    }

    /// PSR (arXiv 2506.01347): only right rows, advantage +1.
    pub fn psr() -> Method {
        Method::by_correctness("psr", 1.0, 0.0)
    }

    /// NSR (arXiv 2506.01347): only wrong rows, advantage -1.
    pub fn nsr() -> Method {
        Method::by_correctness("nsr", 0.0, -1.0)
    }

    /// W-REINFORCE (arXiv 2506.01347): advantage `lambda` (0.1) for right rows, -1 for wrong ones.
    pub fn w_reinforce(lambda: f64) -> Method {
        Method::by_correctness("w-reinforce", lambda, -1.0)
    }

    /// LUFFY (arXiv 2504.14945) as its script runs it: `r - mean` over the mixed group, policy shaping with
    /// gamma 0.1 on demonstrations, the unclipped ratio on own rows, summed and divided by the maximum
    /// completion length.
    pub fn luffy() -> Method {
        let mut method = Method::on_group("luffy", Rule::Luffy { gamma: 0.1 });
        method.sources.policy = treat(Signal::Group, Rule::Ratio);
        method.advantage.scale = Scale::None;
        method.normaliser = Normaliser::SeqMeanTokenSumNorm;
        method
    }

    /// `(1 - mu) GRPO(own rows) + mu demonstrations(rule)`, each part over its own tokens.
    fn chord_with(name: &'static str, mu: f64, rule: Rule) -> Method {
        let expert = weigh(treat(Signal::Constant(1.0), rule), mu);
        let policy = weigh(treat(Signal::Group, PPO_CLIP), 1.0 - mu);
        let mut method = Method::blank(name);
        method.sources = BySource { expert, teacher: None, policy };
        method.advantage.baseline = Baseline::OnPolicy;
        method.parts = Parts::Apart;
        method
    }

    /// CHORD-mu (arXiv 2508.11408): `(1 - mu) GRPO + mu SFT`; mu from [`crate::ChordMu`] at each step.
    pub fn chord(mu: f64) -> Method {
        Method::chord_with("chord-mu", mu, Rule::Plain)
    }

    /// CHORD-phi (arXiv 2508.11408): the expert's tokens weigh `p (1 - p)`; mu 0.1 throughout.
    pub fn chord_phi(mu: f64) -> Method {
        Method::chord_with("chord-phi", mu, Rule::Chord)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_and_found_by_its_name() {
        for name in Method::names() {
            let method = Method::named(name).unwrap();
            assert_eq!(method.name, name);
            assert_eq!(method.validate(), Ok(()), "{name}");
            assert!(Source::ALL.iter().any(|source| method.sources[*source].is_some()), "{name}");
        }
        assert_eq!(Method::named("w_reinforce").unwrap().name, "w-reinforce");
        assert_eq!(Method::named("gft").unwrap(), Method::gft_paper());
        let message = Method::named("gtf").unwrap_err().to_string();
        assert!(message.contains("`gtf`") && message.contains("gft-paper"), "{message}");
    }

    #[test]
    fn every_preset_has_an_entry_in_the_readme() {
        let readme = include_str!("../README.md");
        for name in Method::names() {
            assert!(readme.contains(&format!("**`{name}`**")), "{name}");
        }
    }

    #[test]
    fn a_weight_outside_its_range_is_refused() {
        assert!(Method::chord(1.5).validate().is_err(), "1 - mu would be negative");
    }
}
