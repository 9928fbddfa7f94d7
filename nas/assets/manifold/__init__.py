"""Manifolds near which the images of a data set lie: a decoder from codes to images, and the code of an image."""
