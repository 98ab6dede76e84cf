"""Default preparation gives the scores of none, for some of what the study of it has."""

import pytest
from architectures import FEW, cases, study
from peculiar import PECULIAR

SLOW = {"torch.compile", "model.compile()", "orthogonal"}
REFUSED = {"checkpoint, reentrant", "torch.export"}
PEERS = {
    "timm test_efficientnet", "timm test_resnet", "timm test_byobnet", "timm test_vit",
    "torchvision shufflenet_v2_x0_5",
}  # fmt: skip

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("name", [*sorted(PECULIAR.keys() - SLOW - REFUSED), *sorted(PEERS)])
def test_default_preparation_moves_scores_by_rounding(name):
    build, _ = cases()[name]
    found = study(name, build, FEW)
    assert "difference" in found, found
    for of in ("difference", "forced"):
        assert found[of]["scores"] < 1e-3, found
    assert found["same_twice"]
