//! A diagnosis in words, for someone who has never heard of it.

use gft_diagnose::{GradientShares, Paths, Sparsity, Weights};

use super::Diagnosis;

/// The page.
pub fn page(found: &Diagnosis) -> String {
    let mut text = format!(
        "{} on {}\n{} demonstrations, {} tokens that SFT learns\n",
        found.model,
        found.data.join(", "),
        found.demonstrations,
        found.weights.tokens
    );
    for (count, what) in
        [(found.rows_without_demonstration, "have no demonstration"), (found.rows_too_long, "are too long")]
    {
        if count > 0 {
            text.push_str(&format!("({count} rows {what} and are left out)\n"));
        }
    }
    text.push_str(&weights(&found.weights, found.tau));
    if let Some(gradients) = &found.gradients {
        text.push_str(&shares(gradients, found.tau));
    }
    match &found.sparsity {
        Some(sparsity) => text.push_str(&rewards(sparsity)),
        None => text.push_str(
            "\n2. How often the reward is met\n\n   Not measured: no row has a reference answer to grade samples against.\n",
        ),
    }
    if let Some(paths) = &found.paths {
        text.push_str(&single_path(paths, found.tau));
    }
    text
}

fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent > 0.0 && percent < 0.1 { format!("{percent:.1e} %") } else { format!("{percent:.1} %") }
}

fn range(low: f64, high: f64) -> String {
    format!("{low} to {high}")
}

fn weights(found: &Weights, tau: f64) -> String {
    let mut text = format!(
        "\n1. Which tokens pull hardest\n\n   \
         SFT is reinforcement learning in disguise: its reward is 1 for the reference and 0 for everything else, and it\n   \
         weighs each token of the reference by 1/p, p being the probability that the model gives it. What the model\n   \
         least expects pulls hardest. DCR multiplies by p where p < {tau}, so that no token weighs more than {:.2}.\n\n   \
         {:<16} {:>9} {:>12} {:>14} {:>14}\n",
        if tau > 0.0 { 1.0 / tau } else { f64::INFINITY },
        "probability",
        "tokens",
        "of all",
        "of weight 1/p",
        "with DCR"
    );
    for bin in found.bins.iter().filter(|bin| bin.tokens > 0) {
        text.push_str(&format!(
            "   {:<16} {:>9} {:>12} {:>14} {:>14}\n",
            range(bin.low, bin.high),
            bin.tokens,
            percent(bin.share),
            percent(bin.weight_share),
            percent(bin.rectified_weight_share)
        ));
    }
    text.push_str(&format!(
        "\n   The least probable 1 % of the tokens have {} of the weight (with DCR {}).\n   \
         Weights: half are at most {:.2}, 99 % at most {:.0}, the largest is {:.1e}. DCR rectifies {} of the tokens.\n",
        percent(found.rarest_hundredth),
        percent(found.rarest_hundredth_rectified),
        found.weight.median,
        found.weight.p99,
        found.weight.max,
        percent(found.rectified)
    ));
    text
}

fn shares(found: &GradientShares, tau: f64) -> String {
    let how = if found.measured == found.tokens {
        format!("Computed for each of the {} tokens", found.tokens)
    } else {
        format!(
            "Computed for {} of {} tokens, drawn from each range of probability and weighed by its size",
            found.measured, found.tokens
        )
    };
    let mut text = format!(
        "\n   The same as gradients: the norm, over all parameters, of the gradient of each token's loss.\n   \
         {how}; +- is the standard error of that drawing.\n\n   \
         {:<16} {:>9} {:>12} {:>20} {:>14}\n",
        "probability", "measured", "mean norm", "of all norms", "with DCR"
    );
    for stratum in &found.strata {
        text.push_str(&format!(
            "   {:<16} {:>9} {:>12.3} {:>20} {:>14}\n",
            range(stratum.low, stratum.high),
            stratum.measured,
            stratum.mean_norm,
            format!("{} +- {:.1}", percent(stratum.norm_share), 100.0 * stratum.standard_error),
            percent(stratum.rectified_share)
        ));
    }
    let rare = found.strata.iter().filter(|stratum| stratum.high <= 0.01);
    let (tokens, norms) =
        rare.fold((0.0, 0.0), |(a, b), stratum| (a + stratum.share, b + stratum.norm_share));
    text.push_str(&format!(
        "\n   Tokens below p = 0.01 are {} of all and carry {} of the gradient norm. DCR at {tau} keeps {} of the sum of\n   \
         norms.\n",
        percent(tokens),
        percent(norms),
        percent(found.rectified_total)
    ));
    text
}

fn rewards(found: &Sparsity) -> String {
    let total = found.prompts * found.samples;
    let of = |count: usize| format!("{count} of {total}");
    let [wrong, mixed, right] = found.groups;
    format!(
        "\n2. How often the reward is met\n\n   \
         The model answered {} prompts {} times each, at temperature 1.\n\n   \
         the reference word for word (SFT's reward)      {}\n   \
         the reference's answer (the verifier's reward)  {}\n   \
         groups of own samples: all wrong {wrong}, mixed {mixed}, all right {right}\n   \
         groups with a signal once the row's demonstrations are in them: {} of {}\n\n   \
         Only a group in which rewards differ teaches anything: {mixed} of {} do so by the model's own samples. With the\n   \
         demonstrations beside them (GFT's groups), {} do.\n",
        found.prompts,
        found.samples,
        of(found.same_text),
        of(found.right),
        found.with_demonstrations,
        found.prompts,
        found.prompts,
        found.with_demonstrations
    )
}

fn single_path(found: &Paths, tau: f64) -> String {
    let mut text = format!(
        "\n3. One path crowds out the others\n\n   \
         The same prompts again after {} steps of SFT ({} demonstrations each, learning rate {}) on this data, and after\n   \
         the same steps with DCR's coefficients at tau {tau}.\n\n   \
         {:<36} {:>10} {:>10} {:>14}\n",
        found.steps, found.batch, found.learning_rate, "", "before", "after SFT", "SFT with DCR"
    );
    let sides = [&found.before, &found.sft, &found.rectified];
    let mut line = |name: &str, of: &dyn Fn(&Sparsity) -> Option<f64>, digits: usize| {
        let [a, b, c] = sides.map(|side| of(side).map_or("-".into(), |x| format!("{x:.digits$}")));
        text.push_str(&format!("   {name:<36} {a:>10} {b:>10} {c:>14}\n"));
    };
    line("entropy of a token, in nats", &|s| s.entropy, 3);
    line("distinct solutions of a prompt", &|s| Some(s.distinct_solutions), 2);
    line("distinct answers of a prompt", &|s| s.distinct_answers, 2);
    line("right, %", &|s| s.avg.map(|avg| 100.0 * avg.mean), 1);
    line("prompts with a right sample, %", &|s| s.pass_at_all.map(|pass| 100.0 * pass.mean), 1);
    line("groups with mixed rewards", &|s| Some(s.groups[1] as f64), 0);
    line("cut at the limit, %", &|s| s.truncated.map(|cut| 100.0 * cut), 1);
    text.push_str(
        "\n   Entropy and distinct solutions that fall while \"prompts with a right sample\" does not rise say that the model\n   \
         is being narrowed to the demonstrations' way, and leave reinforcement learning less to choose from.\n",
    );
    text
}
