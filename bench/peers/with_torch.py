"""PyTorch: the perturbed optimizer as Berthet et al. describe it, with tensors of samples x batch x n, and blackbox backpropagation."""
import torch


def hard(w):
    def ranks(x):
        order = torch.argsort(x, dim=-1)
        return torch.empty_like(x).scatter_(-1, order, torch.arange(1.0, w.n + 1).expand_as(x))
    if w.oracle == "argmax":
        return lambda x: torch.zeros_like(x).scatter_(-1, x.argmax(-1, keepdim=True), 1.0)
    if w.oracle == "top_k":
        return lambda x: torch.zeros_like(x).scatter_(-1, x.topk(w.k, dim=-1).indices, 1.0)
    return ranks


class Perturbed(torch.autograd.Function):
    @staticmethod
    def forward(context, theta, oracle, samples, sigma):
        noise = torch.randn((samples,) + theta.shape)
        y = oracle(theta + sigma * noise)
        context.save_for_backward(y, noise)
        context.sigma = sigma
        return y.mean(0)

    @staticmethod
    def backward(context, cotangent):
        y, noise = context.saved_tensors
        inner = (y * cotangent).sum(-1, keepdim=True)
        inner = inner - inner.mean(0)
        return (inner * noise).sum(0) / (context.sigma * (len(noise) - 1)), None, None, None


class Torch:
    name = "PyTorch"
    version = f"torch {torch.__version__}"

    def takes(self, w):
        return w.oracle != "path" and w.batch * w.samples * w.n <= 4e8

    def prepare(self, w, inputs, target):
        oracle = hard(w)
        theta, cotangent = torch.from_numpy(inputs.theta.copy()), torch.from_numpy(inputs.cotangent)

        def derivative(seed):
            torch.manual_seed(seed)
            leaf = theta.clone().requires_grad_(True)
            y = Perturbed.apply(leaf, oracle, w.samples, w.epsilon)
            y.backward(cotangent)
            return {"y": y.detach().numpy(), "gradient": leaf.grad.numpy()}

        def fenchel_young(seed):
            torch.manual_seed(seed)
            with torch.no_grad():
                return {"gradient": (Perturbed.apply(theta, oracle, w.samples, w.epsilon) - torch.from_numpy(target)).numpy()}

        def blackbox(seed):
            y = oracle(theta)
            return {"y": y.numpy(), "gradient": ((y - oracle(theta - w.tau * cotangent)) / w.tau).numpy()}
        return {"derivative": derivative, "fenchel_young": fenchel_young, "blackbox": blackbox}[w.task]
