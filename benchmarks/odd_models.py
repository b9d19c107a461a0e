"""Seeded random ONNX models with shapes that break compilers.

`MODELS` maps the name of each family to a function that draws one of its models; `draw` does so by seed. Families whose
names begin with `float_` compute in float32, all others in codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from dnnc.benchmarks.odd_codes import (
    conv_integer,
    matmul_integer,
    matmul_integer_long,
    max_pool_of_codes,
    qdq_chain,
    qgemm,
    qlinear_add,
    qlinear_average_pool,
    qlinear_conv,
    qlinear_conv_deep,
    qlinear_global_average_pool,
    qlinear_matmul,
    qlinear_matmul_long,
    qlinear_residual,
)
from dnnc.benchmarks.odd_draft import Case, Draft
from dnnc.benchmarks.odd_floats import (
    float_average_pool,
    float_conv,
    float_conv_transpose,
    float_gemm,
    float_global_pool,
    float_matmul,
    float_matmul_long,
    float_max_pool,
    float_residual,
)

MODELS: Mapping[str, Callable[[Draft], str]] = {
    each.__name__: each
    for each in (
        qlinear_conv,
        qlinear_conv_deep,
        qlinear_residual,
        conv_integer,
        matmul_integer,
        matmul_integer_long,
        qlinear_matmul,
        qlinear_matmul_long,
        qgemm,
        max_pool_of_codes,
        qlinear_average_pool,
        qlinear_global_average_pool,
        qlinear_add,
        qdq_chain,
        float_conv,
        float_conv_transpose,
        float_matmul,
        float_matmul_long,
        float_gemm,
        float_max_pool,
        float_average_pool,
        float_global_pool,
        float_residual,
    )
}


def draw(family: str, seed: int) -> Case:
    """The model number `seed` of a family."""
    draft = Draft(np.random.default_rng([seed, list(MODELS).index(family)]))
    return draft.finished(family, MODELS[family](draft))
