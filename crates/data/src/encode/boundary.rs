//! The seam between prompt and completion, in text and in tokens.

use crate::{Message, Result, Tokenizer};

/// A prompt as text and ids, ready to be continued.
#[derive(Clone, Debug)]
pub(super) struct PromptText {
    pub text: String,
    pub ids: Vec<u32>,
    /// What the template was given; empty for a text without template.
    pub messages: Vec<Message>,
    /// Byte and token of the last place at which the text can be cut without changing any token: what stands before it
    /// need not be tokenized again for each completion.
    seam: (usize, usize),
}

impl PromptText {
    /// Tokenizes `text`, which the template (or nobody) has given its special tokens; `bos` is put before it unless it
    /// is there.
    pub fn new(
        tokenizer: &Tokenizer,
        text: String,
        messages: Vec<Message>,
        bos: Option<u32>,
    ) -> Result<Self> {
        let mut ids = tokenizer.encode(&text)?;
        let mut seam = last_special(tokenizer, &text, &ids).unwrap_or((0, 0));
        if seam != (0, 0) && tokenizer.encode(&text[seam.0..])? != ids[seam.1..] {
            seam = (0, 0);
        }
        if let Some(bos) = bos.filter(|bos| ids.first() != Some(bos)) {
            ids.insert(0, bos);
            seam.1 += 1;
        }
        Ok(Self { text, ids, messages, seam })
    }

    /// The ids of `completion` behind this prompt, and whether one tokenization of both would have merged across the seam.
    ///
    /// If the ids of the whole begin with the prompt's ids, the rest is the completion. Else some token reaches over the
    /// boundary; the model is given the prompt's own ids at generation, so the completion is tokenized alone, and both
    /// must still read as the whole text.
    pub fn continue_with(
        &self,
        tokenizer: &Tokenizer,
        completion: &str,
    ) -> std::result::Result<(Vec<u32>, bool), String> {
        let whole = format!("{}{completion}", &self.text[self.seam.0..]);
        let failed = |e: crate::DataError| e.to_string();
        let ids = tokenizer.encode(&whole).map_err(failed)?;
        let prompt = &self.ids[self.seam.1..];
        if let Some(rest) = ids.strip_prefix(prompt) {
            return Ok((rest.to_vec(), false));
        }
        let alone = tokenizer.encode(completion).map_err(failed)?;
        let joined = [prompt, &alone].concat();
        let (joined, ids) = (tokenizer.decode(&joined, false), tokenizer.decode(&ids, false));
        if joined.map_err(failed)? != ids.map_err(failed)? {
            return Err("the tokens of prompt and completion do not join to the tokens of the whole text, so there is no \
                        exact boundary; end the prompt at a word boundary"
                .into());
        }
        Ok((alone, true))
    }
}

/// Byte and token of the last special token of a text. Found by its spelling and not by offsets, which cost as much as
/// the tokenization itself; the caller checks that the place can be cut.
fn last_special(tokenizer: &Tokenizer, text: &str, ids: &[u32]) -> Option<(usize, usize)> {
    let at = ids.iter().rposition(|&id| tokenizer.is_special(id))?;
    let spelling = tokenizer.decode(&ids[at..=at], false).ok()?;
    Some((text.rfind(spelling.as_str())?, at))
}
