"""Compiles and loads a Python module as Triton does for every kernel, without a GPU.

The image runs it while it is built: without a C compiler, its headers or Python's, a worker on a GPU would refuse every
version and serve the rules, and every round of training would fail. It says nothing about the driver, which only the
machine has.
"""

import os
import tempfile

SOURCE = """
#include <stdio.h>
#include <Python.h>

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "compiler_check", NULL, -1, NULL};

PyMODINIT_FUNC PyInit_compiler_check(void) {
    return PyModule_Create(&definition);
}
"""

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:  # Triton's own stays empty, or it would belong to who builds the image
        os.environ["TRITON_CACHE_DIR"] = cache
        from triton.runtime.build import compile_module_from_src

        compile_module_from_src(src=SOURCE, name="compiler_check")
