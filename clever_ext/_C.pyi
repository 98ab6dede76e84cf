from typing import TypedDict

class BuildInfo(TypedDict):
    version: str
    compiler: str
    torch: str
    cuda: bool
    cuda_architectures: str

MAX_NORMS: int

def norm_table() -> list[tuple[str, float]]: ...
def build_info() -> BuildInfo: ...
def hold_freed_memory(hold: bool) -> bool: ...
def stream_words(
    seed: int, image_id: int, p: float, sample: int, block: int, domain: int
) -> tuple[int, int, int, int]: ...
