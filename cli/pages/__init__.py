"""Statistics to look at: scenes of plain shapes, as SVG in a page of one file, or as SVG and PNG of their own.

`reader` reads statistics; `roofline`, `bars`, `loops` and `scatter` lay scenes out; `svg` and `raster` write them;
`page` puts all of them into one file. Every position is computed once, in Python: a page shows what a file shows.
"""
