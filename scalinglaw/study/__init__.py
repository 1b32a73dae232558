"""Studies: models, data, sizes and seeds in a TOML file; a report at the end."""

from .description import Study, read_study
from .report import write_report
from .running import StudyResult, run_study

__all__ = ["Study", "StudyResult", "read_study", "run_study", "write_report"]
