# SPDX-License-Identifier: Apache-2.0
"""UIDs and patients: kept as they are, or replaced in the same way every time."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass

from pydicom.uid import UID, generate_uid

KEY_VARIABLE = "SFG_MED_DEIDENTIFY_KEY"


def make_uid(*parts: str) -> str:
    """UID made of its content, so that the same input gives the same file."""
    return generate_uid(entropy_srcs=["/".join(parts)])


@dataclass(frozen=True)
class Identity:
    """How identity is handled.

    Args:
        remove: replace patient and UIDs, empty dates. The same patient and UID always become the same. Without a key they
            become a hash, which somebody who knows the patient's ID can compute as well.
        key: secret of the hash.
    """

    remove: bool = False
    key: str = ""

    @classmethod
    def from_environment(cls, *, remove: bool) -> Identity:
        """With the key from ``$SFG_MED_DEIDENTIFY_KEY``: as an option it would be in the manifest."""
        return cls(remove, os.environ.get(KEY_VARIABLE, ""))

    def uid(self, original: str, *fallback: str) -> str:
        """The UID to write for one of the source; one made of the fallback where it is missing, or not valid."""
        if self.remove or not original or not UID(original).is_valid:
            return make_uid(self.hash(original or "/".join(fallback)))
        return original

    def patient(self, patient_id: str, name: str, study_uid: str) -> str:
        """Pseudonym of a patient; where neither ID nor name is known, of the study."""
        return f"SFG-{self.hash(patient_id or name or study_uid)[:12].upper()}"

    def hash(self, text: str) -> str:
        """Hexadecimal hash of a text with the key."""
        return hmac.new(self.key.encode(), text.encode(), hashlib.sha256).hexdigest()
