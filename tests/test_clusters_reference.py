"""CR2 and its degrees of freedom beside the packages of those who derived them.

``tests/reference/clusters.R`` says what made the numbers of clubSandwich.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from scalinglaw.laws._clusters import cluster_robust

REFERENCE = json.loads(
    (Path(__file__).parent / "reference" / "clusters.json").read_text()
)


def _waves():
    y = np.concatenate([np.cos(np.arange(10)), np.tan(np.arange(1, 11))])
    x = np.concatenate([np.sin(np.arange(1, 11)), np.sin(np.arange(2, 12))])
    return np.column_stack([np.ones(20), x]), y


def _singletons():
    return *_waves(), np.arange(20)


def _three_clusters():
    return *_waves(), np.tile([1, 0, 2, 1, 1, 2, 2, 0, 0, 1], 2)


def _parabola():
    y = np.arange(1.0, 101.0)
    x = np.sin(y)
    groups = np.repeat(np.arange(5), [40, 20, 20, 10, 10])
    return np.column_stack([np.ones(100), x, x**2]), y, groups


def _vignette():
    groups = np.repeat(np.arange(11), [50] * 10 + [500])
    y = np.cos(np.arange(1, 1001)) + (groups + 1) / 10
    return np.column_stack([np.ones(1000), groups < 3]), y, groups


def _heights():
    _, y, groups = _vignette()
    heights = groups[:, None] == np.arange(11)
    return np.column_stack([np.sin(np.arange(1, 1001)), heights]), y, groups


def _fitted(case):
    design, y, groups = case()
    coef = np.linalg.lstsq(design, y, rcond=None)[0]
    covariance, df = cluster_robust(design, y - design @ coef, groups)
    return coef, np.sqrt(np.diag(covariance)), df


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("singletons", _singletons),
        ("waves", _three_clusters),
        ("parabola", _parabola),
        ("vignette", _vignette),
        ("heights", _heights),
    ],
)
def test_errors_and_degrees_of_freedom_are_those_of_clubsandwich(name, case):
    for found, key in zip(_fitted(case), ("coef", "std_err", "df"), strict=True):
        expected = REFERENCE[name][key]
        assert_allclose(found[: len(expected)], expected, rtol=1e-9, err_msg=key)


# Printed by dfadjust (M. Kolesar, version 1.1), the package of Imbens and Kolesar,
# Rev. Econ. Stat. 98 (2016) 701: in its tests, where errors and estimates are checked
# against Stata, and in its vignette of December 2024.


def test_heteroskedastic_errors_are_those_that_stata_prints():
    coef, std_err, df = _fitted(_singletons)
    assert_allclose(coef, [-0.4456202905, 0.3241183110], rtol=1e-9)
    assert_allclose(std_err, [0.4227339762, 0.4421048122], rtol=1e-9)
    assert_allclose(df, [17.6142349, 12.10389102], rtol=1e-8)


def test_clustered_error_is_the_one_that_dfadjust_prints():
    coef, std_err, _ = _fitted(_parabola)
    assert_allclose([coef[1], std_err[1]], [-1.955355241, 2.460094992], rtol=1e-9)


def test_few_treated_clusters_have_the_degrees_of_freedom_of_the_vignette():
    _, _, df = _fitted(_vignette)
    assert list(np.round(df, 2)) == [2.42, 2.70]
