#!/usr/bin/env python3
"""Times perturb beside what a user would pick instead: the same work in the same run, and its memory in processes of their own.

    measure.py --library libperturb.so --json out/peers.json [--filter rank] [--pairs 7] [--quick]

Every peer is checked against perturb first (checks.py). A figure is the median over pairs of (peer's time) / (perturb's time), the two
called in turn, with the smallest and the largest; both have all processors. --quick shrinks samples and batches: to try it out.
"""
import argparse
import ctypes
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import time

from checks import agree, smaller
from ours import Ours
from workloads import Inputs, comparison, sweeps

PEERS = {"jax": ("with_jax", "Jax"), "jax_written": ("with_jax", "JaxWritten"), "torch": ("with_torch", "Torch"), "numpy": ("with_numpy", "Numpy"), "scipy": ("with_paths", "Scipy"),
         "skimage": ("with_paths", "Skimage"), "pyepo": ("with_pyepo", "Pyepo")}


SLOW = 5.0  # seconds of one call of a peer from which three pairs must do: such a call averages over much by itself


def load(key):
    module, name = PEERS[key]
    return getattr(__import__(module), name)()


def checked(ours, peer, w):
    inputs = Inputs(w)
    return agree(ours.prepare(w, inputs), peer.prepare(w, inputs, ours.solution(w, inputs.other)), w)


def seconds(work, seed, least=0.05):
    """Of one call, repeated until the clock can be trusted."""
    calls = 0
    start = time.perf_counter()
    while True:
        work(seed + calls)
        calls += 1
        passed = time.perf_counter() - start
        if passed >= least:
            return passed / calls


def paired(ours, peer, pairs):
    ours(0), peer(0)  # compiled and warm
    first, times = seconds(peer, 1, 0.0), []
    if first > SLOW:
        pairs, times = min(pairs, 3), [(seconds(ours, 1), first)]
    times += [(seconds(ours, 10 * p), seconds(peer, 10 * p)) for p in range(len(times), pairs)]
    ratios = [theirs / mine for mine, theirs in times]
    return {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
            "perturb_seconds": statistics.median(t[0] for t in times), "peer_seconds": statistics.median(t[1] for t in times)}


def high_water():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def grown(work):
    """Bytes by which the largest resident set of this process grows in one call, after a call that did the same."""
    work(0)
    ctypes.CDLL(None).malloc_trim(0)  # what the first call freed and the allocator kept would be the second call's for nothing
    with open("/proc/self/clear_refs", "w", encoding="ascii") as refs:
        refs.write("5")  # forget the high-water mark: it is then what is resident now
    before = high_water()
    work(1)
    return high_water() - before


def memory_of(arguments, key, w):
    """In a fresh process: what came before must not count."""
    command = [sys.executable, __file__, "--library", arguments.library, "--memory", json.dumps([key, dataclasses.asdict(w)])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{key}, {w.name}: {done.stderr.strip().splitlines()[-1:]}")
    return int(done.stdout)


def report_memory(arguments, ours):
    from workloads import Workload
    key, fields = json.loads(arguments.memory)
    w = Workload(**fields)
    inputs = Inputs(w)
    if key == "perturb":
        work = ours.prepare(w, inputs)
    else:
        work = load(key).prepare(w, inputs, ours.solution(w, inputs.other))
    # A tiny call first would compile another program: the first call of the full size is left out instead, and what it kept is given back.
    print(grown(work))


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        cpu = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")
    return {"cpu": cpu, "processors": os.cpu_count(), "load_average": os.getloadavg()[0], "python": platform.python_version(),
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}


def shrunk(w):
    return dataclasses.replace(w, batch=min(w.batch, 4), samples=min(w.samples, 20))


def save(found, path):
    """After every figure: a run takes long, and what it has found so far is worth keeping if it is stopped."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True)
    parser.add_argument("--json", default="peers.json")
    parser.add_argument("--filter", default="")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    ours = Ours(arguments.library)
    if arguments.memory:
        report_memory(arguments, ours)
        return 0
    change = shrunk if arguments.quick else lambda w: w
    workloads = [change(w) for w in comparison() if arguments.filter in w.name]
    lines = {title: (axis, [change(w) for w in all_of]) for title, (axis, all_of) in sweeps().items() if arguments.filter in title}
    peers = {key: load(key) for key in PEERS}
    found = {"format": "perturb peers 1", "machine": machine(), "library_version": ours.library.version, "quick": arguments.quick,
             "peers": {peer.name: peer.version for peer in peers.values()}, "results": [], "sweeps": []}
    for w in workloads:
        inputs = Inputs(w)
        mine, target = ours.prepare(w, inputs), ours.solution(w, inputs.other)
        for key, peer in peers.items():
            if not peer.takes(w):
                continue
            theirs = peer.prepare(w, inputs, target)
            result = {"workload": w.name, "peer": peer.name, "problems": w.problems}
            result["standard_errors"] = None if getattr(peer, "other_problem", False) else checked(ours, peer, smaller(w))
            result.update(paired(mine, theirs, arguments.pairs))
            result["peer_bytes"] = memory_of(arguments, key, w)
            result["perturb_bytes"] = max(memory_of(arguments, "perturb", w), ours.workspace(w))
            found["results"].append(result)
            save(found, arguments.json)
            print(f"{w.name:42} {peer.name:18} {result['ratio']:8.1f}x ({result['least']:.1f} to {result['most']:.1f})  memory {result['peer_bytes'] / result['perturb_bytes']:.0f}x", flush=True)
    for title, (axis, all_of) in lines.items():
        for w in all_of:
            inputs = Inputs(w)
            value = {"M": w.samples, "n": w.n, "grid side": w.side}[axis]
            mine, target = ours.prepare(w, inputs), ours.solution(w, inputs.other)
            mine(0)
            point = {"sweep": title, "axis": axis, "value": value, "seconds": {"perturb": min(seconds(mine, s) for s in range(3))}, "bytes": {"perturb": max(memory_of(arguments, "perturb", w), ours.workspace(w))}}
            for key, peer in peers.items():
                if not peer.takes(w) or getattr(peer, "other_problem", False):
                    continue
                theirs = peer.prepare(w, inputs, target)
                theirs(0)
                point["seconds"][peer.name] = min(seconds(theirs, s) for s in range(3))
                point["bytes"][peer.name] = memory_of(arguments, key, w)
            found["sweeps"].append(point)
            save(found, arguments.json)
            print(title, axis, value, {name: f"{t * 1e3:.3g} ms" for name, t in point["seconds"].items()}, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
