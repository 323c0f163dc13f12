"""Installation: kernel modules, selection at import, configuration, license files."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bptt
from bptt._core import _cpu, loader
from bptt._core.installation import config, show_config


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def public_functions(isa: str) -> list[str]:
    return [name for name in dir(loader.load(isa)) if not name.startswith("_")]


def test_cpu_supports_base_first() -> None:
    assert _cpu.supported()[0] == "base"
    assert loader.available() == tuple(
        isa for isa in loader.ISAS if isa in loader.built() and isa in _cpu.supported()
    )


CPUINFO = Path("/proc/cpuinfo")
# The flags of CMakeLists.txt, as /proc/cpuinfo names them.
NEEDED = {
    "v3": {"avx2", "bmi1", "bmi2", "fma"},
    "v4": {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"},
}


needs_cpuinfo = pytest.mark.skipif(not CPUINFO.exists(), reason="needs /proc/cpuinfo, of Linux")


def processor_flags() -> set[str]:
    """Return the flags that the kernel reports; empty except on x86."""
    lines = CPUINFO.read_text().splitlines()
    return set(
        next((line for line in lines if line.startswith("flags")), ":").split(":")[1].split()
    )


@needs_cpuinfo
def test_features_agree_with_the_kernel() -> None:
    assert set(_cpu.features()) == processor_flags() & (NEEDED["v3"] | NEEDED["v4"])


@needs_cpuinfo
def test_the_best_instruction_set_is_used() -> None:
    """The best one that processor and installation have, found by other means than the loader."""
    flags = processor_flags()
    expected = "base"
    needed: set[str] = set()
    for isa, features in NEEDED.items():
        needed |= features
        if needed <= flags and list(Path(loader.__file__).parent.glob(f"_kernels_{isa}.*[do]")):
            expected = isa
    run = run_python(
        "from bptt._core.loader import kernels; print(kernels.config()['isa'])", BPTT_ISA=""
    )
    assert run.stdout.strip() == expected


@pytest.mark.parametrize("isa", loader.available())
def test_kernel_modules_report_their_instruction_set(isa: str) -> None:
    assert loader.load(isa).config()["isa"] == isa
    assert public_functions(isa) == public_functions("base")


@pytest.mark.parametrize("isa", ["", *loader.available()])
def test_environment_variable_selects_the_instruction_set(isa: str) -> None:
    run = run_python(
        "from bptt._core.loader import kernels; print(kernels.config()['isa'])", BPTT_ISA=isa
    )
    assert run.stderr == ""
    assert run.stdout.strip() == (isa or loader.available()[-1])


def test_unknown_instruction_set() -> None:
    run = run_python("import bptt._core.loader", BPTT_ISA="avx9")
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        "ImportError: BPTT_ISA must be one of base, v3, v4, got 'avx9'"
    )


def test_unsupported_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cpu, "supported", lambda: ["base", "v3"])
    assert "v4" not in loader.available()
    sentence = "BPTT_ISA=v4 asks for instructions this CPU does not have; it supports base, v3"
    with pytest.raises(ImportError, match=f"^{sentence}$"):
        loader.load("v4")


def test_missing_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cpu, "supported", lambda: list(loader.ISAS))
    monkeypatch.setattr(loader, "built", lambda: ("base",))
    assert loader.available() == ("base",)
    sentence = "BPTT_ISA=v3 asks for a module that was not built; this installation has base"
    with pytest.raises(ImportError, match=f"^{sentence}$"):
        loader.load("v3")


def test_import_needs_only_numpy() -> None:
    run = run_python(
        "import sys, bptt; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    assert run.stderr == ""
    for name in ("hypothesis", "mpmath", "pytest", "safetensors", "torch", "tqdm"):
        assert f"'{name}'" not in run.stdout


def test_import_loads_layers_alone() -> None:
    run = run_python("import sys, bptt; print(*(n for n in sys.modules if n.startswith('bptt.')))")
    packages = {name.split(".")[1] for name in run.stdout.split()}
    assert {"nn", "optim", "losses"} <= packages
    assert not packages & {"cli", "data", "diagnostics", "estimators", "reference", "training"}


def test_import_adds_few_modules_to_those_of_numpy() -> None:
    """Parsers of metadata, hashes and archives took half of the time of the import.

    NumPy before 2.2 has not imported pathlib, which imports glob in Python 3.13.
    """
    run = run_python(
        "import sys, numpy, pathlib; before = set(sys.modules); import bptt; "
        "print(*{*sys.modules} - before)"
    )
    assert run.stderr == ""
    added = {name for name in run.stdout.split() if not name.startswith("bptt")}
    assert not added & {"argparse", "email", "glob", "hashlib", "importlib.metadata", "json"}
    assert not added & {"secrets", "subprocess", "zipfile"}


def test_config() -> None:
    items = config()
    assert items["version"] == importlib.metadata.version("bptt")
    assert items["numpy"] == np.__version__
    assert str(items["eigen"]).startswith("5.")
    assert items["isa"] == loader.kernels.config()["isa"]
    assert items["isas_built"] == list(loader.built())
    assert items["isas_supported"] == _cpu.supported()
    assert items["threads"] == bptt.get_num_threads()
    assert items["thread_engine"] in loader.kernels.thread_engines()
    assert items["thread_engines_built"] == loader.kernels.thread_engines()
    assert (items["openmp"] == "none") == ("openmp" not in loader.kernels.thread_engines())


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    show_config()
    lines = capsys.readouterr().out.splitlines()
    items = config()
    assert len(lines) == len(items)
    assert lines[0].split() == ["version", items["version"]]
    assert f"threads               {items['threads']}" in lines
    assert f"isas built            {', '.join(loader.built())}" in lines


def test_licences_are_installed() -> None:
    files = {"/".join(file.parts[1:]): file for file in importlib.metadata.files("bptt") or []}
    assert "licenses/LICENSE" in files
    assert "Eigen" in files["licenses/LICENSE-THIRD-PARTY"].read_text()


SUB_INTERPRETERS = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
code = '''
try:
    import bptt
except ImportError as error:
    print(error)
'''
older = not hasattr(interpreters, "exec")  # Python 3.12 and older
for isolated in (False, True):
    if older:
        interpreters.run_string(interpreters.create(isolated=isolated), code)
    else:
        interpreters.exec(interpreters.create("isolated" if isolated else "legacy"), code)
import bptt
print(bptt.LSTM(2, 3))
"""


@pytest.mark.skipif(
    not any(map(importlib.util.find_spec, ("_interpreters", "_xxsubinterpreters"))),
    reason="no sub-interpreters here",
)
def test_sub_interpreters_are_refused() -> None:
    """Also before Python 3.12, where the import of our modules would never return there."""
    child = run_python(SUB_INTERPRETERS)
    sentence = "bptt cannot be imported in a sub-interpreter, which NumPy does not support: use"
    lines = child.stdout.splitlines()
    assert [line[: len(sentence)] for line in lines[:2]] == [sentence] * 2, child.stderr
    assert lines[2:] == ["LSTM(input_size=2, hidden_size=3)"]


OTHER_CODE = """
import ctypes
ctypes.c_void_p.in_dll(ctypes.CDLL("libstdc++.so.6"), "_ZSt15__once_callable")
import bptt
print(bptt.LSTM(2, 3))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="libraries as Linux names them")
def test_import_after_other_code_has_used_variables_of_its_threads() -> None:
    """As matplotlib does with those of the C++ library, which glibc then does not move."""
    try:
        ctypes.CDLL("libstdc++.so.6")
    except OSError:
        pytest.skip("no libstdc++ here")
    child = run_python(OTHER_CODE)
    assert child.stdout == "LSTM(input_size=2, hidden_size=3)\n", child.stderr
