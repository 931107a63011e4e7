"""Makes statistics.json: the statistics of evaluations by brute force and with NumPy.

    python tests/golden/eval/make.py

pass@k and maj@k are counted over all subsets with itertools. Bootstrap intervals are computed twice: with the crate's
own random stream (SplitMix64, reimplemented here), which must agree to rounding, and with NumPy's generator and many
more resamples, which must agree within the error of resampling.
"""

import itertools
import json
import pathlib
from collections import Counter
from fractions import Fraction

import numpy as np

MASK = (1 << 64) - 1


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


GOLDEN = 0x9E3779B97F4A7C15


def bootstrap_means(values, resamples, seed):
    key = mix(seed ^ GOLDEN)
    n, means = len(values), []
    for resample in range(resamples):
        child = mix(key ^ mix((resample + GOLDEN) & MASK))
        draws = (mix((child + (i + 1) * GOLDEN) & MASK) >> 11 for i in range(n))
        means.append(sum(values[int(draw / 2**53 * n)] for draw in draws) / n)
    return means


def pass_at_k(n, c, k):
    samples = [1] * c + [0] * (n - c)
    subsets = list(itertools.combinations(samples, k))
    return sum(max(subset) for subset in subsets) / len(subsets)


def majority_at_k(right, wrong, silent, k):
    samples = ["r"] * right + [None] * silent
    for index, count in enumerate(wrong):
        samples += [index] * count
    total, subsets = Fraction(0), 0
    for subset in itertools.combinations(samples, k):
        subsets += 1
        counts = Counter(answer for answer in subset if answer is not None)
        if counts:
            most = max(counts.values())
            winners = [answer for answer, count in counts.items() if count == most]
            total += Fraction("r" in winners, len(winners))
    return float(total / subsets)


def main():
    rng = np.random.default_rng(7)
    passes = [[n, c, k, pass_at_k(n, c, k)] for n in range(1, 9) for c in range(n + 1) for k in range(1, n + 1)]
    votes = []
    for _ in range(60):
        right, silent = int(rng.integers(0, 5)), int(rng.integers(0, 3))
        wrong = [int(x) for x in rng.integers(1, 4, size=int(rng.integers(0, 4)))]
        n = right + silent + sum(wrong)
        if n:
            k = int(rng.integers(1, n + 1))
            votes.append([right, wrong, silent, k, majority_at_k(right, wrong, silent, k)])
    intervals = []
    for n, kind in [(5, "rates"), (30, "rates"), (30, "binary"), (60, "normal")]:
        if kind == "binary":
            values = (rng.random(n) < 0.3).astype(float)
        elif kind == "rates":
            values = rng.binomial(16, rng.random(n)) / 16
        else:
            values = rng.normal(size=n).round(6)
        values = values.tolist()
        same = bootstrap_means(values, 1000, seed=3)
        draws = np.asarray(values)[rng.integers(0, n, size=(100_000, n))].mean(axis=1)
        intervals.append(
            {
                "values": values,
                "grid": {"binary": 1 / n, "rates": 1 / (16 * n), "normal": 0}[kind],
                "standard_error": float(np.std(values, ddof=1) / np.sqrt(n)),
                "same_stream": [float(np.quantile(same, q)) for q in (0.025, 0.975)],
                "many_draws": [float(np.quantile(draws, q)) for q in (0.025, 0.975)],
            }
        )
    out = {"pass_at_k": passes, "majority_at_k": votes, "intervals": intervals}
    path = pathlib.Path(__file__).with_name("statistics.json")
    path.write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
