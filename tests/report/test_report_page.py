"""The page in a real browser: headless Chromium, driven by its own WebDriver."""

import json
from pathlib import Path

import pytest
from browsers import find, look_as, open_browser, wait
from reported import BROKEN, HOSTILE, make_pictures, make_run

import clever_ext as cx

pytestmark = pytest.mark.browser

#: Web Content Accessibility Guidelines 2, level AA, for text of ordinary size.
LEAST_CONTRAST = 4.5

#: Of each selector's first element: its text's colour, and all that is painted behind it.
COLOURS = """
const paper = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const rgba = (text) => {
  paper.clearRect(0, 0, 1, 1);
  paper.fillStyle = text;
  paper.fillRect(0, 0, 1, 1);
  return [...paper.getImageData(0, 0, 1, 1).data];
};
return arguments[0].map((selector) => {
  let element = document.querySelector(selector);
  const text = rgba(getComputedStyle(element).color);
  for (; element; element = element.parentElement) {
    const behind = rgba(getComputedStyle(element).backgroundColor);
    if (behind[3] === 255) return [selector, text, behind];
  }
});
"""


@pytest.fixture(scope="module")
def new_browser(tmp_path_factory):
    """Open browsers of their own profile, and close them all."""
    opened = []

    def another():
        opened.append(open_browser(tmp_path_factory.mktemp("profile")))
        return opened[-1]

    yield another
    for driver in opened:
        driver.quit()


@pytest.fixture(scope="module")
def browser(new_browser):
    return new_browser()


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    make_pictures(folder / "pictures")
    runs = [make_run(folder / "pictures", seed) for seed in (0, 1)]
    cx.write_report(runs, folder / "report.html")
    return folder / "report.html"


#: Runs of brackets that kept their nearest flips.
BRACKETS = {"radius": "auto", "estimator": "steepest", "keep_witness": True, "max_gradients": 40}


@pytest.fixture(scope="module")
def page_of_brackets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("brackets")
    make_pictures(folder / "pictures")
    runs = [make_run(folder / "pictures", seed, most=8, **BRACKETS) for seed in (0, 1)]
    table = runs[0].table  # of one picture no flip was found
    lost = table["image"].str.contains("mnist_03")
    table.loc[lost, "nearest_flip"] = float("inf")
    table["witness"] = [
        x[:0] if gone else x for x, gone in zip(table["witness"], lost, strict=True)
    ]
    cx.write_report(runs, folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def shown(browser, page):
    """The page at 1280 pixels in light mode, loaded anew."""
    return show(browser, page, 1280, "light")


def show(browser, page, width, scheme):
    look_as(browser, width, scheme)
    browser.get(page.as_uri())
    wait(browser, lambda: len(find(browser, ".drawing svg")) == 4)
    return browser


def press(element, key):
    from selenium.webdriver.common.keys import Keys

    element.send_keys(getattr(Keys, key))


def visible_rows(browser):
    rows = browser.execute_script(
        "return [...document.querySelectorAll('#table tbody tr:not(.details)')]"
        ".filter((row) => !row.hidden).map((row) => [...row.cells].map((cell) => "
        "cell.dataset.value ?? cell.textContent.trim()))"
    )
    head = [cell.get_attribute("data-column") for cell in find(browser, "#table thead th")]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_no_error_and_no_request(new_browser, page):
    browser = show(new_browser(), page, 1280, "light")
    find(browser, ".open")[0].click()
    wait(browser, lambda: bool(find(browser, ".details")))
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
        and message["params"]["documentURL"] == page.as_uri()
    ]
    assert asked[0] == page.as_uri()
    assert all(url.startswith("data:") for url in asked[1:])
    # And the page itself forbids what nothing of it tries.
    refused = browser.execute_async_script(
        "fetch('https://example.org').then(() => arguments[0](false), () => arguments[0](true))"
    )
    assert refused
    assert any(
        "Content Security Policy" in entry["message"] for entry in browser.get_log("browser")
    )


def test_hostile_names_are_text(shown):
    assert HOSTILE in {row["picture"] for row in visible_rows(shown)}
    assert not find(shown, "img[src='x']")
    row = next(each for each in find(shown, ".open") if HOSTILE in each.text)
    row.click()
    details = find(shown, ".details")[0]
    assert "misclassified" in details.text
    assert details.find_element("css selector", "img").get_attribute("alt") == HOSTILE


@pytest.mark.parametrize("how", ["click", "keyboard"])
def test_the_table_sorts(shown, how):
    head = find(shown, "#table th[data-column='score']")[0]
    button = head.find_element("css selector", "button")
    act = button.click if how == "click" else lambda: press(button, "ENTER")
    for order, falls in (("ascending", False), ("descending", True)):
        act()
        assert head.get_attribute("aria-sort") == order
        scores = [row["score"] for row in visible_rows(shown)]
        known = [float(score) for score in scores if score]
        assert known == sorted(known, reverse=falls)
        assert scores[-2:] == ["", ""]  # what could not be scored stands last in both orders
    find(shown, "#table th[data-column='picture'] button")[0].click()
    assert head.get_attribute("aria-sort") is None
    names = [row["picture"] for row in visible_rows(shown)]
    assert names.index(BROKEN) < names.index("mnist_00_7.png") < names.index("mnist_19_4.png")


def test_the_table_filters(shown):
    from selenium.webdriver.support.ui import Select

    def choose(name, value):
        Select(find(shown, f"#filters select[name='{name}']")[0]).select_by_visible_text(value)

    total = len(visible_rows(shown))
    count = find(shown, "#count")[0]
    assert count.text == f"{total} rows" == "86 rows"
    choose("status", "misclassified")
    assert {row["picture"] for row in visible_rows(shown)} == {HOSTILE}
    assert count.text == "4 of 86 rows"
    choose("norm", "inf")
    choose("run", "digits-1")
    assert len(visible_rows(shown)) == 1
    for name in ("status", "norm", "run"):
        choose(name, "all")
    search = find(shown, "#filters input")[0]
    search.send_keys("MNIST_1 digits-0")
    assert len(visible_rows(shown)) == 20
    search.send_keys(" no such picture")
    assert visible_rows(shown) == []
    assert count.text == "0 of 86 rows"


def test_flags_filter(shown):
    from selenium.webdriver.support.ui import Select

    chosen = find(shown, "#filters select[name='flag']")
    flags = {word.text for word in find(shown, "#table .flag")}
    assert len(chosen) == bool(flags)
    for flag in flags:
        Select(chosen[0]).select_by_visible_text(flag)
        rows = visible_rows(shown)
        assert rows
        assert all(flag in row["status"] for row in rows)


def test_a_row_opens_to_its_fit_by_keyboard(shown):
    row = next(each for each in find(shown, "#table tbody tr") if "mnist_00_7" in each.text)
    button = row.find_element("css selector", ".open")
    assert button.get_attribute("aria-expanded") == "false"
    press(button, "ENTER")
    assert button.get_attribute("aria-expanded") == "true"
    wait(shown, lambda: len(find(shown, ".details svg")) >= 1)
    details = find(shown, ".details")[0]
    assert "The largest gradient norm of each batch" in details.text
    assert "location (Lipschitz estimate)" in details.text
    bars = details.find_elements("css selector", "svg g[aria-label='rect'] rect")
    assert bars
    assert all(float(bar.get_attribute("height")) >= 0 for bar in bars)
    # The fit goes where its row goes, and is hidden with it.
    find(shown, "#table th[data-column='score'] button")[0].click()
    assert shown.execute_script(
        "return arguments[0].nextElementSibling === arguments[1]", row, details
    )
    find(shown, "#filters input")[0].send_keys("mnist_01")
    assert not details.is_displayed()
    for _ in "mnist_01":
        press(find(shown, "#filters input")[0], "BACKSPACE")
    press(button, "SPACE")
    assert not find(shown, ".details")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_can_be_read(browser, page, width, scheme):
    shown = show(browser, page, width, scheme)
    for button in find(shown, ".open")[:4]:
        shown.execute_script("arguments[0].click()", button)
    wait(shown, lambda: all(drawn.text for drawn in find(shown, ".details svg")))
    assert shown.execute_script("return document.documentElement.scrollWidth") <= width
    selectors = [
        "h1", ".lead", "p.quiet", ".counts dt", ".counts dd", ".numbers td",
        ".numbers thead th", "#table thead button", ".open", "#table td",
        ".word.ok", ".word.misclassified", ".word.error", ".word.flag", ".filters label",
        "#filters input", "#filters select", ".detail dt", ".detail dd", ".meanings p", ".words dd",
        "footer", ".drawing svg text",
    ]  # fmt: skip
    found = shown.execute_script(COLOURS, selectors)
    for selector, text, behind in found:
        assert contrast(text, behind) >= LEAST_CONTRAST, selector
    darker = found[0][2][0] < 128
    assert darker == (scheme == "dark")
    # What tells most stands in the narrow table too.
    heads = [
        head.text.split()[0].strip(",")
        for head in find(shown, "#table thead th")
        if head.is_displayed()
    ]
    assert {"picture", "norm", "score", "status"} <= set(heads)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_brackets_can_be_read(browser, page_of_brackets, width, scheme):
    shown = show(browser, page_of_brackets, width, scheme)
    band, dashed, line = (
        find(shown, f".drawing svg g[aria-label='{mark}'] path")
        for mark in ("area", "line", "line")
    )
    assert len(band) == 4  # of two runs in two norms
    assert len(dashed) == len(line) == 8
    assert "dashed: upper ends" in find(shown, ".drawing")[0].text
    rows = [row for row in find(shown, "#table tbody tr") if "mnist_02" in row.text]
    shown.execute_script("arguments[0].click()", rows[0].find_element("css selector", ".open"))
    wait(shown, lambda: len(find(shown, ".flip img")) == 3)
    wait(shown, lambda: shown.execute_script(
        "return [...document.querySelectorAll('.flip img')].every((i) => i.naturalWidth > 0)"
    ))  # fmt: skip
    said = find(shown, ".flip")[0].text
    assert " → " in said
    assert "gives digit" in said
    assert "What changed, " in said
    assert " times, around grey" in said
    assert shown.execute_script("return document.documentElement.scrollWidth") <= width
    selectors = [".flip p", ".flip figcaption", ".detail dd", ".drawing svg text", "#table td"]
    for selector, text, behind in shown.execute_script(COLOURS, selectors):
        assert contrast(text, behind) >= LEAST_CONTRAST, selector
    heads = [
        head.text.split("\n")[0] for head in find(shown, "#table thead th") if head.is_displayed()
    ]
    assert {"lower", "upper"} <= {head.split()[0] for head in heads}
    assert [entry for entry in shown.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_upper_ends_sort_with_those_that_are_not_known_last(browser, page_of_brackets):
    shown = show(browser, page_of_brackets, 1280, "light")
    find(shown, "#table th[data-column='upper'] button")[0].click()
    upper = [
        float(row["upper"].replace("Infinity", "inf"))
        for row in visible_rows(shown)
        if row["upper"]
    ]
    assert upper == sorted(upper)
    assert upper[-1] == float("inf")
    assert "no flip found" in find(shown, "#table")[0].text


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour):
    channels = [value / 255 for value in colour[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_controls_and_figures_have_names(shown):
    find(shown, ".open")[8].click()
    wait(shown, lambda: bool(find(shown, ".details svg")))
    tree = shown.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {}
    for node in tree:
        role = node.get("role", {}).get("value")
        if node.get("ignored") or role not in (
            "button", "combobox", "searchbox", "textbox", "image", "region", "search", "table",
        ):  # fmt: skip
            continue
        named.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    assert {role: names.count("") for role, names in named.items() if "" in names} == {}
    assert named["searchbox"] == ["search"]
    assert {"run", "norm", "status"} <= set(named["combobox"])
    assert "Box plot of the scores for p = inf" in named["image"]
