"""The work that everybody does: inputs, and the sizes of the comparison and of the sweeps.

Scores are normal, epsilon 1, noise normal. Costs of grids are uniform in [1, 10) with epsilon 0.1, so that none falls below the floor and the
shortest path of a sample is unique: peers need not agree on ties. 8 neighbours, from corner to corner, a path costs the sum of its cells.
"""
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Workload:
    oracle: str               # argmax, top_k, rank, path
    n: int                    # items; cells of a path
    batch: int
    samples: int
    task: str = "derivative"  # y_eps and its VJP; "fenchel_young": loss and gradient; "blackbox": y* and the two-solve gradient (no noise); "imle": y_eps and the same under noise
    k: int = 10

    @property
    def side(self):
        return int(round(self.n**0.5))

    @property
    def name(self):
        sizes = {"argmax": f"argmax n={self.n}", "rank": f"rank n={self.n}", "top_k": f"top-{self.k} of {self.n}", "path": f"path {self.side}x{self.side}"}[self.oracle]
        task = {"derivative": "", "fenchel_young": ", Fenchel-Young", "blackbox": ", blackbox", "imle": ", I-MLE"}[self.task]
        return f"{sizes}{task}, B={self.batch}" + (f" M={self.samples}" if self.task != "blackbox" else "")

    @property
    def epsilon(self):
        return 0.1 if self.oracle == "path" else 1.0

    @property
    def tau(self):
        return 2.0

    @property
    def problems(self):
        return self.batch * (2 if self.task == "blackbox" else 2 * self.samples if self.task == "imle" else self.samples)


class Inputs:
    """theta, a cotangent, and a solution of other inputs as target."""

    def __init__(self, w, seed=7):
        generator = np.random.default_rng(seed)
        shape = (w.batch, w.n)
        self.theta = (generator.uniform(1, 10, shape) if w.oracle == "path" else generator.normal(size=shape)).astype(np.float32)
        self.cotangent = generator.normal(size=shape).astype(np.float32)
        self.other = (generator.uniform(1, 10, shape) if w.oracle == "path" else generator.normal(size=shape)).astype(np.float32)


def comparison():
    derivative = [Workload("rank", 100, 32, 1000), Workload("rank", 1000, 32, 1000), Workload("argmax", 10, 32, 1000), Workload("argmax", 1000, 32, 1000),
                  Workload("top_k", 1000, 32, 1000), Workload("top_k", 100000, 4, 100)]
    derivative += [Workload("path", side * side, 70, samples) for side in (12, 32, 96) for samples in (3, 100)]
    others = [Workload("rank", 100, 32, 100, "fenchel_young"), Workload("path", 144, 70, 3, "fenchel_young"), Workload("rank", 100, 32, 1, "blackbox"), Workload("path", 144, 70, 1, "blackbox"), Workload("path", 144, 70, 3, "imle")]
    return derivative + others


def sweeps():
    """Lines of the plots: {title: (what varies, workloads)}."""
    return {
        "rank, n=100, B=32": ("M", [Workload("rank", 100, 32, m) for m in (10, 100, 1000, 10000)]),
        "rank, B=32, M=100": ("n", [Workload("rank", n, 32, 100) for n in (10, 100, 1000, 10000)]),
        "path, B=8, M=10": ("grid side", [Workload("path", s * s, 8, 10) for s in (8, 16, 32, 64, 128)]),
    }
