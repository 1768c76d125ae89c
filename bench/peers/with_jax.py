"""JAX, jitted: optax's perturbed functions, and the Fenchel-Young gradient and the blackbox rule written with them."""
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
        return w.oracle != "path" and w.batch * w.samples * w.n <= 4e8

    def prepare(self, w, inputs, target):
        oracle = hard(w)
        theta, cotangent = jnp.asarray(inputs.theta), jnp.asarray(inputs.cotangent)
        if w.task == "blackbox":
            @jax.jit
            def run(theta, cotangent):
                y = jax.vmap(oracle)(theta)
                return y, (y - jax.vmap(oracle)(theta - w.tau * cotangent)) / w.tau
            return lambda seed: arrays(("y", "gradient"), run(theta, cotangent))
        smooth = optax.perturbations.make_perturbed_fun(oracle, num_samples=w.samples, sigma=w.epsilon, noise=optax.perturbations.Normal())
        if w.task == "fenchel_young":
            target = jnp.asarray(target)
            gradient = jax.jit(lambda keys, theta: jax.vmap(smooth)(keys, theta) - target)
            return lambda seed: arrays(("gradient",), (gradient(keys_of(seed, w), theta),))

        @jax.jit
        def run(keys, theta, cotangent):
            y, pull = jax.vjp(lambda t: jax.vmap(smooth)(keys, t), theta)
            return y, pull(cotangent)[0]
        return lambda seed: arrays(("y", "gradient"), run(keys_of(seed, w), theta, cotangent))


def keys_of(seed, w):
    return jax.random.split(jax.random.key(seed), w.batch)


def arrays(names, values):
    return dict(zip(names, map(np.asarray, jax.block_until_ready(values))))
