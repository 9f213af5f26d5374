"""adaptx: which source language and which intermediate task to train on before zero-shot transfer, and at what cost."""

__version__ = "0.1.0"
