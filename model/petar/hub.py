"""Checkpoints on a hub: `petar model push` and `petar model pull`.

A source of weights is a folder, a file, a hub id, `user/name` or `user/name@revision`, or `package:NAME==VERSION`, the
GGUF file of a Python package. Where the hub is and who asks is as everywhere with Hugging Face: HF_ENDPOINT, HF_TOKEN,
HF_HOME, HF_HUB_OFFLINE.
"""

import re
import shutil
import tempfile
from functools import partial
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from model.petar.checkpoints import (
    CONTRACT,
    WEIGHTS,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    read_contract,
    write_folder_atomically,
)
from pipelines.tables.errors import first_line, reason_of
from pipelines.tables.packaged_files import PACKAGE, PackageError, packaged_file

_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_ERRORS = (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, httpx2.HTTPError, OSError)


def local_path(source: Path | str) -> Path:
    """The folder or file of a source; a hub id is downloaded into Hugging Face's cache, once a revision.

    Raises CheckpointError where it is neither on disk nor to be had from the hub.
    """
    path = Path(source)
    if path.exists():
        return path
    if str(source).startswith(PACKAGE):
        try:
            return packaged_file(str(source).removeprefix(PACKAGE), ".gguf")
        except (PackageError, OSError) as error:
            raise CheckpointError(f"expected the weights {source}: {reason_of(error)}") from error
    match = _HUB_ID.fullmatch(str(source))
    if match is None:
        raise CheckpointError(f"expected a folder, a file or a hub id (user/name), {source} is not there")
    try:
        found = snapshot_download(match["repo"], revision=match["revision"])
    except _ERRORS as error:
        raise CheckpointError(
            f"expected {source} on disk or on the hub, it is not on disk and the hub says: {first_line(error)}: give "
            "the path of a folder, or a hub id that you may read"
        ) from error
    return Path(found)


def from_pretrained(source: Path | str) -> Checkpoint:
    """The checkpoint in a folder or of a hub id, as `load_checkpoint` gives it.

    Raises CheckpointError where it is not there, or is none.
    """
    return load_checkpoint(local_path(source))


def push_to_hub(folder: Path, repo: str, *, private: bool = True) -> str:
    """Uploads a checkpoint's files with a model card and returns the commit's address; the repository is made where it
    is missing.

    Only what belongs to a checkpoint is sent: no data, no optimiser's state. Raises CheckpointError where the folder is
    no checkpoint or the hub refuses.
    """
    contract = read_contract(folder)
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError(f"expected {WEIGHTS} in {folder}, it is not there: train the stage again")
    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as beside:
            staged = Path(beside)
            for name in (WEIGHTS, CONTRACT, *_tokenizer_files(folder)):
                (staged / name).symlink_to((folder / name).absolute())
            (staged / "README.md").write_text(contract.card())
            done = api.upload_folder(repo_id=repo, folder_path=staged, commit_message="Upload PETAR checkpoint")
    except _ERRORS as error:
        raise CheckpointError(
            f"expected to upload {folder} to {repo}, failed: {first_line(error)}: log in with a token that may write "
            "there"
        ) from error
    return str(done.commit_url)


def pull_from_hub(repo: str, folder: Path) -> Path:
    """Copies a checkpoint of the hub into a folder, whole or not at all, and returns it."""
    source = local_path(repo)
    read_contract(source)
    write_folder_atomically(folder, partial(shutil.copytree, source, dirs_exist_ok=True))
    return folder


def _tokenizer_files(folder: Path) -> list[str]:
    known = ("tokenizer", "special_tokens_map", "added_tokens", "chat_template")
    return sorted(p.name for p in folder.iterdir() if p.is_file() and p.name.startswith(known))
