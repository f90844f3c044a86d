# SPDX-License-Identifier: MIT
"""One thread: networks this small lose more by waiting for each other than they gain."""

import torch

torch.set_num_threads(1)
