"""A writer on a disk that gets full: writes until nothing fits, looks at the store, makes room, and writes the rest.

Says as JSON what it saw. The disk is that of the folder given; `ballast` in it is what is taken away to make room.
"""

from __future__ import annotations

import errno
import json
import resource
import sys
from contextlib import suppress
from pathlib import Path

from writers import CATALOGUED, RECIPE, key_of, put, record_of

from cache.audit import verify
from cache.catalogue import Catalogue
from cache.key import digest_of
from cache.store import Store, open_store

CLIPS = 41


def fill(store: Store) -> tuple[int, int, str]:
    """Tracks and records that were committed before the disk was full, and its error."""
    tracks = records = 0
    try:
        for number in range(CLIPS):
            tracks += put(store, f"shared-{number}", 0)
            records += Catalogue(store).update(record_of(f"shared-{number % CATALOGUED}", number))
    except OSError as error:
        return tracks, records, errno.errorcode.get(error.errno or 0, "")
    return tracks, records, ""


def main() -> None:
    folder, name, way = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    location = str(folder / name)
    if way == "tmpfs":
        with (folder / "ballast").open("wb") as ballast, suppress(OSError):
            ballast.write(bytes(3 * 2**20))
    store = open_store(location, writable=True)
    if way == "limit":  # each file may be so long, which a track is not and a text is
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    tracks, records, error = fill(store)
    again = open_store(location)
    faults = [f"{fault.kind} {fault.name}: {fault.said}" for fault in verify(again).faults]
    left = len(list(again.recipe_keys(digest_of(RECIPE))))
    if way == "tmpfs":
        (folder / "ballast").unlink()
    else:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    _, _, second = fill(open_store(location, writable=True))
    audit = verify(open_store(location))
    said = {
        "tracks": tracks, "records": records, "error": error, "faults": faults, "left": left, "second": second,
        "at_the_end": sum(store.has(key_of(f"shared-{number}")) for number in range(CLIPS)),
        "faults_at_the_end": [fault.said for fault in audit.faults],
        "unfinished": len(list((folder / f"{name}.local" / "unfinished").iterdir())),
    }  # fmt: skip
    print(json.dumps(said))


if __name__ == "__main__":
    main()
