"""Runs two commands in turn (A B A B ...), each time as a fresh process, and prints medians and ratios as a table.

    python run.py --rounds 5 \
        --ours 'gft bench step --shape small --json' \
        --theirs 'python pytorch/step.py --shape small'
    python run.py --table comparisons.json --rounds 3 --set gft=../target/release/gft --set python=python3

A command prints JSON lines with at least {name, median_s, peak_rss_bytes} and perhaps tokens_per_s; where it prints
several, the line whose name is the comparison's `pick` counts (or the last). The table's file is a list of
{"name", "ours", "theirs": {label: command}, "pick"}; `{key}` in a command is replaced by the value of --set key=value.
Memory is the larger of what the process reports and what the system counted for it. The column "others" is the share of
the machine's processor time that other processes took meanwhile: above a few percent, measure again.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from pathlib import Path


def busy_seconds():
    """Processor time that the whole machine has spent, from /proc/stat: user, nice, system, irq, softirq."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return sum(int(fields[i]) for i in (1, 2, 3, 6, 7)) / os.sysconf("SC_CLK_TCK")


def wall_seconds():
    return float(Path("/proc/uptime").read_text().split()[0])


def run_once(command, pick):
    """One fresh process -> the JSON line that counts, with the memory and the disturbance seen from outside."""
    busy, wall = busy_seconds(), wall_seconds()
    process = subprocess.Popen(shlex.split(command), stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command}: exit code {process.returncode}")
    own = usage.ru_utime + usage.ru_stime
    others = (busy_seconds() - busy - own) / ((wall_seconds() - wall) * os.cpu_count())
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    lines = [line for line in lines if pick is None or line["name"] == pick]
    if not lines:
        raise SystemExit(f"{command}: no JSON line" + (f" named {pick}" if pick else ""))
    line = lines[-1]
    line["peak_rss_bytes"] = max(line["peak_rss_bytes"], usage.ru_maxrss * 1024)
    line["others"] = max(0.0, others)
    return line


def compare(comparison, rounds):
    """One summary a command, ours first. Rounds are interleaved so that a slow minute hits every side."""
    commands = {"ours": comparison["ours"], **comparison["theirs"]}
    found = {label: [] for label in commands}
    for _ in range(rounds):
        for label, command in commands.items():
            line = run_once(command, comparison.get("pick"))
            found[label].append(line)
            print(json.dumps({"comparison": comparison["name"], "label": label, **line}), file=sys.stderr, flush=True)
    middle = lambda lines, key: statistics.median(line[key] for line in lines)  # noqa: E731
    return [
        {
            "comparison": comparison["name"],
            "label": label,
            "seconds": middle(lines, "median_s"),
            "bytes": middle(lines, "peak_rss_bytes"),
            "tokens_per_s": middle(lines, "tokens_per_s") if "tokens_per_s" in lines[0] else None,
            "others": middle(lines, "others"),
        }
        for label, lines in found.items()
    ]


def table(summaries):
    rows = [
        "| comparison | | time | memory | tokens/s | ours / this, time | ours / this, memory | others |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group in summaries:
        ours = group[0]
        for s in group:
            tokens = "" if s["tokens_per_s"] is None else f"{s['tokens_per_s']:.0f}"
            ratios = f"{ours['seconds'] / s['seconds']:.2f} | {ours['bytes'] / s['bytes']:.2f}" if s is not ours else "|"
            rows.append(
                f"| {s['comparison']} | {s['label']} | {s['seconds']:.3f} s | {s['bytes'] / 1e9:.2f} GB | {tokens} |"
                f" {ratios} | {s['others']:.0%} |"
            )
    return "\n".join(rows)


def machine():
    info = Path("/proc/cpuinfo").read_text()
    values = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in info.splitlines())}
    flags = set(values.get("flags", "").split())
    simd = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
    return (
        f"{values.get('model name')} (family {values.get('cpu family')}, model {values.get('model')}), "
        f"{os.cpu_count()} processors, {' '.join(simd)}; {platform.system()} {platform.release()}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours")
    parser.add_argument("--theirs", action="append", default=[], help="may be given more than once")
    parser.add_argument("--pick", help="name of the JSON line that counts")
    parser.add_argument("--table", type=Path, help="JSON file of comparisons")
    parser.add_argument("--only", action="append", help="names of comparisons of the table")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.table:
        text = args.table.read_text()
        for setting in args.set:
            key, _, value = setting.partition("=")
            text = text.replace("{" + key + "}", value)
        comparisons = [c for c in json.loads(text) if not args.only or c["name"] in args.only]
    elif args.ours and args.theirs:
        theirs = {command: command for command in args.theirs}
        comparisons = [{"name": "", "ours": args.ours, "theirs": theirs, "pick": args.pick}]
    else:
        parser.error("give --table, or --ours and --theirs")
    summaries = [compare(c, args.rounds) for c in comparisons]
    print(f"{machine()}; medians of {args.rounds} processes a side, interleaved\n\n{table(summaries)}")


if __name__ == "__main__":
    main()
