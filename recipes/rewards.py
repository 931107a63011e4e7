"""Rewards for recipes/python-reward.toml, in TRL's form: lists in, a list of numbers out; None is "cannot be scored"."""


def brevity(completions, tokens, log_metric, **columns):
    """1 for an empty completion, falling to 0 at 200 tokens."""
    for length in tokens:
        log_metric("tokens", length)
    return [max(0.0, 1 - length / 200) for length in tokens]


def states_gold(completions, gold, **columns):
    """1 where the reference answer stands in the last line."""
    lines = [(text if isinstance(text, str) else text[-1]["content"]).rstrip().split("\n")[-1] for text in completions]
    return [None if answer is None else float(answer in line) for line, answer in zip(lines, gold)]
