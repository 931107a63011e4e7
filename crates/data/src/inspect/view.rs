//! A row token by token, each marked with what becomes of it.

use crate::{Encode, Encoder, Result, Row};
use serde::Serialize;

/// What becomes of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// Part of the prompt.
    Context,
    /// Learned.
    Supervised,
    /// Behind the prompt and not learned: another speaker's turn.
    Masked,
}

/// One token as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenView {
    /// The id.
    pub id: u32,
    /// Whether it is a special token: BOS, EOS, the marks of turns.
    pub special: bool,
    /// Its text; empty if the character that it begins is completed by a later token.
    pub text: String,
    /// What becomes of it.
    pub role: TokenRole,
}

impl Encoder {
    /// The tokens of a row's prompt and of each of its completions, experts first; `None` if the prompt is too long.
    ///
    /// # Errors
    /// As [`Encoder::row`].
    pub fn view(&self, row: &Row) -> Result<Option<Vec<Vec<TokenView>>>> {
        let Encode::Kept(encoded) = self.row(row)? else { return Ok(None) };
        let prompt: Vec<(u32, TokenRole)> =
            encoded.prompt.ids.iter().map(|&id| (id, TokenRole::Context)).collect();
        let role = |learned| if learned { TokenRole::Supervised } else { TokenRole::Masked };
        let views = encoded.expert.iter().chain(&encoded.teachers).map(|completion| {
            let answer =
                completion.ids.iter().zip(&completion.supervised).map(|(&id, &learned)| (id, role(learned)));
            self.tokens(prompt.iter().copied().chain(answer))
        });
        let views: Vec<_> = views.collect::<Result<_>>()?;
        if views.is_empty() { Ok(Some(vec![self.tokens(prompt.into_iter())?])) } else { Ok(Some(views)) }
    }

    fn tokens(&self, ids: impl Iterator<Item = (u32, TokenRole)>) -> Result<Vec<TokenView>> {
        let mut stream = self.tokenizer().stream(false);
        let mut tokens: Vec<TokenView> = ids
            .map(|(id, role)| {
                let special = self.tokenizer().is_special(id);
                Ok(TokenView { id, special, text: stream.push(id)?, role })
            })
            .collect::<Result<_>>()?;
        let rest = stream.finish()?;
        if let Some(last) = tokens.last_mut() {
            last.text.push_str(&rest);
        }
        Ok(tokens)
    }
}
