# SPDX-License-Identifier: Apache-2.0
"""Synthetic CT and organs at risk from one MR, with learned sharing between the tasks."""

__version__ = "0.1.0"
