"""The language: graph, loop nest and program in one module, their text, their rules; types and machine descriptions."""
