# SPDX-License-Identifier: Apache-2.0
"""Files whose bytes are not what they should be: cut, flipped, swapped, or far more than they say."""

from __future__ import annotations

import zlib

import numpy as np

from tests.bad_inputs.bad_file import SHAPE, Corpus, good_image
from tests.bad_inputs.encode import FORMATS, encode, mha, nifti, nrrd, pack

DAMAGED = "damaged|something else"


def truncated(corpus: Corpus) -> None:
    """Cut in the header, at its end, in the voxels, and before the last byte."""
    for kind in FORMATS:
        content = encode(kind)
        for part, length in (("start", 3), ("header", 120), ("half", len(content) // 2), ("end", len(content) - 1)):
            corpus.refused("truncated", f"{part}.{kind}", content[:length], DAMAGED)
    for kind, content in (("nii", nifti()[:352]), ("mha", mha(data=b"")), ("nrrd", nrrd(data=b""))):
        corpus.refused("truncated", f"no_voxels.{kind}", content, "damaged")
    corpus.refused("truncated", "no_size.mha", mha(compressed=True, CompressedDataSize=None)[:-9], "damaged")


def flipped_streams(corpus: Corpus) -> None:
    """A flipped bit at many places of compressed voxels; in raw ones nobody can see it."""
    for kind in ("nii.gz", "z.mha", "gz.nrrd"):
        content = encode(kind)
        start = {"nii.gz": 12}.get(kind, len(content) - 5000)
        for n, at in enumerate(np.linspace(start, len(content) - 1, 8).astype(int)):
            corpus.refused("flipped_stream", f"{n}.{kind}", _flip(content, int(at), 3), DAMAGED)
    changed = good_image()
    changed[-1, -1, -1] ^= 1 << 10
    for kind in ("nii", "mha", "nrrd"):
        content = encode(kind)
        corpus.read("flipped_stream", f"raw.{kind}", _flip(content, len(content) - 1, 2), changed)


def flipped_headers(corpus: Corpus) -> None:
    """A flipped bit in what a header says about its voxels."""
    places = {"sizeof_hdr": 0, "dim0": 40, "dim1": 42, "dim2": 44, "dim3": 46, "datatype": 70, "bitpix": 72}
    places |= {"pixdim1": 83, "vox_offset": 110, "sform": 255, "magic": 345}
    for name, at in places.items():
        bit = 7 if name in ("pixdim1", "sform", "vox_offset") else 3
        corpus.refused("flipped_header", f"{name}.nii", _flip(nifti(), at, bit), ".")
    for kind, content, words in (
        ("mha", mha(), (b"NDims", b"DimSize", b"MET_SHORT", b"ElementSpacing", b"ElementDataFile", b"LOCAL")),
        ("nrrd", nrrd(), (b"NRRD", b"type", b"int16", b"sizes", b"endian", b"space dir", b"space or", b"encoding")),
    ):
        for word in words:
            at = content.index(word) + 2
            corpus.refused("flipped_header", f"{word.decode()}.{kind}", _flip(content, at, 1), ".")


def wrong_magic(corpus: Corpus) -> None:
    """Other formats under the name of an image."""
    jpeg, png, dicom = (
        b"\xff\xd8\xff\xe0" + bytes(900),
        b"\x89PNG\r\n\x1a\n" + bytes(900),
        bytes(128) + b"DICM" + bytes(900),
    )
    for name, content in (
        ("jpeg", jpeg),
        ("png", png),
        ("dicom", dicom),
        ("text", b"no image\n" * 99),
        ("zero", bytes(999)),
    ):
        for kind in ("nii", "nii.gz", "mha", "nrrd"):
            corpus.refused("wrong_magic", f"{name}.{kind}", content, "something else|damaged")
    for name, magic in (("pair", b"ni1\0"), ("analyze", bytes(4)), ("other", b"n+3\0"), ("lower", b"N+1\0")):
        corpus.refused("wrong_magic", f"{name}.nii", nifti(magic=magic), "a single-file NIfTI")
    corpus.refused("wrong_magic", "newlines.nii", nifti(version=2, eol_check=[10, 10, 26, 10]), "a single-file NIfTI")
    corpus.refused("wrong_magic", "nrrd9.nrrd", b"NRRD0009" + nrrd()[8:], "something else")
    corpus.read("wrong_magic", "raw_named.nii.gz", nifti())
    corpus.read("wrong_magic", "packed_named.nii", pack(nifti()))
    corpus.refused("wrong_magic", "nifti_named.mha", nifti(), "something else|damaged")
    corpus.refused("wrong_magic", "mha_named.nii", mha(), "something else")


def byte_orders(corpus: Corpus) -> None:
    """Big-endian files are read; a header in two orders is not."""
    swapped = good_image().astype(">i2").tobytes("F")
    for version in (1, 2):
        corpus.read("byte_order", f"big{version}.nii", nifti(order=">", version=version))
        content = nifti(version=version)
        corpus.refused(
            "byte_order", f"mixed{version}.nii", content[3::-1] + content[4:], "dimensions|magic|something else"
        )
        at, size = ((40, 2), (16, 8))[version - 1]
        mixed = content[:at] + content[at : at + size][::-1] + content[at + size :]
        corpus.refused("byte_order", f"mixed_dim{version}.nii", mixed, "dimensions")
    corpus.read("byte_order", "big.mha", mha(data=swapped, BinaryDataByteOrderMSB="True"))
    corpus.read("byte_order", "big.nrrd", nrrd(data=swapped, endian="big"))
    corpus.refused("byte_order", "none.nrrd", nrrd(endian=None), "endian")


def bombs(corpus: Corpus) -> None:
    """Small on disk; what they claim to hold, or hold beyond what they claim, fills the memory."""
    zeros = bytes(1 << 24)
    gigabytes = pack(zeros) * 192  # three, in 3 MB
    corpus.refused("bomb", "surplus.nii.gz", pack(nifti()) + gigabytes, "after the voxels")
    corpus.refused(
        "bomb", "surplus.gz.nrrd", nrrd(data=pack(good_image().tobytes("F")) + gigabytes, encoding="gzip"), "after"
    )
    deflater = zlib.compressobj()
    block = deflater.compress(zeros) + deflater.flush(zlib.Z_FULL_FLUSH)
    inner = zlib.compressobj(wbits=-15)
    more = inner.compress(zeros) + inner.flush(zlib.Z_FULL_FLUSH)
    stream = block + more * 191
    corpus.refused("bomb", "surplus.z.mha", mha(data=stream, CompressedData="True"), "after the voxels")
    corpus.refused(
        "bomb",
        "zeros.nii.gz",
        pack(nifti(dim=[3, 300, 300, 300, 1, 1, 1, 1])[:352] + bytes(54_000_000)),
        "value 0|field of view",
    )
    corpus.refused("bomb", "extension.nii.gz", pack(nifti(vox_offset=2.0**28)) + pack(zeros), "damaged")
    corpus.refused("bomb", "empty_members.nii.gz", pack(nifti()[:400]) + pack(b"") * 50_000, "damaged")
    corpus.refused("bomb", "long_header.mha", b"Comment = x\n" * 500_000, "damaged")
    corpus.refused("bomb", "long_line.nrrd", b"NRRD0004\n#" + b"x" * 5_000_000, "damaged")


def claims(corpus: Corpus) -> None:
    """Headers of sizes that their files cannot hold."""
    sides = {
        "2^15": (1 << 15,) * 3,
        "2^15-1": ((1 << 15) - 1,) * 3,
        "under_the_limit": (512, 512, 2000),
        "double": (48, 22, 14),
    }
    for name, side in sides.items():
        said = "at most|dimensions" if name.startswith("2") else "damaged|field of view"
        words = " ".join(map(str, side))
        dim = [3, *np.minimum(side, (1 << 15) - 1), 1, 1, 1, 1]
        corpus.refused("claim", f"{name}.nii", nifti(dim=dim), said)
        corpus.refused("claim", f"{name}.nii.gz", pack(nifti(dim=dim)), said)
        corpus.refused("claim", f"{name}.2.nii", nifti(version=2, dim=[3, *side, 1, 1, 1, 1]), said)
        for packed in (False, True):
            prefix = "packed" if packed else "raw"
            corpus.refused("claim", f"{name}.{prefix}.mha", mha(compressed=packed, DimSize=words), said)
            corpus.refused("claim", f"{name}.{prefix}.nrrd", nrrd(compressed=packed, sizes=words), said)
    fewer = " ".join(map(str, (*SHAPE[:2], SHAPE[2] // 2)))
    corpus.refused("claim", "half.nii", nifti(dim=[3, *SHAPE[:2], SHAPE[2] // 2, 1, 1, 1, 1]), "after the voxels")
    corpus.refused("claim", "half.mha", mha(DimSize=fewer), "after the voxels")
    corpus.refused("claim", "half.z.mha", mha(compressed=True, DimSize=fewer), "after the voxels")
    corpus.refused("claim", "half.nrrd", nrrd(sizes=fewer), "after the voxels")
    corpus.refused("claim", "2^62.2.nii", nifti(version=2, dim=[3, 1 << 62, 1 << 62, 9, 1, 1, 1, 1]), "at most")
    corpus.refused("claim", "digits.nrrd", nrrd(sizes="9" * 300 + " 2 2"), "damaged")


def _flip(content: bytes, at: int, bit: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
