"""The C kernels; all else stands in pyproject.toml, whose own tables for extensions are still experimental."""

import sysconfig

from setuptools import Extension, setup

# One wheel serves every CPython from 3.11 on; free-threaded ones have no stable ABI.
abi3 = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    ext_modules=[
        Extension(
            "ludocast.compression._kernels",
            ["compression/kernels.c"],
            depends=["compression/kernels_row.h", "compression/kernels_x86.h", "compression/kernels_neon.h"],
            extra_compile_args=["-O3", "-ffp-contract=off"],  # no fused multiply-add: numpy's bits
            py_limited_api=abi3,
            optional=True,  # without a compiler the install goes on, and the quantiser runs in numpy
        ),
        Extension(
            "ludocast.models.recommend._kernels",
            ["models/recommend/kernels.c"],
            extra_compile_args=["-O3", "-ffp-contract=off"],  # scipy's bits
            py_limited_api=abi3,
            optional=True,  # and the recommenders run in scipy
        ),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if abi3 else {},
)
