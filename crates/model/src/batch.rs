//! A packed batch: segments of tokens one after another, each of which may continue another.
//!
//! A plain sequence is one segment. A group is a tree: its prompt is one segment, and each response is a segment whose
//! parent is the prompt, so the prompt is computed once. A token sees its own segment up to itself and all of its
//! segment's ancestors, and nothing else of the batch.

use std::ops::Range;

use crate::error::{ModelError, Result};

/// A run of tokens in a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index of its first token in the batch.
    pub start: usize,
    /// Number of tokens, at least 1.
    pub len: usize,
    /// Position (for the rotary embedding) of its first token.
    pub position: usize,
    /// The segment that it continues.
    pub parent: Option<usize>,
    /// The segment without parent that it descends from.
    pub root: usize,
}

/// A token whose log-probability is asked for, and the row of the batch that predicts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index of the predicting token in the batch.
    pub row: u32,
    /// The predicted token.
    pub token: u32,
}

/// Tokens of several segments, and which of them are targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    segments: Vec<Segment>,
    targets: Vec<Target>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a segment and makes targets of the tokens that `supervised` says, by their index in the segment.
    ///
    /// The first token of a segment with a parent is predicted by the parent's last token; that of a segment without
    /// one is predicted by nothing and is never a target. Returns the segment's index and the range of its targets.
    ///
    /// # Errors
    /// When the segment is empty or `parent` does not exist.
    pub fn push(
        &mut self,
        parent: Option<usize>,
        tokens: &[u32],
        supervised: impl Fn(usize) -> bool,
    ) -> Result<(usize, Range<usize>)> {
        if tokens.is_empty() {
            return Err(ModelError::Batch("a segment has no tokens".into()));
        }
        let ancestor = match parent {
            None => None,
            Some(index) => Some(self.segments.get(index).ok_or_else(|| {
                ModelError::Batch(format!(
                    "parent {index} of a segment does not exist ({})",
                    self.segments.len()
                ))
            })?),
        };
        let (start, index) = (self.tokens.len(), self.segments.len());
        let position = ancestor.map_or(0, |segment| segment.position + segment.len);
        let root = ancestor.map_or(index, |segment| segment.root);
        let before = ancestor.map(|segment| segment.start + segment.len - 1);
        let first_target = self.targets.len();
        for (offset, &token) in tokens.iter().enumerate() {
            let row = if offset == 0 { before } else { Some(start + offset - 1) };
            if let Some(row) = row.filter(|_| supervised(offset)) {
                self.targets.push(Target { row: row as u32, token });
            }
        }
        self.tokens.extend_from_slice(tokens);
        self.positions.extend((position..position + tokens.len()).map(|position| position as u32));
        self.segments.push(Segment { start, len: tokens.len(), position, parent, root });
        Ok((index, first_target..self.targets.len()))
    }

    /// Appends a sequence of which every token but the first is a target. Returns the range of its targets.
    ///
    /// # Errors
    /// When it is empty.
    pub fn push_sequence(&mut self, tokens: &[u32]) -> Result<Range<usize>> {
        self.push(None, tokens, |_| true).map(|(_, targets)| targets)
    }

    /// Appends a prompt and responses that share it; every response token is a target, no prompt token is.
    /// Returns the range of each response's targets.
    ///
    /// # Errors
    /// When the prompt or a response is empty.
    pub fn push_group<R: AsRef<[u32]>>(
        &mut self,
        prompt: &[u32],
        responses: &[R],
    ) -> Result<Vec<Range<usize>>> {
        let (parent, _) = self.push(None, prompt, |_| false)?;
        responses
            .iter()
            .map(|response| self.push(Some(parent), response.as_ref(), |_| true).map(|(_, targets)| targets))
            .collect()
    }

    /// All tokens, `[T]`.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Position of each token in its sequence, `[T]`.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The segments, parents before children.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The targets, in the order in which segments were pushed.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// A segment and its ancestors, root first.
    pub fn chain(&self, segment: usize) -> Vec<usize> {
        let mut chain = vec![segment];
        while let Some(parent) = chain.last().and_then(|&last| self.segments.get(last)).and_then(|s| s.parent)
        {
            chain.push(parent);
        }
        chain.reverse();
        chain
    }

    /// Checks every token against the vocabulary.
    ///
    /// # Errors
    /// Names the first token that is out of range.
    pub fn check_vocabulary(&self, vocab: usize) -> Result<()> {
        match self.tokens.iter().position(|&token| token as usize >= vocab) {
            None => Ok(()),
            Some(at) => Err(ModelError::Batch(format!(
                "token {} at index {at} is outside of the model's vocabulary of {vocab}",
                self.tokens[at]
            ))),
        }
    }
}
