"""Instructions of the machine code that kernels execute, without a GPU.

The emulator counts how often each PTX instruction is issued, and says from which source line it comes and where that line is inlined.
nvdisasm says the same of machine code, where the build has line information (-lineinfo). So a basic block runs as often as the PTX
instructions of its lines: the median over them, since a line may be part of several blocks.
"""

import collections
import os
import re
import statistics
import subprocess
import tempfile

CLASSES = (
    (
        "integer",
        r"IADD|IMNMX|VIMNMX|VIADD|LOP|SHF|SHL|SHR|ISETP|SEL|PRMT|LEA|BMSK|SGXT|IABS|PLOP|VABSDIFF|P2R|R2P|UISETP|ISCADD|FSETP|FSEL|FMNMX|FSET|I2FP",
    ),
    ("multiply", r"IMAD|IMUL|IDP"),
    ("float", r"FFMA|FADD|FMUL|FCHK|FSWZ|HFMA2"),
    ("double", r"DFMA|DADD|DMUL|DSETP|DMNMX"),
    ("special", r"MUFU|I2F|F2I|F2F|I2I|FRND|F2FP|POPC|FLO|BREV"),
    ("move", r"MOV|CS2R|S2R|S2UR|R2UR|UMOV|LDC|ULDC"),
    ("uniform", r"U[A-Z]"),
    ("shared", r"LDS|STS|ATOMS"),
    ("global", r"LDG|STG|ATOMG|RED|ATOM|LD|ST|CCTL"),
    ("local", r"LDL|STL"),
    ("shuffle", r"SHFL|VOTE|REDUX|MATCH"),
    (
        "control",
        r"BRA|BSSY|BSYNC|EXIT|CALL|RET|WARPSYNC|BAR|NOP|BREAK|BRX|YIELD|NANOSLEEP|ERRBAR|MEMBAR|DEPBAR|KILL|BPT",
    ),
)
NAMES = [name for name, _ in CLASSES] + ["other"]
# The longest match wins, so that LDS is not LD, nor UMOV uniform arithmetic.
OPCODES = [(re.compile(f"(?:{pattern})"), name) for name, pattern in CLASSES]
ENDS_BLOCK = re.compile(r"BRA|EXIT|RET|BRX|JMP|CALL|BREAK|BSYNC|KILL")


def class_of(opcode):
    best, found = 0, "other"
    for pattern, name in OPCODES:
        match = pattern.match(opcode)
        if match and match.end() > best:
            best, found = match.end(), name
    return found


def disassembly(cuobjdump, library, architecture):
    """Of every kernel, by its mangled name: basic blocks, each a list of (opcode, lines), innermost line first."""
    environment = dict(os.environ, PATH=f"{cuobjdump.parent}:{os.environ['PATH']}")
    kernels = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([str(cuobjdump), "-xelf", "all", str(library.resolve())], cwd=folder, env=environment, check=True, capture_output=True)
        for cubin in sorted(os.listdir(folder)):
            if f"{architecture}." not in cubin:
                continue
            text = subprocess.run(["nvdisasm", "-c", "-gi", cubin], cwd=folder, env=environment, check=True, capture_output=True, text=True)
            kernels.update(blocks_of(text.stdout))
    return kernels


def blocks_of(text):
    kernels, blocks, lines, is_new = {}, None, (), False
    for line in text.splitlines():
        if match := re.match(r"\.text\.(\S+):", line):
            blocks, lines, is_new = kernels.setdefault(match[1], [[]]), (), True
        elif blocks is None:
            continue
        elif match := re.match(r'\s*//## File "([^"]+)", line (\d+)', line):
            place = f"{os.path.basename(match[1])}:{match[2]}"
            lines = (place,) if is_new else lines + (place,)
            is_new = False
        elif re.match(r"\.L_", line):
            blocks.append([])
        elif match := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)", line):
            if match[1] != "NOP":  # padding
                blocks[-1].append((match[1], lines))
            if ENDS_BLOCK.match(match[1]):
                blocks.append([])
            is_new = True
    return kernels


def static_counts(blocks):
    return dict(collections.Counter(class_of(opcode) for block in blocks for opcode, _ in block))


def executed_counts(blocks, lines):
    """Instructions issued by class; lines: the emulator's [place, count of each PTX instruction ...]. None without line information."""
    of_place = {" ".join(os.path.basename(p) for p in place.split()): statistics.median(counts) for place, *counts in lines}
    total, found, all_instructions = collections.Counter(), 0, 0
    for block in blocks:
        known = [of_place[key] for _, place in block if (key := " ".join(place)) in of_place]
        found += len(known)
        all_instructions += len(block)
        often = statistics.median(known) if known else 0
        for opcode, _ in block:
            total[class_of(opcode)] += often
    return dict(total) if found > 0.5 * all_instructions else None
