# SPDX-License-Identifier: Apache-2.0
"""The ``sfg-med`` command: one file per sub-command; each parses, calls and prints."""
