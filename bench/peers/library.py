"""perturb through ctypes: what the comparison with the peers calls, on numpy arrays."""
import ctypes as c

import numpy as np

DISTRIBUTIONS = {"normal": 0, "gumbel": 1}
EXPECTATION, VJP, FENCHEL_YOUNG, LPGD, IMLE = 2, 3, 6, 7, 8


class ContextOptions(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("backend", c.c_int), ("device", c.c_int32), ("threads", c.c_int32), ("stream", c.c_void_p),
                ("device_allocator", c.c_void_p * 3), ("host_allocator", c.c_void_p * 3)]


class GridOptions(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("height", c.c_int64), ("width", c.c_int64), ("connectivity", c.c_int), ("diagonal_factor", c.c_float),
                ("count_source", c.c_int32), ("passable", c.c_void_p), ("source", c.c_int64), ("target", c.c_int64), ("negative", c.c_int),
                ("cost_floor", c.c_float)]


class Noise(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("distribution", c.c_int), ("mode", c.c_int), ("epsilon", c.c_float), ("epsilon_per_item", c.c_void_p),
                ("samples", c.c_int64), ("seed", c.c_uint64), ("first_sample", c.c_int64), ("first_row", c.c_int64), ("sampling", c.c_int),
                ("baseline", c.c_int), ("sum_of_gamma_k", c.c_int32), ("sum_of_gamma_terms", c.c_int32)]


class LpgdOptions(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("tau", c.c_float), ("rho", c.c_float), ("side", c.c_int), ("relative", c.c_int32)]


def floats(array):
    if array is None:
        return None
    assert array.dtype == np.float32 and array.flags.c_contiguous
    return array.ctypes.data_as(c.c_void_p)


class Library:
    """A CPU context of a shared library. Oracles live as long as this object."""

    def __init__(self, path, threads=0):
        self.lib = c.CDLL(path)
        self.lib.perturb_last_error.restype = c.c_char_p
        self.lib.perturb_version.restype = c.c_uint32
        for name in ("perturb_argmax_create", "perturb_top_k_create", "perturb_rank_create"):
            getattr(self.lib, name).argtypes = None
        options = ContextOptions(struct_size=c.sizeof(ContextOptions), backend=1, device=-1, threads=threads)
        self.context = c.c_void_p()
        self.check(self.lib.perturb_context_create(c.byref(options), c.byref(self.context)))
        self.version = self.lib.perturb_version()

    def check(self, status):
        if status != 0:
            raise RuntimeError(f"perturb: {status}: {self.lib.perturb_last_error().decode()}")

    def oracle(self, create, *arguments):
        oracle = c.c_void_p()
        self.check(getattr(self.lib, f"perturb_{create}_create")(*arguments, c.byref(oracle)))
        return oracle

    def argmax(self, n):
        return self.oracle("argmax", c.c_int64(n))

    def top_k(self, n, k):
        return self.oracle("top_k", c.c_int64(n), c.c_int64(k))

    def rank(self, n):
        return self.oracle("rank", c.c_int64(n), None)

    def grid(self, height, width):
        options = GridOptions(struct_size=c.sizeof(GridOptions), height=height, width=width, connectivity=8, diagonal_factor=1.0, count_source=1,
                              source=0, target=height * width - 1, cost_floor=1e-6)
        return self.oracle("grid_path", c.byref(options))

    def noise(self, epsilon, samples, seed, distribution="normal"):
        return Noise(struct_size=c.sizeof(Noise), distribution=DISTRIBUTIONS[distribution], epsilon=epsilon, samples=samples, seed=seed)

    def solve(self, oracle, theta, y, value=None):
        self.check(self.lib.perturb_solve(self.context, oracle, c.c_int64(len(theta)), floats(theta), floats(y), floats(value)))

    def expectation(self, oracle, noise, theta, y, error=None, value=None):
        self.check(self.lib.perturb_expectation(self.context, oracle, c.byref(noise), c.c_int64(len(theta)), floats(theta), floats(y), floats(error), floats(value), None))

    def vjp(self, oracle, noise, theta, cotangent, gradient):
        self.check(self.lib.perturb_vjp(self.context, oracle, c.byref(noise), c.c_int64(len(theta)), floats(theta), floats(cotangent), floats(gradient)))

    def fenchel_young(self, oracle, noise, theta, target, loss, gradient):
        self.check(self.lib.perturb_fenchel_young(self.context, oracle, c.byref(noise), c.c_int64(len(theta)), floats(theta), floats(target), floats(loss), floats(gradient), None))

    def lpgd(self, oracle, tau, theta, cotangent, gradient):
        options = LpgdOptions(struct_size=c.sizeof(LpgdOptions), tau=tau)
        self.check(self.lib.perturb_lpgd(self.context, oracle, c.byref(options), c.c_int64(len(theta)), floats(theta), floats(cotangent), floats(gradient)))

    def imle(self, oracle, noise, tau, theta, cotangent, gradient):
        options = LpgdOptions(struct_size=c.sizeof(LpgdOptions), tau=tau)
        self.check(self.lib.perturb_imle(self.context, oracle, c.byref(noise), c.byref(options), c.c_int64(len(theta)), floats(theta), floats(cotangent), floats(gradient)))

    def workspace(self, operation, oracle, noise, batch):
        """Bytes of all memory that a call uses beside its arrays."""
        size = c.c_size_t()
        self.check(self.lib.perturb_workspace_size(self.context, operation, oracle, c.byref(noise) if noise else None, c.c_int64(batch), c.byref(size)))
        return size.value
