# SPDX-License-Identifier: Apache-2.0
"""What lies where a file is expected, how it is called, and which other files it names."""

from __future__ import annotations

import os

from tests.bad_inputs.bad_file import Corpus, good_image
from tests.bad_inputs.encode import encode, mha, nifti, nrrd, pack

KINDS = ("nii", "nii.gz", "mha", "nrrd")


def no_files(corpus: Corpus) -> None:
    """Empty, absent, folders, pipes, devices, links to themselves."""
    for kind in (*KINDS, "mhd", "nhdr"):
        corpus.refused("no_file", f"empty.{kind}", b"", "an empty file")
        corpus.refused("no_file", f"absent.{kind}", None, "no such file")
        corpus.refused("no_file", f"folder.{kind}", None, "a folder").mkdir()
        corpus.refused("no_file", f"loop.{kind}", None, "symbolic links").symlink_to(f"loop.{kind}")
    os.mkfifo(corpus.refused("no_file", "pipe.nii.gz", None, "a pipe"))
    os.mkfifo(corpus.refused("no_file", "pipe", None, "a pipe"))
    corpus.refused("no_file", "zero.nii", None, "device").symlink_to("/dev/zero")
    corpus.refused("no_file", "null.mha", None, "device").symlink_to("/dev/null")
    corpus.refused("no_file", "dangling.nii.gz", None, "no such file").symlink_to("vanished.nii.gz")
    corpus.refused("no_file", "empty.nii/x.nii.gz", None, "no such file")
    corpus.refused("no_file", "x" * 300 + ".nii.gz", None, "file name too long")
    vanished = corpus.refused("no_file", "vanished.nii", nifti(), "no such file")
    vanished.unlink()


def names(corpus: Corpus) -> None:
    """Good images under names that scripts stumble over."""
    odd = ["a b.nii.gz", " x.nii.gz", "a\nb.nii.gz", "a\tb.nii", "é.nii.gz", "e\u0301.nii.gz", "日本.nii", "..x.nii.gz"]
    odd += ["x..nii.gz", "-x.nii.gz", "%d.nii.gz", "a;b.mha", "$(x).nrrd", "'\".nii.gz", "\x1b[31m.nii", "UPPER.NII.GZ"]
    odd += ["\udcff.nii.gz", "x.nii.nii.gz", "y" * 240 + ".nii.gz", "[a-b]*.mha"]
    for name in odd:
        kind = next(k for k in ("nii.gz", *KINDS) if name.lower().endswith(f".{k}"))
        corpus.read("name", name, encode(kind))
    for kind in (*KINDS, "z.mha", "gz.nrrd"):
        corpus.read("only_the_suffix_differs", f"x.{kind}", encode(kind))
    read_only = corpus.read("name", "read_only.nii.gz", encode("nii.gz"))
    read_only.chmod(0o444)
    corpus.read("name", "link.nii.gz", None).symlink_to("a b.nii.gz")
    corpus.refused("name", "picture.png", b"\x89PNG", "a file named .png")
    corpus.refused("name", "nothing", b"no suffix", "without suffix")
    corpus.refused("name", ".nii.gz", pack(nifti()), "a file named")


def other_files(corpus: Corpus) -> None:
    """Headers that name files: beside a detached header a plain name, else nothing."""
    secret = corpus.path("other_file", "secret.raw")
    secret.write_bytes(good_image().tobytes("F"))
    corpus.read("other_file", "beside.mhd", mha(data=b"", ElementDataFile="secret.raw"))
    corpus.read("other_file", "beside.nhdr", nrrd(data=b"", data_file="secret.raw"))
    corpus.refused("other_file", "attached.mha", mha(data=b"", ElementDataFile="secret.raw"), "in one file")
    corpus.refused("other_file", "attached.nrrd", nrrd(data=b"", data_file="secret.raw"), "in one file")
    elsewhere = (str(secret), "../other_file/secret.raw", "./secret.raw", "LIST", "LIST 2", "%03d.raw 1 14 1", "..")
    for n, name in enumerate(elsewhere):
        for kind, content in (
            ("mhd", mha(data=b"", ElementDataFile=name)),
            ("nhdr", nrrd(data=b"", data_file=name)),
        ):
            corpus.refused("other_file", f"{n}.{kind}", content, "a plain name in the same folder")
    for name, said in (("absent.raw", "no such file"), ("/dev/zero", "plain name"), ("zero", "device")):
        n = name.replace("/", "_")
        corpus.refused("other_file", f"{n}.mhd", mha(data=b"", ElementDataFile=name), said)
        corpus.refused("other_file", f"{n}.nhdr", nrrd(data=b"", data_file=name), said)
    corpus.path("other_file", "zero").symlink_to("/dev/zero")
