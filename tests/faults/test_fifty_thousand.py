"""A set of 50,000 pictures: memory stays flat, and nothing is lost."""

import pytest
from validation_set import many

import clever_ext as cx

N = 50_000


@pytest.mark.faults
def test_fifty_thousand_pictures(tmp_path):
    found = many(tmp_path, N)
    print(found)
    result = cx.load_run(tmp_path / "run")
    assert result.metadata["complete"]
    assert result.table["image_id"].tolist() == list(range(N))
    assert found.grown < 64 * 2**20
