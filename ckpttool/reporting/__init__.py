"""Reports on a model: an HTML page, or a card in Markdown."""
