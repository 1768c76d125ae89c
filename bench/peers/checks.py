"""Whether two implementations compute the same thing: nothing is timed that is not this."""
import dataclasses

import numpy as np

REPEATS = 16
DIRECTIONS = 16


def smaller(w):
    """What is compared in place of a workload: the same problem, fewer rows and samples."""
    if w.oracle == "path":
        return dataclasses.replace(w, batch=min(w.batch, 2), samples=min(w.samples, 10))
    return dataclasses.replace(w, batch=min(w.batch, 4), samples=min(w.samples, 200))


def agree(ours, peer, w):
    """The largest difference of the means of both in standard errors, of projections of each array. Projections are nearly normal however
    rare single entries are: on random directions, and on our own mean, where a wrong sign or scale shows most.

    ours, peer: functions of a seed. Work without noise (blackbox) must be equal.
    """
    if w.task == "blackbox":
        reference, theirs = ours(0), peer(0)
        worst = max(float(np.max(np.abs(theirs[name] - reference[name]))) for name in theirs)
        if worst > 1e-6:
            raise AssertionError(f"{w.name}: differs by {worst}")
        return 0.0
    first, second = runs_of(ours, 100), runs_of(ours, 200)
    other = runs_of(peer, 300)
    generator = np.random.default_rng(3)
    worst = 0.0
    for name in other:
        directions = np.vstack([first[name].mean(0), generator.normal(size=(DIRECTIONS, first[name].shape[1]))])
        a, b = directions @ second[name].T, directions @ other[name].T
        error = np.sqrt((a.var(1, ddof=1) + b.var(1, ddof=1)) / REPEATS) + 1e-5 * np.abs(a).max(1)
        worst = max(worst, float(np.max(np.abs(a.mean(1) - b.mean(1)) / error)))
    if not worst < 6:
        raise AssertionError(f"{w.name}: {worst:.1f} standard errors apart")
    return worst


def runs_of(work, seed):
    runs = [{name: np.array(value, dtype=np.float64).ravel() for name, value in work(seed + r).items()} for r in range(REPEATS)]
    return {name: np.stack([run[name] for run in runs]) for name in runs[0]}
