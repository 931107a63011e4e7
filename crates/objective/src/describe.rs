//! Methods and rules in words: what `gft plan` prints.

use std::fmt;

use crate::advantage::{AdvantageConfig, Baseline, Scale};
use crate::method::{Method, Parts};
use crate::rule::{Boundary, Rule};
use crate::treatment::{Signal, Signs, Treatment};
use crate::{CountedRows, KeepGroups, Source};

impl fmt::Display for Method {
    /// A line for the name, one for each source, one for the advantage where groups are compared, one for the
    /// denominator, and one for each further term.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: loss = -sum sg(A c) log p / N", self.name)?;
        for source in Source::ALL {
            if let Some(treatment) = &self.sources[source] {
                writeln!(f, "  {:<8} {treatment}", source.as_str())?;
            }
        }
        if Source::ALL.iter().any(|s| self.sources[*s].is_some_and(|used| used.signal == Signal::Group)) {
            writeln!(f, "  A        {}", self.advantage)?;
        }
        if self.keep == KeepGroups::Varied {
            writeln!(f, "  groups   only those whose rewards vary")?;
        }
        if let Some(kl) = self.kl {
            writeln!(f, "  KL       {} * {} on own rows", kl.beta, kl.estimator)?;
        }
        if self.reference_kl != 0.0 {
            writeln!(f, "  KL       {} * KL(p_ref || p) over the vocabulary", self.reference_kl)?;
        }
        if self.entropy_bonus != 0.0 {
            writeln!(f, "  entropy  -{} * H on own rows", self.entropy_bonus)?;
        }
        let rows = if self.counted == CountedRows::All { "all rows" } else { "rows with a signal" };
        let parts = if self.parts == Parts::Joint { "" } else { ", demonstrations and own rows apart" };
        write!(f, "  N        {} over {rows} of the step{parts}", self.normaliser)
    }
}

impl fmt::Display for Treatment {
    /// `A = group, c = dcr(p < 0.7)` and what is not the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.signal {
            Signal::Group => write!(f, "A = group")?,
            Signal::Constant(value) => write!(f, "A = {value}")?,
            Signal::Correctness { right, wrong, threshold } => {
                write!(f, "A = {right} if reward > {threshold} else {wrong}")?;
            }
        }
        match self.signs {
            Signs::Both => {}
            Signs::Positive => write!(f, " (only A > 0)")?,
            Signs::Negative => write!(f, " (only A < 0)")?,
        }
        write!(f, ", c = {}", self.rule)?;
        if self.weight == 1.0 { Ok(()) } else { write!(f, ", weight {}", self.weight) }
    }
}

impl fmt::Display for AdvantageConfig {
    /// The formula, as in `(r - mean of the group) / (std + 1e-6), ddof 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let difference = match self.baseline {
            Baseline::Mixed => "r - mean of the group",
            Baseline::OnPolicy => "r - mean of the group's own rows",
            Baseline::PerSource => "r - mean of the group's rows of the same source",
            Baseline::LeaveOneOut => "r - mean of the group's other rows",
            Baseline::None => "r",
        };
        match self.scale {
            Scale::Std => write!(f, "({difference}) / (std + {:e}), ddof {}", self.eps, self.ddof),
            Scale::BatchStd => {
                write!(f, "({difference}) / (std of the batch + {:e}), ddof {}", self.eps, self.ddof)
            }
            Scale::None => f.write_str(difference),
        }
    }
}

impl fmt::Display for Rule {
    /// The name with the parameters, as in `dcr(p < 0.7)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Rule::Plain | Rule::Dft | Rule::Ratio | Rule::Chord => f.write_str(name),
            Rule::Dcr { tau, boundary: Boundary::Below } => write!(f, "{name}(p < {tau})"),
            Rule::Dcr { tau, boundary: Boundary::AtOrBelow } => write!(f, "{name}(p <= {tau})"),
            Rule::SmoothDcr { tau } => write!(f, "{name}(min(1, p/{tau}))"),
            Rule::RatioClip { eps_low, eps_high, dual_clip: None } => {
                write!(f, "{name}(1-{eps_low}, 1+{eps_high})")
            }
            Rule::RatioClip { eps_low, eps_high, dual_clip: Some(c) } => {
                write!(f, "{name}(1-{eps_low}, 1+{eps_high}, dual {c})")
            }
            Rule::Cispo { eps_max } => write!(f, "{name}(r <= {eps_max})"),
            Rule::Psft { eps_high } => write!(f, "{name}(r <= 1+{eps_high})"),
            Rule::Luffy { gamma } => write!(f, "{name}(gamma {gamma})"),
            Rule::Idft { beta, low, high, lambda } => {
                write!(f, "{name}(beta {beta}, {low} to {high}, lambda {lambda})")
            }
            Rule::Eaft { alpha, scale } => write!(f, "{name}(alpha {alpha}, scale {scale})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_in_words() {
        let expected = "gft-paper: loss = -sum sg(A c) log p / N
  expert   A = group, c = dcr(p < 0.7)
  teacher  A = group, c = dcr(p < 0.7)
  policy   A = group, c = dcr(p < 0.7)
  A        (r - mean of the group) / (std + 1e-6), ddof 1
  N        token-mean over all rows of the step";
        assert_eq!(Method::gft_paper().to_string(), expected);
        let expected = "chord-mu: loss = -sum sg(A c) log p / N
  expert   A = 1, c = plain, weight 0.25
  policy   A = group, c = ratio-clip(1-0.2, 1+0.2), weight 0.75
  A        (r - mean of the group's own rows) / (std + 1e-6), ddof 1
  N        token-mean over all rows of the step, demonstrations and own rows apart";
        assert_eq!(Method::chord(0.25).to_string(), expected);
    }

    #[test]
    fn rules_print_their_parameters() {
        assert_eq!(Rule::Dcr { tau: 0.7, boundary: Boundary::Below }.to_string(), "dcr(p < 0.7)");
        assert_eq!(
            Rule::RatioClip { eps_low: 0.2, eps_high: 0.28, dual_clip: Some(10.0) }.to_string(),
            "ratio-clip(1-0.2, 1+0.28, dual 10)"
        );
    }
}
