//! The gold answer, taken out of a reference solution as its data set writes it.

use std::fmt;

/// Where a gold answer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GoldRule {
    /// A column of its own.
    Column,
    /// Behind the last `####` (GSM8K).
    Hashes,
    /// Inside the last `\boxed{...}` (MATH, NuminaMath).
    Boxed,
    /// A last line `A: ...` (the GSM8K model solutions).
    AnswerLine,
    /// The solution is nothing but a short answer.
    Bare,
}

impl fmt::Display for GoldRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Column => "a column",
            Self::Hashes => "####",
            Self::Boxed => "\\boxed",
            Self::AnswerLine => "a last line \"A:\"",
            Self::Bare => "a bare solution",
        })
    }
}

/// The longest solution that may be a bare answer, in characters: longer ones are prose.
const BARE_LIMIT: usize = 48;

/// The gold answer of a solution and the rule that found it.
pub fn find_gold(solution: &str) -> Option<(String, GoldRule)> {
    let text = solution.trim();
    if let Some((_, after)) = text.rsplit_once("####") {
        let answer = after.trim().lines().next().unwrap_or_default().trim();
        if !answer.is_empty() {
            return Some((answer.to_string(), GoldRule::Hashes));
        }
    }
    if let Some(answer) = last_boxed(text) {
        return Some((answer.to_string(), GoldRule::Boxed));
    }
    let last = text.lines().last().unwrap_or_default().trim();
    if let Some(answer) = last.strip_prefix("A:").map(str::trim).filter(|a| !a.is_empty()) {
        return Some((answer.to_string(), GoldRule::AnswerLine));
    }
    let bare = !text.is_empty()
        && !text.contains('\n')
        && text.chars().count() <= BARE_LIMIT
        && text.split(' ').count() <= 6;
    bare.then(|| (text.to_string(), GoldRule::Bare))
}

/// The contents of the last `\boxed{...}` or `\fbox{...}` whose braces close, or of `\boxed x`.
fn last_boxed(text: &str) -> Option<&str> {
    let mut end = text.len();
    while let Some(at) = text[..end].rfind("\\boxed").max(text[..end].rfind("\\fbox")) {
        let rest = text[at..].trim_start_matches("\\boxed").trim_start_matches("\\fbox").trim_start();
        let answer = match rest.strip_prefix('{') {
            Some(inner) => inside_braces(inner),
            None => rest.split(|c: char| c == '$' || c.is_whitespace()).next(),
        };
        if let Some(answer) = answer.map(str::trim).filter(|a| !a.is_empty()) {
            return Some(answer);
        }
        end = at;
    }
    None
}

/// The text up to the brace that closes the one before it.
fn inside_braces(text: &str) -> Option<&str> {
    let (mut depth, mut escaped) = (1, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&text[..i]);
        }
    }
    None
}

/// Whether a solution says more than its answer and the marks around that.
pub(super) fn says_more(solution: &str, gold: Option<&str>) -> bool {
    let bare = |text: &str| -> String {
        let text = text.replace("\\boxed", "").replace("####", "");
        text.chars().filter(|c| !c.is_whitespace() && !"${}".contains(*c)).collect()
    };
    gold.is_none_or(|gold| bare(solution) != bare(gold))
}

/// Several references of one problem: the gold answer, which is the first one's, and which of them are worked. Beside a
/// bare answer a text that marks none is another way to write it, however long.
pub(super) fn several_references(texts: &[String]) -> (Option<(String, GoldRule)>, Vec<bool>) {
    let found: Vec<_> = texts.iter().map(|text| find_gold(text)).collect();
    let is_bare = |found: &Option<(String, GoldRule)>| matches!(found, Some((_, GoldRule::Bare)));
    let bare = found.iter().any(is_bare);
    let worked = texts.iter().zip(&found).map(|(text, found)| match found {
        Some((_, GoldRule::Bare)) => false,
        Some((own, _)) => says_more(text, Some(own)),
        None => !bare,
    });
    let worked = worked.collect();
    let first = texts.first().map(|text| (text.trim().to_string(), GoldRule::Bare));
    let first = first.filter(|(text, _)| bare && !text.is_empty());
    (found.into_iter().next().flatten().or(first), worked)
}

/// `text` without GSM8K's calculator annotations `<<48/2=24>>`.
pub(super) fn strip_calculator(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<<") {
        out.push_str(before);
        match after.split_once(">>") {
            // An annotation stands on one line and has a result.
            Some((inner, behind)) if !inner.contains('\n') && inner.contains('=') => rest = behind,
            _ => {
                out.push_str("<<");
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gold_as_each_data_set_writes_it() {
        let gold = |text| find_gold(text).map(|(answer, _)| answer);
        assert_eq!(gold("48+24 = <<48+24=72>>72\n#### 72").as_deref(), Some("72"));
        assert_eq!(gold("so\n#### 1,200\n").as_deref(), Some("1,200"));
        assert_eq!(gold(r"first \boxed{1}, then $\boxed{\frac{1}{2}}$.").as_deref(), Some(r"\frac{1}{2}"));
        assert_eq!(gold(r"a set $\boxed{\{1, 2\}}$").as_deref(), Some(r"\{1, 2\}"));
        assert_eq!(gold(r"$\boxed 7$").as_deref(), Some("7"));
        assert_eq!(gold(r"closed \boxed{3} and open \boxed{4").as_deref(), Some("3"));
        assert_eq!(gold("She makes 18.\nA: 18").as_deref(), Some("18"));
        assert_eq!(gold("  42 ").as_deref(), Some("42"));
        assert_eq!(gold("We see that the number of apples is forty-two, which is the claim."), None);
        assert_eq!(gold(""), None);
    }

    #[test]
    fn a_solution_says_more_than_its_answer_or_not() {
        for (solution, gold) in [("#### 42", "42"), (r"$\boxed{42}$", "42"), (r"\frac12", r"\frac{1}{2}")] {
            assert!(!says_more(solution, Some(gold)), "{solution}");
        }
        assert!(says_more("6 times 7\n#### 42", Some("42")));
        assert!(says_more("a proof", None));
    }

    #[test]
    fn rules_are_told_apart() {
        let rule = |text| find_gold(text).map(|(_, rule)| rule);
        assert_eq!(rule("x\n#### 1"), Some(GoldRule::Hashes));
        assert_eq!(rule(r"\boxed{1}"), Some(GoldRule::Boxed));
        assert_eq!(rule("x\nA: 1"), Some(GoldRule::AnswerLine));
        assert_eq!(rule("1"), Some(GoldRule::Bare));
    }

    #[test]
    fn calculator_annotations() {
        assert_eq!(strip_calculator("48/2 = <<48/2=24>>24 clips, $<<0.2*50=10>>10"), "48/2 = 24 clips, $10");
        assert_eq!(strip_calculator("a << b and c >> d, 1 << 2"), "a << b and c >> d, 1 << 2");
    }
}
