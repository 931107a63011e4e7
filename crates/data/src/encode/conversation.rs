//! Conversations of several turns, all of the model's turns learned.

use super::{Encode, EncodedCompletion, EncodedPrompt, EncodedRow, Encoder, check_supervised, encode_error};
use crate::{Message, Result, Row};
use std::ops::Range;

impl Encoder {
    /// The conversation to be learned as a whole, if the options and the row say so.
    pub(super) fn whole_conversation(&self, row: &Row) -> Result<Option<Vec<Message>>> {
        if !self.options.all_turns || row.expert.len() != 1 || !row.teachers.is_empty() {
            return Ok(None);
        }
        let Some(mut messages) = self.messages(row)? else { return Ok(None) };
        if !messages.iter().any(|m| m.role() == "assistant") {
            return Ok(None);
        }
        match row.expert[0].messages.as_slice() {
            [] => messages.push(Message::assistant(&row.expert[0].content)),
            turn => messages.extend_from_slice(turn),
        }
        Ok(Some(messages))
    }

    /// A conversation as a prompt (up to the first learned token) and a completion whose mask leaves out the other
    /// speakers.
    pub(super) fn conversation_row(&self, row: &Row, messages: &[Message]) -> Result<Encode<EncodedRow>> {
        let (text, turns) = self.learned_bytes(row, messages)?;
        let mut tokens = self.tokenizer.encode_with_offsets(&text)?;
        // A token that reaches over the edge of a turn is one that generation does not produce: it is not learned.
        let mut boundary_merged = false;
        let mut supervised = Vec::with_capacity(tokens.ids.len());
        for bytes in &tokens.bytes {
            let turn = turns.iter().find(|turn| bytes.start < turn.end && bytes.end > turn.start);
            let whole = turn.is_some_and(|turn| turn.start <= bytes.start && bytes.end <= turn.end);
            boundary_merged |= turn.is_some() && !whole;
            supervised.push(whole);
        }
        if self.turn_end.appended {
            tokens.ids.push(self.turn_end.id);
            supervised.push(messages.last().is_some_and(|last| !last.is_context()));
        }
        if let Some(bos) =
            self.leading_bos.filter(|bos| self.template.is_plain() && tokens.ids.first() != Some(bos))
        {
            tokens.ids.insert(0, bos);
            supervised.insert(0, false);
        }
        if let Some(first) = supervised.first_mut() {
            // Nothing stands before it to predict it from.
            *first = false;
        }
        self.check_bos(row, &tokens.ids)?;
        check_supervised(row, &supervised)?;
        let stops = self.stop_ids();
        if !tokens.ids.iter().zip(&supervised).any(|(id, &learned)| learned && stops.contains(id)) {
            return Err(encode_error(
                row,
                "no end of a turn is learned: the template's marks leave it out, so the model would not stop",
            ));
        }
        // What stands behind the last learned token is never needed.
        let end = supervised.iter().rposition(|&s| s).map_or(0, |last| last + 1);
        tokens.ids.truncate(end);
        supervised.truncate(end);
        let split = supervised.iter().position(|&s| s).unwrap_or(0);
        if let Some(limit) = self.prompt_limit(split) {
            return Ok(Encode::PromptTooLong { tokens: split, limit });
        }
        let limit = self.completion_limit(split);
        let mut ids = tokens.ids.split_off(split);
        let mut supervised = supervised.split_off(split);
        let truncated = ids.len() > limit;
        ids.truncate(limit);
        supervised.truncate(limit);
        let completion = EncodedCompletion { ids, supervised, truncated, boundary_merged };
        Ok(Encode::Kept(EncodedRow {
            prompt: EncodedPrompt { ids: tokens.ids },
            expert: vec![completion],
            teachers: Vec::new(),
        }))
    }

    /// The rendered conversation and the byte ranges that the model wrote, each with the end of its turn.
    fn learned_bytes(&self, row: &Row, messages: &[Message]) -> Result<(String, Vec<Range<usize>>)> {
        let options = self.render_options(row)?;
        if self.template.marks_generation(&options) {
            let marked = self.template.render_marked(messages, &options);
            let marked = marked.map_err(|e| encode_error(row, e.to_string()))?;
            return Ok((marked.text, learned_of(row, marked.generated, messages)?));
        }
        let text = self.render(row, messages, false)?;
        let mut turns = Vec::new();
        let learned = |m: &Message| m.role() == "assistant" && !m.is_context();
        for (i, _) in messages.iter().enumerate().filter(|(_, m)| learned(m)) {
            let before = self.render(row, &messages[..i], true)?;
            let after = self.render(row, &messages[..=i], false)?;
            if !text.starts_with(&after) || !after.starts_with(&before) {
                return Err(encode_error(
                    row,
                    format!(
                        "the chat template ({}) rewrites earlier turns when later ones follow (message {i}), so the mask \
                         of all turns is unknown; learn the last turn only, or use a template with {{% generation %}} marks",
                        self.template.origin()
                    ),
                ));
            }
            let tail = self.turn_end.rendered.len() - self.turn_end.text.len();
            turns.push(before.len()..after.len().saturating_sub(tail).max(before.len()));
        }
        Ok((text, turns))
    }
}

/// Of what a template marks as the model's, what the messages do not keep from being learned.
fn learned_of(row: &Row, marked: Vec<Range<usize>>, messages: &[Message]) -> Result<Vec<Range<usize>>> {
    let turns: Vec<&Message> = messages.iter().filter(|m| m.role() == "assistant").collect();
    if !turns.iter().any(|turn| turn.is_context()) {
        return Ok(marked);
    }
    if turns.len() != marked.len() {
        return Err(encode_error(
            row,
            format!(
                "a message has \"weight\": 0, but the template marks {} parts of {} assistant turns, so which is its is \
                 unknown; leave the message's weight out, or use a template without {{% generation %}} marks",
                marked.len(),
                turns.len()
            ),
        ));
    }
    Ok(marked.into_iter().zip(turns).filter(|(_, turn)| !turn.is_context()).map(|(range, _)| range).collect())
}
