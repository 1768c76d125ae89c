#!/usr/bin/env python3
"""Compares what ptxas said of every kernel with the budget file: registers may not grow, stack and spills are 0.

budget.py BUILD_DIRECTORY BUDGET_FILE [--write]

The build keeps ptxas's words as *.ptxas beside the objects (cmake/ptxas_report.sh). The budget file has a line per kernel and
architecture: architecture, registers, kernel. A kernel without a line, a line without a kernel, more registers than the line says,
a stack frame or a spill: each is an error. Fewer registers are reported, so that the budget can be tightened with --write.
"""
import pathlib
import re
import subprocess
import sys


def demangle(names):
    out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout.split("\n")
    short = {}
    for name, full in zip(names, out):
        full = re.sub(r"\(anonymous namespace\)::|perturb::cuda::|perturb::|\(problem.*\)$|^void ", "", full)
        short[name] = re.sub(r"\s+", " ", full)
    return short


def read_reports(directory):
    """{(architecture, mangled kernel): (registers, stack, spill bytes)}"""
    found = {}
    for path in sorted(pathlib.Path(directory).rglob("*.ptxas")):
        kernel = None
        stack = spills = 0
        for line in path.read_text().splitlines():
            if match := re.search(r"Compiling entry function '(\S+)' for 'sm_(\d+)a?'", line):
                kernel, stack, spills = (match[2], match[1]), 0, 0
            elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
                stack, spills = int(match[1]), int(match[2]) + int(match[3])
            elif (match := re.search(r"Used (\d+) registers", line)) and kernel:
                found[kernel] = (int(match[1]), stack, spills)
                kernel = None
    return found


def main(arguments):
    write = "--write" in arguments
    directory, budget_file = [a for a in arguments if a != "--write"]
    reports = {k: v for k, v in read_reports(directory).items() if "perturb" in k[1]}
    if not reports:
        print(f"budget: no ptxas reports under {directory}; configure with the preset 'cuda'")
        return 1
    names = demangle([kernel for _, kernel in reports])
    kernels = {}
    for (architecture, kernel), report in reports.items():
        kernels[(int(architecture), names[kernel])] = report
    errors = 0
    for (architecture, name), (_, stack, spills) in sorted(kernels.items()):
        if stack or spills:
            print(f"budget: sm_{architecture} {name}: {stack} bytes of stack, {spills} bytes of spills; expected none")
            errors += 1
    if write:
        lines = [f"{architecture} {registers} {name}" for (architecture, name), (registers, _, _) in sorted(kernels.items())]
        header = "# Registers of every kernel: architecture, registers, kernel. Stack and spills are 0. Written by tests/cuda/budget.py --write.\n"
        pathlib.Path(budget_file).write_text(header + "\n".join(lines) + "\n")
        print(f"budget: {len(lines)} kernels written")
        return 1 if errors else 0
    budget = {}
    for line in pathlib.Path(budget_file).read_text().splitlines():
        if not line.startswith("#"):
            architecture, registers, name = line.split(" ", 2)
            budget[(int(architecture), name)] = int(registers)
    built = {architecture for architecture, _ in kernels}
    for key, (registers, _, _) in sorted(kernels.items()):
        allowed = budget.get(key)
        if allowed is None and key[0] in {a for a, _ in budget}:
            print(f"budget: sm_{key[0]} {key[1]}: {registers} registers, and no line in {budget_file}")
            errors += 1
        elif allowed is not None and registers > allowed:
            print(f"budget: sm_{key[0]} {key[1]}: {registers} registers, budget {allowed}")
            errors += 1
        elif allowed is not None and registers < allowed:
            print(f"budget: sm_{key[0]} {key[1]}: {registers} registers, budget {allowed}: can be tightened")
    for key in sorted(budget):
        if key[0] in built and key not in kernels:
            print(f"budget: sm_{key[0]} {key[1]}: in {budget_file}, but not built")
            errors += 1
    print(f"budget: {len(kernels)} kernels checked, {errors} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
