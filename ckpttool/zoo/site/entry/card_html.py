"""Converting a card's untrusted Markdown to safe HTML: without raw HTML, scripts, or remote resources."""

from typing import Any

from ckpttool.core.shown_text import harmless

LONGEST = 50_000
"""The maximum number of characters that are parsed as Markdown, to limit the time for malicious texts."""


def card_html(text: str) -> str:
    r"""Return Markdown as HTML: headings below those of a page, paragraphs, lists, tables, code, links.

    HTML, entities, and links that would run a script are shown as text; images become links, because the page loads
    nothing. Control characters, and those that change the text direction, are escaped.

    >>> print(card_html("# Digits\n\n*Small* <b>model</b>: [site](https://example.org)"), end="")
    <h3>Digits</h3>
    <p><em>Small</em> &lt;b&gt;model&lt;/b&gt;: <a href="https://example.org" rel="noopener">site</a></p>
    >>> card_html("[x](javascript:alert(1)) &lt;").strip()
    '<p>[x](javascript:alert(1)) &amp;lt;</p>'
    """
    from markdown_it import MarkdownIt  # slow to import, and few pages contain Markdown

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
    """Return the tokens of blocks, and their nested tokens."""
    return [each for token in tokens for each in (token, *(token.children or ()))]
