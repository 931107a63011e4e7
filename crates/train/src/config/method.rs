//! The objective of a stage: the method's preset with the settings that change it.
//!
//! A setting that the method does not read is a contradiction and an error, never ignored.

use std::str::FromStr;

use gft_objective::{KeepGroups, KlEstimator, KlPenalty, Method, Rule, Signal, Source, Treatment};
use gft_rollout::Composition;

use super::settings::Settings;
use crate::error::ConfigError;

/// The group that the settings ask for.
pub(crate) fn composition(settings: &Settings) -> Composition {
    Composition {
        experts: settings.num_experts.unwrap_or(0),
        teachers: settings.num_teachers.unwrap_or(0),
        own: settings.num_generations.unwrap_or(0),
    }
}

/// The objective that the settings describe, for groups that the settings describe.
///
/// # Errors
/// As [`build_objective`], and for a group that the method cannot use.
pub fn build_method(settings: &Settings) -> Result<Method, ConfigError> {
    let method = build_objective(settings)?;
    check_group(settings, &method)?;
    Ok(method)
}

/// The objective that the settings describe, whatever the groups.
///
/// # Errors
/// [`ConfigError::Contradiction`] for a setting without effect on this method, or a value out of range.
pub fn build_objective(settings: &Settings) -> Result<Method, ConfigError> {
    let mut method = Method::named(&settings.method).map_err(objective)?;
    rules(settings, &mut method)?;
    ratio(settings, &mut method)?;
    advantage(settings, &mut method)?;
    signs(settings, &mut method)?;
    if let Some(name) = &settings.normaliser {
        method.normaliser = parse(name)?;
    }
    if let Some(name) = &settings.denominator {
        method.counted = parse(name)?;
    }
    if settings.dynamic_sampling == Some(true) {
        method.keep = KeepGroups::Varied;
    }
    penalties(settings, &mut method)?;
    method.validate().map_err(objective)?;
    Ok(method)
}

fn objective(error: gft_objective::Error) -> ConfigError {
    ConfigError::Contradiction(error.to_string())
}

fn parse<T: FromStr<Err = gft_objective::Error>>(name: &str) -> Result<T, ConfigError> {
    name.parse().map_err(objective)
}

fn without_effect(key: &str, method: &Method, why: &str) -> ConfigError {
    ConfigError::Contradiction(format!("`{key}` has no effect on the method {}: {why}", method.name))
}

/// The treatments that exist among `sources`.
fn treatments<'a>(method: &'a mut Method, sources: &[Source]) -> Vec<&'a mut Treatment> {
    let gft_objective::BySource { expert, teacher, policy } = &mut method.sources;
    let all = [(Source::Expert, expert), (Source::Teacher, teacher), (Source::Policy, policy)];
    all.into_iter().filter(|(source, _)| sources.contains(source)).filter_map(|(_, t)| t.as_mut()).collect()
}

const DEMONSTRATIONS: &[Source] = &[Source::Expert, Source::Teacher];

/// Which rule each source has, and tau.
fn rules(settings: &Settings, method: &mut Method) -> Result<(), ConfigError> {
    let choices = [
        ("demonstration_rule", &settings.demonstration_rule, DEMONSTRATIONS),
        ("policy_rule", &settings.policy_rule, &[Source::Policy]),
    ];
    for (key, name, sources) in choices {
        let Some(name) = name else { continue };
        let rule = rule_named(name)?;
        let name = *method;
        let found = treatments(method, sources);
        if found.is_empty() {
            return Err(without_effect(key, &name, "it does not use such rows"));
        }
        found.into_iter().for_each(|treatment| treatment.rule = rule);
    }
    let boundary = settings.tau_boundary.as_deref().map(boundary_named).transpose()?;
    if settings.tau.is_none() && boundary.is_none() {
        return Ok(());
    }
    let before = *method;
    let mut used = false;
    for treatment in treatments(method, &Source::ALL) {
        match &mut treatment.rule {
            Rule::Dcr { tau, boundary: side } => {
                *tau = settings.tau.unwrap_or(*tau);
                *side = boundary.unwrap_or(*side);
                used = true;
            }
            Rule::SmoothDcr { tau } if settings.tau.is_some() => {
                *tau = settings.tau.unwrap_or(*tau);
                used = true;
            }
            _ => {}
        }
    }
    if used { Ok(()) } else { Err(without_effect("tau", &before, "no source has the rule dcr")) }
}

fn boundary_named(name: &str) -> Result<gft_objective::Boundary, ConfigError> {
    match name.replace('_', "-").as_str() {
        "below" => Ok(gft_objective::Boundary::Below),
        "at-or-below" => Ok(gft_objective::Boundary::AtOrBelow),
        _ => Err(ConfigError::Contradiction(format!(
            "unknown tau_boundary `{name}`; known: below, at-or-below"
        ))),
    }
}

/// A rule by its name, with its paper's parameters.
fn rule_named(name: &str) -> Result<Rule, ConfigError> {
    let clip = Rule::RatioClip { eps_low: 0.2, eps_high: 0.2, dual_clip: None };
    Ok(match name.replace('_', "-").as_str() {
        "plain" => Rule::Plain,
        "dft" => Rule::Dft,
        "dcr" => Rule::Dcr { tau: 0.7, boundary: gft_objective::Boundary::Below },
        "smooth-dcr" => Rule::SmoothDcr { tau: 0.7 },
        "ratio" => Rule::Ratio,
        "ratio-clip" => clip,
        "cispo" => Rule::Cispo { eps_max: 5.0 },
        "psft" => Rule::Psft { eps_high: 0.28 },
        "luffy" => Rule::Luffy { gamma: 0.1 },
        "chord" => Rule::Chord,
        _ => {
            return Err(ConfigError::Contradiction(format!(
                "unknown rule `{name}`; known: plain, dft, dcr, smooth-dcr, ratio, ratio-clip, cispo, psft, luffy, chord"
            )));
        }
    })
}

/// The clip of ratios.
fn ratio(settings: &Settings, method: &mut Method) -> Result<(), ConfigError> {
    let Settings { epsilon, epsilon_high, delta, .. } = settings;
    if epsilon.is_none() && epsilon_high.is_none() && delta.is_none() {
        return Ok(());
    }
    let before = *method;
    let mut used = false;
    for treatment in treatments(method, &Source::ALL) {
        if let Rule::RatioClip { eps_low, eps_high, dual_clip } = &mut treatment.rule {
            *eps_low = epsilon.unwrap_or(*eps_low);
            *eps_high = epsilon_high.or(*epsilon).unwrap_or(*eps_high);
            *dual_clip = delta.or(*dual_clip);
            used = true;
        }
    }
    let why = "no source has the rule ratio-clip";
    if used { Ok(()) } else { Err(without_effect("epsilon/epsilon_high/delta", &before, why)) }
}

/// Baseline and scale of group advantages.
fn advantage(settings: &Settings, method: &mut Method) -> Result<(), ConfigError> {
    let given = [
        ("baseline", settings.baseline.is_some()),
        ("scale_rewards", settings.scale_rewards.is_some()),
        ("ddof", settings.ddof.is_some()),
        ("advantage_eps", settings.advantage_eps.is_some()),
        ("singleton", settings.singleton.is_some()),
    ];
    let Some((key, _)) = given.iter().find(|(_, given)| *given) else { return Ok(()) };
    if !uses_groups(method) {
        return Err(without_effect(key, method, "its advantages do not come from groups"));
    }
    if let Some(name) = &settings.baseline {
        method.advantage.baseline = parse(name)?;
    }
    if let Some(name) = &settings.scale_rewards {
        method.advantage.scale = parse(name)?;
    }
    if let Some(name) = &settings.singleton {
        method.advantage.singleton = parse(name)?;
    }
    if let Some(ddof) = settings.ddof {
        method.advantage.ddof = u8::try_from(ddof).unwrap_or(u8::MAX);
    }
    method.advantage.eps = settings.advantage_eps.unwrap_or(method.advantage.eps);
    Ok(())
}

/// Whether some source's advantages come from the rewards of its group.
pub(crate) fn uses_groups(method: &Method) -> bool {
    Source::ALL.iter().any(|s| method.sources[*s].is_some_and(|used| used.signal == Signal::Group))
}

/// Whether some source's advantages depend on rewards at all.
pub(crate) fn uses_rewards(method: &Method) -> bool {
    let constant = |used: Treatment| matches!(used.signal, Signal::Constant(_));
    Source::ALL.iter().any(|s| method.sources[*s].is_some_and(|used| !constant(used)))
}

fn signs(settings: &Settings, method: &mut Method) -> Result<(), ConfigError> {
    let choices = [
        ("expert_signs", &settings.expert_signs, Source::Expert),
        ("teacher_signs", &settings.teacher_signs, Source::Teacher),
        ("policy_signs", &settings.policy_signs, Source::Policy),
    ];
    for (key, name, source) in choices {
        let Some(name) = name else { continue };
        let before = *method;
        match &mut method.sources[source] {
            Some(treatment) => treatment.signs = parse(name)?,
            None => return Err(without_effect(key, &before, "it does not use such rows")),
        }
    }
    Ok(())
}

/// KL and entropy.
fn penalties(settings: &Settings, method: &mut Method) -> Result<(), ConfigError> {
    let before = *method;
    if settings.kl_estimator.is_some() && settings.beta.is_none_or(|beta| beta == 0.0) {
        return Err(without_effect("kl_estimator", &before, "beta is 0"));
    }
    let own = method.sources.policy.is_some();
    if let Some(beta) = settings.beta.filter(|beta| *beta != 0.0) {
        if !own {
            return Err(without_effect("beta", &before, "it has no own rows"));
        }
        let estimator = settings.kl_estimator.as_deref().map(parse).transpose()?.unwrap_or(KlEstimator::K3);
        method.kl = Some(KlPenalty { beta, estimator, straight_through: false });
    }
    if let Some(weight) = settings.entropy_coef.filter(|weight| *weight != 0.0) {
        if !own {
            return Err(without_effect("entropy_coef", &before, "it has no own rows"));
        }
        method.entropy_bonus = weight;
    }
    method.reference_kl = settings.reference_kl.unwrap_or(method.reference_kl);
    Ok(())
}

/// The group must have rows that the method uses, and where it compares rows at least two.
fn check_group(settings: &Settings, method: &Method) -> Result<(), ConfigError> {
    let group = composition(settings);
    let counts = [
        (Source::Expert, group.experts, "num_experts"),
        (Source::Teacher, group.teachers, "num_teachers"),
        (Source::Policy, group.own, "num_generations"),
    ];
    for (source, count, key) in counts {
        if count > 0 && method.sources[source].is_none() {
            return Err(ConfigError::Contradiction(format!(
                "{key} = {count}, but the method {} does not use {source} rows: set it to 0 or choose another method",
                method.name
            )));
        }
    }
    if group.size() == 0 {
        return Err(ConfigError::Contradiction(
            "the group is empty: num_experts, num_teachers and num_generations are all 0".into(),
        ));
    }
    if uses_groups(method) && group.size() < 2 && method.advantage.singleton == gft_objective::Singleton::Zero
    {
        return Err(ConfigError::Contradiction(format!(
            "a group of one ({group}) has nothing to be compared with, so its advantage is always 0: \
             raise num_generations, num_teachers or num_experts, or set singleton = \"reward\""
        )));
    }
    if method.name == "eaft"
        || treatments(&mut method.clone(), &Source::ALL).iter().any(|t| matches!(t.rule, Rule::Eaft { .. }))
    {
        return Err(ConfigError::Contradiction(
            "the method eaft needs the entropy over the 20 likeliest tokens, which the engine does not measure".into(),
        ));
    }
    Ok(())
}
