"""What nextact leans on inside numba and llvmlite, one test per place: an upgrade that changes it fails here.

Each failure names the module of ours that would break, and why. Written for numba 0.68, llvmlite 0.50 and LLVM 22.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
import pytest
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.core.base import BaseContext
from numba.core.caching import (
    Cache,
    CacheImpl,
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    NullCache,
    UserProvidedCacheLocator,
)
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target
from numba.core.typing import Signature
from numba.extending import intrinsic

from model.kernels import int8_matmul
from model.kernels.compiled import FAST, Floats, compiled
from model.kernels.simd import FLOAT, FLOATS, INT, LANES, LONG
from tests.unit.builders.leanings import Leaning

# ---- the cache of machine code (model/kernels/compiled.py) ----

FILE = "_cache_file"  # of a cache
CACHE_FILE = [
    Leaning(IndexDataCacheFile.__init__, "cache_path filename_base source_stamp", "compiled.py", "makes one itself"),
    Leaning(IndexDataCacheFile.save, "key data", "compiled.py", "overrides it"),
    Leaning(IndexDataCacheFile._load_index, "", "compiled.py", "overrides it"),
    Leaning(IndexDataCacheFile._save_index, "overloads", "compiled.py", "calls it last"),
    Leaning(IndexDataCacheFile._save_data, "name data", "compiled.py", "calls it before"),
    Leaning(IndexDataCacheFile._data_name, "number", "compiled.py", "names files after what they hold"),
]


@pytest.mark.parametrize("leaning", CACHE_FILE, ids=str)
def test_the_cache_file_has_the_methods_that_ours_overrides_and_calls(leaning: Leaning) -> None:
    leaning.check()


def test_a_dispatcher_has_one_cache_file_and_uses_three_of_its_methods() -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(Cache)))
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in attributes if isinstance(node.value, ast.Attribute) and node.value.attr == FILE}
    assert used == {"load", "save", "flush"}, "compiled.py replaces Cache._cache_file, whose save it overrides"


def test_the_cache_file_reads_all_by_load_index_and_the_index_names_the_data() -> None:
    names = set(IndexDataCacheFile.load.__code__.co_names)
    assert {"_load_index", "_load_data"} <= names, "compiled.py overrides _load_index, and names files in the index"


class Gone(NamedTuple):
    """A class that is taken away."""

    x: int


def test_an_index_of_classes_that_are_gone_raises_what_ours_catches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    IndexDataCacheFile(str(tmp_path), "function", "stamp").save(Gone(1), "code")
    monkeypatch.delattr(sys.modules[__name__], "Gone")
    with pytest.raises((AttributeError, ImportError)):
        IndexDataCacheFile(str(tmp_path), "function", "another stamp").load("key")


def test_a_dispatcher_has_the_parts_from_which_ours_makes_its_cache_file() -> None:
    disk_cache = compiled(_double)._cache
    assert isinstance(disk_cache, Cache), "compiled.py leans on Dispatcher._cache"
    assert disk_cache._cache_file._cache_path == disk_cache.cache_path, "compiled.py reads cache_path"
    assert isinstance(getattr(njit(cache=True)(_double)._cache, FILE), IndexDataCacheFile), "compiled.py replaces it"
    assert type(njit(cache=True)(_double)._cache) is FunctionCache, "compiled.py makes one of its own kind"
    assert FunctionCache._impl_class is CompileResultCacheImpl, "compiled.py gives it other locators"
    assert "_double" in disk_cache._impl.filename_base, "compiled.py reads _impl.filename_base"


def test_a_dispatcher_reads_and_saves_by_two_methods_of_its_cache() -> None:
    why = "compiled.py overrides them in a cache that it gives to the dispatcher"
    tree = ast.parse(textwrap.dedent(inspect.getsource(Dispatcher.compile)))
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in attributes if isinstance(node.value, ast.Attribute) and node.value.attr == "_cache"}
    assert used == {"load_overload", "save_overload"}, why
    assert isinstance(njit(_double)._cache, NullCache), f"{why} that has none"


LOCATORS = [
    Leaning(CacheImpl.__init__, "py_func", "compiled.py", "makes one with locators of its own"),
    Leaning(UserProvidedCacheLocator.__init__, "py_func py_file", "compiled.py", "makes one itself"),
    Leaning(UserProvidedCacheLocator.from_function, "py_func py_file", "compiled.py", "overrides it"),
]


@pytest.mark.parametrize("leaning", LOCATORS, ids=str)
def test_locators_are_as_ours_is(leaning: Leaning) -> None:
    leaning.check()


def test_locators_are_asked_in_order_and_the_named_folder_is_in_the_configuration() -> None:
    why = "compiled.py puts a locator before numba's own"
    assert CompileResultCacheImpl._locator_classes[0] is UserProvidedCacheLocator, why
    assert "_locator_classes" in CacheImpl.__init__.__code__.co_names, why
    assert isinstance(config.CACHE_DIR, str), "compiled.py asks whether NUMBA_CACHE_DIR is given"
    assert "CACHE_DIR" in UserProvidedCacheLocator.__init__.__code__.co_names, "compiled.py leaves the place to it"


def _double(x: float) -> float:
    return x + x


def test_a_function_without_a_folder_for_its_code_raises_what_ours_catches() -> None:
    space: dict[str, Any] = {}
    exec(compile("def double(x): return x + x", "<nowhere>", "exec"), space)
    with pytest.raises(RuntimeError, match="cannot cache function"):
        njit(cache=True)(space["double"])
    assert compiled(space["double"])(1.5) == 3


def test_machine_code_is_filed_by_the_features_of_the_processor() -> None:
    triple, processor, features = cpu_target.target_context.codegen().magic_tuple()
    why = "int8_matmul.py reads the processor's features from the third of magic_tuple()"
    assert isinstance(triple, str), why
    assert isinstance(processor, str), why
    assert features, why
    assert all(re.fullmatch(r"[+-][\w.-]+", feature) for feature in features.split(",")), why
    host = llvmlite.binding.get_host_cpu_features()
    assert ("+avx512vnni" in features.split(",")) == bool(host.get("avx512vnni", False)), why


# ---- what numba compiles (all loops) ----


def code_of(function: Callable[..., Any], *arguments: Any) -> str:
    """LLVM's code of a function that was compiled as ours are, optimised."""
    dispatcher = njit(nogil=True, fastmath=set(FAST))(function)
    dispatcher(*arguments)
    code: str = dispatcher.inspect_llvm(dispatcher.signatures[0])
    return code


VECTOR = np.ones(64, np.float32)


def _sum_of_products(a: Floats, b: Floats) -> np.float32:
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


def test_sums_become_vectors_by_two_flags_and_keep_what_is_not_a_number() -> None:
    code = code_of(_sum_of_products, VECTOR, VECTOR)
    assert re.search(r"fadd (reassoc contract|contract reassoc) <\d+ x float>", code), (
        "compiled.py leans on the flags contract and reassoc: sums are vectors"
    )
    assert "nnan" not in code, "search/shortlist.py looks for NaN: no flag may promise that there are none"
    result = njit(fastmath=set(FAST))(_sum_of_products)(np.array([np.nan, 1], np.float32), VECTOR)
    assert np.isnan(result), "search/shortlist.py looks for NaN"


def test_loops_let_the_interpreter_go() -> None:
    code = code_of(_sum_of_products, VECTOR, VECTOR)
    assert "PyEval_SaveThread" in code, "compiled.py leans on nogil: other threads run beside a loop"


def _divide_by_numba(a: Floats, b: Floats, quotients: Floats) -> None:
    for d in range(len(a)):
        quotients[d] = a[d] / b[d]


def _divide_by_numpy(a: Floats, b: Floats, quotients: Floats) -> None:
    for d in range(len(a)):
        quotients[d] = np.divide(a[d], b[d])


def test_division_becomes_vectors_by_numpy_only() -> None:
    vectors = re.compile(r"fdiv [a-z ]*<\d+ x float>")
    why = "serving/gru_kernel.py divides by np.divide, as numba's own division looks for zeros"
    assert vectors.search(code_of(_divide_by_numpy, VECTOR, VECTOR, VECTOR.copy())), why
    assert not vectors.search(code_of(_divide_by_numba, VECTOR, VECTOR, VECTOR.copy())), (
        f"{why}: it does no longer, so this may become plain division"
    )


class Layer(NamedTuple):
    weights: Floats
    bias: float


class Network(NamedTuple):
    layer: Layer
    width: int


def _use_fields(network: Network) -> Layer:
    network.layer.weights[0] = network.width
    return Layer(network.layer.weights[1:], network.layer.bias + 1)


def test_named_tuples_go_in_and_out_by_their_fields_without_a_copy_of_arrays() -> None:
    why = "shortlist.py, combiner_kernel.py and gru_kernel.py pass named tuples, and one inside another"
    weights = np.zeros(3, np.float32)
    result = compiled(_use_fields)(Network(Layer(weights, 1.5), 7))
    assert weights[0] == 7, why
    assert isinstance(result, Layer), why
    assert result.bias == 2.5, why
    assert np.shares_memory(result.weights, weights), why


# ---- intrinsics (model/kernels/simd.py and all that use it) ----


def test_an_intrinsic_is_given_types_first_and_then_what_writes_code() -> None:
    seen: list[Any] = []

    @intrinsic  # type: ignore[untyped-decorator]
    def look(typing_context: Any, array: types.Array, number: types.Type) -> Any:
        def code(
            context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
        ) -> ir.Value:
            parts = context.make_array(signature.args[0])(context, builder, arguments[0])
            seen.extend((context, builder, signature, arguments, parts.data, parts.shape, parts.strides))
            return context.get_dummy_value()

        seen.extend((array, number))
        return types.void(array, types.int64), code

    @njit  # type: ignore[untyped-decorator]
    def call(array: Floats, number: int) -> None:
        look(array, number)

    call(np.ones((2, 3), np.float32), 3)
    why = "all intrinsics, among them model/kernels/simd.py"
    array, number, context, builder, signature, arguments, data, shape, strides = seen[:9]
    assert (array.ndim, array.dtype, number) == (2, types.float32, types.int64), why
    assert isinstance(context, BaseContext), why
    assert isinstance(builder, ir.IRBuilder), why
    assert isinstance(signature, Signature), why
    assert [str(argument.type) for argument in arguments][1] == "i64", why
    assert data.type.is_pointer, f"{why}: the address of an array"
    assert str(shape.type) == str(strides.type) == "[2 x i64]", f"{why}: its shape and strides"


CODE_HELPERS = [
    Leaning(cgutils.alloca_once, "builder ty", "gathered_dot.py, int8_matmul.py, gru_kernel.py", "sums in registers"),
    Leaning(cgutils.for_range, "builder count start intp", "gathered_dot.py, int8_matmul.py, gru_kernel.py", "loops"),
    Leaning(cgutils.get_or_insert_function, "module fnty name", "int8_matmul.py", "names the instruction"),
    Leaning(BaseContext.make_array, "typ", "simd.py, bitmask.py", "reads arrays"),
    Leaning(BaseContext.get_dummy_value, "", "all intrinsics that return nothing", "is what they return"),
]


@pytest.mark.parametrize("leaning", CODE_HELPERS, ids=str)
def test_helpers_of_intrinsics_take_what_they_took(leaning: Leaning) -> None:
    leaning.check()


def builder_of(*arguments: ir.Type) -> tuple[ir.IRBuilder, Any]:
    """A builder inside an empty function of these arguments."""
    function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), arguments), "function")
    return ir.IRBuilder(function.append_basic_block()), function.args


Write = Callable[[ir.IRBuilder, Sequence[ir.Value]], Any]
POINTER = FLOAT.as_pointer()
HALF = ir.HalfType()
INSTRUCTIONS: list[tuple[str, list[ir.Type], Write, str]] = [
    ("simd.py", [POINTER], lambda b, a: b.load(a[0], align=4), r"load float, .*, align 4"),
    ("simd.py", [POINTER, FLOAT], lambda b, a: b.store(a[1], a[0], align=4), r"store float .*, align 4"),
    ("simd.py", [POINTER], lambda b, a: b.ptrtoint(a[0], LONG), r"ptrtoint .* to i64"),
    ("simd.py", [LONG], lambda b, a: b.inttoptr(a[0], FLOATS.as_pointer()), r"inttoptr i64 .* to .*(\*|ptr)"),
    ("simd.py", [FLOATS, FLOAT], lambda b, a: b.insert_element(a[0], a[1], INT(0)), r"insertelement <16 x float>"),
    (
        "simd.py, gathered_dot.py",
        [FLOATS, FLOATS],
        lambda b, a: b.shuffle_vector(a[0], a[1], ir.Constant(ir.VectorType(INT, LANES), None)),
        r"shufflevector <16 x float> .*, <16 x float> .*, <16 x i32> (zeroinitializer|<i32 0,)",
    ),
    (
        "gathered_dot.py, gru_kernel.py, combiner_kernel.py",
        [FLOATS, FLOATS],
        lambda b, a: b.fadd(a[0], a[1], flags=FAST),
        r"fadd (contract reassoc|reassoc contract) <16 x float>",
    ),
    (
        "gathered_dot.py, gru_kernel.py, combiner_kernel.py",
        [FLOATS, FLOATS],
        lambda b, a: b.fmul(a[0], a[1], flags=FAST),
        r"fmul (contract reassoc|reassoc contract) <16 x float>",
    ),
    ("bitmask.py", [FLOATS, FLOATS], lambda b, a: b.fcmp_ordered(">=", a[0], a[1]), r"fcmp oge <16 x float>"),
    ("bitmask.py", [FLOATS, FLOATS], lambda b, a: b.fcmp_ordered(">", a[0], a[1]), r"fcmp ogt <16 x float>"),
    (
        "bitmask.py",
        [LONG],
        lambda b, a: b.cttz(a[0], ir.IntType(1)(1)),
        r'call i64 @"llvm.cttz.i64"\(i64 .*, i1 (1|true)\)',
    ),
    ("bitmask.py", [LONG], lambda b, a: b.ctpop(a[0]), r'call i64 @"llvm.ctpop.i64"\(i64 '),
    ("fast_math.py", [INT], lambda b, a: b.shl(a[0], INT(23)), r"shl i32 .*, 23"),
    ("fast_math.py", [INT], lambda b, a: b.ashr(a[0], INT(23)), r"ashr i32 .*, 23"),
    ("fast_math.py", [FLOAT], lambda b, a: b.fptosi(a[0], INT), r"fptosi float .* to i32"),
    ("fast_math.py", [INT], lambda b, a: b.sitofp(a[0], FLOAT), r"sitofp i32 .* to float"),
    ("fast_math.py", [FLOAT], lambda b, a: b.bitcast(a[0], INT), r"bitcast float .* to i32"),
    ("gathered_dot.py", [INT], lambda b, a: b.sext(a[0], LONG), r"sext i32 .* to i64"),
    ("gru_kernel.py", [HALF], lambda b, a: b.fpext(a[0], FLOAT), r"fpext half .* to float"),
    ("gru_kernel.py", [FLOAT], lambda b, a: b.fptrunc(a[0], HALF), r"fptrunc float .* to half"),
    (
        "combiner_kernel.py",
        [ir.VectorType(ir.IntType(1), LANES), FLOATS],
        lambda b, a: b.select(a[0], a[1], ir.Constant(FLOATS, None)),
        r"select <16 x i1> .*, <16 x float> .*, <16 x float> (zeroinitializer|<float 0.0,)",
    ),
]


@pytest.mark.parametrize(("ours", "kinds", "write", "written"), INSTRUCTIONS, ids=lambda value: str(value)[:20])
def test_the_builder_writes_the_instructions_that_are_meant(
    ours: str, kinds: list[ir.Type], write: Write, written: str
) -> None:
    builder, arguments = builder_of(*kinds)
    write(builder, arguments)
    builder.ret_void()
    assert re.search(written, re.sub(" +", " ", str(builder.module))), (
        f"{ours} writes it by llvmlite's IRBuilder:\n{builder.module}"
    )
    llvmlite.binding.parse_assembly(str(builder.module)).verify()


def test_bytes_are_multiplied_by_the_instruction_as_this_version_of_llvm_types_it() -> None:
    builder, (sums, unsigned, signed) = builder_of(int8_matmul._SUMS, int8_matmul._PRODUCTS, int8_matmul._PRODUCTS)
    int8_matmul._vpdpbusd(builder.module)(builder, sums, unsigned, signed)
    builder.ret_void()
    why = "int8_matmul.py names VPDPBUSD by llvm.x86.avx512.vpdpbusd.512, typed as of LLVM 22 by bytes"
    module = llvmlite.binding.parse_assembly(str(builder.module))
    try:
        module.verify()
    except RuntimeError as error:
        pytest.fail(f"{why}: {error}")
    called = re.search(r"call <16 x i32> @\"?llvm\.x86\.avx512\.vpdpbusd\.512\"?\((.*)\)", str(module))
    assert called, why
    kind = "<64 x i8>" if llvmlite.binding.llvm_version_info[0] >= 22 else "<16 x i32>"
    assert called[1].count(kind) >= 2, why


def test_llvm_says_its_version_in_numbers() -> None:
    assert all(isinstance(number, int) for number in llvmlite.binding.llvm_version_info), "int8_matmul.py compares them"
