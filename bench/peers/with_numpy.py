"""NumPy: the same tensors without a framework."""
import numpy as np


def hard(w, x):
    y = np.zeros_like(x)
    if w.oracle == "argmax":
        np.put_along_axis(y, x.argmax(-1)[..., None], 1.0, -1)
    elif w.oracle == "top_k":
        np.put_along_axis(y, np.argpartition(x, w.n - w.k, axis=-1)[..., w.n - w.k:], 1.0, -1)
    else:
        np.put_along_axis(y, np.argsort(x, axis=-1), np.arange(1, w.n + 1, dtype=np.float32), -1)
    return y


class Numpy:
    name = "NumPy"
    version = f"numpy {np.__version__}"

    def takes(self, w):
        return w.oracle != "path" and w.task == "derivative" and w.batch * w.samples * w.n <= 4e8

    def prepare(self, w, inputs, target):
        def derivative(seed):
            noise = np.random.default_rng(seed).standard_normal((w.samples,) + inputs.theta.shape, dtype=np.float32)
            y = hard(w, inputs.theta + np.float32(w.epsilon) * noise)
            inner = (y * inputs.cotangent).sum(-1)
            inner -= inner.mean(0)
            return {"y": y.mean(0), "gradient": np.einsum("mb,mbi->bi", inner, noise) / np.float32(w.epsilon * (w.samples - 1))}
        return derivative
