#!/usr/bin/env python3
"""Counts what the CPU kernels execute, and compares with floors, with the processor's ports and with the clock.

    bench/cpu_costs.py --build DIR [--isa avx512,avx2] [--only rank/n:100] [--functions] [--seconds 2] [--json FILE]

DIR is a release build with PERTURB_BUILD_BENCH on. For every workload and operation: instructions per vector of items (bench_costs steps through
the call, so counts do not depend on what else the machine does), the floor of the algorithm and their ratio; the cycles that the ports of an
Intel core need for just these instructions, and the least cycles measured. Needs objdump. --functions adds which functions the instructions
are in. Markdown goes to standard output.
"""

import argparse
import collections
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

LANES = {"avx512": 16, "avx2": 8, "scalar": 1}

# slug, items n, samples of the counted difference and of the timed one, per lane.
WORKLOADS = [
    ("argmax/n:10", 10, 32, 400),
    ("argmax/n:1000", 1000, 2, 4),
    ("top_k/n:1000/k:10", 1000, 2, 4),
    ("top_k/n:1000/k:100", 1000, 1, 4),
    ("rank/n:10", 10, 16, 300),
    ("rank/n:100", 100, 2, 30),
    ("rank/n:1000", 1000, 1, 3),
    ("path/12x12/epsilon:0.1", 144, 2, 20),
    ("path/32x32/epsilon:0.1", 1024, 1, 3),
    ("path/96x96/epsilon:0.1", 9216, 1, 2),
    ("path/12x12/epsilon:1", 144, 2, 10),
    ("path/32x32/epsilon:1", 1024, 1, 2),
    ("path/96x96/epsilon:1", 9216, 1, 1),
]
OPERATIONS = ["expectation", "vjp"]


def fail(text):
    print(f"cpu_costs.py: {text}", file=sys.stderr)
    sys.exit(2)


# ---------------------------------------------------------------- floors: vector instructions per vector of items

# Philox: 8 rounds (2 of 10 belong to a group of samples) of 4 multiplications, 4 shifts, and 4 (AVX-512) or 8 xors of three words, for 4 items;
# then 4 blends with shift or shuffle, and 2 xors that bring the item in.
PHILOX = {"avx512": (8 * 12 + 4 + 2) / 4, "avx2": (8 * 16 + 8 + 2) / 4}
# Box-Muller for a pair: two uniforms and a complement (5; AVX2 converts no unsigned: 4 more each), split 4, complement's choice 3, polynomial and
# join 11, root 1, angle 5, sine and cosine 8, quadrant 2 + 2 blends, signs 5 (AVX-512: 3), products 2.
BOX_MULLER = {"avx512": (5 + 4 + 3 + 11 + 1 + 5 + 8 + 4 + 3 + 2) / 2, "avx2": (5 + 8 + 4 + 3 + 11 + 1 + 5 + 8 + 4 + 5 + 2) / 2}
SCORE = 1  # fma with theta
LIMBS = 4 + 4  # weight and score into three integers: 3 fma, 1 subtraction of the first from its magic number, 1 fma, 3 additions


def noise_floor(isa):
    return PHILOX[isa] + BOX_MULLER[isa]


def comparators(n):
    """Of the library's network for n rows, blocks of 16 padded."""
    rows = (n + 15) // 16 * 16
    count = rows // 16 * 60
    run = 16
    while run < rows:
        for a in range(0, rows - run, 2 * run):
            end = min(a + 2 * run, rows)
            count += end - a - run
            distance = run // 2
            while distance >= 1:
                count += sum(min(distance, max(0, end - base - distance)) for base in range(a, end, 2 * distance))
                distance //= 2
        run *= 2
    return count


def any_lane_insertions(n, k, lanes):
    """Items of n at which at least one of `lanes` samples takes the item among its k best so far: the k-th of i items is new with chance k / i."""
    return sum(1 - (1 - min(1, k / i)) ** lanes for i in range(1, n + 1))


# Passes of Gauss-Seidel in the order of the distances without noise, the one that finds no change included.
PASSES = {"12x12/epsilon:0.1": 2.0, "32x32/epsilon:0.1": 2.1, "96x96/epsilon:0.1": 3.2, "12x12/epsilon:1": 3.8, "32x32/epsilon:1": 7.4, "96x96/epsilon:1": 24}
WALK = 1.2 * 8 * 4  # cells of a path over the side, neighbours, and instructions for one: load, compare, two moves


def floor_of(slug, n, operation, isa):
    """Per vector of items, and what it is made of."""
    if isa not in PHILOX:
        return None, ""
    lanes, noise = LANES[isa], noise_floor(isa) * ((n + 3) // 4 * 4 / n)  # made four at a time
    parts = slug.split("/")
    # Where each lane's few nonzeros of y are counted one by one: load, address, add.
    if parts[0] == "argmax":
        solve, text = SCORE + 3 + lanes * 3 / n, "score 1, compare and two selects 3"
    elif slug == "top_k/n:1000/k:10":
        insertions = any_lane_insertions(n, 10, lanes)
        solve, text = SCORE + 2 + (insertions * 5 * 6 + lanes * 10 * 3) / n, f"score 1, compare 2, {insertions:.0f} of {n} items inserted: 5 places of 6"
    elif slug == "top_k/n:1000/k:100":
        solve = SCORE + 3 + 2 * comparators(256) / n + lanes * 100 * 3 / n
        text = "score 1, compare and keep 3 with a good threshold, a network for 256 kept, 3 per member"
    elif parts[0] == "rank":
        network = 2 * comparators(n) / n
        solve, text = 3 + network + lanes * 3, f"key 3, {comparators(n)} comparators of 2, count {lanes} x 3"
    else:
        size = "/".join(parts[1:])
        side = int(size.split("x")[0])
        solve = SCORE + 3 + 1 + PASSES[size] * 11 + lanes * WALK * side / n
        text = f"cost 4, reset 1, {PASSES[size]} passes of 11, walk {WALK:.0f} per lane and {side} cells"
    if operation == "vjp":
        # Counting members is replaced by adding their cotangents: as much.
        return 2 * noise + solve + LIMBS, f"noise twice {2 * noise:.0f}, {text}, limbs {LIMBS}"
    return noise + solve, f"noise {noise:.0f}, {text}"


# ---------------------------------------------------------------- counts

class Machine_code:
    """The instructions of shared objects, by offset."""

    def __init__(self):
        self.objects = {}

    def of(self, path):
        if path not in self.objects:
            code, symbol = {}, ""
            text = subprocess.run(["objdump", "-d", "-C", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
            for line in text.splitlines():
                if line.endswith(">:"):
                    symbol = line.split("<", 1)[1][:-2]
                elif "\t" in line:
                    at, instruction = line.split("\t", 1)
                    code[int(at.strip()[:-1], 16)] = (symbol, instruction.split("#")[0].strip())
            self.objects[path] = code
        return self.objects[path]


def bench_costs(build, isa, *words):
    environment = dict(os.environ, PERTURB_ISA=isa)
    done = subprocess.run([str(build / "bench" / "bench_costs"), *map(str, words)], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip()
    lines = done.stdout.splitlines()
    return lines[1:], lines[0]


def short_name(symbol):
    """'fill_words<normal>' of a long C++ name."""
    symbol = re.sub(r" \[clone.*|\.constprop.*|\.isra.*", "", symbol)
    depth, out = 0, []
    for c in symbol.split("(")[0] if not symbol.startswith("(") else symbol:
        depth += c == "<"
        if depth == 0:
            out.append(c)
        depth -= c == ">"
    return "".join(out).split("::")[-1].split(" ")[-1] or symbol


# ---------------------------------------------------------------- ports

# Intel cores since Ice Lake, servers' with a second 512-bit multiplier. Which ports an instruction may go to, by width; checked on the machine
# of docs/performance.md with loops of one instruction. (LLVM 14's models of these cores send some 512-bit arithmetic to port 1 and were no use.)
MOVES = re.compile(r"^v?(mov[ad]|mov[udqa]+|movup[sd]|movap[sd]|movdq[ua]\d*|movs[sd]|movq|movd|lddqu|broadcasts[sd]|pbroadcast[bwdq])")
SHIFTS = re.compile(r"^vps(ll|rl|ra)")
TO_MASK = re.compile(r"^v(p?cmp|ptest)|^k(or)?test")
SHUFFLES = re.compile(r"^vp?(shuf|perm|unpck|align|insert|extract|broadcast|blendvp|movshdup|movsldup|compress|expand|pmov[sz]x)|^vcvt(ps2pd|pd2)")
MULTIPLIER = re.compile(r"^v(f?n?m(add|sub)|f[n]?m|mul|add[ps]|sub[ps]|pmul|cvt|max[ps]|min[ps]|cmp[ps])")


def uses_of(instruction):
    """Uops of one instruction: [(ports, cycles)]. Ports: 0, 1, 5 vectors, 6 and A scalars only, L loads, S stores."""
    words = instruction.replace(",", " ").split()
    operation = words[0]
    operands = instruction[len(operation):]
    if operation.startswith("nop") or operation in ("data16", "cs", "endbr64", "vzeroupper"):
        return []
    memory = "(" in operands and not operation.startswith("lea")
    last = re.split(r",(?![^(]*\))", operands)[-1]
    compares = operation.startswith(("cmp", "test", "push", "call", "j", "vptest", "vucomi", "vcomi"))
    stores = memory and "(" in last and not compares or operation in ("push", "call")
    only_stores = stores and operation.startswith(("mov", "vmov", "set", "vextract"))
    loads = memory and not only_stores or operation in ("pop", "ret", "leave")
    uses = []
    if loads:
        uses.append(("KL" if "zmm" in operands and "{1to" not in operands else "JKL", 1))
    if stores:
        uses.append(("S" if "zmm" in operands else "ST", 1))
    vector = operation.startswith(("v", "k")) or "xmm" in operands
    if not vector:
        if operation.startswith("j") or operation in ("call", "ret"):
            uses.append(("06", 1))
        elif operation.startswith("imul") or operation in ("mul", "bsf", "tzcnt", "lzcnt", "popcnt"):
            uses.append(("1", 1))
        elif not (operation.startswith("mov") and memory) and not (operation == "mov" and "%" in operands.split(",")[0]):
            uses.append(("0156A", 1))
        return uses
    wide = "zmm" in operands
    if MOVES.match(operation) and (memory or re.fullmatch(r" *%[xyz]mm\d+,%[xyz]mm\d+", operands)):
        return uses
    if operation.startswith("vsqrt") or operation.startswith("vdiv"):
        uses.append(("0", 12 if wide else 6 if "ymm" in operands else 3))
    elif TO_MASK.match(operation) and wide:
        uses.append(("5", 1))
    elif SHIFTS.match(operation):
        uses.append(("0" if wide else "01", 1))
    elif re.search(r"broadcast|movd|movq|kmov", operation) and re.search(r"%[er]", operands.split(",")[0]):
        uses.append(("5", 1))
    elif SHUFFLES.match(operation):
        uses.append(("5" if wide else "15", 1))
    elif wide:
        uses.append(("05", 1))
    else:
        uses.append(("01" if MULTIPLIER.match(operation) else "015", 1))
    return uses


def port_cycles(counts, code):
    """The cycles that the busiest set of ports, or six instructions a cycle, need for what was executed."""
    load, instructions = collections.Counter(), 0
    for at, times in counts.items():
        if at not in code:
            continue
        instructions += times
        for ports, cycles in uses_of(code[at][1]):
            load[ports] += times * cycles
    bound = instructions / 6
    for group in ("0156A", "JKL", "ST"):
        kinds = [k for k in load if set(k) <= set(group)]
        for size in range(1, len(group) + 1):
            for subset in itertools.combinations(group, size):
                bound = max(bound, sum(load[k] for k in kinds if set(k) <= set(subset)) / size)
    return bound


# ---------------------------------------------------------------- a row of the table

def measure(build, code, slug, n, per_lane, timed_per_lane, operation, isa, seconds):
    lanes = LANES[isa]
    few, samples = lanes, per_lane * lanes
    lines, text = bench_costs(build, isa, "step", slug, operation, few, few + samples)
    if lines is None:
        fail(f"{slug}, {isa}: {text}")
    total, functions, cycles = 0, collections.Counter(), 0
    by_object = collections.defaultdict(dict)
    for line in lines:
        path, offset, count = line.rsplit(" ", 2)
        total += int(count)
        by_object[path][int(offset)] = int(count)
    for path, counts in by_object.items():
        if not path.startswith("/"):
            continue
        here = code.of(path)
        for offset, count in counts.items():
            functions[short_name(here[offset][0]) if offset in here else "?"] += count
        if "libperturb" in path:
            cycles += port_cycles(counts, here)
    vectors = n * samples / lanes
    floor, made_of = floor_of(slug, n, operation, isa)
    row = {"workload": slug, "operation": operation, "isa": isa, "instructions_per_vector": total / vectors, "floor": floor, "floor_is": made_of,
           "port_cycles_per_vector": cycles / vectors if isa != "scalar" else None,
           "functions": {name: count / vectors for name, count in functions.most_common(6)}}
    if seconds > 0:
        timed = timed_per_lane * lanes
        lines, text = bench_costs(build, isa, "time", slug, operation, few, few + timed, seconds)
        if lines is None:
            fail(f"{slug}, {isa}: {text}")
        nanoseconds, chain, throughput = map(float, lines[0].split())
        row.update(ns_per_vector=nanoseconds / (n * timed / lanes), cycle_ns=chain, shared_cycle_ns=throughput)
    return row


def number(value, digits=1):
    return "" if value is None else f"{value:.{digits}f}"


def ratio(a, b):
    return "" if a is None or b is None else f"{a / b:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--isa", default="avx512,avx2")
    parser.add_argument("--only", default="", help="workloads with this in their slug")
    parser.add_argument("--operations", default=",".join(OPERATIONS))
    parser.add_argument("--functions", action="store_true")
    parser.add_argument("--seconds", type=float, default=2, help="to time each row; 0 leaves times out")
    parser.add_argument("--json", type=pathlib.Path)
    chosen = parser.parse_args()
    if not (chosen.build / "bench" / "bench_costs").exists():
        fail(f"{chosen.build}/bench/bench_costs is missing: configure with -DPERTURB_BUILD_BENCH=ON and build")
    if not shutil.which("objdump"):
        fail("objdump is missing: apt-get install binutils")
    rows, code = [], Machine_code()
    print("| workload | operation | set | instructions | floor | ratio | port cycles | cycles | ratio |\n|---|---|---|---:|---:|---:|---:|---:|---:|")
    for isa in chosen.isa.split(","):
        for slug, n, per_lane, timed in WORKLOADS:
            if chosen.only not in slug:
                continue
            for operation in chosen.operations.split(","):
                r = measure(chosen.build, code, slug, n, per_lane, timed, operation, isa, chosen.seconds)
                rows.append(r)
                clock = r["ns_per_vector"] / r["shared_cycle_ns"] if "ns_per_vector" in r else None
                ports = r["port_cycles_per_vector"]
                executed = r["instructions_per_vector"]
                print(f"| {slug} | {operation} | {isa} | {executed:.1f} | {number(r['floor'])} | {ratio(executed, r['floor'])} | "
                      f"{number(ports)} | {number(clock)} | {ratio(clock, ports)} |", flush=True)
                if chosen.functions:
                    print("  " + ", ".join(f"{name} {count:.1f}" for name, count in r["functions"].items()), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({"format": "perturb cpu costs 1", "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
