"""What must not be shown."""

from __future__ import annotations

import re
from typing import Any

MASK = "********"

_SECRET_NAME = re.compile(
    r"password|passphrase|secret|token|credential|jaas|private[._]?key|ssl[._]key|\.pem$"
    r"|basic\.auth|auth\.user\.info|oauthbearer\.config",
    re.IGNORECASE,
)
# Up to the last @: a password may itself hold one.
_USER_INFORMATION = re.compile(r"(?<=://)\S*@")


def masked(name: str, value: Any) -> Any:
    """The value as it may be shown: without secrets, known by their name, and user information in URLs."""
    if isinstance(value, dict):
        return {key: masked(f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(name, item) for item in value]
    if value not in (None, "") and is_secret(name):
        return MASK
    return _USER_INFORMATION.sub(f"{MASK}@", value) if isinstance(value, str) else value


def is_secret(name: str) -> bool:
    """Whether an option of this name holds a secret itself, not the place of one."""
    return bool(_SECRET_NAME.search(name)) and not name.lower().endswith(".location")
