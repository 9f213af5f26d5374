"""The fast path: batches without padding, attention that sees sequence borders, the training loop, exact resume."""
