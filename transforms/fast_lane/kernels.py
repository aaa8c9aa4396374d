"""The compiled loops of the fast lane: numba compiles them once, to an object file that is loaded without it.

Compiling takes ten to twenty seconds; importing numba, and having it load what it compiled, takes as long as
reading a million lines, which is why it is not asked again.
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

# What the compiled code is made of.
SOURCES = tuple(
    Path(__file__).parent / name
    for name in ("kernels.py", "arrays.py", "words.py", "stamps.py", "scanner.py", "../bounds.py")
)


class Kernel:
    """A compiled function, called as numba calls its own, without the GIL.

    That is with the place of the result, the place of an error, then the arguments, arrays and tuples in
    parts. It returns 0 if all went well. `code` keeps it in memory.
    """

    def __init__(self, address: int, code: object) -> None:
        self._address = address
        self._code = code
        self._function: Any = None

    def __call__(self, *arguments: Any) -> int:
        """Return its result, an integer. Raises IndexError where bounds are checked and were left."""
        result, error = ctypes.c_int64(), ctypes.c_void_p()
        parts: list[int] = [ctypes.addressof(result), ctypes.addressof(error)]
        _add_parts(parts, arguments)
        if not self._function:
            # Numbers, sizes and addresses are all of 64 bits; how many there are is the same for each call.
            self._function = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_int64] * len(parts))(self._address)
        if self._function(*parts):
            raise IndexError("an access outside an array")
        return result.value


def _add_parts(parts: list[int], arguments: Sequence[Any]) -> None:
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            # Nobody owns it, nobody counts references to it; then what it is, and where.
            parts += (0, 0, argument.size, argument.itemsize, argument.ctypes.data)
            parts += argument.shape
            parts += argument.strides
        elif isinstance(argument, tuple):
            _add_parts(parts, argument)
        else:
            parts.append(argument)


@dataclass(frozen=True)
class Kernels:
    """The functions that Python calls (scanner.py, words.py)."""

    scan: Kernel
    has_stamp: Kernel
    measure_spans: Kernel
    copy_spans: Kernel
    number_spans: Kernel


def is_compiled() -> bool:
    """Tell whether the loops were compiled before, for this processor and user. Raises ImportError."""
    return _object_file().exists()


@cache
def load_kernels() -> Kernels:
    """Load the compiled loops, which are compiled first if need be. Raises ImportError without numba."""
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
    """Return the names of the functions, in the order of Kernels, in a line before their object code."""
    from llvmlite import binding as llvm
    from numba import typeof, types
    from numba.core import compiler, registry

    from transforms.fast_lane import scanner, words

    block, midnights = np.zeros(1, np.uint8), np.zeros(1, np.int64)
    int32s, int64s = np.zeros(1, np.int32), np.zeros(1, np.int64)
    # Spans are a field of all rows: not next to each other.
    spans = np.zeros((2, 2, 2), np.int32)[:, 0]
    # What is compiled is for arrays with as many dimensions.
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
    # Called by Python itself, they would need numba to be there.
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
    """Return where the code is kept that is made of just these sources, by this numba, for this processor.

    A user without a home gets a new folder each time; what others may write to is never loaded.
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
