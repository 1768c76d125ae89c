#!/usr/bin/env python3
"""Tables in Markdown and plots from the file that measure.py wrote:  report.py peers.json [--plots DIRECTORY]"""
import argparse
import json
import pathlib
import sys

# What the comparison is to show, by the start of the workload's name and the peer: times faster, and times less memory at M = 1000.
GOALS = [(("rank", "argmax", "top-"), ("JAX + optax", "JAX", "PyTorch"), "M=1000", 20), (("path",), ("PyEPO + OR-Tools",), "", 50), (("path",), ("SciPy csgraph", "scikit-image MCP"), "", 20)]
MEMORY_GOAL = 200


def goal(result):
    for starts, peers, part, least in GOALS:
        if result["workload"].startswith(starts) and result["peer"] in peers and part in result["workload"]:
            return least
    return None


def table(data):
    lines = ["| workload | instead of | perturb | times faster (least to most) | goal | memory of the peer | times less memory | agree within |", "|---|---|---:|---:|---|---:|---:|---:|"]
    for r in data["results"]:
        least = goal(r)
        verdict = "" if least is None else f"{least}: met" if r["ratio"] >= least else f"{least}: missed"
        less = r["peer_bytes"] / r["perturb_bytes"]
        memory = f"{less:.0f}" + ("" if "M=1000" not in r["workload"] else " (met)" if less >= MEMORY_GOAL else " (missed)")
        errors = "another problem" if r["standard_errors"] is None else "equal" if r["standard_errors"] == 0 else f"{r['standard_errors']:.1f} s.e."
        lines.append(f"| {r['workload']} | {r['peer']} | {r['perturb_seconds'] * 1e3:.3g} ms | {r['ratio']:.1f} ({r['least']:.1f} to {r['most']:.1f}) | {verdict} | "
                     f"{r['peer_bytes'] / 2**20:.1f} MiB | {memory} | {errors} |")
    return lines


def plot(data, directory):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    directory.mkdir(parents=True, exist_ok=True)
    titles = list(dict.fromkeys(point["sweep"] for point in data["sweeps"]))
    figure, axes = plt.subplots(2, len(titles), figsize=(4.2 * len(titles), 7), squeeze=False)
    for column, title in enumerate(titles):
        points = [p for p in data["sweeps"] if p["sweep"] == title]
        names = list(dict.fromkeys(name for p in points for name in p["seconds"]))
        for row, (kind, unit, factor) in enumerate((("seconds", "milliseconds", 1e3), ("bytes", "MiB of memory", 2**-20))):
            axis = axes[row][column]
            for name in names:
                line = [(p["value"], p[kind][name] * factor) for p in points if name in p[kind]]
                axis.loglog(*zip(*line), marker="o", label=name, linewidth=2.5 if name == "perturb" else 1.2, color="black" if name == "perturb" else None)
            axis.set_xlabel(points[0]["axis"])
            axis.set_ylabel(unit)
            axis.grid(True, which="both", alpha=0.2)
            if row == 0:
                axis.set_title(title)
                axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(directory / "peers.png", dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json")
    parser.add_argument("--plots", type=pathlib.Path)
    arguments = parser.parse_args()
    with open(arguments.json, encoding="utf-8") as file:
        data = json.load(file)
    if data.get("format") != "perturb peers 1":
        sys.exit(f"report.py: {arguments.json} is not a file of measure.py")
    machine = data["machine"]
    print(f"{machine['cpu']}, {machine['processors']} processors, load {machine['load_average']:.2f}, {machine['date']}; "
          + ", ".join(sorted(set(data["peers"].values()))) + (" (QUICK: sizes cut down, figures mean nothing)" if data["quick"] else "") + "\n")
    print("\n".join(table(data)))
    if arguments.plots:
        plot(data, arguments.plots)


if __name__ == "__main__":
    main()
