"""Gallery pages that take seconds run from end to end, and draw what they promise."""

import runpy
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

EXAMPLES = Path(__file__).parents[1] / "examples"
PAGES = [
    *sorted((EXAMPLES / "laws").glob("plot_*.py")),
    EXAMPLES / "perceptron" / "plot_3_square_loss.py",
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # pages speak of what is warned of
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_of_the_gallery_runs_and_draws(page, capsys):
    with mpl.rc_context({"backend": "agg"}):
        runpy.run_path(str(page))
        figures = [plt.figure(number) for number in plt.get_fignums()]
        assert figures
        assert all(figure.get_axes() for figure in figures)
        for figure in figures:
            figure.canvas.draw()
        plt.close("all")
    assert capsys.readouterr().out
