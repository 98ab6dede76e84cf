"""Checks what a built library or wheel holds, and what it asks of the machine that it runs on.

python tools/check_wheel.py dist/*.whl

`tools/make_wheel.sh` runs it on each wheel; the tests run it on the libraries of the checkout.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

#: Where an installed package finds torch's libraries.
RUN_PATH = "$ORIGIN/../torch/lib"
#: What every Linux has, and torch. Whatever else were needed would have to lie in the wheel.
_NEEDED = re.compile(
    r"(libtorch(_cpu|_cuda)?|libc10)\.so"
    r"|(libstdc\+\+|libgcc_s|libc|libm|libdl|librt|libpthread|ld-linux-[\w-]+)\.so\.\d+"
)
#: Names without a version, hence of no system library: torch's stable interface, and Python's.
_FOREIGN = re.compile(r"(aoti_)?torch_\w+|_?Py[A-Z_]\w+")
#: A path with a folder, from its first sign. CUDA's runtime names places of the system.
_PATH = re.compile(rb"(?<![\w.+-])/(?!proc/|sys/|dev/|etc/|tmp/|var/)[\w.+-]{2,}(?:/[\w.+-]{2,})+")


def _readelf(option: str, library: Path) -> str:
    command = ["readelf", "--wide", option, str(library)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def faults(library: Path) -> Iterator[str]:
    """Yield what is wrong with a library, in words."""
    dynamic = _readelf("--dynamic", library)
    paths = re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", dynamic)
    if paths != [RUN_PATH]:
        yield f"its run paths are {paths}, not {RUN_PATH}"
    for name in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
        if not _NEEDED.fullmatch(name):
            yield f"it needs {name}, which is neither torch's nor on every machine"
    for row in _readelf("--dyn-syms", library).splitlines():
        columns = row.split()
        foreign = columns[4:7:2] == ["GLOBAL", "UND"] and "@" not in columns[7]
        if foreign and not _FOREIGN.fullmatch(columns[7]):
            yield f"it asks for {columns[7]}, which is not in torch's stable interface"
    for path in sorted(set(_PATH.findall(library.read_bytes()))):
        yield f"it names {path.decode()}, a path of the machine that built it"


def faults_of_wheel(wheel: Path) -> Iterator[str]:
    """Yield what is wrong with a wheel: its tag, the libraries in it, and each of these."""
    if not re.search(r"-cp310-abi3-manylinux_[\w.]+\.whl$", wheel.name):
        yield "its name does not promise Python 3.10 and later on manylinux"
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if re.search(r"\.so(\.|$)", name)]
        others = {"clever_ext/_C.abi3.so", "clever_ext/_C_cuda.so"}.symmetric_difference(names)
        if not others <= {"clever_ext/_C_cuda.so"}:
            yield f"its libraries are {names}"
        for name in names:
            library = Path(archive.extract(name, folder))
            yield from (f"{library.name}: {fault}" for fault in faults(library))


def main() -> int:
    """Check the wheels that are named."""
    status = 0
    for wheel in map(Path, sys.argv[1:]):
        found = list(faults_of_wheel(wheel))
        print(f"{wheel.name}: {'; '.join(found) or 'ok'}")
        status |= bool(found)
    return status


if __name__ == "__main__":
    sys.exit(main())
