# SPDX-License-Identifier: Apache-2.0
"""From clinical images to a training-ready dataset; ``sfg-med prepare`` is its command."""
