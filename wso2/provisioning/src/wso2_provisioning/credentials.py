"""Credential files of the agent, written so that the three files always belong together.

Layout: `DIR/client_id` and its neighbours are links into `DIR/.current`, itself a link to one of the folders
`DIR/.version-…`. Switching that one link changes all three at once, and works where DIR is a mount that cannot
be replaced as a whole.
"""

import errno
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ev_service.files import replace_file
from wso2_provisioning.errors import CredentialsFolderError
from wso2_provisioning.tokens import ClientCredentials

CLIENT_ID, CLIENT_SECRET, LIMITS = "client_id", "client_secret", "limits.json"
SHARED = "*"
"""Name of the limit on all APIs and MCP servers together."""
_CURRENT = ".current"
_VERSION = ".version-"
_OWNER_READS = 0o400
# A page each for three files, their folder and its links.
_ROOM_BYTES = 8 * 4096


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """Number of requests that an application may send to one API in a window."""

    requests: int
    per_s: int
    """Length of the window [s]."""


def check_folder(folder: Path) -> None:
    """Check that the folder is writable, before a change whose result must be written there.

    Raises:
        CredentialsFolderError: it is not writable.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".probe-") as probe:
            # A full volume still accepts empty files. With existing credentials there may be nothing to write.
            if not (folder / CLIENT_SECRET).exists():
                (Path(probe) / "room").write_bytes(bytes(_ROOM_BYTES))
    except OSError as error:
        raise _build_folder_error(folder, error) from error


def is_written(folder: Path, credentials: ClientCredentials, limits: Mapping[str, RequestLimit]) -> bool:
    """Return whether the folder contains exactly these credentials and limits."""
    try:
        return all(
            (folder / name).read_text(encoding="utf-8") == text
            for name, text in _build_files(credentials, limits).items()
        )
    except (OSError, UnicodeDecodeError):
        return False


def write_credentials(folder: Path, credentials: ClientCredentials, limits: Mapping[str, RequestLimit]) -> None:
    """Write all three files and switch to them in one step.

    Raises:
        CredentialsFolderError: the folder is not writable.
    """
    files = _build_files(credentials, limits)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        version = _write_version(folder, files)
        current = folder / _CURRENT
        kept = {version.name, str(current.readlink()) if current.is_symlink() else ""}
        try:
            _switch_links(folder, version.name, files)
        except (OSError, NotImplementedError) as error:
            if not _is_symlink_unsupported(error):
                raise
            _replace_one_by_one(folder, files)
            shutil.rmtree(version)
            return
        # The previous folder remains until the next change: a reader may still use it.
        for left in folder.iterdir():
            if left.name.startswith(_VERSION) and left.name not in kept:
                shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        raise _build_folder_error(folder, error) from error


def _build_files(credentials: ClientCredentials, limits: Mapping[str, RequestLimit]) -> dict[str, str]:
    listed = {name: {"requests": limit.requests, "per_s": limit.per_s} for name, limit in sorted(limits.items())}
    # The secret last: if files are replaced one by one, a reader waits for it.
    return {
        CLIENT_ID: credentials.client_id,
        LIMITS: json.dumps(listed, indent=2) + "\n",
        CLIENT_SECRET: credentials.client_secret.get_secret_value(),
    }


def _write_version(folder: Path, files: Mapping[str, str]) -> Path:
    """Write a complete folder that no link points to yet."""
    version = Path(tempfile.mkdtemp(dir=folder, prefix=_VERSION))
    for name, text in files.items():
        replace_file(version / name, text, _OWNER_READS)
    return version


def _switch_links(folder: Path, version: str, files: Mapping[str, str]) -> None:
    _replace_link(folder / _CURRENT, version)
    for name in files:
        link, target = folder / name, f"{_CURRENT}/{name}"
        if not link.is_symlink() or str(link.readlink()) != target:
            _replace_link(link, target)


def _replace_link(link: Path, target: str) -> None:
    draft = link.with_name(f".link-{link.name.lstrip('.')}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)


def _is_symlink_unsupported(error: OSError | NotImplementedError) -> bool:
    # Windows lets only privileged users create links (error 1314); some mounted folders support none.
    unsupported = (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS)
    return (
        isinstance(error, NotImplementedError) or getattr(error, "winerror", None) == 1314 or error.errno in unsupported
    )


def _replace_one_by_one(folder: Path, files: Mapping[str, str]) -> None:
    """Replace the files without links: each one atomically, the secret last."""
    for name, text in files.items():
        if (folder / name).exists():
            # Windows does not replace a read-only file.
            (folder / name).chmod(0o600)
        replace_file(folder / name, text, _OWNER_READS)


def _build_folder_error(folder: Path, error: OSError) -> CredentialsFolderError:
    advice = "name a folder that this user may write with --credentials-dir"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "make room there, or name another folder with --credentials-dir"
    return CredentialsFolderError(
        f"credentials cannot be written to {folder} ({error.strerror or type(error).__name__}): {advice}"
    )
