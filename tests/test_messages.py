"""The page of messages, and the form that they have."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import messages as tool  # noqa: E402

ALL = [each for path in sorted((ROOT / "clever_ext").rglob("*.py")) for each in tool.messages(path)]


def test_troubleshooting_has_every_message():
    found = subprocess.run(
        [sys.executable, "tools/messages.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr


def test_messages_have_one_form():
    assert len(ALL) > 150
    for each in ALL:
        for text in filter(None, (each.wrong, each.expected, each.fix)):
            assert not text.rstrip().endswith("."), each  # the full stop is CleverError's


def test_a_message_stands_in_one_place():
    places = [(each.wrong, each.expected, each.fix) for each in ALL]
    twice = {each for each in places if places.count(each) > 1 and each[0].strip("… ")}
    assert not twice
