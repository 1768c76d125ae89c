"""The workloads through perturb's C API."""
import numpy as np

from library import EXPECTATION, FENCHEL_YOUNG, IMLE, LPGD, VJP, Library


class Ours:
    name = "perturb"

    def __init__(self, path, threads=0):
        self.library = Library(path, threads)

    def oracle(self, w):
        return {"argmax": lambda: self.library.argmax(w.n), "top_k": lambda: self.library.top_k(w.n, w.k), "rank": lambda: self.library.rank(w.n),
                "path": lambda: self.library.grid(w.side, w.side)}[w.oracle]()

    def prepare(self, w, inputs):
        """A function of a seed that does the work once and returns its arrays by name."""
        library, oracle = self.library, self.oracle(w)
        y, gradient, loss = np.empty_like(inputs.theta), np.empty_like(inputs.theta), np.empty(w.batch, np.float32)
        if w.task == "blackbox":
            def work(seed):
                library.solve(oracle, inputs.theta, y)
                library.lpgd(oracle, w.tau, inputs.theta, inputs.cotangent, gradient)
                return {"y": y, "gradient": gradient}
        elif w.task == "imle":
            def work(seed):
                noise = library.noise(w.epsilon, w.samples, seed)
                library.expectation(oracle, noise, inputs.theta, y)
                library.imle(oracle, noise, w.tau, inputs.theta, inputs.cotangent, gradient)
                return {"y": y, "gradient": gradient}
        elif w.task == "fenchel_young":
            target = self.solution(w, inputs.other)
            def work(seed):
                library.fenchel_young(oracle, library.noise(w.epsilon, w.samples, seed), inputs.theta, target, loss, gradient)
                return {"loss": loss, "gradient": gradient}
        else:
            def work(seed):
                noise = library.noise(w.epsilon, w.samples, seed)
                library.expectation(oracle, noise, inputs.theta, y)
                library.vjp(oracle, noise, inputs.theta, inputs.cotangent, gradient)
                return {"y": y, "gradient": gradient}
        return work

    def solution(self, w, theta):
        y = np.empty_like(theta)
        self.library.solve(self.oracle(w), theta, y)
        return y

    def workspace(self, w):
        """Bytes of scratch that the calls of a workload use: the library's own, exact answer."""
        noise = self.library.noise(w.epsilon, w.samples, 0)
        operations = {"derivative": (EXPECTATION, VJP), "fenchel_young": (FENCHEL_YOUNG,), "blackbox": (LPGD,), "imle": (EXPECTATION, IMLE)}[w.task]
        return max(self.library.workspace(operation, self.oracle(w), noise, w.batch) for operation in operations)
