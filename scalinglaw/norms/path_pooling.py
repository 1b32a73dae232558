"""What pooling does to paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .path_tensor import PathTensor, make_paths, rule, undefined

__all__: list[str] = []


def _spatial(x: PathTensor, n_axes: int) -> Tensor:
    """Return entries with two axes of space at least."""
    return x.paths[..., None, :] if n_axes == 1 else x.paths


def _pooled(x: PathTensor, paths: Tensor, n_axes: int) -> PathTensor:
    return make_paths(paths[..., 0, :] if n_axes == 1 else paths, x.log_scale, x.fold)


def _window_sum(x: Tensor, options: dict[str, Any]) -> Tensor:
    """Return the sum over each window."""
    flat = len(options["kernel_size"]) == 2
    average = functional.avg_pool2d if flat else functional.avg_pool3d
    return average(x, **options, divisor_override=1)


def _window(
    n_axes: int, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool
) -> dict[str, Any]:
    """Return the options of a pooling; one axis is taken as the last of two."""

    def each(value: Any, alone: int) -> tuple[int, ...]:
        values = tuple(value) if isinstance(value, tuple | list) else (value,)
        values = values * (n_axes if len(values) == 1 else 1)
        return (alone, *values) if n_axes == 1 else values

    return {
        "kernel_size": each(kernel_size, 1),
        "stride": each(kernel_size if stride in (None, (), []) else stride, 1),
        "padding": each(padding, 0),
        "ceil_mode": ceil_mode,
    }


def _max_pool(n_axes: int) -> Callable[..., PathTensor]:
    def pool(
        func: Any,
        x: PathTensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> PathTensor:
        """Any entry of the window may be the largest: all of them count."""
        dilations = dilation if isinstance(dilation, tuple | list) else (dilation,)
        if return_indices or any(gap != 1 for gap in dilations):
            raise undefined("max-pooling with dilation or with indices")
        options = _window(n_axes, kernel_size, stride, padding, ceil_mode)
        return _pooled(x, _window_sum(_spatial(x, n_axes), options), n_axes)

    return pool


def _avg_pool(n_axes: int) -> Callable[..., PathTensor]:
    def pool(
        func: Any,
        x: PathTensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> PathTensor:
        """Each entry of the window has one weight, which the average of ones shows."""
        options = _window(n_axes, kernel_size, stride, padding, ceil_mode)
        space = _spatial(x, n_axes)
        total = _window_sum(space, options)
        count = _window_sum(torch.ones_like(space), options)
        extra: dict[str, Any] = {"count_include_pad": count_include_pad}
        if n_axes > 1:
            extra["divisor_override"] = divisor_override
        ones = torch.ones_like(x.paths)
        mean = func(
            ones,
            kernel_size,
            kernel_size if stride is None else stride,
            padding,
            ceil_mode,
            **extra,
        )
        mean = mean[..., None, :] if n_axes == 1 else mean
        return _pooled(x, total * (mean / count).square(), n_axes)

    return pool


def _adaptive_pool(n_axes: int, average: bool) -> Callable[..., PathTensor]:
    def pool(
        func: Any, x: PathTensor, output_size: Any, return_indices: bool = False
    ) -> PathTensor:
        """Windows whose size may change along an axis."""
        mean = getattr(functional, f"adaptive_avg_pool{n_axes}d")(x.paths, output_size)
        for axis in range(-n_axes, 0):
            n, m = x.paths.shape[axis], mean.shape[axis]
            counts = [-(-(i + 1) * n // m) - i * n // m for i in range(m)]
            count = torch.tensor(counts).to(mean)
            # The mean over the window is its sum of paths over the count; a
            # maximum has weights of one, an average of one over the count.
            factor = 1 / count if average else count
            mean = mean * factor.view(-1, *[1] * (-axis - 1))
        return make_paths(mean, x.log_scale, x.fold)

    return pool


for _n in (1, 2, 3):
    rule(f"max_pool{_n}d")(_max_pool(_n))
    rule(f"avg_pool{_n}d")(_avg_pool(_n))
    rule(f"adaptive_avg_pool{_n}d")(_adaptive_pool(_n, True))
    rule(f"adaptive_max_pool{_n}d")(_adaptive_pool(_n, False))
