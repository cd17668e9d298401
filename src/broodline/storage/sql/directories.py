"""The records of the directories that hold the files of studies."""

from __future__ import annotations

import sqlalchemy as sa

from broodline.storage.base import FilesRecord
from broodline.storage.sql.schema import directories


def files_record(connection: sa.Connection, study: str) -> FilesRecord | None:
    """The record of a study's directory; None if there is none."""
    row = connection.execute(sa.select(directories.c.id, directories.c.place).where(directories.c.study == study)).first()
    return None if row is None else FilesRecord(id=row.id, place=row.place)


def replace_files_record(connection: sa.Connection, study: str, before: FilesRecord | None, after: FilesRecord | None) -> bool:
    """Replaces, adds or removes the record of a study's directory; returns False, and changes nothing, if it is not `before`.

    Raises:
        sqlalchemy.exc.IntegrityError: Another transaction added the record at the same time.
    """
    if before is None:
        if files_record(connection, study) is not None:
            return False
        if after is not None:
            connection.execute(sa.insert(directories), {"study": study, "id": after.id, "place": after.place})
        return True
    found = (
        directories.c.study == study,
        directories.c.id == before.id,
        directories.c.place.is_not_distinct_from(before.place),
    )
    change = (
        sa.delete(directories).where(*found)
        if after is None
        else sa.update(directories).where(*found).values(id=after.id, place=after.place)
    )
    return connection.execute(change).rowcount == 1
