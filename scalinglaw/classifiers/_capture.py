"""A step of training as one CUDA graph, and the reasons why not.

A small network keeps a GPU waiting for Python: a step takes longer to launch, kernel by
kernel, than to compute. A graph launches it at once. It repeats what it saw on the same
memory, so that inputs are copied into buffers that never move, and whatever Python
decides anew at each step must not differ from what it decided then: that is checked
before, and at each step.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, GradientNormClipping
from torch import Tensor, nn

__all__ = ["StaticSteps", "why_eager"]

# Steps that run as usual before one is captured: libraries choose their kernels, and
# the optimiser makes its state.
_WARM_UP = 3
# Shapes of batches that are captured, the full one and the last.
_SHAPES = 2
# A step may be captured anew as often, after a callback has changed the training.
_RECAPTURES = 3
_CAPTURED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


def why_eager(device: str, optimizer: Any, callbacks: list[Any]) -> str:
    """Return why steps are not captured, or nothing if that can be tried.

    Parameters
    ----------
    device : str
        Where training runs.
    optimizer : torch optimiser
        Only those of torch that work on the device alone are captured.
    callbacks : list of skorch callbacks
        Those of them that see gradients run inside a step, where Python is not heard.

    Returns
    -------
    str
        The reason.
    """
    if torch.device(device).type != "cuda":
        return f"device={device!r} has no graphs: they are CUDA's"
    if type(optimizer) not in _CAPTURED:
        return f"the optimizer {type(optimizer).__name__} is not known to be captured"
    for callback in callbacks:
        sees = type(callback).on_grad_computed is not Callback.on_grad_computed
        if sees and type(callback) is not GradientNormClipping:
            return f"the callback {type(callback).__name__} sees gradients at each step"
    return ""


class _Place:
    """Buffers of one shape of batch, and the step on them.

    Parameters
    ----------
    inputs : tuple of Tensor
        A batch of that shape.
    """

    def __init__(self, inputs: tuple[Tensor, ...]) -> None:
        self.buffers = tuple(torch.empty_like(each) for each in inputs)
        self.n_steps = 0
        self.replay: Callable[[], dict[str, Tensor]] | None = None

    def fill(self, inputs: tuple[Tensor, ...]) -> None:
        """Copy a batch to where the step looks for it."""
        for buffer, value in zip(self.buffers, inputs, strict=True):
            buffer.copy_(value)


class StaticSteps:
    """Steps of training on buffers that never move, captured where there are graphs.

    On a CPU the same steps run without a graph: they must equal those of skorch to the
    last bit, which is how this is tested.

    Parameters
    ----------
    step : callable
        ``step(batch)`` is a step of training: it returns ``{"loss": ..., "y_pred":
        ...}``, and everything it does is done on the device.
    module : nn.Module
        The network.
    optimizer : torch optimiser
        Its learning rates become tensors, which a schedule writes to.
    capture : bool
        Whether there are graphs.
    """

    def __init__(
        self,
        step: Callable[[Any], dict[str, Tensor]],
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        capture: bool,
    ) -> None:
        self._step, self._module, self._optimizer = step, module, optimizer
        self._capture = capture
        self._places: dict[Any, _Place] = {}
        self._n_changes = 0
        self.reason = ""
        self._rates: list[Tensor] = []
        self._stream: Any = None
        self._pool: Any = None
        if capture:
            device = next(module.parameters()).device
            for group in optimizer.param_groups:
                group["lr"] = torch.tensor(float(group["lr"]), device=device)
                self._rates.append(group["lr"])
            self._stream = torch.cuda.Stream(device)
            self._pool = torch.cuda.graph_pool_handle()
        self._fixed = self._what_must_not_change()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without graphs and buffers, which belong to this process."""
        own: dict[str, Any] = {
            "_places": {},
            "_stream": None,
            "_pool": None,
            "_capture": False,
        }
        return self.__dict__ | own

    def __call__(self, batch: Any) -> dict[str, Tensor]:
        """Take a step on a batch.

        Parameters
        ----------
        batch : tuple (X, y) or (X, (y, weight))
            Tensors on the device.

        Returns
        -------
        dict
            ``loss`` and ``y_pred``, which the next step leaves alone.
        """
        if self.reason:
            return self._step(batch)
        X, labels = batch
        pair = isinstance(labels, tuple)
        inputs = (X, *labels) if pair else (X, labels)
        self._heed_changes()
        place = self._place(inputs)
        if place is None or self.reason:
            return self._step(batch)
        place.fill(inputs)
        first, *rest = place.buffers
        held = (first, tuple(rest) if pair else rest[0])
        if place.replay is None and place.n_steps < _WARM_UP:
            place.n_steps += 1
            return self._warm_up(held)
        if place.replay is None:
            place.replay = self._capture_step(held)
        if place.replay is None:
            return self._step(batch)
        return {name: value.clone() for name, value in place.replay().items()}

    def _place(self, inputs: tuple[Tensor, ...]) -> _Place | None:
        key = tuple((each.shape, each.dtype, each.stride()) for each in inputs)
        if key not in self._places and len(self._places) < _SHAPES:
            self._places[key] = _Place(inputs)
        return self._places.get(key)

    def _warm_up(self, held: Any) -> dict[str, Tensor]:
        """Take a step as usual, and see whether Python has decided anything in it."""
        before = _decisions(self._module)
        if not self._capture:
            step = self._step(held)
        else:
            # Graphs want memory that was first used on another stream than the default.
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                step = self._step(held)
            torch.cuda.current_stream().wait_stream(self._stream)
        for name, value in _decisions(self._module).items():
            if before.get(name) != value:
                self._give_up(f"a step changes {name}, which a graph would not")
                break
        return step

    def _capture_step(self, held: Any) -> Callable[[], dict[str, Tensor]] | None:
        """Return what repeats a step; nothing if it cannot be captured."""
        if not self._capture:
            return lambda: self._step(held)
        try:
            graph = torch.cuda.CUDAGraph()
            # Gradients then lie in the memory of the graph.
            self._optimizer.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph, pool=self._pool):
                results = self._step(held)
        except Exception as error:
            # A capture computes nothing: training is where it was.
            torch.cuda.synchronize()
            self._optimizer.zero_grad(set_to_none=True)
            lines = str(error).strip().splitlines() or [""]
            self._give_up(f"capture failed with {type(error).__name__}: {lines[0]}")
            return None
        kept = {name: value.detach() for name, value in results.items()}

        def replay() -> dict[str, Tensor]:
            graph.replay()
            return kept

        return replay

    def _heed_changes(self) -> None:
        """Give rates to the graph, and forget graphs of what is no longer done."""
        groups = self._optimizer.param_groups
        for group, rate in zip(groups, self._rates, strict=False):
            if group["lr"] is not rate:  # a callback has put a number there
                rate.fill_(float(group["lr"]))
                group["lr"] = rate
        fixed = self._what_must_not_change()
        if fixed == self._fixed:
            return
        self._fixed = fixed
        self._places.clear()
        self._n_changes += 1
        if self._n_changes > _RECAPTURES:
            self._give_up(
                "a callback changes the optimiser or the frozen weights again and again"
            )

    def _what_must_not_change(self) -> tuple[Any, ...]:
        """Return the numbers of the optimiser but its rates, and what is trained."""
        options = [
            (name, value)
            for group in self._optimizer.param_groups
            for name, value in group.items()
            if name not in ("params", "lr", "initial_lr")
        ]
        trained = [weight.requires_grad for weight in self._module.parameters()]
        return tuple(options), tuple(trained)

    def _give_up(self, reason: str) -> None:
        self.reason = reason
        self._places.clear()


def _decisions(module: nn.Module) -> dict[str, Any]:
    """Return what Python could decide by: its random numbers, numbers in modules."""
    # NumPy has a global generator of its own, which networks may draw from.
    numpy_state: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    found: dict[str, Any] = {
        "Python's random numbers": random.getstate(),
        "NumPy's random numbers": [*map(str, numpy_state), numpy_state[1].tobytes()],
    }
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if type(value) in (bool, int, float, str) and name != "training":
                found[f"{path}.{name}".lstrip(".")] = value
    return found
