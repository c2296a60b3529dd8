"""The explorer: a page with controls, under which a net is drawn, measured and judged anew at every move."""
