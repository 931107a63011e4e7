//! What a method decides where a setting is absent, under the settings' names: for `gft plan`.

use std::collections::BTreeMap;

use gft_objective::{Boundary, KeepGroups, Method, Rule, Source, Treatment};
use serde_json::{Value, json};

use super::method::uses_groups;

/// The settings that the objective `method` has a value for. What it does not use (a policy's rule in SFT, tau without
/// DCR) is absent.
pub(crate) fn decided(method: &Method) -> BTreeMap<&'static str, Value> {
    let of = |source: Source| method.sources[source].as_ref();
    let (expert, teacher, policy) = (of(Source::Expert), of(Source::Teacher), of(Source::Policy));
    let mut values = BTreeMap::from([
        ("normaliser", json!(method.normaliser.as_str())),
        ("denominator", json!(method.counted.as_str())),
        ("beta", json!(method.kl.map_or(0.0, |kl| kl.beta))),
        ("reference_kl", json!(method.reference_kl)),
        ("entropy_coef", json!(method.entropy_bonus)),
        ("dynamic_sampling", json!(method.keep == KeepGroups::Varied)),
    ]);
    values.extend(method.kl.map(|kl| ("kl_estimator", json!(kl.estimator.as_str()))));
    let rules = [("demonstration_rule", expert.or(teacher)), ("policy_rule", policy)];
    values.extend(rules.into_iter().filter_map(|(key, used)| Some((key, json!(used?.rule.name())))));
    let signs = [("expert_signs", expert), ("teacher_signs", teacher), ("policy_signs", policy)];
    values.extend(signs.into_iter().filter_map(|(key, used)| Some((key, json!(used?.signs.as_str())))));
    if uses_groups(method) {
        let advantage = &method.advantage;
        values.extend([
            ("baseline", json!(advantage.baseline.as_str())),
            ("scale_rewards", json!(advantage.scale.as_str())),
            ("ddof", json!(advantage.ddof)),
            ("advantage_eps", json!(advantage.eps)),
            ("singleton", json!(advantage.singleton.as_str())),
        ]);
    }
    [expert, teacher, policy].into_iter().flatten().for_each(|used| parameters(used, &mut values));
    values
}

/// The parameters of a source's rule that are settings.
fn parameters(used: &Treatment, values: &mut BTreeMap<&'static str, Value>) {
    match used.rule {
        Rule::Dcr { tau, boundary } => {
            let side = match boundary {
                Boundary::Below => "below",
                Boundary::AtOrBelow => "at-or-below",
            };
            values.extend([("tau", json!(tau)), ("tau_boundary", json!(side))]);
        }
        Rule::SmoothDcr { tau } => values.extend([("tau", json!(tau))]),
        Rule::RatioClip { eps_low, eps_high, dual_clip } => {
            values.extend([("epsilon", json!(eps_low)), ("epsilon_high", json!(eps_high))]);
            values.extend(dual_clip.map(|bound| ("delta", json!(bound))));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{build_objective, load};

    /// All that is said to be decided, given explicitly, makes the same objective. Rules are left out: one that is given
    /// by its name has its paper's parameters.
    #[test]
    fn decided_values_that_are_given_change_nothing() {
        let names = "sft sft-mix dft psft gft gft-reference gft-stable grpo dapo luffy";
        for name in names.split(' ') {
            let preset = load(None, [("method", name)]).unwrap();
            let method = build_objective(&preset.stages[0].settings).unwrap();
            let values = decided(&method);
            assert!(values.contains_key("normaliser") && values.contains_key("beta"), "{name}");
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let values = values.iter().filter(|(key, _)| !key.ends_with("_rule"));
            let values: Vec<(&str, String)> = values.map(|(key, value)| (*key, text(value))).collect();
            let given = values.iter().map(|(key, text)| (*key, text.as_str()));
            let given = load(None, given.chain([("method", name)])).unwrap();
            assert_eq!(build_objective(&given.stages[0].settings).unwrap(), method, "{name} {values:?}");
        }
    }

    #[test]
    fn what_a_method_does_not_use_is_absent() {
        let of = |name| decided(&Method::named(name).unwrap());
        assert_eq!(of("gft")["tau"], json!(0.7));
        assert_eq!(of("gft-reference")["tau_boundary"], json!("at-or-below"));
        assert!(["tau", "policy_rule", "baseline", "epsilon"].iter().all(|key| !of("sft").contains_key(key)));
        assert_eq!(of("dapo")["epsilon_high"], json!(0.28));
        assert_eq!(of("dapo")["dynamic_sampling"], json!(true));
    }
}
