//! Rows token by token: context, supervised or masked, in colour or in brackets.

use gft_data::{TokenRole, TokenView};
use gft_report::sample_table;

use super::examples::{Example, Shown};
use super::page::line;

/// Rows token by token, or, without a model, as they were read.
pub fn examples(examples: &[Example], with_model: bool, colour: bool) -> String {
    if examples.is_empty() {
        return String::new();
    }
    let paint = Paint { colour };
    let mut text = String::from("\n");
    if with_model {
        text.push_str(&paint.legend());
    }
    for example in examples {
        let gold =
            example.gold.as_deref().map_or("no gold answer".to_owned(), |gold| format!("gold {gold:?}"));
        text.push_str(&format!("\nrow {} ({}), {gold}\n", example.index, example.id));
        if let Some(problem) = &example.problem {
            text.push_str(&line("  problem", problem));
        }
        if !with_model || example.problem.is_some() {
            text.push_str(&plain(example));
            continue;
        }
        if let Some(tokens) = &example.prompt_tokens {
            text.push_str(&paint.tokens(tokens));
        }
        for (at, shown) in example.completions.iter().enumerate() {
            text.push_str(&paint.completion(at, shown));
        }
    }
    text
}

fn plain(example: &Example) -> String {
    let mut rows = vec![vec!["prompt".to_owned(), example.prompt.text()]];
    for shown in &example.completions {
        rows.push(vec![named(shown), shown.content.clone()]);
    }
    sample_table(&["", "text"], &rows, 80, 8).lines().skip(1).map(|line| format!("{line}\n")).collect()
}

fn named(shown: &Shown) -> String {
    shown.model.as_ref().map_or(shown.source.to_owned(), |model| format!("{} {model}", shown.source))
}

/// Tokens as text in which roles, edges and blanks can be seen.
struct Paint {
    colour: bool,
}

/// Of a longer part the middle is left out.
const SHOWN: usize = 600;

impl Paint {
    fn legend(&self) -> String {
        let roles = [TokenRole::Context, TokenRole::Supervised, TokenRole::Masked];
        let names = ["context", "learned", "not learned"];
        let said: Vec<String> = roles
            .iter()
            .zip(names)
            .map(|(role, name)| match self.colour {
                true => format!("\x1b[{}m{name}\x1b[0m", sgr(*role)),
                false => format!("{}{name}{}", opening(*role), closing(*role)),
            })
            .collect();
        let edges = if self.colour {
            "every other token underlined, special ones reversed"
        } else {
            "tokens parted by │"
        };
        format!("{}; {edges}; · a space, ⏎ a line break\n", said.join(" "))
    }

    /// The first completion with its prompt, the others without.
    fn completion(&self, at: usize, shown: &Shown) -> String {
        let Some(tokens) = &shown.tokens else { return String::new() };
        let behind = tokens.iter().position(|token| token.role != TokenRole::Context).unwrap_or(tokens.len());
        let part = if at == 0 { tokens.as_slice() } else { &tokens[behind..] };
        format!("{} ({} tokens)\n{}", named(shown), tokens.len() - behind, self.tokens(part))
    }

    fn tokens(&self, tokens: &[TokenView]) -> String {
        let mut text = String::new();
        for part in tokens.chunk_by(|a, b| a.role == b.role) {
            let role = part[0].role;
            text.push_str(if self.colour { "" } else { opening(role) });
            let skipped = part.len().saturating_sub(SHOWN);
            for (at, token) in part.iter().enumerate() {
                if skipped > 0 && (SHOWN / 2..SHOWN / 2 + skipped).contains(&at) {
                    if at == SHOWN / 2 {
                        text.push_str(&format!(" [{skipped} tokens more] "));
                    }
                    continue;
                }
                if !self.colour && at > 0 {
                    text.push('│');
                }
                text.push_str(&self.token(token, at));
            }
            text.push_str(if self.colour { "" } else { closing(role) });
        }
        text.trim_end_matches('\n').to_owned() + "\n"
    }

    fn token(&self, token: &TokenView, at: usize) -> String {
        let shown = visible(&token.text);
        if !self.colour {
            return shown;
        }
        let edge = if at % 2 == 1 { ";4" } else { "" };
        let special = if token.special { ";7" } else { "" };
        let style = format!("\x1b[{}{edge}{special}m", sgr(token.role));
        // Line breaks stand outside of the colour, so that none runs to the edge of the terminal.
        let lines: Vec<String> = shown
            .split('\n')
            .map(|line| if line.is_empty() { String::new() } else { format!("{style}{line}\x1b[0m") })
            .collect();
        lines.join("\n")
    }
}

fn sgr(role: TokenRole) -> u8 {
    match role {
        TokenRole::Context => 36,
        TokenRole::Supervised => 32,
        TokenRole::Masked => 33,
    }
}

fn opening(role: TokenRole) -> &'static str {
    match role {
        TokenRole::Context => "",
        TokenRole::Supervised => "⟦",
        TokenRole::Masked => "⟨",
    }
}

fn closing(role: TokenRole) -> &'static str {
    match role {
        TokenRole::Context => "",
        TokenRole::Supervised => "⟧",
        TokenRole::Masked => "⟩",
    }
}

/// Blanks as signs; control characters as their code, because they could move the cursor; a token that is only part of
/// a character as dots.
fn visible(text: &str) -> String {
    if text.is_empty() {
        return "⋯".to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' ' => shown.push('·'),
            '\n' => shown.push_str("⏎\n"),
            '\t' => shown.push('→'),
            c if c.is_control() => shown.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, role: TokenRole) -> TokenView {
        TokenView { id: 0, special: text.starts_with("<|"), text: text.into(), role }
    }

    fn row() -> Vec<TokenView> {
        vec![
            token("<|bos|>", TokenRole::Context),
            token("Why?\n", TokenRole::Context),
            token("so", TokenRole::Supervised),
            token(" it", TokenRole::Supervised),
            token("<|end|>", TokenRole::Supervised),
            token("\x1b[2J", TokenRole::Masked),
            token("", TokenRole::Masked),
        ]
    }

    #[test]
    fn roles_are_seen_without_colour() {
        let text = Paint { colour: false }.tokens(&row());
        assert_eq!(text, "<|bos|>│Why?⏎\n⟦so│·it│<|end|>⟧⟨\\u{1b}[2J│⋯⟩\n");
    }

    #[test]
    fn every_token_has_the_colour_of_its_role() {
        let text = Paint { colour: true }.tokens(&row());
        let expected = "\x1b[36;7m<|bos|>\x1b[0m\x1b[36;4mWhy?⏎\x1b[0m\n\
                        \x1b[32mso\x1b[0m\x1b[32;4m·it\x1b[0m\x1b[32;7m<|end|>\x1b[0m\
                        \x1b[33m\\u{1b}[2J\x1b[0m\x1b[33;4m⋯\x1b[0m\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn long_parts_lose_their_middle_and_say_so() {
        let long = vec![token("x", TokenRole::Context); SHOWN + 7];
        let text = Paint { colour: false }.tokens(&long);
        assert!(text.contains(" [7 tokens more] ") && text.matches('x').count() == SHOWN, "{text}");
    }
}
