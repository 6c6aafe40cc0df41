"""A page of a report as a reader's browser sees it, and names that nobody should choose."""

from __future__ import annotations

import re
from html.parser import HTMLParser

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)> a|b `c` $x_{$ *d*",
    '"quoted" &lt;b&gt; %{x}',
    "long " * 60,
)


class Page(HTMLParser):
    """Tags with their attributes, what they load, scripts, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.attributes: set[str] = set()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.words: list[str] = []
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        fields = dict(attrs)
        self.tags.append(tag)
        self.elements.append((tag, fields))
        self.attributes |= set(fields)
        self.sources += [value for name, value in attrs if name in ("src", "href") and value]
        if fields.get("http-equiv") == "Content-Security-Policy":
            self.policy = fields["content"]
        if tag == "script":
            self.scripts.append((fields.get("type"), ""))

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script" and self.cdata_elem == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def assert_tables_are_whole(text: str) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert tables
    for table in tables:
        rows = table.splitlines()
        assert set(rows[1]) <= set("|-"), rows[:2]
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {rows[1].count("|")}, table
