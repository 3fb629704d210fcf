"""The napari side: two widgets and sample images.

All that they compute is also available without Qt.
"""
