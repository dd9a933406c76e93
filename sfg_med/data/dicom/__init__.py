# SPDX-License-Identifier: Apache-2.0
"""DICOM series: which there are in a folder, which of them are one volume, and reading those."""

from sfg_med.data.dicom.find import find_series, series_at
from sfg_med.data.dicom.header import is_dicom
from sfg_med.data.dicom.read import read_series
from sfg_med.data.dicom.series import MAKER, Series

__all__ = ["MAKER", "Series", "find_series", "is_dicom", "read_series", "series_at"]
