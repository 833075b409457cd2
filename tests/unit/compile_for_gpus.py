"""Compiles the kernels for GPUs that are not here, and prints the bytes of a multiprocessor's memory that each takes.

To be run by itself: a process that interprets kernels cannot compile them.
"""

from __future__ import annotations

import json

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from model.search import gpu_kernels, gpu_shortlist

SEARCH = {"queries": "*fp16", "vectors": "*fp16", "bounds": "*fp32", "maxima": "*fp32", "sums": "*fp32", "items": "i32"}
SCORE = {
    "queries": "*fp32", "vectors": "*fp32", "chosen": "*i64", "scores": "*fp32", "items": "i32", "groups": "i32",
}  # fmt: skip


def shared(kernel: object, arguments: dict[str, str], width: int, options: object, capability: int) -> int:
    source = ASTSource(fn=kernel, signature={**arguments, "width": "constexpr"}, constexprs={"width": width})
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return int(compiled.metadata.shared)


def main() -> None:
    memory = {}
    for capability in (80, 90):
        for width in (16, 128, 256):
            memory[f"{capability} {width}"] = max(
                shared(gpu_kernels.group_maxima, SEARCH, width, gpu_shortlist.TILING, capability),
                shared(gpu_kernels.member_scores, SCORE, width, gpu_shortlist.ARITHMETIC, capability),
            )
    print(json.dumps(memory))


if __name__ == "__main__":
    main()
