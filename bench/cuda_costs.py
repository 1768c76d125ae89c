#!/usr/bin/env python3
"""Counts what the CUDA kernels execute, without a GPU, and writes docs/gpu_costs.md and a JSON file.

    cmake --preset cuda -DPERTURB_BUILD_BENCH=ON -DCMAKE_CUDA_FLAGS=-lineinfo && cmake --build --preset cuda
    bench/cuda_costs.py --build build/cuda [--only rank/n:100] [--raw DIR] [--cuobjdump PATH]

Every workload and operation of bench_cuda runs once in the emulator (tests/cusim), ours and the usual way, each in a process of its own.
--raw keeps the emulator's files in a folder and uses those that are there. Machine code (machine_code.py) is counted where cuobjdump and
nvdisasm are found: `pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm` is enough, the CUDA toolkit need not have them.
"""

import argparse
import collections
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import machine_code

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The emulator's model of an H100 SXM (tests/cusim/src/stats.cpp), for full-size launches, which use every multiprocessor: lanes per clock
# and multiprocessor by what occupies them, of PTX and of machine code.
CLOCK_MHZ, MULTIPROCESSORS, LAUNCH_US, DRAM_BYTES_PER_US, L2_BYTES_PER_US = 1755, 132, 3.0, 3.35e6, 5.5e6
PIPES = {
    "int": (("int", "predicate"), 64),
    "fp32": (("fp32",), 128),
    "fp64": (("fp64",), 64),
    "sfu/convert": (("sfu", "convert"), 16),
    "shuffle": (("shuffle_vote",), 32),
}
MACHINE_PIPES = {
    "int": (("integer",), 64),
    "multiply": (("multiply",), 64),
    "fp32": (("float",), 128),
    "fp64": (("double",), 64),
    "special": (("special",), 16),
    "shuffle": (("shuffle",), 32),
}

WARPS_TO_BUSY = 16  # on a multiprocessor: with fewer, waiting decides, which the model leaves out

# Kernels whose work is that of rows, not of samples.
PER_ROW = ("prepare", "finalize", "scale_values")
NOT_TIMED = ("number_items",)  # made once


# Least warp instructions: of prototypes compiled for sm_90, and formulas over them. Per 32 items, and what that is.
NORMAL = 37  # one exact normal, Philox included
FLOORS = {
    "rank/n:10": (1084 / 10, "fused 1x16 prototype, 1084 instructions for 32 samples"),
    "rank/n:32": (2169 / 32, "fused 1x32 prototype, 2169 instructions for 32 samples"),
    "rank/n:100": (2774 / 25, "fused 4x32 prototype, 2774 instructions for 8 samples"),
    "rank/n:512": (NORMAL + 2 + 52 + 10 + 3, "noise 37, key 2, 16x32 network 52 + 10 shuffles, scatter 3"),
    "rank/n:1000": (4352 / 31.25, "fused 32x32 prototype (32-bit keys), 4352 instructions for a sample"),
    "argmax/n:10": ((NORMAL + 3) * 1.2, "noise 37, compare 3, 10 items in 3 quads"),
    "argmax/n:1000": (NORMAL + 3, "noise 37, compare 3"),
    "argmax/n:100000": (NORMAL + 3, "noise 37, compare 3"),
    "top_10/n:100": ((NORMAL + 4) * 1.28 + 12 + 10 * 4 / 3.1, "noise 37, key 4, 4 x 32 items; lane sort 12, tournament 10 x 4"),
    "top_10/n:1000": (NORMAL + 4 + 12 + 2.5, "noise 37, key 4, lane sort 12, tournament 2.5"),
    "top_10/n:100000": (NORMAL + 4 + 1, "noise 37, key 4, one compare with a known threshold"),
}
# Grids: noise 39 per cell, 7 per row of 32 cells in each of `pairs` x 2 sweeps, 45 per row of predecessors, 8 per step of the path.
GRIDS = {"path/12x12": (12, 5.3, 2, 32), "path/32x32": (32, 11.6, 1, 8), "path/96x96": (96, 31, 1, 1), "path/256x256": (256, 83, 1, 1)}


def floor_of(name, n):
    """Of one problem, and what that is; nothing where it is not known."""
    workload = "/".join(name.split("/")[:2])
    if workload in FLOORS:
        per_32_items, text = FLOORS[workload]
        return per_32_items * n / 32, text
    if workload in GRIDS:
        side, pairs, side_by_side, walkers = GRIDS[workload]
        rows = side * ((side + 31) // 32) / side_by_side
        count = n * 39 / 32 + pairs * 2 * rows * 7 + rows * 45 + 1.4 * side * 8 / walkers
        return count, f"noise 39 per cell, {pairs} pairs of sweeps of 7 per row of 32 cells, predecessors 45 per row"
    return None, None


def fail(text):
    print(f"cuda_costs.py: {text}", file=sys.stderr)
    sys.exit(2)


# ---------------------------------------------------------------- running and reading


def run(bench, cusim, name, way, share, raw):
    """The emulator's statistics of one workload, of whose problems it solves `share`, and what bench_cuda says of its size."""
    stem = raw / (name.replace("/", "_").replace(":", "") + "." + way)
    stats, sizes = stem.with_suffix(f".{way}.stats.json"), stem.with_suffix(f".{way}.sizes.json")
    if not (stats.exists() and sizes.exists()):
        # So many multiprocessors that our blocks take about as many samples each as at full size.
        multiprocessors = max(1, round(MULTIPROCESSORS * share)) if way == "ours" else MULTIPROCESSORS
        command = [str(cusim), "--no-checks", f"--stats={stats}", "--hot-lines=1", f"--multiprocessors={multiprocessors}", "--", str(bench)]
        command += ["--emulated", "--only", name, "--way", way, "--json", str(sizes)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            stats.unlink(missing_ok=True)
            fail(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return json.loads(stats.read_text()), json.loads(sizes.read_text())["results"][0]


def short_name(kernel):
    """A kernel's name without what every name has."""
    name = re.sub(r"\(anonymous namespace\)::|perturb::cuda::|perturb::bench::|perturb::|cub::CUB_\w+::|detail::|^void ", "", kernel)
    depth = 0
    for i, c in enumerate(name):
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            name = name[:i]
            break
    if name.count("<") and ("segmented" in name or "partition" in name or "Reduce" in name):
        name = name[: name.index("<")].split("::")[-1]
    return name.replace("distribution)0", "normal").replace("(normal", "normal")


def cost_of(kernel, sizes, code):
    """One kernel at full size: counts per problem, and the modelled time with what limits it. Of machine code, where `code` has it."""
    name = short_name(kernel["kernel"])
    problems = sizes["batch"] * sizes["samples"]
    full = sizes["full_batch"] * sizes["full_samples"]
    rows_scale, is_ours = sizes["full_batch"] / sizes["batch"], sizes["way"] == "ours"
    # Of ours the general kernels (<false) only solve each row's unperturbed problem: every workload here has plain ones for samples.
    scale = rows_scale if name.split("<")[0] in PER_ROW or (is_ours and "<false" in name) else full / problems
    ptx = kernel["warp_instructions"]
    machine = machine_code.executed_counts(code[name], kernel["lines"]) if name in code else None
    warps = machine or ptx
    total_ptx = sum(ptx.values())
    sectors = kernel["global_load_sectors"] + kernel["global_store_sectors"]
    distinct = kernel["compulsory_read_bytes"] + kernel["compulsory_write_bytes"]
    if is_ours:  # arrays of rows, but for the weights of samples
        of_samples = 4 * problems if "inner_estimator" in name or name.startswith("weighted_scores") else 0
        of_samples = 0 if "<false" in name else min(of_samples, distinct)
        distinct = (distinct - of_samples) * rows_scale + of_samples * full / problems
    else:
        distinct *= scale

    def bounds(warps, pipes):
        lane_cycles = lambda count, per_clock: 32 * count * scale / (per_clock * MULTIPROCESSORS * CLOCK_MHZ)
        times = {pipe: lane_cycles(sum(warps.get(c, 0) for c in classes), per_clock) for pipe, (classes, per_clock) in pipes.items()}
        times["issue"] = lane_cycles(sum(warps.values()), 128)
        times["shared memory"] = lane_cycles(kernel["shared_wavefronts"], 32)
        times["L2"] = 32 * sectors * scale / L2_BYTES_PER_US
        times["DRAM"] = distinct / DRAM_BYTES_PER_US
        return times

    of_ptx = bounds(ptx, PIPES)
    times = bounds(machine, MACHINE_PIPES) if machine else of_ptx
    limit = max(times, key=times.get)
    launch_us = LAUNCH_US * kernel["launches"]
    few = is_ours and full == problems and kernel["launches"] == 1 and kernel["threads"] / 32 < WARPS_TO_BUSY * MULTIPROCESSORS
    return {
        "kernel": name,
        "launches": kernel["launches"],
        "blocks": kernel["blocks"],
        "machine_per_problem": sum(machine.values()) * scale / full if machine else None,
        "ptx_per_problem": total_ptx * scale / full,
        "by_class_per_problem": {c: count * scale / full for c, count in warps.items() if count},
        # Shuffles are never left out or repeated: how far the counts of machine code may be trusted.
        "machine_shuffles_over_ptx": machine.get("shuffle", 0) / ptx["shuffle_vote"] if machine and ptx["shuffle_vote"] else None,
        "simt_efficiency": sum(kernel["thread_instructions"].values()) / (32 * total_ptx),
        "shared_wavefronts_per_problem": kernel["shared_wavefronts"] * scale / full,
        "shared_wavefronts_over_least": (
            kernel["shared_wavefronts"] / kernel["shared_ideal_wavefronts"] if kernel["shared_ideal_wavefronts"] else 1.0
        ),
        "distinct_bytes": distinct,
        "sector_bytes": 32 * sectors * scale,
        "sectors_over_least": sectors / max(1, kernel["global_load_ideal_sectors"] + kernel["global_store_ideal_sectors"]),
        "modelled_us": times[limit] + launch_us,
        "modelled_work_us": times[limit],
        "ptx_us": max(of_ptx.values()) + launch_us,
        "ptx_us_without_l2": max(t for pipe, t in of_ptx.items() if pipe != "L2") + launch_us,
        "limit": "launch" if times[limit] <= launch_us else f"{limit}; {kernel['threads'] // 32} warps" if few else limit,
        "pipes_us": {pipe: round(t, 3) for pipe, t in times.items() if t >= 0.001},
    }


def cost_of_run(name, way, has_usual, stats, sizes, code):
    kernels = [cost_of(k, sizes, code) for k in stats]
    kernels = sorted((k for k in kernels if k["kernel"].split("<")[0] not in NOT_TIMED), key=lambda k: -k["modelled_work_us"])
    problems, full_batch = sizes["full_batch"] * sizes["full_samples"], sizes["full_batch"]
    needed = sizes["compulsory_bytes"] * full_batch / sizes["batch"]
    # Sums of 8 bytes per item, added to (read, written) and read once more: one, or three for a derivative, which also writes and reads 4
    # bytes of each sample.
    is_vjp = name.endswith("/vjp")
    kept = 24 * sizes["n"] * full_batch * (3 if is_vjp else 1) + (8 * problems if is_vjp else 0) if has_usual else None
    floor, floor_is = floor_of(name, sizes["n"]) if name.endswith("/expectation") else (None, None)
    machine = [k["machine_per_problem"] for k in kernels]
    # Kernels without lines in their machine code (few, and small) are left out.
    of_machine = sum(m for m in machine if m) if machine[0] else None
    of_ptx = sum(k["ptx_per_problem"] for k in kernels)
    return {
        "name": name,
        "way": way,
        "n": sizes["n"],
        "batch": full_batch,
        "samples": sizes["full_samples"],
        "kernels": kernels,
        "machine_per_problem": of_machine,
        "machine_per_32_items": of_machine * 32 / sizes["n"] if of_machine else None,
        "ptx_per_problem": of_ptx,
        "floor_per_problem": floor,
        "floor_is": floor_is,
        "needed_bytes": needed,
        "kept_bytes": kept,
        "distinct_bytes": sum(k["distinct_bytes"] for k in kernels),
        "sector_bytes": sum(k["sector_bytes"] for k in kernels),
        "buffer_bytes": sizes["buffer_bytes"],
        "modelled_us": sum(k["modelled_us"] for k in kernels),
        "ptx_us": sum(k["ptx_us"] for k in kernels),
        "ptx_us_without_l2": sum(k["ptx_us_without_l2"] for k in kernels),
        "launches": sum(k["launches"] for k in kernels),
    }


# ---------------------------------------------------------------- machine code


def machine_code_of(cuobjdump, library):
    """The blocks of every kernel for sm_90, by its short name."""
    kernels = machine_code.disassembly(cuobjdump, library, "sm_90")
    names = subprocess.run(["c++filt"], input="\n".join(kernels), capture_output=True, text=True, check=True).stdout.splitlines()
    return {short_name(full): blocks for full, blocks in zip(names, kernels.values())}


# ---------------------------------------------------------------- the report


def number(x):
    if x is None:
        return ""
    return f"{x:.0f}" if x >= 1000 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def amount(x):
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if x >= size:
            return f"{x / size:.3g} {unit}"
    return f"{x:.0f} B"


def time(us):
    return f"{us / 1000:.3g} ms" if us >= 1000 else f"{us:.3g} us"


def times(x, y, digits):
    return "" if x is None or not y else f"{x / y:.{digits}f}x"


def table(lines, header, align):
    return (
        ["| " + " | ".join(header) + " |", "|" + "|".join(align) + "|"]
        + ["| " + " | ".join(str(c) for c in line) + " |" for line in lines]
        + [""]
    )


HEAD = """# What the GPU kernels cost

Written by `bench/cuda_costs.py`; do not edit. **No GPU was used.** Counts are of the emulator
([tests/cusim](../tests/cusim/README.md)), which executes the kernels' PTX; times are **modelled**: the largest of simple bounds, one per
pipe, for an H100 SXM at 1755 MHz and 3.35 TB/s, plus 3 us per launch. A model of this kind is a lower bound, never a measurement;
`bench_cuda` measures on a GPU.

- **Machine code** is what a warp executes of sm_90's, of all kernels of a call, prepare and finalize included: each basic block as often as
  the PTX of its source lines was issued ([machine_code.py](../bench/machine_code.py)). An estimate, since lines share blocks: shuffles,
  which both codes must have as many of, say how good it is: a row where they are far from 1, as of paths, is too low by about that. **PTX** is counted exactly, and has moves, conversions and address
  arithmetic that machine code does without. **Per 32 items** is per warp-wide item.
- **Floor**: machine instructions of the prototypes that the kernels were designed from, or formulas over them. Below 1: the formula
  counts work that the kernel has found a way around (grids: predecessors of all cells).
- **The usual way** ([bench/cuda_usual_way.cuh](../bench/cuda_usual_way.cuh)): noise by cuRAND into a tensor of all samples, CUB's
  segmented sort or arg-max (grids: Bellman-Ford, a block per problem), sums over samples. Of it there is PTX alone: its time is modelled
  from that, and so is ours where the two are compared; our own time is modelled from machine code.
- **Distinct bytes**: 32 times the sectors that each launch touches, added up over launches: what moves to and from memory if caches keep
  nothing between launches. **Needed**: inputs and outputs. **Sums**: 8 bytes per item (a derivative: 24), zeroed, added to and read; a
  derivative also keeps 4 bytes of each sample. What is beyond these is theta and the cotangent, which prepare, the unperturbed solve and
  the run each read, and what prepare finds out about a row: with few items to a row most of it. The largest is a few microseconds of
  memory traffic, and it all fits the L2 cache.
- The emulator has no L1 cache: loads that L1 would serve count as L2 traffic, which the usual way has more of. **Without L2** is the ratio
  with that bound left out.
- **Limit** names a number of warps where a launch of the size named has so few that multiprocessors wait: the model, which is of
  throughput alone, is then much too low.
- Epsilon is 1, noise is normal; grids have 8 neighbours and five classes of terrain. Counts are made with fewer rows and samples
  than the sizes named, and scaled. `exact`: epsilon 0.001, so that ranks have 64-bit keys.
"""

GOALS_BEGIN, GOALS_END = "<!-- goals: written by bench/cuda_costs.py -->\n", "<!-- end of goals -->\n"


def ways_by_name(runs):
    by_name = {}
    for r in runs:
        by_name.setdefault(r["name"], {})[r["way"]] = r
    return by_name


def goals(by_name):
    """The figures that have a goal, as a table."""
    lines = []
    for name, ways in by_name.items():
        o, u = ways.get("ours"), ways.get("usual")
        if not (o and u and o["floor_per_problem"]):
            continue
        floor, vjp = o["floor_per_problem"], by_name.get(name.replace("/expectation", "/vjp"), {}).get("ours")
        lines.append(
            [
                name.replace("/expectation", ""),
                times(o["machine_per_problem"], floor, 2),
                times(o["ptx_per_problem"], floor, 2),
                times(o["distinct_bytes"], o["needed_bytes"] + o["kept_bytes"], 2),
                times(vjp["distinct_bytes"], vjp["needed_bytes"] + vjp["kept_bytes"], 2) if vjp else "",
                times(o["kernels"][0]["shared_wavefronts_over_least"], 1, 2),
                f"{100 * o['kernels'][0]['simt_efficiency']:.0f}%",
                time(o["modelled_us"]),
                o["kernels"][0]["limit"],
                times(u["ptx_us"], o["ptx_us"], 1),
            ]
        )
    header = ["expectation", "machine code / floor", "PTX / floor", "sectors / compulsory", "the same, VJP", "bank conflicts", "active lanes"]
    return table(lines, header + ["time, modelled", "limit", "usual way / ours"], ["---"] + ["---:"] * 7 + ["---", "---:"])


def report(runs):
    text = [HEAD]
    by_name = ways_by_name(runs)
    lines = []
    for name, ways in by_name.items():
        o, u = ways.get("ours"), ways.get("usual")
        if not o:
            continue
        gain = f"{u['ptx_us'] / o['ptx_us']:.1f}x" if u else ""
        lines.append(
            [
                name,
                f"{o['batch']} x {o['samples']}",
                time(o["modelled_us"]),
                o["kernels"][0]["limit"],
                o["launches"],
                time(u["modelled_us"]) if u else "",
                u["kernels"][0]["limit"] if u else "",
                gain,
                f"{u['ptx_us_without_l2'] / o['ptx_us_without_l2']:.1f}x" if u else "",
                amount(u["distinct_bytes"]) if u else "",
            ]
        )
    text += ["## The goals\n", "The most important of what follows.\n"] + goals(by_name)
    text += ["## Modelled times: ours and the usual way\n"]
    text += table(
        lines,
        [
            "workload",
            "rows x samples",
            "ours, modelled",
            "limit",
            "launches",
            "usual, modelled",
            "limit",
            "ratio",
            "without L2",
            "usual traffic",
        ],
        ["---", "---", "---:", "---", "---:", "---:", "---", "---:", "---:", "---:"],
    )

    lines = []
    for name, ways in by_name.items():
        o, u = ways.get("ours"), ways.get("usual")
        if not o:
            continue
        main = o["kernels"][0]
        floor = o["floor_per_problem"]
        lines.append(
            [
                name,
                number(o["machine_per_problem"]),
                number(o["machine_per_32_items"]),
                number(floor),
                times(o["machine_per_problem"], floor, 2),
                number(o["ptx_per_problem"]),
                times(o["ptx_per_problem"], floor, 2),
                times(main["machine_shuffles_over_ptx"], 1, 2),
                f"{100 * main['simt_efficiency']:.0f}%",
                f"{main['shared_wavefronts_over_least']:.2f}x",
                number(u["ptx_per_problem"] * 32 / u["n"]) if u else "",
            ]
        )
    text += ["## Instructions\n"]
    text += table(
        lines,
        [
            "workload",
            "machine code per problem",
            "per 32 items",
            "floor per problem",
            "machine code / floor",
            "PTX per problem",
            "PTX / floor",
            "shuffles, machine code / PTX",
            "active lanes",
            "shared wavefronts / least",
            "usual, PTX per 32 items",
        ],
        ["---"] + ["---:"] * 10,
    )
    floors = collections.OrderedDict()
    for r in runs:
        if r["floor_is"]:
            floors.setdefault(r["floor_is"], r["name"].rsplit("/", 1)[0])
    text += ["Floors: " + "; ".join(f"{name}: {what}" for what, name in floors.items()) + ".\n"]

    lines = []
    for name, ways in by_name.items():
        o, u = ways.get("ours"), ways.get("usual")
        if not o:
            continue
        least = o["needed_bytes"] + o["kept_bytes"] if o["kept_bytes"] else None
        lines.append(
            [
                name,
                amount(o["needed_bytes"]),
                amount(o["kept_bytes"]) if least else "",
                amount(o["distinct_bytes"]),
                times(o["distinct_bytes"], least, 2),
                number((o["distinct_bytes"] - least) / o["batch"]) if least else "",
                amount(o["sector_bytes"]),
                f"{u['distinct_bytes'] / o['distinct_bytes']:.0f}x" if u else "",
            ]
        )
    text += ["## Global memory\n"]
    text += table(
        lines,
        ["workload", "needed", "sums", "distinct", "distinct / (needed + sums)", "beyond, bytes per row", "all sectors (L2)", "usual / ours, distinct"],
        ["---"] + ["---:"] * 7,
    )

    lines = []
    for name, ways in by_name.items():
        if "ours" not in ways:
            continue
        for k in ways["ours"]["kernels"]:
            of = k["by_class_per_problem"]
            total = sum(of.values())
            if k["ptx_per_problem"] < 0.01 * ways["ours"]["ptx_per_problem"]:
                continue
            shares = sorted(of.items(), key=lambda item: -item[1])[:7]
            pipes = sorted(k["pipes_us"].items(), key=lambda item: -item[1])[:3]
            lines.append(
                [
                    name,
                    f"`{k['kernel']}`",
                    number(total),
                    " ".join(f"{c} {100 * x / total:.0f}%" for c, x in shares),
                    " ".join(f"{c} {time(t)}" for c, t in pipes),
                ]
            )
    text += [
        "## Kernels: instructions by class, and the modelled time of each pipe\n",
        "Kernels with less than a hundredth of a call's instructions are left out.\n",
    ]
    text += table(lines, ["workload", "kernel", "per problem", "classes", "busiest pipes, modelled"], ["---", "---", "---:", "---", "---"])

    return "\n".join(text)


def find(candidates, what):
    for path in candidates:
        if path and pathlib.Path(path).exists():
            return pathlib.Path(path)
    fail(f"{what} not found; looked for {', '.join(str(c) for c in candidates if c)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="the build's folder")
    parser.add_argument("--bench", help="bench_cuda, if it is elsewhere")
    parser.add_argument("--cusim", help="the emulator's command, if it is elsewhere")
    parser.add_argument("--library", help="whose machine code is counted, if it is elsewhere")
    parser.add_argument("--cuobjdump", help="if it is not on the PATH")
    parser.add_argument("--only", default="", help="the beginning of workloads' names")
    parser.add_argument("--raw", type=pathlib.Path, help="folder of the emulator's files; those that exist are not made again")
    parser.add_argument("--markdown", type=pathlib.Path, default=ROOT / "docs/gpu_costs.md")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "out/gpu_costs.json")
    arguments = parser.parse_args()
    build = arguments.build
    bench = find([arguments.bench, build / "bench/bench_cuda"], "bench_cuda (PERTURB_BUILD_BENCH)")
    cusim = find([arguments.cusim, build / "tests/cuda/cusim/cusim"], "cusim")
    library = find(
        [arguments.library, build / "tests/cuda/libperturb_cudart.so", build / "bench/libperturb_cudart.so"], "libperturb_cudart.so"
    )
    cuobjdump = arguments.cuobjdump or shutil.which("cuobjdump")

    code = {}
    if cuobjdump:
        code = machine_code_of(pathlib.Path(cuobjdump), library)
    else:
        print(
            "cuda_costs.py: no cuobjdump, so no machine code is counted (pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm)",
            file=sys.stderr,
        )
    listed = subprocess.run([str(cusim), "--no-checks", "--", str(bench), "--list"], capture_output=True, text=True, check=True).stdout
    workloads = [line.split() for line in listed.splitlines() if line.startswith(arguments.only)]
    if not workloads:
        fail(f"no workload begins with {arguments.only}")
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        raw = arguments.raw or pathlib.Path(temporary)
        raw.mkdir(parents=True, exist_ok=True)
        for i, (name, share, has_usual) in enumerate(workloads):
            for way in ("ours", "usual") if int(has_usual) else ("ours",):
                print(f"[{i + 1}/{len(workloads)}] {name}, {way}", file=sys.stderr, flush=True)
                runs.append(cost_of_run(name, way, int(has_usual), *run(bench, cusim, name, way, float(share), raw), code))
    for path, content in (
        (arguments.json, json.dumps({"format": "perturb cuda costs 2", "runs": runs}, indent=1)),
        (arguments.markdown, report(runs)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n" if not content.endswith("\n") else content)
        print(f"wrote {path}")
    if not arguments.only:
        page = ROOT / "docs/performance.md"
        before, rest = page.read_text().split(GOALS_BEGIN)
        page.write_text(before + GOALS_BEGIN + "\n" + "\n".join(goals(ways_by_name(runs))) + "\n" + GOALS_END + rest.split(GOALS_END)[1])


if __name__ == "__main__":
    main()
