"""JAX, jitted: optax's perturbed functions, and the same written out, with the same baseline as perturb's; the Fenchel-Young gradient and the blackbox rule."""
import jax
import jax.numpy as jnp
import numpy as np
import optax


def hard(w):
    if w.oracle == "argmax":
        return lambda x: jax.nn.one_hot(jnp.argmax(x), w.n)
    if w.oracle == "top_k":
        return lambda x: jnp.zeros(w.n).at[jax.lax.top_k(x, w.k)[1]].set(1.0)
    return lambda x: jnp.zeros(w.n).at[jnp.argsort(x)].set(jnp.arange(1.0, w.n + 1))


class Jax:
    name = "JAX + optax"
    version = f"jax {jax.__version__}, optax {optax.__version__}"

    def takes(self, w):
        return w.oracle != "path" and w.task != "imle" and w.batch * w.samples * w.n <= 4e8

    def perturbed(self, oracle, w):
        """A function of a key and a row."""
        return optax.perturbations.make_perturbed_fun(oracle, num_samples=w.samples, sigma=w.epsilon, noise=optax.perturbations.Normal())

    def prepare(self, w, inputs, target):
        oracle = hard(w)
        theta, cotangent = jnp.asarray(inputs.theta), jnp.asarray(inputs.cotangent)
        if w.task == "blackbox":
            @jax.jit
            def run(theta, cotangent):
                y = jax.vmap(oracle)(theta)
                return y, (y - jax.vmap(oracle)(theta - w.tau * cotangent)) / w.tau
            return lambda seed: arrays(("y", "gradient"), run(theta, cotangent))
        smooth = self.perturbed(oracle, w)
        if w.task == "fenchel_young":
            target = jnp.asarray(target)
            gradient = jax.jit(lambda keys, theta: jax.vmap(smooth)(keys, theta) - target)
            return lambda seed: arrays(("gradient",), (gradient(keys_of(seed, w), theta),))

        @jax.jit
        def run(keys, theta, cotangent):
            y, pull = jax.vjp(lambda t: jax.vmap(smooth)(keys, t), theta)
            return y, pull(cotangent)[0]
        return lambda seed: arrays(("y", "gradient"), run(keys_of(seed, w), theta, cotangent))


class JaxWritten(Jax):
    """As jaxopt's perturbations do it: the backward pass draws the same noise from the key and solves again."""
    name = "JAX"
    version = f"jax {jax.__version__}"

    def perturbed(self, oracle, w):
        def noise_and_solutions(key, theta):
            noise = jax.random.normal(key, (w.samples,) + theta.shape)
            return noise, jax.vmap(oracle)(theta + w.epsilon * noise)

        @jax.custom_vjp
        def smooth(key, theta):
            return noise_and_solutions(key, theta)[1].mean(0)

        def backward(saved, cotangent):
            noise, y = noise_and_solutions(*saved)
            inner = y @ cotangent
            inner = inner - inner.mean() if w.samples > 1 else inner
            return None, inner @ noise / (w.epsilon * max(w.samples - 1, 1))
        smooth.defvjp(lambda key, theta: (smooth(key, theta), (key, theta)), backward)
        return smooth


def keys_of(seed, w):
    return jax.random.split(jax.random.key(seed), w.batch)


def arrays(names, values):
    return dict(zip(names, map(np.asarray, jax.block_until_ready(values))))
