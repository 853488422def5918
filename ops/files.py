"""Files of tables as they are: CSV and Parquet, packed or not, read whole or piece by piece."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

KINDS = (".csv", ".tsv", ".txt", ".parquet", ".pq")
PACKED = (".gz", ".zip", ".zst")
READABLE = ".csv, .tsv, .txt (also .gz, .zip or .zst), .parquet"
#: Rows of a file that are held at a time: some tens of megabytes.
PIECE = 200_000


class FrameError(Exception):
    """The file cannot be read as series; the sentence says what is missing."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Whatever is wrong inside is said of this file."""
    try:
        yield
    except FrameError as error:
        raise FrameError(f"{path.name}: {error}") from error


def length(path: Path) -> int | None:
    """How many rows the file says it has; None for one that does not say."""
    if _kind(path) not in (".parquet", ".pq"):
        return None
    with naming(path), _unreadable():
        return int(pq.read_metadata(path).num_rows)


def readable(path: Path) -> bool:
    """By its name."""
    return _kind(path) in KINDS


def load(path: Path) -> pd.DataFrame:
    """The file as it is, whole."""
    parts = list(loaded(path))
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0] if parts else pd.DataFrame()


def loaded(path: Path) -> Generator[pd.DataFrame]:
    """The file as it is, piece by piece, each column under a clean name."""
    with _unreadable(), ExitStack() as held:
        match _kind(path):
            case ".parquet" | ".pq":
                batches = held.enter_context(pq.ParquetFile(path)).iter_batches(batch_size=PIECE)
                parts: Iterator[pd.DataFrame] = (pa.Table.from_batches([batch]).to_pandas() for batch in batches)
            case ".csv" | ".tsv" | ".txt":
                read = pd.read_csv(path, sep=_separator(path), low_memory=False, skipinitialspace=True, chunksize=PIECE)
                parts = held.enter_context(read)
            case _:
                raise FrameError(f"its kind is not known; known are {READABLE}.")
        yield from (_clean(part) for part in parts if len(part))


@contextmanager
def _unreadable() -> Iterator[None]:
    """What the libraries say of a file that is torn, or none."""
    try:
        yield
    except pd.errors.EmptyDataError:
        raise FrameError("it is empty.") from None
    except (OSError, ValueError, EOFError, zlib.error, zstandard.ZstdError, pa.ArrowException) as error:
        raise FrameError(f"it cannot be read: {str(error).splitlines()[0]}") from error


def _kind(path: Path) -> str:
    """`.csv` of pump.csv.gz."""
    known = [suffix.lower() for suffix in path.suffixes[-2:] if suffix.lower() not in PACKED]
    return known[-1] if known else ""


def _clean(raw: pd.DataFrame) -> pd.DataFrame:
    if isinstance(raw.index, pd.DatetimeIndex) or any(name is not None for name in raw.index.names):
        raw = raw.rename_axis(index=[str(name or "at") for name in raw.index.names]).reset_index()
    return raw.rename(columns=lambda name: str(name).strip())


def _separator(path: Path) -> str:
    """The one of the usual separators that the first line has most of."""
    first = pd.read_csv(path, sep="\0", header=None, nrows=1, dtype=str, engine="c", quoting=3).iloc[0, 0]
    return max(",;\t|", key=str(first).count)


def stem(path: Path) -> str:
    """`pump` of pump.csv.gz, `host.a` of host.a.csv."""
    packed = path.suffix.lower() in PACKED
    return Path(path.stem).stem if packed else path.stem
