"""Files that are replaced whole, so that a reader, or a start after a crash, never finds half of one."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes | str, mode: int = 0o600, *, is_durable: bool = True) -> Path:
    """Write a file whole or not at all, in a folder that is made where it is absent.

    Args:
        path: the file; its draft stands next to it as long as it is written.
        content: what it holds then; text is written as UTF-8.
        mode: permissions of the file, whatever the umask is.
        is_durable: whether it has to survive a loss of power; costs some milliseconds.

    Returns:
        The path.

    Raises:
        OSError: it cannot be written; the file is what it was before.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if is_durable:
            # Renamed before its content is on the disk, it would be empty after a loss of power.
            file.flush()
            os.fsync(file.fileno())
    # A umask may have taken from it what readers need.
    draft.chmod(mode)
    draft.replace(path)
    return path
