"""Counting a thread's instructions, on the listing of one small kernel: needs no nvcc."""

import re
from collections import Counter
from pathlib import Path

import pytest
import sass
import sass_code

ROOT = Path(__file__).parents[2]
LISTING = (Path(__file__).parent / "small.sass").read_text()


def listed(text=LISTING):
    [(_, code)] = sass_code.kernels(text.splitlines())
    return code


def standing_in(pattern):
    scopes = sass_code.Scopes()
    return lambda each: any(re.search(pattern, scopes.of(frame)) for frame in each.frames)


@pytest.fixture(autouse=True)
def _paths_of_the_listing(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_way_is_the_one_that_does_the_work_and_little_else():
    way = sass_code.way(sass_code.blocks(listed()), standing_in("together|Doubled"))
    opcodes = [each.opcode for each in way]
    assert len(way) == 32  # 9 to the branch, 1 load, 18 to the next, 1 to meet again, 3 to an exit
    assert opcodes.count("LDG.E.128") == opcodes.count("STG.E.128") == 1
    assert "CALL.REL.NOINC" not in opcodes
    assert "STG.E" not in opcodes  # by one thread
    assert opcodes[-1] == "EXIT"


def test_other_work_has_another_way():
    way = sass_code.way(sass_code.blocks(listed()), standing_in("scattered"))
    loads = Counter(each.opcode for each in way if each.is_a("LDG"))
    assert loads == {"LDG.E": 4}
    assert len(way) == 32 - 1 + 22


def test_work_that_is_nowhere_or_called_is_refused():
    for pattern in ("no such function", "rescued"):
        with pytest.raises(ValueError, match="no way that does the work"):
            sass_code.way(sass_code.blocks(listed()), standing_in(pattern))


def test_classes_and_units():
    way = sass_code.way(sass_code.blocks(listed()), standing_in("together"))
    assert sass_code.counted(way, sass_code.CLASSES) == {
        "memory": 2,
        "fp64": 0,
        "special": 0,
        "fp32": 11,  # FADD, FMUL, 3 + 5 maxima, FSETP
        "int": 4,
        "other": 15,
    }
    assert sass_code.busy(way) == {"alu": 12, "imad": 1, "fma": 3, "xu": 0, "fp64": 0}


@pytest.mark.parametrize(
    ("opcode", "name"),
    [
        ("IMAD.WIDE.U32", "int"),
        ("IMAD.MOV.U32", "other"),
        ("UIADD3", "int"),
        ("LOP3.LUT", "int"),
        ("VIADD", "int"),
        ("I2FP.F32.U32", "special"),
        ("I2F.U64", "special"),
        ("MUFU.RSQ", "special"),
        ("DFMA", "fp64"),
        ("FSEL", "fp32"),
        ("FFMA2", "fp32"),
        ("HFMA2.MMA", "other"),
        ("LDS.128", "memory"),
        ("LDC.64", "other"),
        ("LDCU.64", "other"),
        ("ULDC", "other"),
        ("ATOMG.E.MAX.64.STRONG.GPU", "memory"),
        ("REDUX.SUM", "other"),
        ("SHFL.BFLY", "other"),
        ("BAR.SYNC.DEFER_BLOCKING", "other"),
        ("S2R", "other"),
        ("SEL", "int"),
    ],
)
def test_class_of_an_opcode(opcode, name):
    code = [sass_code.Instruction(opcode, "", False)]
    assert {n for n, count in sass_code.counted(code, sass_code.CLASSES).items() if count} == {name}


def test_functions_of_a_line():
    scopes = sass_code.Scopes()
    [doubled] = [
        each
        for each in listed()
        if not isinstance(each, str) and each.opcode == "FADD" and "R4, R4, R4" in each.operands
    ]
    assert [scopes.of(frame) for frame in doubled.frames] == ["Doubled::of", "small_kernel"]


def test_functions_of_lines_that_look_like_them():
    text = """namespace a {
#define MATCH(x) \\
  if (x) { return; }
template <class T>
struct One {
  int held{0};
  __device__ One(int n)
      : held{n} {
    if (n) {
      held = n;  // }
    }
  }
};
constexpr int kList[] = {1, 2};
__global__ void __launch_bounds__(256)
    kernel() {
  with_norm(2, [&](auto norm) {
    work();
  });
}
}
"""
    names = sass_code.scopes(text)
    assert names[:4] == [""] * 4
    assert names[4:6] == ["One", "One"]
    assert set(names[6:12]) == {"One::One"}
    assert names[12:14] == ["One", ""]
    assert set(names[14:20]) == {"kernel"}


def test_threads_meet_where_they_said_and_loops_are_taken_once():
    text = """.text.small:
        /*0000*/                   BSSY.RECONVERGENT B0, `(.L_x_3) ;
        /*0010*/              @!P0 BRA `(.L_x_2) ;
.L_x_1:
        /*0020*/                   FADD R1, R1, R2 ;
        /*0030*/               @P1 BRA `(.L_x_1) ;
        /*0040*/                   BSYNC.RECONVERGENT B0 ;
.L_x_2:
        /*0050*/                   BPT.TRAP 0x1 ;
.L_x_3:
        /*0060*/                   BRX R2 -0x70 (*"BRANCH_TARGETS .L_x_4,.L_x_5"*) ;
.L_x_6:
        /*0064*/                   FADD R1, R1, R2 ;
        /*0068*/                   EXIT ;
.L_x_4:
        /*0070*/                   EXIT ;
.L_x_5:
        /*0080*/                   NOP ;
        /*0090*/               @P2 CALL.REL.NOINC `(.L_x_6) ;
        /*00a0*/                   EXIT ;
"""
    way = sass_code.way(sass_code.blocks(listed(text)), lambda each: each.opcode in ("FADD", "NOP"))
    assert [each.opcode.split(".")[0] for each in way] == [
        "BSSY", "BRA", "FADD", "BRA", "BSYNC", "BRX", "NOP", "CALL", "FADD", "EXIT",
    ]  # fmt: skip


@pytest.mark.parametrize("where", ["first", "last"])
def test_a_loop_is_left_from_wherever_it_can_be(where):
    leave = "        /*0010*/              @!P0 BRA `(.L_x_3) ;\n"
    text = f""".text.small:
        /*0000*/                   MOV R1, R2 ;
.L_x_1:
{leave if where == "first" else ""}.L_x_2:
        /*0020*/                   FADD R1, R1, R2 ;
{leave if where == "last" else ""}        /*0030*/                   BRA `(.L_x_1) ;
.L_x_3:
        /*0040*/                   EXIT ;
"""
    way = sass_code.way(sass_code.blocks(listed(text)), lambda each: each.opcode == "FADD")
    opcodes = {
        "first": ["MOV", "BRA", "FADD", "BRA", "BRA", "EXIT"],
        "last": ["MOV", "FADD", "BRA", "EXIT"],
    }
    assert [each.opcode for each in way] == opcodes[where]


def test_loops_within_loops():
    text = """.text.small:
.L_x_1:
        /*0000*/              @!P0 BRA `(.L_x_4) ;
.L_x_2:
        /*0010*/              @!P1 BRA `(.L_x_3) ;
        /*0020*/                   FADD R1, R1, R2 ;
        /*0030*/                   BRA `(.L_x_2) ;
.L_x_3:
        /*0040*/                   FMUL R1, R1, R2 ;
        /*0050*/                   BRA `(.L_x_1) ;
.L_x_4:
        /*0060*/                   EXIT ;
"""
    way = sass_code.way(sass_code.blocks(listed(text)), lambda each: each.is_a("F"))
    opcodes = [each.opcode for each in way]
    assert opcodes == ["BRA", "BRA", "FADD", "BRA", "BRA", "FMUL", "BRA", "BRA", "EXIT"]


PTXAS = """ptxas info    : Compiling entry function \
'_ZN6clever4cuda12_GLOBAL__N_111norm_kernelIfEEvNS_13NormArgumentsE' for 'sm_90'
ptxas info    : Function properties for _ZN6clever4cuda9_GLOBAL__N__1_11norm_kernelIfEEv
    8 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 48 bytes cumulative stack size
ptxas info    : Function properties for _ZN6clever4cuda13rescaled_normEv
    40 bytes stack frame, 16 bytes spill stores, 24 bytes spill loads
"""


def test_resources_are_those_of_a_kernel_and_of_what_it_calls():
    figures = list(sass.resources(sass.Compiled("a.cu", 90, PTXAS, "")))
    assert {f["figure"]: f["ratio"]["median"] for f in figures} == {
        "registers": 40,
        "stack, bytes": 48,
        "spilled, bytes": 40,
    }
    assert {f["case"] for f in figures} == {"norm_kernel<float>, sm_90"}


@pytest.fixture
def works(monkeypatch):
    work = sass.Work("write", "small.cu", "small_kernel", ("together", r"STG\.E\.128"), 4, 7)
    monkeypatch.setattr(sass, "WORKS", [work])
    monkeypatch.setattr(sass, "CALLS", [sass.Launches("all", ("write",), 16)])


def found():
    listing = LISTING.replace("_Z12small_kernelPfS_i", "_ZN1a12small_kernelEPfS_i")
    return sass.counts([sass.Compiled("small.cu", 90, "", listing)])


@pytest.mark.usefixtures("works")
def test_instructions_an_element_and_their_target():
    figures = list(sass.instructions(found()))
    values = {f["figure"]: f["ratio"]["median"] for f in figures}
    assert values["all"] == pytest.approx(32 / 4)
    assert sum(v for name, v in values.items() if name != "all") == pytest.approx(32 / 4)
    assert sass.missed(figures) == ["all, write, sm_90: 8.0, target 7"]


def test_work_of_which_a_part_is_elsewhere_is_refused(monkeypatch):
    work = sass.Work("write", "small.cu", "small_kernel", ("together", "scattered"), 4)
    monkeypatch.setattr(sass, "WORKS", [work])
    with pytest.raises(ValueError, match="write: together is not on the way"):
        found()


def test_work_of_a_kernel_that_is_not_there_is_refused(monkeypatch):
    work = sass.Work("write", "small.cu", "large_kernel", ("together",), 4)
    monkeypatch.setattr(sass, "WORKS", [work])
    with pytest.raises(ValueError, match="has no large_kernel"):
        found()


@pytest.mark.usefixtures("works")
def test_roof_is_the_slowest_unit_or_the_memory(monkeypatch):
    gpu = sass.Gpu("slow", 90, 1, 1.0, 128.0, {"fma": 64})
    monkeypatch.setattr(sass, "GPUS", [gpu])
    shares = {f["figure"]: f["ratio"]["median"] for f in sass.roofs(found())}
    # 16 bytes take an eighth of a second, 32 / 4 instructions 32 / 512: they are hidden.
    assert shares["issue"] == pytest.approx((16 / 128) / (32 / 4 / 128), rel=1e-3)
    assert shares["alu"] == pytest.approx((16 / 128) / (12 / 4 / 64), rel=1e-3)
    assert shares["est."] == 1
    monkeypatch.setattr(sass, "GPUS", [gpu._replace(bandwidth=1024.0)])
    shares = {f["figure"]: f["ratio"]["median"] for f in sass.roofs(found())}
    assert shares["est."] == shares["issue"] == pytest.approx(2 / 8, abs=1e-3)


def test_a_number_other_than_committed_is_told():
    then = [sass.figure("all", "write, sm_90", 47.0), sass.figure("all", "write, sm_80", 46.0)]
    assert sass.differences(then[:1], then) == []
    assert sass.differences([sass.figure("all", "write, sm_90", 48.0)], then) == [
        "all, write, sm_90: 47.0 committed, 48.0 now"
    ]
    assert len(sass.differences([*then[:1], sass.figure("all", "new", 1.0)], then)) == 1


def test_a_kernel_that_is_no_longer_there_is_told():
    then = [sass.figure("all", "write, sm_90", 47.0), sass.figure("all", "write, sm_80", 46.0)]
    assert sass.differences([], then) == ["all, write, sm_90: 47.0 committed, nothing now"]
