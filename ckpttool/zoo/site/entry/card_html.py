"""The text of a card, Markdown of strangers, as HTML that does nothing: no HTML of theirs, no script, no fetch."""

from typing import Any

from ckpttool.core.shown_text import harmless

LONGEST = 50_000
"""Characters that are read as Markdown: what is made to take long does not, with so many."""


def card_html(text: str) -> str:
    r"""Return Markdown as HTML: headings below those of a page, paragraphs, lists, tables, code, links.

    HTML in it is shown as it was written, and so are entities and links that would run a script; pictures are links to
    them, as a page fetches nothing. Control characters, and what turns the direction of writing, are escaped.

    >>> print(card_html("# Digits\n\n*Small* <b>model</b>: [site](https://example.org)"), end="")
    <h3>Digits</h3>
    <p><em>Small</em> &lt;b&gt;model&lt;/b&gt;: <a href="https://example.org" rel="noopener">site</a></p>
    >>> card_html("[x](javascript:alert(1)) &lt;").strip()
    '<p>[x](javascript:alert(1)) &amp;lt;</p>'
    """
    from markdown_it import MarkdownIt  # slow to import, and few pages have Markdown

    reader = MarkdownIt("js-default", {"html": False, "maxNesting": 20})
    tokens = reader.disable(["image", "entity", "autolink", "html_block", "html_inline"]).parse(harmless(text))
    for token in _all(tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + 2)}"
        if token.type == "link_open":
            token.attrSet("rel", "noopener")
    html: str = reader.renderer.render(tokens, reader.options, {})
    return html


def _all(tokens: list[Any]) -> list[Any]:
    """Return the tokens of blocks, and those in them."""
    return [each for token in tokens for each in (token, *(token.children or ()))]
