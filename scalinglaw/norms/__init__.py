"""Log-norms of a torch module; needs torch only.

`compute_norms(module, names)` takes them once; `NormTracker(module,
names).compute()` again and again during training, from a warm start.
"""

from .layers import WeightLayer, weight_layers
from .tracker import NORMS, NormTracker, compute_norms

__all__ = ["NORMS", "NormTracker", "WeightLayer", "compute_norms", "weight_layers"]
