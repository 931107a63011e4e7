//! T5 for `config.json`: whatever it says, there is an error that names the key or a model that works; never a panic,
//! never an allocation without bound.
#![allow(clippy::unwrap_used, clippy::panic)] // the lints except #[test] functions only

mod folders;
mod golden;
mod models;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use folders::address_space;
use gft_model::policy::{Keep, Seeds, Want};
use gft_model::{Architecture, Batch, ModelError, ModelFolder};
use models::Random;
use serde_json::{Value, json};

fn config_of(case: &str) -> Value {
    let path = golden::root().join(case).join("model/config.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn open(text: String) -> Result<ModelFolder, ModelError> {
    ModelFolder::from_config("some/folder", text)
}

/// Whether the error is of one of the two kinds that a configuration may give; both name the file.
fn is_about_the_config(error: &ModelError) -> bool {
    let message = error.to_string();
    matches!(error, ModelError::Config { .. } | ModelError::Unsupported { .. })
        && message.contains("some/folder/config.json")
}

fn refused(what: &str, text: String, names: &[&str]) {
    let result = catch_unwind(AssertUnwindSafe(|| open(text)));
    let error = match result {
        Ok(Err(error)) => error,
        Ok(Ok(folder)) => panic!("{what}: accepted as {:?}", folder.architecture()),
        Err(_) => panic!("{what}: panicked"),
    };
    assert!(is_about_the_config(&error), "{what}: {error:?}");
    for name in names {
        assert!(error.to_string().contains(name), "{what}: {name} is not in: {error}");
    }
}

/// Sets some keys of a fixture's configuration (`Null` removes one) and expects an error that names `name`.
fn refused_with(case: &str, changes: &[(&str, Value)], name: &str) {
    let mut config = config_of(case);
    for (key, value) in changes {
        if value.is_null() {
            config.as_object_mut().unwrap().remove(*key);
        } else {
            config[*key] = value.clone();
        }
    }
    refused(&format!("{case} with {changes:?}"), config.to_string(), &[name]);
}

#[test]
fn what_is_not_a_configuration() {
    let cases = [
        "",
        "{",
        "[]",
        "null",
        "5",
        "\"llama\"",
        "{}",
        "{\"model_type\": 5}",
        "{\"model_type\": null}",
        "\u{0}",
    ];
    for text in cases {
        refused(text, text.into(), &[]);
    }
    refused("deep", "[".repeat(200_000), &[]);
    let deep = format!("{{\"model_type\": {}1{}}}", "[".repeat(100), "]".repeat(100));
    refused("deep", deep, &["model_type"]);
}

#[test]
fn sizes() {
    let sizes = [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
    ];
    let wrong =
        [json!(0), json!(-1), json!("32"), json!(1.5), json!(true), json!([32]), json!({}), json!(1e300)];
    for key in sizes {
        for value in &wrong {
            refused_with("llama3", &[(key, value.clone())], key);
        }
        // The key's own limit is what is named, or that of the one that it must divide.
        for value in [u64::MAX, 1 << 62, (1 << 32) + 1] {
            let name = if key == "num_key_value_heads" { "does not divide" } else { "at most" };
            refused_with("rope_linear", &[(key, json!(value))], name);
        }
        if !["num_key_value_heads", "head_dim"].contains(&key) {
            refused_with("llama3", &[(key, Value::Null)], key);
        }
    }
    refused_with("llama3", &[("num_key_value_heads", json!(3))], "num_key_value_heads");
    refused_with("llama3", &[("num_key_value_heads", json!(8))], "num_key_value_heads");
    refused_with("llama3", &[("head_dim", json!(15))], "head_dim");
    refused_with("llama3", &[("max_position_embeddings", json!("long"))], "max_position_embeddings");
    // Without `head_dim` it is hidden / heads, which must not come out as 0.
    let narrow = [("head_dim", Value::Null), ("hidden_size", json!(3))];
    refused_with("llama3", &narrow, "head_dim");
}

#[test]
fn other_models() {
    for kind in ["gpt2", "qwen2_moe", "gemma2", "", "LLAMA"] {
        refused_with("llama3", &[("model_type", json!(kind))], "model_type");
    }
    for act in ["gelu", "relu", "gelu_pytorch_tanh"] {
        refused_with("llama3", &[("hidden_act", json!(act))], "hidden_act");
    }
    refused_with("llama3", &[("hidden_act", json!(7))], "hidden_act");
    refused_with("llama3", &[("quantization_config", json!({"bits": 4}))], "quantization_config");
    refused_with("llama3", &[("attention_dropout", json!(0.1))], "attention_dropout");
    refused_with("llama3", &[("attention_dropout", json!("none"))], "attention_dropout");
    for dtype in [json!("float8_e4m3fn"), json!("int8"), json!(32), json!("")] {
        refused_with("llama3", &[("dtype", dtype)], "dtype");
    }
}

#[test]
fn flags_and_numbers() {
    for key in ["tie_word_embeddings", "attention_bias", "mlp_bias"] {
        for value in [json!("true"), json!(1), json!([])] {
            refused_with("llama_bias", &[(key, value)], key);
        }
    }
    refused_with("llama3", &[("rms_norm_eps", json!("1e-6"))], "rms_norm_eps");
    for eps in [-1e-6, -1.0, 1e39] {
        refused_with("llama3", &[("rms_norm_eps", json!(eps))], "rms_norm_eps");
    }
    refused_with("qwen3_sliding", &[("use_sliding_window", json!("yes"))], "use_sliding_window");
    refused_with(
        "qwen2",
        &[("max_window_layers", json!("all")), ("layer_types", Value::Null)],
        "max_window_layers",
    );
}

#[test]
fn rotary_positions() {
    let nested = |case: &str, key: &str, value: Value, name: &str| {
        let mut rope = config_of(case)["rope_parameters"].clone();
        if value.is_null() {
            rope.as_object_mut().unwrap().remove(key);
        } else {
            rope[key] = value;
        }
        refused_with(case, &[("rope_parameters", rope)], name);
    };
    for theta in [json!(0), json!(-10_000.0), json!("1e6"), json!([1])] {
        nested("llama3", "rope_theta", theta.clone(), "rope_theta");
        refused_with("llama3", &[("rope_parameters", Value::Null), ("rope_theta", theta)], "rope_theta");
    }
    for kind in [json!("dynamic"), json!("longrope"), json!("mrope"), json!(3)] {
        nested("llama3", "rope_type", kind, "rope_type");
    }
    for factor in [Value::Null, json!("8"), json!(0), json!(-1)] {
        for case in ["rope_linear", "llama3", "rope_yarn"] {
            nested(case, "factor", factor.clone(), "factor");
        }
    }
    for key in ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"] {
        nested("llama3", key, Value::Null, key);
        nested("llama3", key, json!("1"), key);
    }
    nested("llama3", "partial_rotary_factor", json!(0.5), "partial_rotary_factor");
    nested("llama3", "partial_rotary_factor", json!("half"), "partial_rotary_factor");
    nested("rope_yarn", "mscale", json!(1.0), "mscale");
    for key in ["beta_fast", "beta_slow", "attention_factor", "original_max_position_embeddings", "truncate"]
    {
        nested("rope_yarn", key, json!("32"), key);
    }
    for whole in [json!("yarn"), json!(5), json!([])] {
        refused_with("llama3", &[("rope_parameters", whole.clone())], "rope_parameters");
        refused_with("llama3", &[("rope_parameters", Value::Null), ("rope_scaling", whole)], "rope_scaling");
    }
}

#[test]
fn windows() {
    let full = json!("full_attention");
    for types in [json!([]), json!([full]), json!([full, full, full])] {
        refused_with("qwen3_sliding", &[("layer_types", types)], "layer_types");
    }
    for types in [json!("full_attention"), json!({}), json!([full, "chunked_attention"]), json!([full, 3])] {
        refused_with("qwen3_sliding", &[("layer_types", types)], "layer_types");
    }
    for window in [json!(0), json!(-4), json!("4"), json!(4.5)] {
        refused_with("mistral", &[("sliding_window", window)], "sliding_window");
    }
    refused_with("qwen3_sliding", &[("sliding_window", Value::Null)], "sliding_window");
    refused_with("qwen3_sliding", &[("use_sliding_window", json!(false))], "sliding_window");
}

/// Runs a short batch forward and backward, if the model is small.
fn exercise(arch: &Architecture) -> bool {
    let size = gft_model::layout::Layout::new(arch).len;
    if size > 300_000 {
        return false;
    }
    let policy = models::policy(arch.clone(), 1);
    let last = (arch.vocab - 1) as u32;
    let mut batch = Batch::new();
    batch.push_group(&[0, last], &[vec![last, 0, last], vec![0]]).unwrap();
    let forward = policy.forward(&batch, Keep::Activations).unwrap();
    let mut grads = policy.gradients();
    let seeds = Seeds { logprobs: vec![1.0; batch.targets().len()], ..Seeds::default() };
    let stats = policy.stats(&batch, &forward, &Want::default()).unwrap();
    policy.backward(&batch, forward, &Want::default(), &seeds, &mut grads).unwrap();
    let gradients = policy.read_gradients(&grads, 0..size);
    let finite = stats.logprobs.iter().chain(&gradients).all(|x| x.is_finite());
    assert!(finite, "{arch:?} computes something that is not finite");
    true
}

fn hostile_value(random: &mut Random) -> Value {
    match random.below(16) {
        0 => Value::Null,
        1 => json!(0),
        2 => json!(1),
        3 => json!(2),
        4 => json!(random.below(100)),
        5 => json!(-(random.below(100) as i64)),
        6 => json!(random.bits()),
        7 => json!(1u64 << random.below(64)),
        8 => json!(random.unit() * 10.0),
        9 => json!(10f64.powi(random.below(600) as i32 - 300)),
        10 => json!(["", "yarn", "full_attention", "float16", "12"][random.below(5)]),
        11 => json!(true),
        12 => json!(false),
        13 => json!([]),
        14 => json!({}),
        _ => json!([0, "sliding_attention", null]),
    }
}

#[test]
fn two_thousand_changes_give_an_error_or_a_model_that_works() {
    let before = address_space();
    let mut random = Random(1);
    let configs: Vec<Value> = golden::CASES.iter().map(|case| config_of(case)).collect();
    let (mut refused, mut worked, mut large) = (0, 0, 0);
    for round in 0..2_000 {
        let seed = random.bits();
        let own = &mut Random(seed);
        let mut config = configs[own.below(configs.len())].clone();
        for _ in 0..1 + own.below(2) {
            let value = hostile_value(own);
            let keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
            let key = &keys[own.below(keys.len())];
            match config[key].as_object_mut() {
                Some(nested) if own.below(4) > 0 && !nested.is_empty() => {
                    let keys: Vec<String> = nested.keys().cloned().collect();
                    nested[&keys[own.below(keys.len())]] = value;
                }
                _ => config[key] = value,
            }
        }
        let text = config.to_string();
        let outcome = catch_unwind(AssertUnwindSafe(|| match open(text.clone()) {
            Ok(folder) => exercise(folder.architecture()).then_some(true),
            Err(error) => {
                assert!(is_about_the_config(&error), "{error:?}");
                Some(false)
            }
        }));
        match outcome {
            Ok(Some(true)) => worked += 1,
            Ok(Some(false)) => refused += 1,
            Ok(None) => large += 1,
            Err(_) => panic!("round {round}: {text}"),
        }
    }
    eprintln!("{refused} refused, {worked} worked, {large} too large to run");
    assert!(refused > 300 && worked > 300, "{refused} refused, {worked} worked: this tests little");
    // What lies between is test threads, their stacks and small models.
    let grown = address_space() - before;
    assert!(grown < 1 << 30, "the address space grew by {grown} bytes");
}
