# SPDX-License-Identifier: MIT
"""A robot behind a serial port: opening, arming, calibration, diagnosis, the emulated board."""
