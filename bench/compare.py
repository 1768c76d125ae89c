#!/usr/bin/env python3
"""Compares two benchmark files, before and after: JSON of bench_cpu (Google Benchmark), of bench_ratios or of bench/peers.

Prints a Markdown table. "worse by" is above 1 where the second file is worse: more time, or less speedup. Exits with 1 if any
benchmark is worse by more than the threshold, or is gone; with 2 if the files cannot be compared.

    bench/compare.py before.json after.json [--threshold 1.10] [--metric cpu_time] [--filter rank] [--only-changes]
"""
import argparse
import json
import re
import statistics
import sys

SECONDS = {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def fail(text):
    print(f"compare.py: {text}", file=sys.stderr)
    sys.exit(2)


def times(data, metric):
    """Seconds per iteration by name; the median where a benchmark was repeated."""
    runs = {}
    for run in data["benchmarks"]:
        if run.get("run_type", "iteration") == "iteration" and not run.get("error_occurred"):
            runs.setdefault(run.get("run_name", run["name"]), []).append(run[metric] * SECONDS[run.get("time_unit", "ns")])
    return {name: statistics.median(values) for name, values in runs.items()}


def ratios(data, metric):
    """Speedups by name: over the baseline, and of two threads over one."""
    suffix = "_cpu" if metric == "cpu_time" else ""
    found = {}
    for result in data["results"]:
        found[result["name"] + ", speedup"] = result["speedup" + suffix]["median"]
        found[result["name"] + ", two threads"] = result["two_threads" + suffix]["median"]
    return found


def load(path, metric):
    """("times" or "ratios", values by name, machine)"""
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        if isinstance(data, dict) and data.get("format") == "perturb ratios 1":
            return "ratios", ratios(data, metric), data.get("machine", {})
        if isinstance(data, dict) and data.get("format") == "perturb peers 1":
            return "ratios", {f"{r['workload']}, against {r['peer']}": r["ratio"] for r in data["results"]}, data.get("machine", {})
        if isinstance(data, dict) and "benchmarks" in data:
            return "times", times(data, metric), data.get("context", {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        fail(f"cannot read {path}: {type(error).__name__}: {error}")
    fail(f"{path} is neither Google Benchmark JSON nor a file of bench_ratios or bench/peers")


def show(kind, value):
    if value is None:
        return "-"
    if kind == "ratios":
        return f"{value:.2f}x"
    unit = next((u for u in ("s", "ms", "us") if value >= SECONDS[u]), "ns")
    return f"{value / SECONDS[unit]:.3g} {unit}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--threshold", type=float, default=1.10, help="worse by more than this is a regression (1.10)")
    parser.add_argument("--metric", choices=("real_time", "cpu_time"), default="real_time",
                        help="cpu_time is steadier on a shared machine (real_time)")
    parser.add_argument("--filter", default="", metavar="REGEX", help="only benchmarks whose name has a match")
    parser.add_argument("--only-changes", action="store_true", help="only rows beyond the threshold, either way")
    arguments = parser.parse_args()
    if not arguments.threshold >= 1:
        parser.error("--threshold must be at least 1")
    try:
        wanted = re.compile(arguments.filter)
    except re.error as error:
        parser.error(f"--filter: {error}")

    kind, before, old_machine = load(arguments.before, arguments.metric)
    other, after, new_machine = load(arguments.after, arguments.metric)
    if kind != other:
        fail("one file has times and the other ratios")
    before = {name: value for name, value in before.items() if wanted.search(name)}
    after = {name: value for name, value in after.items() if wanted.search(name)}
    if not before:
        fail(f"no benchmark to compare in {arguments.before}")

    for key in ("cpu", "instruction_set", "compiler"):
        if old_machine.get(key) != new_machine.get(key):
            print(f"Note: {key} differs: {old_machine.get(key)} before, {new_machine.get(key)} after.\n")
    print("| benchmark | before | after | worse by | |\n|---|---:|---:|---:|---|")
    regressions = []
    for name in list(before) + [name for name in after if name not in before]:
        old, new = before.get(name), after.get(name)
        worse, verdict = "-", "new"
        if old is not None and new is None:
            verdict = "GONE"
            regressions.append(name)
        elif old is not None:
            factor = (old / new if kind == "ratios" else new / old) if old > 0 and new > 0 else float("inf")
            worse = f"{factor:.3f}"
            verdict = "REGRESSION" if factor > arguments.threshold else "better" if factor < 1 / arguments.threshold else ""
            if verdict == "REGRESSION":
                regressions.append(name)
        if verdict or not arguments.only_changes:
            print(f"| {name} | {show(kind, old)} | {show(kind, new)} | {worse} | {verdict} |")
    print(f"\n{len(regressions)} of {len(before)} worse by more than {arguments.threshold:g}, or gone.")
    return 1 if regressions else 0


if __name__ == "__main__":
    sys.exit(main())
