"""Writes pairs.jsonl: labelled pairs of answers, from the families of families.py, the single pairs of singles.txt, and
generated numbers.

    python3 tests/golden/verify/make_pairs.py > tests/golden/verify/pairs.jsonl

Deterministic: no clock, a fixed seed.
"""

import json
import random
import sys
from fractions import Fraction
from pathlib import Path

from families import FAMILIES


def family_pairs():
    for family in FAMILIES:
        full, short, different = family if len(family) == 3 else (family[0], [], family[1])
        full = list(dict.fromkeys(full))
        for i, a in enumerate(full):
            for b in full[i:] if i == 0 else full[i + 1 :]:
                yield a, b, True
            for b in short:
                yield (b, a, True) if i % 2 else (a, b, True)
            for d in different:
                yield a, d, False


def single_pairs():
    for line in Path(__file__).with_name("singles.txt").read_text(encoding="utf-8").splitlines()[1:]:
        sign, gold, answer = line.split(" | ")
        yield gold, answer, sign == "="


def fraction_forms(f):
    n, d = f.numerator, f.denominator
    s = "-" if n < 0 else ""
    m = abs(n)
    forms = [rf"{s}\frac{{{m}}}{{{d}}}", rf"{s}\dfrac{{{m}}}{{{d}}}", f"{n}/{d}", rf"\frac{{{n}}}{{{d}}}", rf"${s}\tfrac{{{m}}}{{{d}}}$"]
    if m < 10 and d < 10:
        forms.append(rf"{s}\frac{m}{d}")
    if m > d:
        forms.append(rf"{s}{m // d}\frac{{{m % d}}}{{{d}}}")
    if all(p in (2, 5) for p in prime_factors(d)):
        forms.append(str(float(f)))
    return forms


def prime_factors(n):
    out, p = [], 2
    while n > 1:
        while n % p == 0:
            out.append(p)
            n //= p
        p += 1
    return out


def integer_forms(n):
    forms = [str(n), f"{n:,}", f"{n:,}".replace(",", "{,}"), f"{n:,}".replace(",", r",\!"), f"{n}.0", rf"\${n}", rf"x = {n}", rf"{n}\text{{ units}}", rf"\boxed{{{n}}}", f"**{n}**", f"The answer is {n}."]
    if abs(n) >= 1000:
        forms.append(f"{n:,}".replace(",", r"\,"))
    return forms


def generated(rng):
    for _ in range(60):
        f = Fraction(rng.randint(-60, 60) or 1, rng.randint(2, 40))
        if f.denominator == 1:
            continue
        forms = fraction_forms(f)
        gold = forms[0]
        for a in forms:
            yield gold, a, True
        wrong = [1 / f, -f, f + 1, f * 10, f * 100, f / 100, f + Fraction(1, f.denominator)]
        for w in wrong:
            if w != f and w.denominator != 1:
                yield gold, rng.choice(fraction_forms(w)), False
    for _ in range(60):
        n = rng.choice([rng.randint(2, 99), rng.randint(100, 9999), rng.randint(10**4, 10**9)])
        for a in integer_forms(n):
            yield str(n), a, True
        for w in (n + 1, n - 1, n * 10, n * 100, -n, n + 100):
            yield str(n), rng.choice(integer_forms(w)), False
    for _ in range(40):
        a, b = rng.randint(2, 12), rng.choice([2, 3, 5, 6, 7, 10, 11, 13])
        gold = rf"{a}\sqrt{{{b}}}"
        for e in (rf"\sqrt{{{a * a * b}}}", rf"{a} \sqrt {b}", f"{a}*sqrt({b})", rf"\frac{{{a * b}}}{{\sqrt{{{b}}}}}", f"{a}√{b}", rf"{a}\cdot{b}^{{1/2}}"):
            yield gold, e, True
        for e in (rf"{a + 1}\sqrt{{{b}}}", rf"-{a}\sqrt{{{b}}}", rf"\sqrt{{{a * b}}}", rf"{a}\sqrt{{{b + 1}}}", f"{a * b**0.5:.2f}"):
            yield gold, e, False
    for _ in range(40):
        r, s = rng.randint(1, 9), rng.randint(1, 9)
        c = rng.choice([1, 2, 3, -1])
        p, q, t = c, c * (r + s), c * r * s
        gold = f"{p}x^2+{q}x+{t}".replace("+-", "-").replace("1x^2", "x^2") if abs(c) == 1 else f"{p}x^2+{q}x+{t}"
        yield gold, f"{c}(x+{r})(x+{s})", True
        yield gold, rf"{c}\left(x^{{2}}+{r + s}x+{r * s}\right)", True
        yield gold, f"{t} + {q}x + {p}x^2", True
        yield gold, f"{c}(x+{r})(x-{s})", False
        yield gold, f"{p}x^2+{q + 1}x+{t}", False
        yield gold, f"{p}x^2+{q}x-{t}", False
    for _ in range(40):
        a, b = sorted(rng.sample(range(-20, 20), 2))
        for gold, same, other in (
            (f"({a},{b})", [f"({a}, {b})", rf"\left({a},{b}\right)"], [f"({b},{a})", f"[{a},{b}]", f"({a},{b + 1})"]),
            (f"[{a},{b})", [rf"{a} \le x < {b}", rf"x\in[{a},{b})"], [f"({a},{b})", f"[{a},{b}]", f"[{a},{b + 1})"]),
            (f"{a},{b}", [f"{b}, {a}", rf"\{{{a},{b}\}}", rf"x={a} \text{{ or }} x={b}", f"{a} and {b}"], [f"{a}", f"{b}", f"{a},{b + 1}", f"{a},{b},{b + 2}"]),
        ):
            for s in same:
                yield gold, s, True
            for o in other:
                yield gold, o, False


def main():
    rng = random.Random(20240607)
    seen = set()
    for gold, answer, equal in [*family_pairs(), *single_pairs(), *generated(rng)]:
        if (gold, answer) in seen:
            continue
        seen.add((gold, answer))
        json.dump({"gold": gold, "answer": answer, "equal": equal}, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
