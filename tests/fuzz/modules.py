"""Networks that nobody trains, into their norms."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrizations

from scalinglaw.norms import NORMS, compute_norms

from .harness import Finding
from .values import odd, one


def case(rng: np.random.Generator) -> None:
    """Take some norms of one network."""
    torch.manual_seed(int(rng.integers(2**31)))
    module, shape = _network(rng)
    of_data = rng.random() < 0.3
    known = [name for name in NORMS if of_data or name not in ("fisher_rao", "path")]
    names = [str(name) for name in rng.permutation(known)[: int(rng.integers(1, 9))]]
    options: dict[str, Any] = {}
    if rng.random() < 0.3:
        options["conv"] = one(rng, ("kernel", "operator", "operator", "fft"))
    if rng.random() < 0.3:
        options["fold_normalization"] = True
    if rng.random() < 0.6:
        options["input_shape"] = shape if rng.random() < 0.8 else odd(rng)
    if of_data or rng.random() < 0.1:
        options["X"] = torch.randn(4, *shape) if rng.random() < 0.9 else odd(rng)
        options["y"] = torch.zeros(4).long() if rng.random() < 0.9 else odd(rng)
    if rng.random() < 0.05:
        names = odd(rng)
    before = _state(module)
    found = compute_norms(module, names, **options)
    if list(found) != list(names):
        raise Finding(f"{list(found)} for {names}")
    for name, value in found.items():
        if type(value) is not float or np.isnan(value) or value == np.inf:
            raise Finding(f"{name} is {value!r}")
    for name, power in (("frobenius", 2), ("l1", 1)):
        if name in found and not options.get("fold_normalization"):
            _compare(module, name, found[name], power)
    after = _state(module)
    if before is not None and not all(map(_equal, before, after)):
        raise Finding("the network was changed")


def _compare(module: nn.Module, name: str, found: float, power: int) -> None:
    """Compare with a sum over the parameters, where they are what multiplies."""
    parameters = list(module.parameters())
    plain = all(p.is_floating_point() and p.layout is torch.strided for p in parameters)
    if not plain or any("Parametr" in type(m).__name__ for m in module.modules()):
        return
    entries = [p.detach().double().abs().cpu().numpy().ravel() for p in parameters]
    values = np.concatenate([*entries, [0.0]])
    largest = values.max() or 1.0
    expected = np.log(largest) + np.log(np.sum((values / largest) ** power)) / power
    if not np.isclose(found, expected, rtol=1e-4, atol=1e-4):
        raise Finding(f"{name} is {found}, and the parameters give {expected}")


def _state(module: Any) -> list[torch.Tensor] | None:
    if not isinstance(module, nn.Module):
        return None
    try:
        return [t.detach().clone() for t in module.state_dict().values()]
    except (RuntimeError, ValueError, AttributeError, TypeError):
        return None  # Not initialised, or no tensors.


def _equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.is_meta or left.layout is not torch.strided:
        return True
    return torch.equal(torch.nan_to_num(left), torch.nan_to_num(right))


class _Odd(nn.Module):
    """Parameters of any shape, and a forward pass of any kind."""

    def __init__(self, parameters: list[torch.Tensor], forward: Callable):
        super().__init__()
        self.values = nn.ParameterList(
            nn.Parameter(p, requires_grad=p.is_floating_point()) for p in parameters
        )
        self.way = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self.way(self, x)


_FORWARDS = (
    lambda self, x: None,
    lambda self, x: x,
    lambda self, x: (x, x),
    lambda self, x: {"logits": x},
    lambda self, x: x.reshape(len(x), -1) @ self.values[0].T,
    lambda self, x: 1 / 0,
    lambda self, x: x.sum(),
)


def _network(rng: np.random.Generator) -> tuple[Any, tuple[int, ...]]:
    """Return a network and the shape of one of its samples."""
    way = int(rng.integers(20))
    if way == 0:
        return one(rng, (None, "net", nn.Linear, 3, torch.zeros(2), nn.Sequential())), (
            4,
        )
    if way <= 2:
        return _odd(rng), (4,)
    if way <= 8:
        module, shape = _convolutional(rng), (3, 8, 8)
    elif way <= 10:
        module, shape = _of_tokens(rng), (5, 8)
    else:
        module, shape = _dense(rng), (4,)
    for _ in range(one(rng, (0, 0, 1, 1, 2))):
        module = one(rng, _CHANGES)(rng, module)
    return module, shape


def _odd(rng: np.random.Generator) -> nn.Module:
    shapes = ((), (3,), (4, 4), (2, 3, 4), (0, 4), (4, 0), (1, 1, 1, 1, 1), (7, 4))
    kinds = (torch.float32, torch.float64, torch.float16, torch.bfloat16,
             torch.complex64, torch.int8, torch.bool)  # fmt: skip
    parameters = [
        torch.randn(one(rng, shapes)).to(one(rng, kinds))
        for _ in range(int(rng.integers(0, 4)))
    ]
    module = _Odd(parameters, one(rng, _FORWARDS))
    return nn.Sequential(module, nn.Linear(4, 2)) if rng.random() < 0.5 else module


def _dense(rng: np.random.Generator) -> nn.Module:
    layers: list[nn.Module] = []
    width = 4
    for _ in range(one(rng, (0, 1, 2, 3, 8, 40))):
        after = one(rng, (1, 4, 7))
        layers.append(nn.Linear(width, after, bias=bool(rng.random() < 0.5)))
        width = after
        layers += one(
            rng,
            (
                [],
                [nn.ReLU()],
                [nn.BatchNorm1d(width)],
                [nn.LayerNorm(width), nn.GELU()],
                [nn.Dropout(), nn.Tanh()],
                [nn.PReLU()],
                [nn.Identity(), nn.Softmax(dim=-1)],
            ),
        )
    return nn.Sequential(*layers)


def _convolutional(rng: np.random.Generator) -> nn.Module:
    channels = one(rng, (2, 6))
    first = one(
        rng,
        (
            nn.Conv2d(3, channels, 3, padding=1),
            nn.Conv2d(3, channels, 3, stride=2, padding_mode="circular", padding=1),
            nn.Conv2d(3, 3 * channels, 3, groups=3),
            nn.ConvTranspose2d(3, channels, 2),
            nn.Conv2d(3, channels, 1, dilation=2),
            nn.LazyConv2d(channels, 3),
        ),
    )
    return nn.Sequential(
        first,
        one(rng, (nn.LazyBatchNorm2d(), nn.Identity(), nn.ReLU(), nn.MaxPool2d(2))),
        one(rng, (nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(2), nn.Identity())),
        nn.Flatten(),
        nn.LazyLinear(3) if rng.random() < 0.8 else nn.Identity(),
    )


def _of_tokens(rng: np.random.Generator) -> nn.Module:
    return one(
        rng,
        (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 3)),
            nn.LSTM(8, 4, batch_first=True),
            nn.GRU(8, 4, num_layers=2, bidirectional=True),
            nn.MultiheadAttention(8, 2, kdim=3, vdim=5),
            nn.Bilinear(8, 8, 3),
            nn.EmbeddingBag(10, 8),
        ),
    )


def _filled(rng: np.random.Generator, module: nn.Module) -> nn.Module:
    value = one(rng, (0.0, float("nan"), float("inf"), 1e30, -1e-30, 1e-45, 1.0, 3e38))
    parameters = [
        p for p in module.parameters() if not isinstance(p, nn.UninitializedParameter)
    ]
    if parameters:
        with torch.no_grad():
            parameter = one(rng, parameters)
            if rng.random() < 0.5:
                parameter.fill_(value)
            elif parameter.numel():
                parameter.view(-1)[0] = value
    return module


def _converted(rng: np.random.Generator, module: nn.Module) -> nn.Module:
    kind = one(rng, (torch.float64, torch.float16, torch.bfloat16, torch.complex64))
    try:
        return module.to(kind)
    except (TypeError, ValueError, RuntimeError):
        return module


def _called(rng: np.random.Generator, module: nn.Module) -> nn.Module:
    """Initialise what is lazy, in training mode."""
    for sample in (torch.randn(2, 3, 8, 8), torch.randn(2, 4)):
        try:
            module(sample)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
            continue
    return module


def _parametrized(rng: np.random.Generator, module: nn.Module) -> nn.Module:
    layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    layers = [m for m in layers if not isinstance(m.weight, nn.UninitializedParameter)]
    make = one(rng, (parametrizations.weight_norm, parametrizations.spectral_norm,
                     parametrizations.orthogonal))  # fmt: skip
    if layers:
        # It may be of another dtype or shape.
        with suppress(RuntimeError, ValueError, NotImplementedError):
            make(one(rng, layers))
    return module


def _nested(rng: np.random.Generator, module: nn.Module) -> nn.Module:
    for _ in range(one(rng, (1, 10, 100, 300))):
        module = nn.Sequential(module)
    return module


def _sparse(rng: np.random.Generator, module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and layer.weight.dtype is torch.float32:
            lazy = isinstance(layer.weight, nn.UninitializedParameter)
            if not lazy and not layer.weight.is_meta:
                layer.weight = nn.Parameter(layer.weight.detach().to_sparse())
            break
    return module


def _meta(rng: np.random.Generator, module: nn.Module) -> nn.Module:
    return module.to("meta")


def _frozen(rng: np.random.Generator, module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        if not isinstance(parameter, nn.UninitializedParameter):
            parameter.requires_grad_(False)
    return module


def _wrapped(rng: np.random.Generator, module: nn.Module) -> nn.Module:
    return one(
        rng,
        (
            nn.ModuleList([module, module]),
            nn.ModuleDict({"a.b".replace(".", "_"): module}),
            nn.DataParallel(module),
            nn.Sequential(module, module),
            module.train(),
        ),
    )


_CHANGES = (
    _filled, _converted, _called, _called, _parametrized, _nested, _sparse, _meta,
    _frozen, _wrapped,
)  # fmt: skip
