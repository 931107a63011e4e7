//! Rows, prompts and tokens: everything between a file on disk and the token ids that a step sees. No tensors.
//!
//! The flow is `read` (any file format → [`Row`]) → `template` (messages → text as the model family writes it)
//! → `encode` (text → token ids and the mask of what is learned) → `pack` (groups → micro-batches of indices),
//! in the order given by [`Order`]. Every stage either keeps a row, drops it and counts it, or fails with the
//! file and line: nothing is lost silently.

mod encode;
mod error;
mod inspect;
mod order;
mod pack;
mod read;
mod row;
mod stops;
mod template;
mod tokenizer;
mod write;
mod written;

pub use encode::{
    Encode, EncodeOptions, EncodedCompletion, EncodedPrompt, EncodedRow, Encoder, Presentation, Rendering,
    TurnEnd,
};
pub use error::DataError;
pub use inspect::{Bin, DatasetReport, DropReason, Lengths, Limits, Location, TokenRole, TokenView};
pub use order::Order;
pub use pack::{Cost, GroupShape, MicroBatch, PackPlan, Tree, pack};
pub use read::{
    BadRows, ColumnMap, Dataset, Dropped, FileSummary, GoldRule, Layout, ReadOptions, SolutionAsExpert,
    Solutions, find_gold,
};
pub use row::{Completion, Message, POLICY_COMPLETIONS, Prompt, Row};
pub use stops::StopStrings;
pub use template::{ChatTemplate, Date, Marked, RenderOptions};
pub use tokenizer::{
    Encoded, SpecialTokens, TextStream, Tokenizer, train_bpe, word_level, write_tokenizer_folder,
};
pub use write::{ConvertOptions, ConvertProgress, Converted, Loss, Target, convert};
pub use written::{CompletionText, Written};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, DataError>;
