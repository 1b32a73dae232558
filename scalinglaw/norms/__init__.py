"""Log-norms of a torch module; needs torch only.

`compute_norms(module, names)` takes them once; `NormTracker(module,
names).compute()` again and again during training.
"""

from ._folding import fold_normalization
from ._margins import normalized_margins
from ._matrices import WeightLayer, weight_layers
from ._per_layer import layer_table
from ._tracker import NORMS, NormTracker, compute_norms

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
