"""Model cards: names from the data stay text, and what a page cannot hold is said."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from core.promotion.card import Card, Section, as_html, as_markdown, shortened

NASTY = "<script>alert(1)</script> | `a` [b](c) *d* #e"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, _: object) -> None:
        self.seen.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def card_of(text: str) -> Card:
    return Card(text, [Section(text, [text, text]), Section("table", [text], (text, "b"), [(text, text)])])


def test_names_from_the_data_stay_text() -> None:
    page, plain = Tags(), Tags()
    page.feed(as_html(card_of(NASTY)))
    plain.feed(as_html(card_of("name")))
    assert page.seen == plain.seen
    assert NASTY in page.text
    markdown = as_markdown(card_of(NASTY))
    assert "<" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {3}


@given(st.lists(st.text("ab c\n", min_size=1, max_size=300), max_size=12), st.integers(400, 2000))
def test_a_short_card_holds_whole_sections_and_says_what_is_missing(texts: list[str], most: int) -> None:
    whole = as_markdown(Card("title", [Section(f"s{i}", [text]) for i, text in enumerate(texts)]))
    short = shortened(whole, most)
    assert len(short) <= most
    assert (short == whole) == (len(whole) <= most)
    if short != whole:
        kept, _, rest = short.partition("\nThe rest is cut off here")
        assert whole.startswith(kept)
        assert rest
