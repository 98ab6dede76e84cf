"""The site of docs/: built strictly, and looked at in a browser, from the disk."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import docs_site
import pytest
from browsers import find, look_as, open_browser, wait
from markdown_it import MarkdownIt

import clever_ext as cx

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
#: Those that the build adds to.
GENERATED = {"index.md", "reference/api.md", "reference/command-line.md"}

#: How wide the page is, and what sticks out of it and stands in nothing that scrolls by itself.
WIDTH = """
return [document.documentElement.scrollWidth,
  [...document.querySelectorAll(".md-content *")]
    .filter((each) => each.getBoundingClientRect().right > innerWidth)
    .filter((each) => !each.closest(".md-typeset__scrollwrap, pre, .md-clipboard"))
    .map((each) => each.outerHTML.slice(0, 200))];
"""

#: The theme's script puts tables into boxes that scroll, some time after the page has loaded.
TABLES_SCROLL = """
return [...document.querySelectorAll(".md-content table:not([class])")]
  .every((each) => each.closest(".md-typeset__scrollwrap"));
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Return the folder of the site; a link, anchor or name that leads nowhere is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    # Without --quiet: mkdocs would count no warnings.
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", target]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # no word on other products
    return subprocess.run(command, cwd=source, env=quiet, capture_output=True, text=True)


class Elements(HTMLParser):
    """Counts elements, and keeps the attributes that lead somewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.count[tag] += 1
        for name, value in attributes:
            if name == "src" or (name == "href" and tag == "link"):
                self.loaded.append(value)
            if name == "id":
                self.ids.add(value)


def read(site: Path, page: str) -> str:
    return (site / page).with_suffix(".html").read_text()


def test_what_leads_nowhere_fails_the_build(tmp_path):
    for name in ("tools", "clever_ext", "mkdocs.yml", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(DOCS, tmp_path / "docs")
    (tmp_path / "docs" / "reference" / "api.md").write_text("# Python\n")  # it takes longest
    (tmp_path / "docs" / "nowhere.md").write_text("# In no navigation\n")
    page = tmp_path / "docs" / "concepts" / "method.md"
    faults = ("(nothing.md)", "(method.md#nothing)", "(../../tools/nothing.py)", "(nothing.png)")
    page.write_text("\n\n".join([page.read_text(), *(f"![it]{fault}" for fault in faults)]))
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    for said in (
        "'nothing.md'",
        "'method.md#nothing'",
        "'../../tools/nothing.py'",
        "'nothing.png'",
    ):
        assert f"'concepts/method.md' contains a link {said}" in done.stderr
    assert "nowhere.md" in done.stderr


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        for target in Elements(page.read_text()).loaded:
            assert not re.match(r"(https?:)?//", target), f"{page.name} loads {target}"


def test_pages_are_what_github_makes_of_them(site):
    """Lists, tables and blocks of code are as many: none has become a part of a paragraph."""
    kinds = ("ol", "ul", "li", "table", "tr", "pre", "img", "h1", "h2", "h3")
    markdown = MarkdownIt("commonmark").enable("table")
    for page in PAGES:
        html = read(site, page)
        ours = Elements(html[html.index("<article") : html.index("</article>")]).count
        theirs = Elements(markdown.render((DOCS / page).read_text())).count
        if page not in GENERATED:
            assert {kind: ours[kind] for kind in kinds} == {k: theirs[k] for k in kinds}, page


def test_every_public_name_is_in_the_reference(site):
    ids = Elements(read(site, "reference/api.md")).ids
    anchors = {re.sub(r"^clever_ext\.comparison\.compare\.", "clever_ext.", each) for each in ids}
    for name in cx.__all__:
        assert f"clever_ext.{name}" in anchors, name
    for owner in (cx.CleverResult, cx.Comparison, cx.RunPlan, cx.Checked, cx.GradientOracle):
        for member, value in vars(owner).items():
            if not member.startswith("_") and inspect.getdoc(value) and not is_field(owner, member):
                assert f"clever_ext.{owner.__name__}.{member}" in anchors, member
    for name, value in vars(cx.plot).items():
        if inspect.isfunction(value) and value.__module__ == cx.plot.__name__:
            assert name.startswith("_") or f"clever_ext.plot.{name}" in anchors, name


def is_field(owner: type, name: str) -> bool:
    return name in vars(owner).get("__annotations__", {})


def test_every_option_is_in_the_reference(site):
    html = read(site, "reference/command-line.md")
    sections = re.split(r'<h2 id="clever-ext-', html)[1:]
    shown = {section.partition('"')[0]: section for section in sections}
    parsers = [parser for _, parser in docs_site.parsers()]
    assert {parser.prog.split()[1] for parser in parsers} == shown.keys()
    for parser in parsers:
        for action in parser._actions:
            for option in {*action.option_strings} - {"-h", "--help"}:
                assert re.search(rf"<dt>.*{option}\b", shown[parser.prog.split()[1]]), option


def test_the_first_page_has_the_words_and_the_picture_of_readme(site):
    html = read(site, "index.md")
    assert 'src="images/' in html
    assert len(docs_site.lead("index.md").split()) > 20


def test_pages_stand_as_the_index_of_their_folder_has_them(tmp_path, monkeypatch):
    monkeypatch.setattr(docs_site, "DOCS", tmp_path)
    folder = tmp_path / "studies"
    folder.mkdir()
    for name in ("index", "a", "b", "c", "named"):
        (folder / f"{name}.md").write_text("# Page\n")
    named = {"studies/index.md", "studies/named.md"}
    assert docs_site.rest(folder, named) == ["studies/a.md", "studies/b.md", "studies/c.md"]
    (folder / "index.md").write_text(
        "# Studies\n[c](c.md)\n## Speed\n[c](c.md), [a](a.md#x)\n## No\n"
    )
    assert docs_site.rest(folder, named) == [
        {"Speed": ["studies/c.md", "studies/a.md"]},
        "studies/b.md",
    ]


def test_a_link_out_of_docs_is_a_name():
    page = DOCS / "guide" / "page.md"
    text = "[the tool](../../tools/messages.py), [method](../concepts/method.md)"
    assert docs_site.links(text, page) == (
        "the tool (`tools/messages.py`), [method](../concepts/method.md)"
    )
    assert docs_site.links("[`messages.py`](../../tools/messages.py)", page) == (
        "`tools/messages.py`"
    )
    broken = "[nothing](../../tools/nothing.py)"
    assert docs_site.links(broken, page) == broken  # the build says so


@pytest.mark.parametrize(
    ("github", "here"),
    [
        ("text\n- a\n- b\n  more", "text\n\n- a\n- b\n    more"),
        ("1. a\n\n   ```\n   x\n   ```\n2. b", "1. a\n\n    ```\n    x\n    ```\n\n2. b"),
        ("- a\n  - b\n    - c\n- d", "- a\n    - b\n        - c\n- d"),
        ("a year like\n1984. No list", "a year like\n1984. No list"),
        ("```\n# text\n- a\n```", "```\n# text\n- a\n```"),
        ("```python notest\nx\n```", "```python\nx\n```"),
        ("- a\n\ntext\n    code", "- a\n\ntext\n    code"),
    ],
)
def test_blocks_are_written_as_python_markdown_wants_them(github, here):
    assert docs_site.blocks(github) == here + "\n"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = open_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.mark.browser
def test_nothing_is_wider_than_a_phone(browser, site):
    look_as(browser, 400, "light")
    for page in PAGES:
        browser.get((site / page).with_suffix(".html").as_uri())
        wait(browser, lambda: browser.execute_script(TABLES_SCROLL))
        widest, outside = browser.execute_script(WIDTH)
        assert widest <= 400, page
        assert outside == [], page


@pytest.mark.browser
def test_it_is_dark_where_the_system_is(browser, site):
    browser.get((site / "index.html").as_uri())
    for scheme in ("light", "dark"):
        look_as(browser, 1280, scheme)
        wait(browser, lambda: is_dark(browser) == (scheme == "dark"))  # noqa: B023


def is_dark(browser) -> bool:
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    return int(re.findall(r"\d+", ground)[0]) < 128


@pytest.mark.browser
@pytest.mark.parametrize("page", ["index.md", "reference/api.md"])
def test_search_finds_a_word_and_asks_nobody(browser, site, page):
    look_as(browser, 1280, "light")
    for kind in ("performance", "browser"):
        browser.get_log(kind)  # what earlier pages left
    browser.get((site / page).with_suffix(".html").as_uri())
    find(browser, "input[name='query']")[0].click()
    find(browser, "input[name='query']")[0].send_keys("fit_reverse_weibull")
    wait(browser, lambda: bool(find(browser, ".md-search-result__link")))
    found = [each.get_attribute("href") for each in find(browser, ".md-search-result__link")]
    assert any("api.html" in each for each in found)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        message["params"]["request"]["url"].partition(":")[0]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    assert asked <= {"file", "data", "blob", "about"}
    assert [each for each in browser.get_log("browser") if each["level"] == "SEVERE"] == []
