"""A report: what is known of a model, on a page for a browser, or as a card in Markdown."""
