# SPDX-License-Identifier: MIT
"""C that is compiled at first use, for those who speak it through `ctypes`; knows nothing else."""
