//! Groups of some steps with every response and its tokens.

use std::collections::BTreeMap;

use gft_data::Tokenizer;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Result;
use crate::run::{Run, read_lines};

/// Steps whose groups are shown, and groups of each.
const STEPS: usize = 8;
const GROUPS: usize = 4;
/// Tokens of a response at most: a page has to open on a phone.
const TOKENS: usize = 1200;

/// The groups of one step.
#[derive(Debug, Serialize)]
pub(crate) struct StepGroups {
    step: u64,
    /// Groups of the step's file, of which the first few are shown.
    total: usize,
    groups: Vec<Group>,
}

/// A prompt and its responses.
#[derive(Debug, Serialize)]
struct Group {
    id: String,
    prompt: String,
    gold: Option<String>,
    rollouts: Vec<Rollout>,
}

/// One response.
#[derive(Debug, Serialize)]
struct Rollout {
    source: String,
    author: Option<String>,
    reward: Option<f64>,
    advantage: Option<f64>,
    tokens: Option<u64>,
    cut: bool,
    /// Text of each token; one piece with the whole text where there are no tokens.
    pieces: Vec<String>,
    /// Log-probability of each piece; null where it is not learned.
    logprobs: Vec<Option<f64>>,
    /// Coefficient of each piece.
    coefficients: Vec<Option<f64>>,
    /// Whether the page has the beginning only.
    shortened: bool,
}

/// Groups of the first, the last and some steps between.
pub(crate) fn of_run(run: &Run) -> Result<Vec<StepGroups>> {
    let all = &run.completions;
    let count = all.len().min(STEPS);
    let chosen = (0..count).map(|i| all[if count == 1 { 0 } else { i * (all.len() - 1) / (count - 1) }]);
    let tokenizer =
        if run.path.join("tokenizer.json").is_file() { Some(Tokenizer::load(&run.path)?) } else { None };
    chosen
        .map(|step| {
            let lines = read_lines(&run.path.join("completions").join(format!("{step}.jsonl")))?;
            Ok(step_groups(step, &lines, tokenizer.as_ref()))
        })
        .collect()
}

fn step_groups(step: u64, lines: &[Map<String, Value>], tokenizer: Option<&Tokenizer>) -> StepGroups {
    let text =
        |line: &Map<String, Value>, name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
    // Groups stand one after another; two rows may have one id.
    let mut groups: Vec<Group> = Vec::new();
    for line in lines {
        let (id, prompt) = (text(line, "id").unwrap_or_default(), text(line, "input").unwrap_or_default());
        if groups.last().is_none_or(|last| last.id != id || last.prompt != prompt) {
            groups.push(Group { id, prompt, gold: text(line, "gts"), rollouts: Vec::new() });
        }
        if let Some(group) = groups.last_mut() {
            group.rollouts.push(rollout(line, tokenizer));
        }
    }
    let total = groups.len();
    // Groups with a contrast tell more.
    let mut order: BTreeMap<(bool, usize), Group> = BTreeMap::new();
    for (index, group) in groups.into_iter().enumerate() {
        let silent = group.rollouts.windows(2).all(|pair| pair[0].reward == pair[1].reward);
        order.insert((silent, index), group);
    }
    StepGroups { step, total, groups: order.into_values().take(GROUPS).collect() }
}

fn rollout(line: &Map<String, Value>, tokenizer: Option<&Tokenizer>) -> Rollout {
    let number = |name: &str| line.get(name).and_then(Value::as_f64);
    let numbers = |name: &str| -> Vec<Option<f64>> {
        line.get(name)
            .and_then(Value::as_array)
            .map(|list| list.iter().map(Value::as_f64).collect())
            .unwrap_or_default()
    };
    let ids: Vec<u32> = line
        .get("token_ids")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect())
        .unwrap_or_default();
    let shown = &ids[..ids.len().min(TOKENS)];
    let whole = line.get("output").and_then(Value::as_str).unwrap_or_default();
    let (pieces, shortened) = match tokenizer.and_then(|tokenizer| pieces(tokenizer, shown)) {
        Some(pieces) => (pieces, shown.len() < ids.len()),
        None => {
            let text: String = whole.chars().take(6 * TOKENS).collect();
            let shortened = text.len() < whole.len();
            (vec![text], shortened)
        }
    };
    let of_pieces = |mut values: Vec<Option<f64>>| {
        values.resize(pieces.len(), None);
        values
    };
    Rollout {
        source: line.get("source").and_then(Value::as_str).unwrap_or_default().to_owned(),
        author: line.get("author").and_then(Value::as_str).map(str::to_owned),
        reward: number("score"),
        advantage: number("advantage"),
        tokens: line.get("tokens").and_then(Value::as_u64),
        cut: line.get("truncated").and_then(Value::as_bool).unwrap_or(false),
        logprobs: of_pieces(numbers("token_logprobs")),
        coefficients: of_pieces(numbers("token_coefficients")),
        pieces,
        shortened,
    }
}

/// The text that each token adds; a character of several tokens stands at the last of them. `None` where a token is not
/// the tokenizer's, or there are none.
fn pieces(tokenizer: &Tokenizer, ids: &[u32]) -> Option<Vec<String>> {
    let mut stream = tokenizer.stream(false);
    let mut pieces = ids
        .iter()
        .map(|id| {
            tokenizer.id_to_token(*id)?;
            stream.push(*id).ok()
        })
        .collect::<Option<Vec<String>>>()?;
    let rest = stream.finish().ok()?;
    pieces.last_mut()?.push_str(&rest);
    Some(pieces)
}
