//! What a method's paper or script sets beside its objective: group, learning rate, batch.

use serde_json::{Value, json};

/// The settings that the preset `method` (as [`gft_objective::Method::named`] resolves it) brings with it.
pub fn preset(method: &str) -> Vec<(&'static str, Value)> {
    let group = |experts: usize, teachers: usize, own: usize| {
        vec![
            ("num_experts", json!(experts)),
            ("num_teachers", json!(teachers)),
            ("num_generations", json!(own)),
        ]
    };
    let mut values = match method {
        "sft" | "dft" | "asft" | "psft" | "eaft" | "idft" => group(1, 0, 0),
        // As many teachers as a row has, up to sixteen.
        "sft-mix" => group(1, 16, 0),
        // The paper's group of 8 and the published script's (METHODS index in the objective crate).
        "gft-paper" | "gft-stable" => group(1, 3, 4),
        "gft-reference" => group(0, 4, 4),
        "luffy" => group(1, 0, 7),
        "chord-mu" | "chord-phi" => group(1, 0, 8),
        _ => group(0, 0, 8),
    };
    let samples = values.iter().any(|(name, value)| *name == "num_generations" && value != &json!(0));
    values.extend(if samples {
        vec![
            ("train_batch_size", json!(8)),
            ("learning_rate", json!(1e-6)),
            ("lr_scheduler_type", json!("constant")),
            ("max_completion_length", json!(512)),
        ]
    } else {
        vec![
            ("train_batch_size", json!(16)),
            ("learning_rate", json!(2e-5)),
            ("lr_scheduler_type", json!("linear")),
        ]
    });
    let more = match method {
        "gft-reference" => vec![
            ("train_batch_size", json!(128)),
            ("updates_per_batch", json!(4)),
            ("weight_decay", json!(0.01)),
        ],
        "dapo" => vec![("dynamic_sampling", json!(true)), ("weight_decay", json!(0.1))],
        "psft" => vec![("updates_per_batch", json!(4))],
        _ => Vec::new(),
    };
    for (name, value) in more {
        values.retain(|(other, _)| *other != name);
        values.push((name, value));
    }
    values
}
