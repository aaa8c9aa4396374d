"""The loops of the fast lane to functions that Python calls: compiled once, then loaded from an object file.

Compiling takes ten to twenty seconds. Importing numba to load compiled code takes as long as reading a
million lines, so the object file is loaded without numba.
"""

import ctypes
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from transforms.fast_lane import arrays

# What the compiled code is made of: a change of any of these compiles it again.
SOURCES = tuple(
    Path(__file__).parent / name
    for name in (
        "kernels.py",
        "arrays.py",
        "words.py",
        "stamps.py",
        "fields.py",
        "scanner.py",
        "../bounds.py",
        "../parse/clock.py",
    )
)


class Kernel:
    """A compiled function, called without the GIL by numba's own convention.

    The arguments are the address of the result, the address of an error, then the arguments, with arrays and
    tuples taken apart. The function returns 0 on success. `code` keeps it in memory.
    """

    def __init__(self, address: int, code: object) -> None:
        self._address = address
        self._code = code
        self._function: Any = None

    def __call__(self, *arguments: Any) -> int:
        """Return the result, an integer. Raises IndexError if bounds are checked and an access is outside."""
        result, error = ctypes.c_int64(), ctypes.c_void_p()
        parts: list[int] = [ctypes.addressof(result), ctypes.addressof(error)]
        _add_parts(parts, arguments)
        if not self._function:
            # Numbers, sizes and addresses all have 64 bits, and every call has as many.
            self._function = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_int64] * len(parts))(self._address)
        if self._function(*parts):
            raise IndexError("an access outside an array")
        return result.value


def _add_parts(parts: list[int], arguments: Sequence[Any]) -> None:
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            # Two zeros: no owner and no reference count. Then size and place.
            parts += (0, 0, argument.size, argument.itemsize, argument.ctypes.data)
            parts += argument.shape
            parts += argument.strides
        elif isinstance(argument, tuple):
            _add_parts(parts, argument)
        else:
            parts.append(argument)


@dataclass(frozen=True)
class Kernels:
    """The compiled functions that Python calls (scanner.py, words.py)."""

    scan: Kernel
    has_stamp: Kernel
    measure_spans: Kernel
    copy_spans: Kernel
    number_spans: Kernel


def is_compiled() -> bool:
    """Tell whether the loops are compiled for this processor and user. Raises ImportError without numba."""
    return _object_file().exists()


@cache
def load_kernels() -> Kernels:
    """Load the loops, and compile them first if needed. Raises ImportError without numba."""
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    file = _object_file()
    if not file.exists():
        aside = file.with_suffix(f".{os.getpid()}")
        aside.write_bytes(_compile())
        aside.replace(file)
    symbols, _, code = file.read_bytes().partition(b"\n")
    names = symbols.decode().split()
    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for name in names:
        builder.export_symbol(name)
    loaded = builder.link(llvm.create_lljit_compiler(), "maillag")
    return Kernels(*(Kernel(loaded[name], loaded) for name in names))


def _compile() -> bytes:
    """Return a line with the names of the functions, in the order of Kernels, and then their object code."""
    from llvmlite import binding as llvm
    from numba import typeof, types
    from numba.core import compiler, registry

    from transforms.fast_lane import scanner, words

    block, midnights = np.zeros(1, np.uint8), np.zeros(1, np.int64)
    int32s, int64s = np.zeros(1, np.int32), np.zeros(1, np.int64)
    # The spans of one field, which do not lie next to each other.
    spans = np.zeros((2, 2, 2), np.int32)[:, 0]
    # Code is compiled for arguments of these types and numbers of dimensions.
    calls = {
        scanner.scan: (
            *(block, 0, midnights, arrays.no_tags(1, 1), arrays.prefixes_of([b""], [0])),
            *(arrays.no_rows(1), arrays.no_counts(1), int64s),
        ),
        scanner.has_stamp: (block, 0, midnights),
        words.measure_spans: (spans, int32s, block),
        words.copy_spans: (block, spans, int32s, block),
        words.number_spans: (block, spans, int32s, int64s, int32s),
    }
    flags = compiler.Flags()
    flags.error_model = "numpy"
    flags.boundscheck = arrays.CHECK_BOUNDS
    # Wrappers for calls by Python itself would need numba at run time.
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    target = registry.cpu_target
    names, module = [], llvm.parse_assembly("")
    for function, arguments in calls.items():
        made = compiler.compile_extra(
            target.typing_context,
            target.target_context,
            function.py_func,
            tuple(map(typeof, arguments)),
            types.int64,
            flags,
            {},
        )
        names.append(made.fndesc.llvm_func_name)
        module.link_in(llvm.parse_assembly(made.library.get_llvm_str()))
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )
    code: bytes = machine.emit_object(module)
    return " ".join(names).encode() + b"\n" + code


@cache
def _object_file() -> Path:
    """Return the path of the code made of these very sources by this numba for this processor.

    A user without a home gets a new folder each time: code is never loaded from where others may write.
    """
    from llvmlite import binding as llvm

    made_by = (version("numba"), version("llvmlite"), llvm.get_host_cpu_name())
    features = llvm.get_host_cpu_features().flatten()
    digest = hashlib.blake2b(repr((arrays.CHECK_BOUNDS, made_by, features)).encode(), digest_size=8)
    for path in SOURCES:
        digest.update(path.read_bytes())
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "maillag" / f"kernels-{digest.hexdigest()}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError):
        folder = Path(tempfile.mkdtemp(prefix="maillag-kernels-"))
    return folder / "kernels.o"
