"""What users import: the names, and what an import may cost."""

import importlib
import subprocess
import sys

import pytest

import scalinglaw

PUBLIC = {
    "CNNClassifier",
    "LogisticPerceptron",
    "NormRecorder",
    "PowerLawFit",
    "PublishedScalingLaw",
    "ResNetClassifier",
    "ScalingLawDisplay",
    "ScalingLawEstimator",
    "TrajectoryClassifier",
    "TrajectoryRecorder",
    "TrajectorySweep",
    "ViTClassifier",
    "__version__",
    "backtest",
    "check_trajectories",
    "compare_exponents",
    "concat_trajectories",
    "datasets",
    "exceptions",
    "make_teacher_student",
    "norms",
    "read_runs",
    "read_trajectories",
    "record_steps",
    "required_seeds",
    "theory",
    "trajectories",
    "write_trajectories",
}


def test_public_names_are_pinned():
    assert set(scalinglaw.__all__) == PUBLIC
    assert scalinglaw.__all__ == sorted(scalinglaw.__all__)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_can_be_imported(name):
    assert getattr(scalinglaw, name) is not None
    assert name in dir(scalinglaw)


@pytest.mark.parametrize(
    "module", ["norms", "classifiers", "perceptron", "laws", "datasets", "theory"]
)
def test_submodules_hand_on_what_they_list(module):
    package = importlib.import_module(f"scalinglaw.{module}")
    for name in package.__all__:
        assert hasattr(package, name), f"scalinglaw.{module}.{name}"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'PowerLaw'"):
        _ = scalinglaw.PowerLaw


def _modules_after(code):
    """Return the names in sys.modules once a fresh interpreter has run `code`."""
    script = f"{code}\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_no_heavy_library():
    modules = _modules_after("import scalinglaw")
    assert modules.isdisjoint({"torch", "sklearn", "pandas", "statsmodels", "scipy"})


def test_a_table_is_fitted_without_torch():
    modules = _modules_after(
        "import scalinglaw\n"
        "table = scalinglaw.datasets.make_trajectories(random_state=0)\n"
        "law = scalinglaw.ScalingLawEstimator().fit(table)\n"
        "law.summary()"
    )
    assert "statsmodels" in modules
    assert modules.isdisjoint({"torch", "skorch", "torchvision"})


def test_norms_do_not_load_sklearn():
    # skorch is not needed for a norm in a bare torch loop either.
    modules = _modules_after("from scalinglaw.norms import compute_norms")
    assert "torch" in modules
    assert modules.isdisjoint({"sklearn", "skorch", "pandas"})
