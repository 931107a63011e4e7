//! A reward for reasoning between `<think>` and `</think>` (TRL's `think_format_reward`).

use crate::{Candidate, Reward, Score};

/// 1 where the completion begins with `<think>`, holds it once, and closes it, else 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThinkFormat;

impl ThinkFormat {
    /// Whether a text has the form.
    pub fn fits(text: &str) -> bool {
        let Some(rest) = text.strip_prefix("<think>") else { return false };
        !rest.contains("<think>") && rest.contains("</think>")
    }
}

impl Reward for ThinkFormat {
    fn name(&self) -> &str {
        "think_format"
    }

    fn score(&self, candidates: &[Candidate<'_>]) -> Vec<Score> {
        candidates.iter().map(|c| Score::Value(f64::from(u8::from(Self::fits(c.text))))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_trl_has_it() {
        for (text, fits) in [
            ("<think>a</think>b", true),
            ("<think>\na\n</think>\n4", true),
            ("<think></think>", true),
            ("a<think>b</think>", false),
            ("<think>a<think>b</think></think>", false),
            ("<think>a</think><think>b</think>", false),
            ("<think>a", false),
            ("", false),
        ] {
            assert_eq!(ThinkFormat::fits(text), fits, "{text}");
        }
    }
}
