"""Names of models (`ratio.presets`) and of their sizes, as types of options; without JAX."""

from typing import Literal

NetworkName = Literal["lgatr", "lgatr-slim", "pet", "pet-finetuned"]  # of constituents
ModelName = Literal[NetworkName, "mlp"]
Size = Literal["small", "paper"]
FINE_TUNED = "pet-finetuned"
