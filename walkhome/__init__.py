# SPDX-License-Identifier: MIT
"""The import package. Its sub-packages are links to the folders at the top of the checkout."""
