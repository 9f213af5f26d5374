"""The device's own speed: the best matrix product it can do in a precision, measured, not read from a data sheet."""

import time
from typing import Any

import torch

# rows x inner x columns: square ones, and those of encoders (tokens x hidden x feed-forward)
SHAPES = {
    "cpu": ((512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048), (1024, 384, 1536), (2048, 1024, 4096)),
    "cuda": ((4096, 4096, 4096), (8192, 8192, 8192), (8192, 1024, 4096), (16384, 1024, 4096)),
}
KINDS = {  # what goes into a product, what comes out of it, and the product
    "fp32": (torch.float32, torch.float32, torch.mm),
    "bf16": (torch.bfloat16, torch.bfloat16, torch.mm),
    "int8": (torch.int8, torch.int32, torch._int_mm),
}
SECONDS = {"cpu": 0.15, "cuda": 0.1}  # a shape


def best(device: torch.device, precision: str) -> dict[str, Any]:
    """Floating point operations a second of the fastest shape: the best single product of each, several tried."""
    rates = {"x".join(map(str, shape)): rate(shape, device, precision) for shape in SHAPES[device.type]}
    top = max(rates, key=lambda k: rates[k])
    return {"flops_per_s": rates[top], "shape": top, "precision": precision, "rates": rates}


def rate(shape: tuple[int, int, int], device: torch.device, precision: str) -> float:
    """Operations a second of the best of several products of this shape (rows, inner, columns)."""
    m, k, n = shape
    given, gives, product = KINDS[precision]
    a, b = (torch.randn(s, device=device).mul_(32).to(given) for s in ((m, k), (k, n)))
    out = torch.empty(m, n, device=device, dtype=gives)
    product(a, b, out=out)  # the first call chooses a kernel
    found: list[float] = []
    spent = 0.0
    while spent < SECONDS[device.type] or len(found) < 3:
        repeats = 1 if device.type == "cpu" else 10  # launches are asynchronous: several in one window
        _wait(device)
        began = time.perf_counter()
        for _ in range(repeats):
            product(a, b, out=out)
        _wait(device)
        seconds = time.perf_counter() - began
        found.append(2.0 * m * k * n * repeats / seconds)
        spent += seconds
    return max(found)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
