"""Compute the golden numbers of the perceptron, without the package.

Two kinds, written to ``perceptron.json`` beside this file:

``limits``
    What the laws tend to for large loads (Engel and Van den Broeck, "Statistical
    Mechanics of Learning", 2001, for Bayes and maximal stability; D'Amico, Bocchi and
    Negri, arXiv:2505.13230, for the logistic loss), from the limit of the
    replica-symmetric equations itself, with no load in it.
``errors``
    Generalisation errors at ten points of load and norm, from the two equations by
    adaptive quadrature on the t axis, with a root-finder at each point of it. The
    package takes another variable, fixed panels and Newton's method.

    python tests/reference/perceptron.py
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
from scipy import integrate, optimize, special

POINTS = (
    (0.1, 1e-3),
    (0.1, 1e5),
    (1e6, 1e-3),
    (1e6, 1e5),
    (1e6, 883_585.0),
    (0.5, 0.3),
    (3.0, 2.0),
    (10.0, 1.0),
    (1e3, 30.0),
    (30.0, 1e4),
)


def limits() -> dict[str, float]:
    """Return the limits of large loads, by name.

    With theta = a / alpha, t = theta z and v = theta w, both equations lose the load:
    the integrals of Phi(z) w(z)^2 dz and of phi(z) w(z) dz are equal, and
    sqrt(2 / pi) a times them is 1. Errors are theta / pi.
    """
    log_scale = optimize.brentq(lambda x: _logistic_slope(np.exp(x)), -1.5, 1.5)
    scale = np.exp(log_scale)
    bayes, optimum = _bayes(), _logistic(scale)
    return {
        # error / Hebb's error = k1 norm^(-1/2) for norms between 1 and the optimum.
        "early_prefactor": np.sqrt(2 * np.sqrt(2 / np.pi) * (np.log(2) - 0.5)),
        # The optimal norm over alpha.
        "optimal_norm": scale / optimum,
        # The optimal error over Bayes' error, less 1.
        "optimal_excess": optimum / bayes - 1,
        # Errors times alpha.
        "max_stability": _max_stability() / np.pi,
        "bayes": bayes / np.pi,
    }


def _panels(low: float, high: float, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of n panels of 16 Gauss-Legendre nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(low, high, n + 1)
    half, middle = np.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
    return (middle + half * nodes).ravel(), (half * weights).ravel()


def _phi(z: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def _bayes() -> float:
    """Return a of the Bayes-optimal student: sqrt(2 pi) / 2 over one integral."""
    z, weight = _panels(-12.0, 12.0)
    ratio = np.exp(-(z**2) - np.log(2 * np.pi) - special.log_ndtr(z))
    return float(np.sqrt(np.pi / 2) / (weight @ ratio))


def _max_stability() -> float:
    """Return a of w = max(k - z, 0), with the k at which the integrals are equal."""

    def integrals(k: float) -> tuple[float, float]:
        z, weight = _panels(-14.0, k)
        return weight @ (special.ndtr(z) * (k - z) ** 2), weight @ (_phi(z) * (k - z))

    k = optimize.brentq(lambda k: np.subtract(*integrals(k)), 0.1, 3.0, xtol=1e-14)
    return float(np.sqrt(np.pi / 2) / integrals(k)[1])


def _logistic(scale: float) -> float:
    """Return a of the logistic loss where the norm times theta is `scale`.

    u = 2 scale (z + w) makes the proximal step explicit: w = x sigma(-u).
    """

    def integrals(log_x: float) -> tuple[float, float]:
        x = np.exp(log_x)
        u, weight = _panels(-2 * scale * 14.0, 2 * scale * (14.0 + x))
        w = x * special.expit(-u)
        z = u / (2 * scale) - w
        weight = weight * (1 / (2 * scale) + w * special.expit(u))
        return weight @ (special.ndtr(z) * w**2), weight @ (_phi(z) * w)

    log_x = optimize.brentq(
        lambda x: np.log(np.divide(*integrals(x))), -3.0, 8.0, xtol=1e-14, rtol=1e-15
    )
    return float(np.sqrt(np.pi / 2) / integrals(log_x)[1])


def _logistic_slope(scale: float, h: float = 0.02) -> float:
    """Return d log a / d log scale, by differences of the fourth order."""
    values = [_logistic(scale * np.exp(k * h)) for k in (-2, -1, 1, 2)]
    return float(np.log(values) @ [1, -8, 8, -1] / (12 * h))


def error_by_quad(alpha: float, norm: float) -> float:
    """Return the generalisation error, from the equations on the t axis."""

    def step(t: float, v0: float, log_two_x: float) -> float:
        def excess(log_v: float) -> float:
            return log_v + np.logaddexp(0, 2 * norm * (t + np.exp(log_v))) - log_two_x

        # As t falls, v grows, at most as fast.
        high = np.log(v0 + max(0.0, -t))
        low = log_two_x - np.logaddexp(0, 2 * norm * (t + np.exp(high)))
        slack = 1e-9 * (1 + abs(log_two_x))
        return np.exp(
            optimize.brentq(excess, low - slack, high + slack, xtol=1e-15, rtol=1e-14)
        )

    def integral(function, low, high, breaks):
        inside = sorted({low, high, *(b for b in breaks if low < b < high)})
        return sum(
            integrate.quad(function, a, b, epsrel=1e-11, epsabs=0, limit=200)[0]
            for a, b in itertools.pairwise(inside)
        )

    def equations(unknown: np.ndarray) -> list[float]:
        theta, v0 = np.exp(unknown)
        log_two_x = unknown[1] + np.logaddexp(0, 2 * norm * v0)
        sin, cos = np.sin(theta), np.cos(theta)
        width = 1 / (2 * norm)
        breaks = [
            k * scale + shift
            for scale in (sin, width)
            for k in (-8, -3, -1, 0, 1, 3, 8, 30)
            for shift in (0, v0)
        ]
        # Where the Gaussians, or v, are below 1e-17 of their largest, stop.
        high = min(9.0, max(v0, 0.0) + 40 * width)

        def first(t: float) -> float:
            gauss = np.exp(-0.5 * t * t) / np.sqrt(2 * np.pi)
            return gauss * special.ndtr(cos * t / sin) * step(t, v0, log_two_x) ** 2

        def second(t: float) -> float:
            gauss = np.exp(-0.5 * (t / sin) ** 2) / np.sqrt(2 * np.pi) / sin
            return gauss * step(t, v0, log_two_x)

        i1 = integral(first, max(-9.0, -9 * sin / cos), high, breaks)
        i2 = integral(second, -9 * sin, min(high, 9 * sin), breaks)
        return [
            np.log(2 * alpha * i1) - 2 * np.log(sin),
            np.log(alpha * np.sqrt(2 / np.pi) * i2) - np.log(cos),
        ]

    found = optimize.root(equations, _guess(alpha, norm), tol=1e-11)
    if not np.abs(found.fun).max() < 1e-9:
        raise RuntimeError(f"not solved at alpha={alpha:g}, norm={norm:g}")
    return float(np.exp(found.x[0]) / np.pi)


def _guess(alpha: float, norm: float) -> list[float]:
    """Return log theta and log v(0) to start from, by continuation in the norm.

    Hebb's is exact at norm 0. A root of the equations by the trapezoidal rule on a
    dense grid of t, followed from there, is near enough.
    """
    tan = np.sqrt(np.pi / (2 * alpha))
    unknown = np.array(
        [np.log(tan), np.log(np.sqrt(np.pi / 2) / np.hypot(1, tan) / alpha)]
    )
    for lam in np.geomspace(1e-3, norm, max(2, int(12 * np.log(norm / 1e-3)))):
        found = optimize.root(_coarse, unknown, args=(alpha, lam), tol=1e-6)
        unknown = found.x
    return [np.log(np.arctan(np.exp(unknown[0]))), unknown[1]]


def _coarse(unknown: np.ndarray, alpha: float, norm: float) -> list[float]:
    """Return the residuals of both equations on a grid of u = 2 norm (t + v)."""
    tan, v0 = np.exp(np.clip(unknown, -60, 60))
    sin, cos = tan / np.hypot(1, tan), 1 / np.hypot(1, tan)
    log_x = np.log(v0) + np.logaddexp(0, 2 * norm * v0)
    reach = np.concatenate([np.geomspace(1e-12, 1, 400) * 9, np.arange(10.0, 40.0)])
    t = np.sort(np.concatenate([-reach, [0.0], reach, v0 - reach, v0 + reach]))
    log_v = np.minimum(np.log(np.maximum(v0, v0 - t)), log_x)
    for _ in range(60):
        u = 2 * norm * (t + np.exp(log_v))
        log_v -= (log_v + np.logaddexp(0, u) - log_x) / (
            1 + 2 * norm * np.exp(log_v) * special.expit(u)
        )
    v = np.exp(log_v)
    first = integrate.trapezoid(_phi(t) * special.ndtr(t / tan) * v**2, t)
    second = integrate.trapezoid(_phi(t / sin) / sin * v, t)
    return [
        float(np.log(2 * alpha * first) - 2 * np.log(sin)),
        float(np.log(alpha * np.sqrt(2 / np.pi) * second) - np.log(cos)),
    ]


def main() -> None:
    """Write the numbers."""
    errors = [
        {"alpha": alpha, "norm": norm, "error": error_by_quad(alpha, norm)}
        for alpha, norm in POINTS
    ]
    numbers = {"limits": limits(), "errors": errors}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
