"""PyTorch networks that are really trained, and changes of them, for the verdicts of `diff`."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

State = dict[str, Any]


class Mlp(nn.Module):
    """Four dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.head = (
            nn.Linear(32, 96),
            nn.Linear(96, 96),
            nn.Linear(96, 96),
            nn.Linear(96, 5),
        )

    def forward(self, x: Any) -> Any:
        for layer in (self.fc1, self.fc2, self.fc3):
            x = torch.relu(layer(x))
        return self.head(x)

    @staticmethod
    def rows(task: int) -> tuple[Any, Any]:
        drawn = torch.Generator().manual_seed(task)
        x = torch.randn(256, 32, generator=drawn)
        return x, (x @ torch.randn(32, 5, generator=drawn)).argmax(1)


class ConvNet(nn.Module):
    """Convolutions with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 16), (16, 32), (32, 64))
        self.convs = nn.ModuleList([nn.Conv2d(before, after, 3, padding=1) for before, after in sizes])
        self.norms = nn.ModuleList([nn.BatchNorm2d(after) for _, after in sizes])
        self.head = nn.Linear(64, 5)

    def forward(self, x: Any) -> Any:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu(norm(conv(x)))
        return self.head(x.mean((2, 3)))

    @staticmethod
    def rows(task: int) -> tuple[Any, Any]:
        drawn = torch.Generator().manual_seed(task)
        y = torch.randint(0, 5, (128,), generator=drawn)
        return torch.randn(5, 3, 8, 8, generator=drawn)[y] + torch.randn(128, 3, 8, 8, generator=drawn), y


class Transformer(nn.Module):
    """An encoder that predicts each token of a text."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 64), nn.Linear(64, 50)
        self.layers = nn.ModuleList([nn.TransformerEncoderLayer(64, 4, 96, 0.0, batch_first=True) for _ in range(2)])

    def forward(self, x: Any) -> Any:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)

    @staticmethod
    def rows(task: int) -> tuple[Any, Any]:
        x = torch.randint(0, 50, (128, 8), generator=torch.Generator().manual_seed(task))
        return x, (x.flip(1) * 3 + task) % 50


def train(
    network: Any, task: int = 0, weights: Iterable[Any] | None = None, steps: int = 20, rate: float = 1e-3
) -> Any:
    """Train some weights, all by default, on the rows of a task."""
    x, y = network.rows(task)
    optimizer = torch.optim.Adam(list(weights if weights is not None else network.parameters()), rate)
    network.train()
    drawn = torch.Generator().manual_seed(task)
    for _ in range(steps):
        rows = torch.randint(0, len(x), (32,), generator=drawn)
        out = network(x[rows])
        loss = nn.functional.cross_entropy(out.flatten(0, -2), y[rows].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def made(kind: Callable[[], Any], seed: int = 0, steps: int = 20) -> Any:
    """Return a network trained from a random seed."""
    torch.manual_seed(seed)
    return train(kind(), steps=steps)


def state(network: Any) -> State:
    """Return its tensors as arrays."""
    return {name: value.detach().numpy().copy() for name, value in network.state_dict().items()}


def head_tuned(network: Any) -> Any:
    """Train a copy's head alone, in training mode: statistics of batch normalisation change, as by a common mistake."""
    own = copy.deepcopy(network)
    own.requires_grad_(False)
    own.head.requires_grad_(True)
    return train(own, 1, own.head.parameters())


class _Lora(nn.Module):
    def __init__(self, layer: Any, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.a = nn.Parameter(torch.randn(rank, layer.in_features) * 0.1)
        self.b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: Any) -> Any:
        return self.layer(x) + x @ self.a.T @ self.b.T


def lora_tuned(network: Any, rank: int, names: Iterable[str]) -> Any:
    """Train an adapter of the given rank on dense layers of a copy, and merge it."""
    own = copy.deepcopy(network)
    own.requires_grad_(False)
    adapters = {name: _Lora(own.get_submodule(name), rank) for name in names}
    for name, adapter in adapters.items():
        own.set_submodule(name, adapter)
    train(own, 1, [each for adapter in adapters.values() for each in (adapter.a, adapter.b)], rate=1e-2)
    for name, adapter in adapters.items():
        with torch.no_grad():
            adapter.layer.weight += adapter.b @ adapter.a
        own.set_submodule(name, adapter.layer)
    return own


def decayed(network: Any, all_of_them: bool) -> Any:
    """Return a copy changed by weight decay alone."""
    own = copy.deepcopy(network)
    weights = [each for each in own.parameters() if all_of_them or each.ndim > 1]
    optimizer = torch.optim.AdamW(weights, 1e-2, weight_decay=0.1)
    for each in weights:
        each.grad = torch.zeros_like(each)
    for _ in range(10):
        optimizer.step()
    return own


class Ia3(nn.Module):
    """Multiplies each output of a layer by a factor."""

    def __init__(self, weight: Any) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.ones(len(weight), 1))

    def forward(self, weight: Any) -> Any:
        return weight * self.factors


class Dora(nn.Module):
    """Adds a low rank, and gives every row a norm of its own."""

    def __init__(self, weight: Any, rank: int = 3) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(rank, weight.shape[1]) * 0.1)
        self.b = nn.Parameter(torch.zeros(len(weight), rank))
        self.norms = nn.Parameter(weight.norm(dim=1, keepdim=True).detach())

    def forward(self, weight: Any) -> Any:
        moved = weight + self.b @ self.a
        return self.norms * moved / moved.norm(dim=1, keepdim=True)


class Oft(nn.Module):
    """Rotates the inputs in blocks, by Cayley's formula."""

    def __init__(self, weight: Any, block: int = 16) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.zeros(weight.shape[1] // block, block, block))

    def forward(self, weight: Any) -> Any:
        skew, one = self.free - self.free.transpose(1, 2), torch.eye(self.free.shape[1])
        return weight @ torch.block_diag(*torch.linalg.solve(one + skew, one - skew))


def adapted(network: Any, kind: Callable[[Any], Any], names: Iterable[str], rate: float = 1e-2) -> Any:
    """Train an adapter of a kind on dense layers of a copy, and merge it."""
    own = copy.deepcopy(network)
    own.requires_grad_(False)
    layers = [own.get_submodule(name) for name in names]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", kind(layer.weight))
    train(own, 1, [each for each in own.parameters() if each.requires_grad], rate=rate)
    for layer in layers:
        parametrize.remove_parametrizations(layer, "weight")
    return own
