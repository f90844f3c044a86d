# SPDX-License-Identifier: MIT
"""One thread for PyTorch: networks this small get slower with more."""

import torch

torch.set_num_threads(1)
