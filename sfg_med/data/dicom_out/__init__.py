# SPDX-License-Identifier: Apache-2.0
"""Results as DICOM: a synthetic CT as a CT series, organs as RT Structure Set and Segmentation."""
