"""PyEPO's perturbed optimizer, Fenchel-Young loss, blackbox rule and I-MLE on its own shortest path: right and down edges of a grid, solved by OR-Tools.

Another problem than ours (costs of edges, two directions), so results are not compared, only the time per path solved.
"""
import pyepo.func
import torch
from pyepo.model import shortestPathModel

import importlib.metadata


class Pyepo:
    name = "PyEPO + OR-Tools"
    version = f"pyepo {importlib.metadata.version('pyepo')}, ortools {importlib.metadata.version('ortools')}"
    other_problem = True

    def takes(self, w):
        return w.oracle == "path" and w.side <= 32 and w.samples <= 3

    def prepare(self, w, inputs, target):
        model = shortestPathModel((w.side, w.side), backend="ortools")
        generator = torch.Generator().manual_seed(7)
        costs = torch.rand((w.batch, model.num_cost), generator=generator) * 9 + 1
        cotangent = torch.randn((w.batch, model.num_cost), generator=generator)
        arguments = dict(n_samples=w.samples, sigma=w.epsilon, processes=1)
        if w.task == "blackbox":
            layer = pyepo.func.blackboxOpt(model, lambd=w.tau, processes=1)
        elif w.task == "imle":
            layer = pyepo.func.implicitMLE(model, lambd=w.tau, **arguments)
        elif w.task == "fenchel_young":
            layer = pyepo.func.perturbedFenchelYoung(model, **arguments)
        else:
            layer = pyepo.func.perturbedOpt(model, **arguments)

        def work(seed):
            leaf = costs.clone().requires_grad_(True)
            if w.task == "fenchel_young":
                layer(leaf, torch.zeros_like(costs)).sum().backward()
            else:
                layer(leaf).backward(cotangent)
            return {"gradient": leaf.grad.numpy()}
        return work
