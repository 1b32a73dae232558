"""What users import: the names, and what an import may cost."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

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


DOCS = Path(__file__).parents[1] / "docs"


def _public_modules():
    yield scalinglaw
    for found in pkgutil.walk_packages(scalinglaw.__path__, "scalinglaw."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield pytest.importorskip(found.name)


def _importable():
    """Return what public modules list or define, by the names that lead there."""
    names = {}
    for module in _public_modules():
        listed = set(getattr(module, "__all__", ()))
        defined = {
            name
            for name, value in vars(module).items()
            if getattr(value, "__module__", None) == module.__name__
            and not name.startswith("_")
        }
        for name in listed | defined:
            value = getattr(module, name)
            if not inspect.ismodule(value):
                names[f"{module.__name__}.{name}"] = value
    return names


def _documented():
    """Return what docs/api/index.rst has entries of, by their names there."""
    module, names = "", {}
    for line in (DOCS / "api" / "index.rst").read_text().splitlines():
        if found := re.match(r"\.\. (?:current)?module:: (\S+)", line):
            module = found[1]
        elif found := re.match(r"(?:   |\.\. (?:auto)?data:: )([\w.]+)$", line):
            name = found[1]
            name = name if name.startswith("scalinglaw.") else f"{module}.{name}"
            home, _, attribute = name.rpartition(".")
            names[name] = getattr(importlib.import_module(home), attribute)
    return names


def test_what_can_be_imported_is_documented():
    documented = _documented()
    objects = {id(value) for value in documented.values()}
    missing = [
        name
        for name, value in _importable().items()
        if name not in documented
        and (isinstance(value, (str, float)) or id(value) not in objects)
    ]
    assert sorted(missing) == ["scalinglaw.__version__"]


def test_what_is_documented_can_be_imported():
    importable = {id(value) for value in _importable().values()}
    documented = _documented().items()
    assert not [name for name, value in documented if id(value) not in importable]


def test_the_architecture_names_modules_that_are_there():
    page = (DOCS / "dev" / "architecture.rst").read_text()
    there = {file.stem for file in Path(scalinglaw.__file__).parent.rglob("*.py")} | {
        "_power_*",
        "_private",
    }
    named = re.findall(r"``(?:laws/|\w+/)?(_[a-z_*]+)(?:\.\w+)?``", page)
    assert len(named) > 30
    assert not set(named) - there


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


def test_theory_loads_scipy_alone():
    modules = _modules_after("from scalinglaw.theory import optimal_error")
    assert "scipy" in modules
    assert modules.isdisjoint({"torch", "sklearn", "pandas", "statsmodels"})
