"""Sphinx configuration."""

from gateway import __version__

project = "Lamppost"
author = "the Lamppost founders"
copyright = "the Lamppost founders, Apache-2.0"  # noqa: A001 - Sphinx asks for this name
release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
