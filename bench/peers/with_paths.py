"""Shortest paths of every sample by SciPy's and scikit-image's compiled Dijkstra, called in a loop as their users do."""
import numpy as np
import scipy
import skimage
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from skimage.graph import MCP


class Graph:
    """8-neighbour steps of a square grid; the cost of a step is that of the cell it enters. Only the costs change from sample to sample."""

    def __init__(self, side):
        index = np.arange(side * side).reshape(side, side)
        starts, ends = [], []
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                if down or right:
                    starts.append(index[max(0, -down):side - max(0, down), max(0, -right):side - max(0, right)].ravel())
                    ends.append(index[max(0, down):side - max(0, -down), max(0, right):side - max(0, -right)].ravel())
        starts, self.ends = np.concatenate(starts), np.concatenate(ends)
        order = csr_matrix((np.arange(1, len(starts) + 1), (starts, self.ends)), shape=(side * side,) * 2)
        self.order, self.indices, self.indptr = order.data - 1, order.indices, order.indptr
        self.ends = self.ends[self.order]
        self.cells = side * side

    def solve(self, cost):
        _, previous = dijkstra(csr_matrix((cost[self.ends], self.indices, self.indptr), shape=(self.cells,) * 2), indices=0, return_predecessors=True)
        y, cell = np.zeros(self.cells, np.float32), self.cells - 1
        while cell >= 0:
            y[cell] = 1
            cell = previous[cell]
        return y


class Scipy:
    name = "SciPy csgraph"
    version = f"scipy {scipy.__version__}"

    def takes(self, w):
        return w.oracle == "path" and w.task != "imle"

    def solver(self, w):
        return Graph(w.side).solve

    def prepare(self, w, inputs, target):
        solve = self.solver(w)

        def samples_of(seed):
            noise = np.random.default_rng(seed).standard_normal((w.samples,) + inputs.theta.shape, dtype=np.float32)
            costs = np.maximum(inputs.theta - np.float32(w.epsilon) * noise, np.float32(1e-6))
            return noise, np.stack([[solve(row) for row in sample] for sample in costs])

        def derivative(seed):
            noise, y = samples_of(seed)
            inner = (y * inputs.cotangent).sum(-1)
            if w.samples > 1:
                inner -= inner.mean(0)
            return {"y": y.mean(0), "gradient": -np.einsum("mb,mbi->bi", inner, noise) / np.float32(w.epsilon * max(w.samples - 1, 1))}

        def fenchel_young(seed):
            return {"gradient": target - samples_of(seed)[1].mean(0)}

        def blackbox(seed):
            y = np.stack([solve(row) for row in inputs.theta])
            shifted = np.stack([solve(row) for row in np.maximum(inputs.theta + w.tau * inputs.cotangent, np.float32(1e-6))])
            return {"y": y, "gradient": (shifted - y) / w.tau}
        return {"derivative": derivative, "fenchel_young": fenchel_young, "blackbox": blackbox}[w.task]


class Skimage(Scipy):
    name = "scikit-image MCP"
    version = f"scikit-image {skimage.__version__}"

    def solver(self, w):
        side = w.side

        def solve(cost):
            mcp = MCP(cost.reshape(side, side), fully_connected=True)
            mcp.find_costs([(0, 0)], [(side - 1, side - 1)])
            y = np.zeros((side, side), np.float32)
            for cell in mcp.traceback((side - 1, side - 1)):
                y[cell] = 1
            return y.ravel()
        return solve
