"""A run from its first command to its last part, stopped and taken up again."""

import dataclasses
import functools
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from small_run import assert_same_bits

import clever_ext as cx
import clever_ext.data.decoding
from clever_ext import CleverError
from clever_ext.data import ImageSource, open_images
from clever_ext.data.loading import Loader
from clever_ext.engine.choice import Choice
from clever_ext.engine.search import Found
from clever_ext.findings import Finding
from clever_ext.runs.description import findings_of, threads_and_cpus
from clever_ext.runs.folder import RunFolder
from clever_ext.runs.merge import merge
from clever_ext.runs.status import read_status


def test_a_run_holds_what_one_call_would_give(small):
    assert small.score("run") == 0
    result = cx.load_run(small.path / "run")
    assert result.metadata["complete"]
    assert sorted(small.folder("run").finished()) == [0, 1, 2]
    assert result.table["image"].unique().tolist() == sorted(
        p.name for p in small.pictures.iterdir()
    )
    source = open_images(small.pictures)
    with Loader(source, small.model.preprocessing, 0) as loader:
        loaded = loader.submit(list(source)).result()
    whole = cx.clever_score(
        small.model.model,
        torch.stack([each.pixels for each in loaded]),
        radius=2,
        n_batches=6,
        batch_samples=4,
        clip=(0, 1),
        image_ids=[each.record.image_id for each in loaded],
    )
    np.testing.assert_allclose(result.table["score"], whole.table["score"], rtol=1e-5)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(small, monkeypatch):
    small.score("whole")
    add, added = RunFolder.add, []

    def stopped(self, number, result):
        add(self, number, result)
        added.append(number)
        if len(added) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "add", stopped)
    assert small.score("run") == 130
    assert list(small.folder("run").finished()) == [0]
    assert not cx.load_run(small.path / "run").metadata["complete"]
    assert small.score("run") == 0
    assert added == [0, 1, 2]
    assert_same_bits(small.table("whole"), small.table("run"))
    assert small.score("run") == 0  # complete: nothing is left to do
    assert added == [0, 1, 2]


def test_passes_are_made_as_the_run_began_them(small, monkeypatch):
    """What trials chose is part of the run: a process that goes on does not choose again."""
    chosen = []
    monkeypatch.setattr(
        "clever_ext.engine.engine.search",
        lambda *_: chosen.append(1) or Found(Choice((), 7, batched_backward=False)),
    )
    small.score("run")
    assert chosen == [1]
    description = small.folder("run").read()
    assert description["engine"] == {"options": [], "device_batch": 7, "batched_backward": False}
    small.folder("run").part(1).unlink()
    small.score("run")
    assert chosen == [1]


def test_threads_are_those_that_the_run_began_with(small):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        small.score("run")
        torch.set_num_threads(2)
        small.score("run")
        assert torch.get_num_threads() == 1
        small.scorer = functools.partial(small.scorer, threads=2)
        torch.set_num_threads(2)
        with pytest.raises(CleverError, match=r"machine\.threads was 1, now it is 2"):
            small.score("run")
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n_batches": 7}, "settings.n_batches was 6, now it is 7"),
        ({"seed": 1}, "settings.seed was 0, now it is 1"),
        ({"norm": "inf"}, "settings.norms"),
        ({"shard": (0, 2)}, "shard was"),
    ],
)
def test_other_settings_are_refused_by_name(small, change, named):
    small.score("run")
    before = (small.path / "run/run.json").read_bytes()
    with pytest.raises(CleverError, match="made otherwise") as error:
        small.score("run", **change)
    assert named in str(error.value)
    assert (small.path / "run/run.json").read_bytes() == before


def test_other_pictures_and_other_weights_are_refused(small):
    small.score("run")
    with torch.no_grad():
        small.model.model[3].bias[0] += 1
    with pytest.raises(CleverError, match=r"model\.digest"):
        small.score("run")
    small.score("other")
    next(small.pictures.iterdir()).unlink()
    with pytest.raises(CleverError, match=r"data\.listing_sha256"):
        small.score("other")


def test_an_array_of_the_same_shape_with_other_values_is_refused(small):
    small.pictures = small.path / "pictures.npy"
    values = np.random.default_rng(0).random((6, 3, 8, 8), dtype=np.float32)
    np.save(small.pictures, values)
    small.score("run")
    small.folder("run").part(2).unlink()
    np.save(small.pictures, values[::-1])
    with pytest.raises(CleverError, match="the pictures are other data"):
        small.score("run")
    np.save(small.pictures, values)  # written later, and the same
    small.score("run")


@pytest.mark.parametrize("later", [False, True])
def test_a_picture_of_the_same_size_with_another_content_is_refused(small, later):
    for path in sorted(small.pictures.iterdir()):
        Image.open(path).save(path.with_suffix(".bmp"))  # all of one length
        path.unlink()
    small.score("run")
    small.folder("run").part(2).unlink()
    first, *_, last = sorted(small.pictures.iterdir())
    before = first.stat()
    whole = first.read_bytes()

    def put(contents):
        first.write_bytes(contents)
        if not later:  # as copies that keep the time of writing
            os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))

    put(last.read_bytes())
    for retry in (False, True):
        with pytest.raises(CleverError, match=r"changed since they were scored: p0000_0\.bmp"):
            small.score("run", retry_errors=retry)
    put(whole)
    small.score("run")
    assert sorted(small.folder("run").finished()) == [0, 1, 2]


def test_shards_of_other_pictures_or_other_code_are_not_merged(small):
    small.score("0", shard=(0, 2))
    first = sorted(small.pictures.iterdir())[0]
    whole = first.read_bytes()
    first.write_bytes(whole + b"more")
    small.score("1", shard=(1, 2))
    with pytest.raises(CleverError, match="other data"):
        merge(small.path / "whole", [small.path / "0", small.path / "1"])
    first.write_bytes(whole)
    small.model.model[1] = torch.nn.ReLU().eval()
    small.score("2", shard=(1, 2))
    with pytest.raises(CleverError, match="computes something else"):
        merge(small.path / "whole", [small.path / "0", small.path / "2"])


def test_findings_are_kept(small, monkeypatch):
    found = [Finding("labels", "all labels are 0", "give others"), Finding("pictures", "well")]
    describe = ImageSource.__init__

    def with_findings(self, *arguments, **named):
        describe(self, *arguments, **named)
        self.findings = [*self.findings, *found]

    monkeypatch.setattr(ImageSource, "__init__", with_findings)
    monkeypatch.setattr("clever_ext.machine.limits.cpus", lambda: 0.5)
    told = []
    small.score("run", tell=told.append)
    kept = findings_of(cx.load_run(small.path / "run").metadata)
    assert found[0] in kept
    assert found[1] not in kept  # there is nothing to do
    assert kept[-1].fix == "give --threads 1"
    assert [each for each in told if isinstance(each, Finding)] == kept


def test_threads_that_a_container_has_cpus_for_are_well():
    assert threads_and_cpus(2, 2.0) == []
    assert threads_and_cpus(64, float("inf")) == []
    assert "64 threads share the 2.5 CPUs" in threads_and_cpus(64, 2.5)[0].said


@pytest.mark.parametrize("lost", [False, True])
def test_other_code_with_the_same_weights_is_refused(small, lost):
    small.score("run")
    if lost:  # a part does not tell what the model computes
        small.folder("run").description_file.unlink()
        small.score("run")
    small.folder("run").part(2).unlink()
    tanh, small.model.model[1] = small.model.model[1], torch.nn.ReLU().eval()
    with pytest.raises(CleverError, match=r"computes something else.*same weights"):
        small.score("run")
    small.model.model[1] = tanh
    small.score("run")


@pytest.fixture
def storage(monkeypatch):
    """Names of pictures that cannot be read for the moment."""
    away = set()

    def decode(record, preprocessing):
        if record.name in away:
            raise CleverError(f"{record.name!r} cannot be read", "a disk that answers", "wait")
        return clever_ext.data.decoding.decode(record, preprocessing)

    monkeypatch.setattr("clever_ext.data.loading.decode", decode)
    return away


def test_pictures_that_could_not_be_read_are_scored_again_when_asked(small, storage):
    small.score("whole")
    storage |= {"p0002_2.png", "p0003_3.png", "p0005_0.png"}
    small.score("run")
    folder = small.folder("run")
    assert list(folder.with_errors()) == [1, 2]
    assert read_status(folder).tally.errors == 3
    first = folder.part(0).stat()
    storage.remove("p0002_2.png")
    small.score("run")  # finished pieces are left alone
    assert (small.table("run")["status"] == "error").sum() == 3
    small.score("run", retry_errors=True)
    assert small.table("run").query("status == 'error'")["image"].tolist() == [
        "p0003_3.png",
        "p0005_0.png",
    ]
    assert read_status(folder).tally.errors == 2
    storage.clear()
    small.score("run", retry_errors=True)
    assert_same_bits(small.table("whole"), small.table("run"))
    assert folder.part(0).stat().st_mtime_ns == first.st_mtime_ns
    assert read_status(folder).tally.errors == 0
    whole, told = (read_status(small.folder(name)).tally for name in ("whole", "run"))
    assert (told.images, told.gradients) == (whole.images, whole.gradients)
    assert told.scores["2"].mean == pytest.approx(whole.scores["2"].mean)
    lines = [json.loads(line) for line in folder.log.read_text().splitlines()]
    assert [each["pieces"] for each in lines if each["event"] == "retry"] == [[1, 2], [1, 2]]
    small.score("run", retry_errors=True)  # nothing is left to do
    assert len(folder.log.read_text().splitlines()) == len(lines) + 2


def test_what_was_there_stays_until_its_piece_is_scored_again(small, storage, monkeypatch):
    storage.add("p0002_2.png")
    small.score("run")
    before = small.table("run")
    storage.clear()
    with monkeypatch.context() as patched:

        def stopped(*_):
            raise KeyboardInterrupt

        patched.setattr(RunFolder, "add", stopped)
        assert small.score("run", retry_errors=True) == 130
    assert_same_bits(before, small.table("run"))
    small.score("run", retry_errors=True)
    assert not (small.table("run")["status"] == "error").any()


def test_a_second_process_is_kept_out(small):
    small.score("run")
    folder = small.folder("run")
    with folder.locked(None), pytest.raises(CleverError, match="being worked at by process"):
        small.score("run")
    small.score("run")


def test_the_log_tells_where_the_time_went(small):
    small.score("run")
    lines = [json.loads(line) for line in small.folder("run").log.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", *["piece"] * 3, "end"]
    piece = lines[1]
    assert piece["images"] == 2
    assert piece["gradients"] == 2 * 4 * 24
    assert set(piece["seconds"]) == {"waited", "scored", "wrote"}
    n, total, squares = piece["scores"]["2"]
    scores = small.table("run").groupby("image_id")["score"].min().to_numpy()
    assert n == 2
    assert squares > 0
    assert total <= scores.sum()


def test_a_piece_of_which_nothing_can_be_read_is_a_part(small):
    for path in sorted(small.pictures.iterdir())[2:4]:
        path.write_bytes(b"no picture")
    small.score("run")
    table = small.table("run")
    assert (table["status"] == "error").sum() == 2
    assert table["image_id"].nunique() == 6


class Decaying(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net, self.training = net, False
        self.register_buffer("factor", torch.ones(()))

    def forward(self, x):
        self.factor.mul_(1 - 2e-5)
        return self.net(x) * self.factor


def test_a_model_that_changes_is_told_by_the_parts_and_once_by_the_log(small):
    small.model = dataclasses.replace(small.model, model=Decaying(small.model.model))
    assert small.score("changing") == 0
    folder = small.folder("changing")
    for path in folder.finished().values():
        said = [each.said for each in findings_of(cx.CleverResult.load(path).metadata)]
        assert sum("computes something else after the scores" in each for each in said) == 1
    events = [json.loads(line) for line in folder.log.read_text().splitlines()]
    assert ["something else" in each["said"] for each in events if each["event"] == "found"] == [
        True
    ]


@pytest.mark.parametrize(
    "settings", [{}, {"estimator": "steepest", "radius": "auto", "max_gradients": 40}]
)
def test_the_nearest_targets_of_a_picture_are_those_of_any_run(small, settings):
    settings = {"norm": [2, 1], "radius": 2, "targets": "near-2", **settings}
    assert small.score("whole", **settings) == 0
    shards = [small.score(f"shard{n}", shard=(n, 2), **settings) for n in (1, 0)]
    assert shards == [0, 0]
    merge(small.path / "merged", [small.path / f"shard{n}" for n in (0, 1)])
    whole = small.table("whole")
    assert_same_bits(whole, small.table("merged"))
    assert (whole["left_out"] == 2).all()
    assert (whole.groupby(["image_id", "norm"])["target"].nunique() == 2).all()
    assert whole["left_out_by"].notna().all()
