"""Making and finishing the parts of an output: a single file, or a folder of Parquet parts."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from core.errors import ConfigError, DataError
from core.generation.options import GenerationConfig
from core.generation.scenario import added
from core.generation.seams import MEASURES, compare_seams, seams_in_words
from core.generation.series import SeriesParts
from core.generation.stage import Journal, Part, remove
from core.generation.target import Target, target_of
from core.generation.windows import Block, WindowParts
from core.lake import content_digest, file_digest

logger = logging.getLogger(__name__)

MANIFEST = "_manifest.json"
_PART = r"(windows|series)-\d{6}\.parquet"
_OWN_NAMES = re.compile(rf"{_PART}|\.{_PART}\.tmp|_manifest\.json|\._manifest\.json\.tmp")


def refuse_others(target: Target) -> None:
    """Refuse a folder with files of other making.

    Raises:
        ConfigError: it holds some.
    """
    if others := [name for name in target.place.names() if not _OWN_NAMES.fullmatch(name)]:
        raise ConfigError(
            f"{target.address} holds files that are not of this kind, such as {others[0]!r}: choose an empty "
            "folder"
        )


class Report(Protocol):
    """Takes what is being done, and how much of how much."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show it."""


class Generated(BaseModel):
    """What was written, and where."""

    model_config = ConfigDict(frozen=True)

    address: str
    """A path, a URL, or a folder of them, ending in /."""
    form: str
    windows: int | None
    series: int | None = None
    """How many side by side, None of one without a column `series`."""
    rows: int
    """Rows of the file, or of all parts."""
    columns: list[str]
    bytes: int
    parts: int
    """Files in the folder, 1 of a single file."""
    digest: str
    """SHA-256 of the file; of a folder, of the digests of its parts."""
    seconds: float
    resumed: int
    """Parts that an earlier attempt had finished."""
    reused: bool
    """A folder that was whole already: nothing was written."""
    lineage: dict[str, Any]
    seams: dict[str, Any] | None
    """Of a series, see `core.generation.seams.compare_seams`."""
    preview: list[dict[str, str]]
    """The first rows."""


class Writer:
    """One attempt at an output.

    Args:
        target: Where it goes.
        parts: What.
        lineage: For its metadata.
        key: Digest of all that decides its bytes.
        folder: For unfinished work, see `core.generation.stage`.
        config: What was asked for.
    """

    def __init__(
        self,
        target: Target,
        parts: WindowParts | SeriesParts,
        lineage: dict[str, Any],
        key: str,
        folder: Path,
        config: GenerationConfig,
    ) -> None:
        self.target, self.parts, self.lineage, self.key = target, parts, lineage, key
        self.folder, self.config = folder, config
        self.rows = parts.written
        self.place = target.place if target.name is None else target_of(f"{folder}/", folder).place
        self.journal = Journal(folder, self.place)
        self.preview: list[dict[str, str]] = []

    def run(self, began: float, report: Report) -> Generated:
        """Make what is not there yet; see `core.generation.write.generate`.

        Args:
            began: `time.monotonic()` as the call began.
            report: Told how far it is.
        """
        if self.target.name is None and (whole := self._whole_folder()) is not None:
            remove(self.folder)
            self._refuse_visible(whole.seams)
            return whole
        self.journal.recover()
        if self.target.name is None:
            self._clear_folder()
        resumed = len(self.journal.parts)
        if resumed:
            logger.info("%d of %d parts are there already", resumed, self.parts.count)
        self._draw(report)
        seams = self._seams()
        if self.config.scenario:
            reached = added([part.state["scenario"] for part in self.journal.parts])
            self.lineage = {**self.lineage, "reached": reached}
        if seams is not None:
            self.lineage = {**self.lineage, "seams": {k: v for k, v in seams.items() if k != "distances"}}
        size, digest = self._finish_folder(seams) if self.target.name is None else self._finish_file(seams)
        preview = self._preview()
        remove(self.folder)
        return self._generated(
            seconds=time.monotonic() - began,
            bytes=size,
            digest=digest,
            resumed=resumed,
            reused=False,
            seams=seams,
            preview=preview,
        )

    def _draw(self, report: Report) -> None:
        done = sum(part.count for part in self.journal.parts)
        what = "steps" if self.config.form == "series" else "windows"
        report(what, done, self.parts.total)
        start = len(self.journal.parts)
        state = self.journal.parts[-1].state if start else {}
        if start == self.parts.count:
            return
        for number, block in enumerate(self.parts.blocks(start, state), start):
            self.journal.append(self._written(number, block))
            done += block.count
            report(what, done, self.parts.total)

    def _written(self, number: int, block: Block) -> Part:
        name = f"{self.config.form}-{number:06d}.{self.rows.kind}"
        made = self.place.scratch(name)
        self.rows.write_part(block.content, made, first=number == 0, lineage=self.lineage)
        if number == 0:
            (self.folder / "preview.json").write_text(json.dumps(self.rows.preview(block.content)))
        size, digest = made.stat().st_size, file_digest(made)
        self.place.put(made, name)
        return Part(name, size, digest, block.count, block.rows, block.state, list(block.seams))

    def _seams(self) -> dict[str, Any] | None:
        """The verdict on a series.

        Raises:
            DataError: see `_refuse_visible`; nothing is left behind.
        """
        if self.config.form != "series":
            return None
        columns = self.rows.bundle.series.layout.temporal
        at, inside = (
            np.array([row for part in self.journal.parts for row in part.seams[k]]).reshape(
                -1, len(columns), len(MEASURES)
            )
            for k in range(2)
        )
        verdict = compare_seams(at, inside, [column.name for column in columns])
        if verdict["visible"] and self.config.seams == "refuse":
            if self.target.name is None:
                for part in self.journal.parts:
                    self.place.remove(part.name)
            remove(self.folder)
        self._refuse_visible(verdict)
        return verdict

    def _refuse_visible(self, verdict: dict[str, Any] | None) -> None:
        """DataError for seams that show, where that is refused."""
        if verdict is not None and verdict["visible"] and self.config.seams == "refuse":
            raise DataError(
                f"{seams_in_words(verdict)}; nothing was written: try another overlap, more candidates, a "
                "better generator (one that completes windows, see docs/generate.md), or seams=warn"
            )

    def _finish_file(self, seams: dict[str, Any] | None) -> tuple[int, str]:
        name = self.target.name or ""
        beside = f"{name}.json"
        parts = [self.folder / part.name for part in self.journal.parts]
        with self.target.place.write(name) as file:
            counted = _Counted(file)
            self.rows.assemble(parts, counted, self.parts.total, self.lineage)  # type: ignore[arg-type]
            if self.rows.kind != "parquet":
                self.target.place.remove(beside)  # of the file that goes now
        size, digest = counted.size, counted.digest.hexdigest()
        if self.rows.kind != "parquet":
            facts = {"file": name, "bytes": size, "sha256": digest, "rows": self._count_rows(), "seams": seams}
            self._write_json(beside, {**facts, "lineage": self.lineage})
        return size, digest

    def _finish_folder(self, seams: dict[str, Any] | None) -> tuple[int, str]:
        self._clear_folder()
        parts = [
            {"name": p.name, "count": p.count, "rows": p.rows, "bytes": p.bytes, "sha256": p.sha256}
            for p in self.journal.parts
        ]
        size, digest = sum(part.bytes for part in self.journal.parts), _digest_of(parts)
        facts = {"key": self.key, "rows": self._count_rows(), "bytes": size, "sha256": digest, "seams": seams}
        preview = self._preview()
        self._write_json(MANIFEST, {**facts, "lineage": self.lineage, "preview": preview, "parts": parts})
        return size, digest

    def _clear_folder(self) -> None:
        """Take away what another job left, its manifest first: from then on the folder is not whole."""
        kept = {part.name for part in self.journal.parts}
        names = [name for name in self.place.names() if _OWN_NAMES.fullmatch(name) and name not in kept]
        for name in sorted(names, key=lambda name: name != MANIFEST):
            self.place.remove(name)

    def _whole_folder(self) -> Generated | None:
        """What an earlier job for the same wrote, if it is still whole."""
        content = self.place.read(MANIFEST)
        try:
            found = json.loads(content or b"{}")
            if found.get("key") != self.key:
                return None
            for part in found["parts"]:
                if self.place.digest(part["name"]) != (part["bytes"], part["sha256"]):
                    logger.warning("%s is missing or has changed: all is made again", part["name"])
                    return None
            facts = {name: found[name] for name in ("rows", "bytes", "seams", "lineage")}
            order, digest = self.rows.schema.names, found["sha256"]
            facts["preview"] = [{name: row[name] for name in order} for row in found["preview"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s of %s is damaged (%s): all is made again", MANIFEST, self.target.address, error)
            return None
        self.lineage = facts.pop("lineage")
        logger.info("%s is whole already", self.target.address)
        return self._generated(**facts, digest=digest, seconds=0.0, resumed=len(found["parts"]), reused=True)

    def _generated(self, **facts: Any) -> Generated:
        facts.setdefault("rows", self._count_rows())
        return Generated(
            address=self.target.address,
            form=self.config.form,
            windows=None if self.config.form == "series" else self.parts.total,
            series=self.config.series,
            columns=self.rows.columns,
            parts=1 if self.target.name is not None else self.parts.count,
            lineage=self.lineage,
            **facts,
        )

    def _count_rows(self) -> int:
        return sum(part.rows for part in self.journal.parts)

    def _preview(self) -> list[dict[str, str]]:
        try:
            found: list[dict[str, str]] = json.loads((self.folder / "preview.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):  # the machine died just then: a look at the file does as well
            return []
        return found

    def _write_json(self, name: str, tree: dict[str, Any]) -> None:
        with self.target.place.write(name) as file:
            file.write((json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode())


class _Counted:
    """A file that knows what went through it."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.size, self.digest = file, 0, hashlib.sha256()

    def write(self, content: Any) -> int:
        view = memoryview(content)
        self.file.write(view)
        self.digest.update(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        """Whoever opened the file closes it."""


def _digest_of(parts: list[dict[str, Any]]) -> str:
    return content_digest(parts=[part["sha256"] for part in parts])
