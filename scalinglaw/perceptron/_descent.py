"""Plain gradient descent of a perceptron, for comparison with the flow."""

from __future__ import annotations

import numpy as np

from ._flow import FlowPath, hebb_direction

__all__ = ["gradient_descent"]


def gradient_descent(
    signed: np.ndarray,
    norms: np.ndarray,
    loss: str = "logistic",
    *,
    lr: float = 0.1,
    max_steps: int = 100_000,
    device: str = "cpu",
) -> FlowPath:
    r"""Descend the mean loss in full batches, recording where the norm passes marks.

    The steps needed to reach a norm :math:`\lambda` grow like :math:`e^\lambda`; at a
    small learning rate the path is that of the norm flow.

    Parameters
    ----------
    signed : array of shape (n_samples, n_features)
        Inputs times labels -1 and 1.
    norms : array of shape (n_records,)
        Where to record, increasing; descent starts at the first along Hebb's
        direction.
    loss : {"logistic", "square"}
        Which loss.
    lr : float
        Learning rate: the change of :math:`w/\sqrt N` is ``lr`` times the mean of
        :math:`y x` weighted by the loss's derivative.
    max_steps : int
        Steps after which descent stops.
    device : str
        torch device, or "auto" for a GPU if there is one.

    Returns
    -------
    FlowPath
        ``stop_reason`` is ``"max_norm"`` or ``"max_steps"``. Between two steps
        directions are interpolated, so that records lie exactly at `norms`.

    Raises
    ------
    ValueError
        If a step overflows, or if there is no such device.
    """
    import torch

    device = _find_device(device)
    data = torch.as_tensor(signed, dtype=torch.float64, device=device)
    w = torch.as_tensor(hebb_direction(signed) * norms[0], device=device)
    step_size = lr / len(signed)
    directions = [w.cpu().numpy() / norms[0]]
    norm = float(norms[0])
    reason = "max_steps"
    for _ in range(max_steps):
        margin = data @ w
        pull = torch.sigmoid(-2 * margin) if loss == "logistic" else 1.0 - margin
        after = w + step_size * (data.T @ pull)
        norm_after = float(after.norm())
        if not np.isfinite(norm_after):
            raise ValueError(
                f"lr={lr:g} makes the weights overflow after norm {norm:g}: lower it."
            )
        while len(directions) < len(norms) and norm_after >= norms[len(directions)]:
            share = (norms[len(directions)] - norm) / (norm_after - norm)
            between = (w + share * (after - w)).cpu().numpy()
            directions.append(between / np.linalg.norm(between))
        w, norm = after, norm_after
        if len(directions) == len(norms):
            reason = "max_norm"
            break
    found = np.array(directions)
    # Descent ends a step beyond the last norm, a flow at it.
    end = norms[-1] * found[-1] if reason == "max_norm" else w.cpu().numpy()
    return FlowPath(norms[: len(found)], found, reason, end)


def _find_device(device: str) -> str:
    """Return the name of a torch device that can hold the samples."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # torch's own errors on devices are of these kinds, and do not name `device`.
        usable = (
            torch.zeros(1, dtype=torch.float64, device=device).device.type != "meta"
        )
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f'device must be "auto", "cpu" or a GPU that torch has, got {device!r}: '
            f"{error}"
        ) from error
    if not usable:
        raise ValueError('device must hold numbers, and "meta" does not.')
    return device
