# SPDX-License-Identifier: Apache-2.0
"""Code of others that pages hold; README.md says what it is and how to update it."""
