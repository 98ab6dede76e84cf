"""What mkdocs does beside its own work: the hook that mkdocs.yml names.

Pages are written for GitHub, where they are read as often as on the site. So this module, not the
pages, sees to what the two render differently, and fills in what is written elsewhere: README's
first words, and the options of the command line.
"""

from __future__ import annotations

import argparse
import html
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

#: The first and the last line of a block of code; and what else ends a paragraph by itself.
_FENCE = re.compile(r"(?P<fence> *(?:```|~~~)\S*)")
_BLOCK = re.compile(r" *(?:#{1,6} |<!--)")
_ITEM = re.compile(r"(?P<marker> *(?:[-*+]|(?P<number>\d+)[.)]) +)\S")
#: A link or picture, and where it leads: not to another site, nor into the page itself.
_LINK = re.compile(
    r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)"
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of a folder where the navigation has `folder/*.md`."""
    sections: list[dict[str, Any]] = config.nav or []
    listed = [
        pages for section in sections for pages in section.values() if isinstance(pages, list)
    ]
    named = {page for pages in listed for page in pages}
    for pages in listed:
        if pages[-1].endswith("/*.md"):
            pages[-1:] = rest(DOCS / pages[-1].removesuffix("/*.md"), named)
    return config


def rest(folder: Path, named: set[str]) -> list[Any]:
    """Return the pages of a folder that the navigation does not name, as it shall have them.

    Those that the folder's index.md links to stand below its headings, in its order; the others
    behind them, by name.
    """
    found = {path.name: path.relative_to(DOCS).as_posix() for path in sorted(folder.glob("*.md"))}
    pages = {name: page for name, page in found.items() if page not in named}
    index = folder / "index.md"
    text = index.read_text(encoding="utf-8") if index.exists() else ""
    groups: list[Any] = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        linked = dict.fromkeys(re.findall(r"\]\(([\w-]+\.md)", part))
        group = [pages.pop(name) for name in linked if name in pages]
        if group:
            groups.append({part.partition("\n")[0]: group})
    return [*groups, *pages.values()]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Return a page as Python-Markdown shall have it."""
    name = page.file.src_uri
    markdown = markdown.replace("<!-- README.md: what it is -->", lead(name))
    markdown = markdown.replace("<!-- every command -->", commands())
    return blocks(links(markdown, DOCS / name))


def lead(name: str) -> str:
    """Return README's first paragraph, and its first picture with the words below it.

    Args:
        name: The page that shall show it, relative to docs/: its links start there.
    """
    blocks = (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")
    picture = next(i for i, block in enumerate(blocks) if block.startswith("!["))
    caption = [block for block in blocks[picture + 1 : picture + 2] if block.startswith("*")]
    text = "\n\n".join([blocks[0].partition("\n")[2] or blocks[1], blocks[picture], *caption])
    here = (DOCS / name).parent

    def moved(link: re.Match[str]) -> str:
        target = os.path.relpath(ROOT / link["target"], here)
        return f"{link['picture']}[{link['text']}]({target}{link['anchor'] or ''})"

    return _LINK.sub(moved, text)


def links(markdown: str, page: Path) -> str:
    """Turn links to files of the repository that are no pages into their names."""

    def plain(link: re.Match[str]) -> str:
        target = (page.parent / link["target"]).resolve()
        if link["picture"] or target.is_relative_to(DOCS) or not target.exists():
            return link[0]
        name = target.relative_to(ROOT).as_posix()
        return f"`{name}`" if link["text"].strip("`") in name else f"{link['text']} (`{name}`)"

    return _LINK.sub(plain, markdown)


def blocks(markdown: str) -> str:
    """Write lists and blocks of code as Python-Markdown wants them.

    It takes a list that follows a paragraph without an empty line for a part of the paragraph, and
    wants four spaces before what belongs to an item, where GitHub wants the item's own indent. A
    block of code may have no word after its language.
    """
    made: list[str] = []
    open_items: list[int] = []  # where the text of each begins, from the outermost on
    in_fence = loose = False
    for line in markdown.splitlines():
        indent = len(line) - len(line.lstrip())
        fence, item = _FENCE.match(line), None if in_fence else _ITEM.match(line)
        in_paragraph = bool(made and made[-1].strip())
        if item and in_paragraph and not open_items and item["number"] not in (None, "1"):
            item = None  # a sentence that goes on with a number
        if item and in_paragraph and (loose or not open_items):
            made.append("")
        begins = item or fence or _BLOCK.match(line) or not in_paragraph
        if line.strip() and begins and not in_fence:
            while open_items and indent < open_items[-1]:
                open_items.pop()
        if fence:
            line, in_fence = fence["fence"], not in_fence
        cut = min(indent, open_items[-1]) if open_items else 0
        made.append("    " * len(open_items) + line[cut:] if line.strip() else "")
        loose = bool(open_items) and not item and (loose or not line.strip())
        if item:
            open_items.append(len(item["marker"]))
    return "\n".join(made) + "\n"


def commands() -> str:
    """Return every command with every option, from the parsers themselves."""
    return "\n\n".join(part for said, parser in parsers() for part in _command(said, parser))


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield what each command of the command line does, in a few words, and its parser."""
    from clever_ext.cli import _parser

    for action in _parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            for described in action._choices_actions:
                yield described.help or "", action.choices[described.dest]


def _command(said: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the parts of a command's section."""
    formatter = parser._get_formatter()  # how options are written and explained
    actions = [each for each in parser._actions if not isinstance(each, argparse._HelpAction)]
    needed = [
        " ".join([*each.option_strings[-1:], formatter._format_args(each, _placeholder(each))])
        for each in actions
        if each.required
    ]
    yield f"## {parser.prog}"
    yield f"{said[:1].upper()}{said[1:]}."
    yield f"```text\n{' '.join([parser.prog, *needed, '...'])}\n```"
    for group in parser._action_groups:
        rows = [
            f"<dt><code>{html.escape(formatter._format_action_invocation(action))}</code></dt>\n"
            f"<dd>{html.escape(formatter._expand_help(action))}</dd>"
            for action in group._group_actions
            if action in actions
        ]
        if rows:
            yield f"**{str(group.title).capitalize()}**"
            yield "\n".join(["<dl class='options'>", *rows, "</dl>"])
    if parser.epilog:
        yield f"```text\n{parser.epilog}\n```"


def _placeholder(action: argparse.Action) -> str:
    """Return what stands for a value that argparse gets no other word for."""
    return action.dest.upper() if action.option_strings else action.dest
