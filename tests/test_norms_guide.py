"""The loop of the guide page runs as it is printed."""

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "own_loop.rst"


@pytest.mark.filterwarnings(
    "ignore::scalinglaw.exceptions.UnresolvedExponentWarning",
    "ignore::scalinglaw.exceptions.CensoredOptimumWarning",
)
@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not at hand")
def test_the_loop_of_the_guide_makes_a_table_that_laws_read(capsys):
    block = re.search(r"code-block:: python\n\n((?:    .*\n|\n)+)", PAGE.read_text())
    code = textwrap.dedent(block.group(1))
    assert "n_steps=2000" in code
    before = torch.random.get_rng_state()
    names = {}
    # A tenth of the steps is enough to see it run.
    exec(compile(code.replace("n_steps=2000", "n_steps=200"), PAGE, "exec"), names)
    torch.random.set_rng_state(before)
    table, law = names["table"], names["law"]
    assert table.groupby(["train_size", "seed"]).ngroups == 12
    assert np.isfinite(table.filter(like="log_")).all(axis=None)
    grown = table.groupby(["train_size", "seed"])["log_spectral_complexity"]
    assert (grown.last() > grown.first()).all()
    assert law.exponents_.loc["gamma1", "estimate"] > 0
    assert "gamma1" in capsys.readouterr().out
