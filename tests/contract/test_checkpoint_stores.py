"""Every checkpoint store keeps the contract of checkpoint stores."""

from __future__ import annotations

from pathlib import Path

from broodline.storage.checkpoints.base import CheckpointStore
from broodline.storage.checkpoints.local import LocalCheckpointStore
from broodline.testing import CheckpointStoreContract, ChecksummedCheckpointsContract


class TestLocalCheckpoints(CheckpointStoreContract):
    @staticmethod
    def open_store(directory: Path) -> CheckpointStore:
        return LocalCheckpointStore(directory)


class TestLocalCheckpointsWithChecksums(CheckpointStoreContract, ChecksummedCheckpointsContract):
    @staticmethod
    def open_store(directory: Path) -> CheckpointStore:
        return LocalCheckpointStore(directory, checksums=True)

    open_checksummed = open_store
