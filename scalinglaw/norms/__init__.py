"""Log-norms of a torch module; needs torch only.

`compute_norms(module, names)` takes them once; `NormTracker(module,
names).compute()` again and again during training, from a warm start.
"""

from .folding import fold_normalization
from .layers import WeightLayer, weight_layers
from .margins import normalized_margins
from .table import layer_table
from .tracker import NORMS, NormTracker, compute_norms

__all__ = [
    "NORMS",
    "NormTracker",
    "WeightLayer",
    "compute_norms",
    "fold_normalization",
    "layer_table",
    "normalized_margins",
    "weight_layers",
]
