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
    "queries": "*fp32", "vectors": "*fp32", "chosen": "*i64", "exact": "*fp32", "rough": "*fp32",
    "items": "i32", "groups": "i32", "width": "i32",
}  # fmt: skip


def shared(kernel: object, pointers: dict[str, str], sizes: dict[str, int], options: object, capability: int) -> int:
    source = ASTSource(fn=kernel, signature=pointers | dict.fromkeys(sizes, "constexpr"), constexprs=sizes)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return int(compiled.metadata.shared)


def main() -> None:
    found = {}
    for capability in (80, 90):
        for width in (16, 128, 256):
            tiles = {"block": gpu_shortlist.BLOCK, "lanes": gpu_shortlist.LANES}
            search = tiles | {
                "width": width,
                "rows": gpu_shortlist.rows_of_a_tile(width),
                "blocks": gpu_shortlist.BLOCKS,
            }
            score = tiles | {"padded": width, "scored": gpu_shortlist.SCORED}
            found[f"{capability} {width}"] = max(
                shared(gpu_kernels.group_maxima, SEARCH, search, gpu_shortlist.TILING, capability),
                shared(gpu_kernels.member_scores, SCORE, score, gpu_shortlist.ARITHMETIC, capability),
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
