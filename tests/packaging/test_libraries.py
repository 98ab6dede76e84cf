"""What the compiled libraries ask of the machine that they run on."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import check_wheel
import pytest

import clever_ext

LIBRARIES = sorted(Path(clever_ext.__file__).parent.glob("_C*.so"))

pytestmark = pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")


def test_one_library_serves_all_pythons():
    assert "_C.abi3.so" in {library.name for library in LIBRARIES}
    assert not list(Path(clever_ext.__file__).parent.glob("_C.c*.so"))


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda each: each.name)
def test_libraries_know_no_other_machine(library):
    assert list(check_wheel.faults(library)) == []


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A library that does all that ours may not."""
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "other.c").write_text("int other(void) { return 0; }\n")
    (folder / "faulty.c").write_text(
        "int other(void);\n"
        "int _ZN3c1010TensorImplE(void);\n"
        'const char* where = "/home/somebody/csrc/a.cpp";\n'
        "int faulty(void) { return other() + _ZN3c1010TensorImplE(); }\n"
    )
    compile_ = ["cc", "-shared", "-fPIC", "-o"]
    subprocess.run([*compile_, "libother.so", "other.c"], cwd=folder, check=True)
    options = ["-L.", "-lother", "-Wl,-rpath,/home/somebody/torch/lib"]
    subprocess.run([*compile_, "faulty.so", "faulty.c", *options], cwd=folder, check=True)
    return folder / "faulty.so"


def test_faults_of_a_library_are_found(faulty):
    said = "\n".join(check_wheel.faults(faulty))
    assert "its run paths are ['/home/somebody/torch/lib'], not $ORIGIN/../torch/lib" in said
    assert "it needs libother.so" in said
    assert "it asks for _ZN3c1010TensorImplE" in said
    assert "it names /home/somebody/csrc/a.cpp" in said


def test_faults_of_a_wheel_are_found(tmp_path, faulty):
    [ours] = [library for library in LIBRARIES if library.name == "_C.abi3.so"]
    good, bad = tmp_path / "a-1-cp310-abi3-manylinux_2_34_x86_64.whl", tmp_path / "a-1-py3-any.whl"
    with zipfile.ZipFile(good, "w") as wheel:
        wheel.write(ours, "clever_ext/_C.abi3.so")
    with zipfile.ZipFile(bad, "w") as wheel:
        wheel.write(ours, "clever_ext/_C.abi3.so")
        wheel.write(faulty, "clever_ext.libs/libtorch_cpu.so")
    assert list(check_wheel.faults_of_wheel(good)) == []
    name, libraries, *others = check_wheel.faults_of_wheel(bad)
    assert "does not promise" in name
    assert "clever_ext.libs/libtorch_cpu.so" in libraries
    assert {other.partition(":")[0] for other in others} == {"libtorch_cpu.so"}
