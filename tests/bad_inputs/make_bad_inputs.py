# SPDX-License-Identifier: Apache-2.0
"""Write the corpus of bad and unusual inputs: ``python -m tests.bad_inputs.make_bad_inputs OUT``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from tests.bad_inputs import content_families, file_families, storage_families
from tests.bad_inputs.bad_file import BadFile, Corpus

FAMILIES = (
    *(storage_families.truncated, storage_families.flipped_streams, storage_families.flipped_headers),
    *(storage_families.wrong_magic, storage_families.byte_orders, storage_families.bombs, storage_families.claims),
    *(content_families.voxel_types, content_families.dimensions, content_families.values, content_families.scales),
    *(content_families.geometry, content_families.forms),
    *(file_families.no_files, file_families.names, file_families.other_files),
)


def write_corpus(folder: Path) -> list[BadFile]:
    """Write every family.

    Args:
        folder: new folder; it takes about 20 MB.

    Returns:
        The files, and what reading them as an MR gives.
    """
    corpus = Corpus(folder)
    for family in FAMILIES:
        family(corpus)
    return corpus.files


if __name__ == "__main__":
    files = write_corpus(Path(sys.argv[1]))
    for (family, expected), count in sorted(Counter((file.family, file.expected) for file in files).items()):
        print(f"{family:24} {expected:8} {count:4}")
    print(f"{len(files)} files")
