//! One line for people per logged step: the dozen metrics that matter, within a width, the less important ones left out first.

use super::numbers::{bare, number, percent, scientific, short_count};
use crate::duration::{clock, remaining, short_clock};
use serde_json::{Map, Value};
use std::time::Duration;

/// The width that lines keep to unless told otherwise: they stay below 120 columns.
pub const COLUMNS: usize = 119;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub total: u64,
    /// The step that this process started at: more than 0 after a resume.
    pub started_at: u64,
    /// Time since this process started at it.
    pub elapsed: Duration,
}

/// A part of a line.
struct Part {
    text: String,
    /// Parts with the highest number are left out first; 0 never is.
    rank: u8,
}

/// The line of a training step from its metrics, at most `columns` characters wide where the two parts that are never left
/// out, position and time, fit:
///
/// ```text
/// step  40/500  8% | loss 0.412 | reward 0.53 ±.31 | kl .004 | ent 0.81 | len 188 (2% cut) | zero-std 12% | 04:10<47:55
/// ```
///
/// A metric that is missing has no part; one that is not a finite number is shown as `nan`. Left out for width are, in this
/// order: learning rate, gradient norm, tokens per second, then token accuracy, zero-std share, length, KL, entropy.
pub fn training_line(progress: &Position, metrics: &Map<String, Value>, columns: usize) -> String {
    let metric = |name: &str| metrics.get(name).map(|value| value.as_f64().unwrap_or(f64::NAN));
    let mut parts = vec![Part { text: position(progress), rank: 0 }];
    let mut add = |rank: u8, text: Option<String>| parts.extend(text.map(|text| Part { text, rank }));

    add(1, metric("loss").map(|v| format!("loss {}", number(v, 3))));
    let spread = metric("reward_std").map_or(String::new(), |v| format!(" ±{}", bare(&number(v, 2))));
    add(1, metric("reward").map(|v| format!("reward {}{spread}", number(v, 2))));
    add(3, metric("kl").map(|v| format!("kl {}", bare(&number(v, 3)))));
    add(2, metric("entropy").map(|v| format!("ent {}", number(v, 2))));
    add(6, metric("mean_token_accuracy").map(|v| format!("acc {}", percent(v))));
    let cut = metric("completions/clipped_ratio").map_or(String::new(), |v| format!(" ({} cut)", percent(v)));
    add(4, metric("completions/mean_length").map(|v| format!("len {}{cut}", number(v, 0))));
    add(5, metric("frac_reward_zero_std").map(|v| format!("zero-std {}", percent(v))));
    add(8, metric("grad_norm").map(|v| format!("gn {}", number(v, 1))));
    add(9, metric("learning_rate").map(|v| format!("lr {}", scientific(v))));
    add(7, metric("perf/tokens_per_second").map(|v| format!("{} tok/s", short_count(v))));

    let todo = progress.total.saturating_sub(progress.step);
    let left = remaining(progress.step.saturating_sub(progress.started_at), todo, progress.elapsed);
    let long = format!("{}<{}", clock(progress.elapsed), left.map_or("?".to_owned(), clock));
    let short = format!("{}<{}", short_clock(progress.elapsed), left.map_or("?".to_owned(), short_clock));
    parts.push(Part { text: long, rank: 0 });
    if width(&parts) > columns
        && let Some(last) = parts.last_mut()
    {
        last.text = short;
    }
    fit(parts, columns)
}

/// The line of an evaluation: every metric whose name starts with `eval_`, in the map's order, as far as `columns` reach.
pub fn evaluation_line(step: u64, metrics: &Map<String, Value>, columns: usize) -> String {
    let mut parts = vec![Part { text: format!("eval at step {step}"), rank: 0 }];
    for (name, value) in metrics {
        let (Some(name), false) = (name.strip_prefix("eval_"), value.is_string()) else { continue };
        let rank = u8::try_from(parts.len()).unwrap_or(u8::MAX);
        // A count stays a count.
        let text = match value.as_u64() {
            Some(count) => format!("{name} {count}"),
            None => format!("{name} {}", number(value.as_f64().unwrap_or(f64::NAN), 3)),
        };
        parts.push(Part { text, rank });
    }
    fit(parts, columns)
}

/// `step  40/500  8%`
fn position(progress: &Position) -> String {
    let Position { step, total, .. } = *progress;
    let digits = total.to_string().len();
    let percent = (u128::from(step) * 100).checked_div(u128::from(total)).unwrap_or(100);
    format!("step {step:>digits$}/{total} {percent:>2}%")
}

const BETWEEN: &str = " | ";

fn width(parts: &[Part]) -> usize {
    let texts: usize = parts.iter().map(|part| part.text.chars().count()).sum();
    texts + BETWEEN.len() * parts.len().saturating_sub(1)
}

/// Joins the parts, without those of the highest ranks where the width asks for it.
fn fit(mut parts: Vec<Part>, columns: usize) -> String {
    while width(&parts) > columns {
        let least = parts.iter().map(|part| part.rank).max().unwrap_or(0);
        match parts.iter().rposition(|part| part.rank == least && least > 0) {
            Some(at) => drop(parts.remove(at)),
            None => break,
        }
    }
    parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(BETWEEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn grpo() -> Map<String, Value> {
        map(json!({
            "loss": 0.4123, "grad_norm": 0.91, "learning_rate": 9.8e-7, "epoch": 0.1, "step": 40, "num_tokens": 99,
            "reward": 0.531, "reward_std": 0.312, "frac_reward_zero_std": 0.12, "rewards/verify/mean": 0.5,
            "entropy": 0.812, "kl": 0.0041, "completions/mean_length": 188.2, "completions/clipped_ratio": 0.02,
            "perf/tokens_per_second": 3098.0
        }))
    }

    const AT_40: Position =
        Position { step: 40, total: 500, started_at: 0, elapsed: Duration::from_secs(250) };

    #[test]
    fn the_whole_line_where_there_is_room() {
        assert_eq!(
            training_line(&AT_40, &grpo(), 200),
            "step  40/500  8% | loss 0.412 | reward 0.53 ±.31 | kl .004 | ent 0.81 | len 188 (2% cut) | zero-std 12% \
             | gn 0.9 | lr 9.8e-7 | 3.1k tok/s | 00:04:10<00:47:55"
        );
    }

    #[test]
    fn what_matters_less_is_left_out_first() {
        assert_eq!(
            training_line(&AT_40, &grpo(), COLUMNS),
            "step  40/500  8% | loss 0.412 | reward 0.53 ±.31 | kl .004 | ent 0.81 | len 188 (2% cut) | zero-std 12% \
             | 04:10<47:55"
        );
        assert_eq!(
            training_line(&AT_40, &grpo(), 80),
            "step  40/500  8% | loss 0.412 | reward 0.53 ±.31 | ent 0.81 | 04:10<47:55"
        );
        assert_eq!(training_line(&AT_40, &grpo(), 0), "step  40/500  8% | 04:10<47:55");
        for columns in 30..200 {
            assert!(training_line(&AT_40, &grpo(), columns).chars().count() <= columns);
        }
    }

    #[test]
    fn supervised_metrics_fit_with_all_their_parts() {
        let metrics = map(json!({
            "loss": 1.25, "entropy": 0.9, "mean_token_accuracy": 0.7349, "grad_norm": 12.31, "learning_rate": 1e-5,
            "perf/tokens_per_second": 12_345
        }));
        let progress =
            Position { step: 500, total: 500, started_at: 400, elapsed: Duration::from_secs(90_000) };
        assert_eq!(
            training_line(&progress, &metrics, COLUMNS),
            "step 500/500 100% | loss 1.250 | ent 0.90 | acc 73% | gn 12.3 | lr 1.0e-5 | 12k tok/s | 1-01:00:00<00:00:00"
        );
    }

    #[test]
    fn the_time_left_counts_the_steps_of_this_process() {
        let resumed = Position { step: 110, total: 210, started_at: 100, elapsed: Duration::from_secs(60) };
        assert!(training_line(&resumed, &Map::new(), COLUMNS).ends_with("| 00:01:00<00:10:00"));
        let fresh = Position { step: 100, ..resumed };
        assert_eq!(training_line(&fresh, &Map::new(), COLUMNS), "step 100/210 47% | 00:01:00<?");
        let empty = Position { step: 0, total: 0, started_at: 0, elapsed: Duration::ZERO };
        assert_eq!(training_line(&empty, &Map::new(), COLUMNS), "step 0/0 100% | 00:00:00<?");
    }

    #[test]
    fn bad_numbers_are_shown_and_small_ones_are_not_zero() {
        let metrics =
            map(json!({"loss": null, "kl": 0.00004, "grad_norm": 1e38, "reward": 0.0, "entropy": -0.0}));
        assert_eq!(
            training_line(&AT_40, &metrics, COLUMNS),
            "step  40/500  8% | loss nan | reward 0.00 | kl 4.0e-5 | ent 0.00 | gn 1.0e38 | 00:04:10<00:47:55"
        );
    }

    #[test]
    fn evaluations_list_their_metrics() {
        let metrics = map(
            json!({"step": 40, "eval_loss": 0.5, "eval_name": "x", "eval_gsm8k/acc": 0.321, "eval_rows": 256, "eval_runtime": 12.0}),
        );
        assert_eq!(
            evaluation_line(40, &metrics, COLUMNS),
            "eval at step 40 | loss 0.500 | gsm8k/acc 0.321 | rows 256 | runtime 12.000"
        );
        assert_eq!(evaluation_line(40, &metrics, 50), "eval at step 40 | loss 0.500 | gsm8k/acc 0.321");
    }
}
