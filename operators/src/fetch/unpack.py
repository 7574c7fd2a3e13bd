"""unpack.py ARCHIVE BYTES_MAX (MEMBER TARGET)...: writes members of a zip or tar archive to files."""

import pathlib
import sys
import tarfile
import zipfile

archive, bytes_max, *pairs = sys.argv[1:]
if zipfile.is_zipfile(archive):
    opened = zipfile.ZipFile(archive)
    read = opened.open
else:
    opened = tarfile.open(archive)
    read = opened.extractfile
left = int(bytes_max)
with opened:
    for member, target in zip(pairs[::2], pairs[1::2]):
        with read(member) as source, pathlib.Path(target).open("wb") as sink:
            while chunk := source.read(1 << 20):
                left -= len(chunk)
                if left < 0:
                    raise SystemExit(f"{archive}: {member} is larger than it may be ({bytes_max} bytes)")
                sink.write(chunk)
