"""Reports of results, to hand on: a page that needs nothing else, and its twin in Markdown."""
