"""Studies: models, data, sizes and seeds in a TOML file; a report at the end."""

from ._description import Study, read_study
from ._report import write_report
from ._running import StudyResult, run_study

__all__ = ["Study", "StudyResult", "read_study", "run_study", "write_report"]
