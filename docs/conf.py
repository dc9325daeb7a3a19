"""Settings of Sphinx for the documentation; `make docs` builds it."""

import os
from pathlib import Path
import sys

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / '_extensions')]
# The process that executes the notebook imports this checkout, too.
python_path = str(DOCS.parent), os.environ.get('PYTHONPATH')
os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, python_path))

from nerf_reversal_ros import __version__  # noqa: E402 (it is that of this checkout)

project = 'nerf_reversal_ros'
author = 'nerf_reversal_ros maintainers'
copyright = author
version = release = __version__

extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'code_reference']
exclude_patterns = ['_build']
myst_enable_extensions = ['colon_fence', 'deflist']
myst_heading_anchors = 4
# A cell that fails ends the build. Building a map is one cell, which a busy machine slows down.
nb_execution_raise_on_error = True
nb_execution_timeout = 1800
nb_merge_streams = True
default_role = 'code'
smartquotes = False  # options begin with two hyphens

# Other projects' classes, whose inventories would have to be fetched, and classes that are not
# of the public API.
nitpick_ignore_regex = [(r'py:.*', r'(?!nerf_reversal_ros\.\w+$).*')]

autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = 'furo'
html_static_path = ['_static']
html_css_files = ['site.css']
html_title = f'nerf_reversal_ros {release}'
html_copy_source = False
html_show_sphinx = False
