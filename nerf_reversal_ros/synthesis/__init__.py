"""
Synthetic views rendered from a field as training data, and corruptions of images.

Other folders start at `view_synthesis`. Nothing here trains a network.
"""
