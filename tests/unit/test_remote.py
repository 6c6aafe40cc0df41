"""Files behind URLs and files fetched from their home, against a server of this machine."""

from __future__ import annotations

import errno
import io
import sys
import threading
import types
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from core.catalog import DatasetConfig, FileSource
from core.errors import ConfigError, SourceError, StorageError
from core.sources.resolve import resolve_dataset
from core.sources.snapshots import snapshot
from core.sources.stored import StoredRows
from core.sources.yahoo import PRICE_COLUMNS
from tests.unit.source_tables import load_table

CSV = b"t,x\n2024-01-01,1.5\n2024-01-02,2.5\n"


class Pages(BaseHTTPRequestHandler):
    """Answers by path; what is not there by the status that its name is."""

    def __init__(self, pages: dict[str, bytes], *args: object) -> None:
        self.pages = pages
        super().__init__(*args)

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, *, body: bool) -> None:
        name = self.path.split("?")[0].strip("/")
        if name not in self.pages and name != "cut.csv":
            self.send_error(int(name) if name.isdigit() else 404)
            return
        data = self.pages.get(name, CSV)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) + 1000 * (name == "cut.csv")))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pages() -> dict[str, bytes]:
    return {"x.csv": CSV}


@pytest.fixture
def home(pages: dict[str, bytes]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, pages))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def of_url(url: str, **options: object) -> DatasetConfig:
    return DatasetConfig(name="far", source=FileSource(path=url, **options))


def test_a_file_behind_a_url_is_read_and_not_kept(home, tmp_path):
    lake = tmp_path / "lake"
    first = snapshot(of_url(f"{home}/x.csv?version=1"), lake)
    assert StoredRows.open(first).table()["x"].to_pylist() == [1.5, 2.5]
    assert [path.name for path in (lake / "downloads").iterdir()] == [".lock"]
    assert snapshot(of_url(f"{home}/x.csv"), lake).reused


def test_a_url_alone_is_described(home, tmp_path):
    dataset = resolve_dataset(f"{home}/x.csv", tmp_path).dataset
    assert (dataset.name, dataset.time.column) == ("x", "t")


@pytest.mark.parametrize(
    ("page", "error"),
    [
        ("404", ConfigError),
        ("403", ConfigError),
        ("500", SourceError),
        ("503", SourceError),
        ("cut.csv", SourceError),
    ],
)
def test_answers_that_are_no_file(home, tmp_path, page, error):
    with pytest.raises(error, match=page):
        load_table(of_url(f"{home}/{page}", format="csv"), tmp_path)
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == [".lock"]


def test_no_server_says_where_a_copy_goes(tmp_path):
    with pytest.raises(SourceError, match=r"local copy in `source\.path`"):
        load_table(of_url("http://127.0.0.1:1/x.csv"), tmp_path)
    missing = tmp_path / "data" / "x.csv"
    fetch = {"kind": "url", "url": "http://127.0.0.1:1/x.csv"}
    with pytest.raises(SourceError, match=r"put a copy of the file at .*data/x\.csv"):
        load_table(of_url(str(missing), fetch=fetch))
    assert not missing.exists()


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@host/x.csv",
        "https://hunter2@host/x.csv",
        "https://host/x.csv?token=hunter2",
        "https://host/x.csv?X-Amz-Signature=hunter2",
        "s3://AKIA:hunter2@bucket/x.csv",
    ],
)
def test_secrets_in_urls_are_refused_and_not_repeated(tmp_path, url):
    with pytest.raises(ConfigError) as caught:
        load_table(of_url(url), tmp_path)
    assert "hunter2" not in str(caught.value).replace("https://hunter2@host", "")


def test_a_secret_from_the_environment_stays_out_of_messages(home, tmp_path, monkeypatch):
    monkeypatch.setenv("KEY", "hunter2")
    assert len(load_table(of_url(f"{home}/x.csv?token=${{KEY}}"), tmp_path)) == 2
    with pytest.raises(ConfigError) as caught:
        load_table(of_url(f"{home}/404?token=${{KEY}}", format="csv"), tmp_path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["klingon://host/x.csv", "memory://nothing/x.csv"])
def test_what_nothing_opens_is_a_configuration_error(tmp_path, url):
    with pytest.raises(ConfigError):
        load_table(of_url(url), tmp_path)


def test_a_missing_file_is_fetched_once(home, pages, tmp_path):
    path = tmp_path / "data" / "x.csv"
    dataset = of_url(str(path), fetch={"kind": "url", "url": f"{home}/x.csv"})
    assert len(load_table(dataset)) == 2
    assert path.read_bytes() == CSV
    pages.clear()
    assert len(load_table(dataset)) == 2


@pytest.mark.parametrize(("name", "kept"), [("x.csv", CSV), ("x.zip", None)])
def test_a_fetched_zip_is_kept_as_the_path_says(home, pages, tmp_path, name, kept):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("inside.csv", CSV)
    pages["z.zip"] = memory.getvalue()
    dataset = of_url(str(tmp_path / name), fetch={"kind": "url", "url": f"{home}/z.zip"})
    assert load_table(dataset)["x"].to_pylist() == [1.5, 2.5]
    assert (tmp_path / name).read_bytes() == (kept or memory.getvalue())


def yahoo(path: Path) -> DatasetConfig:
    return of_url(
        str(path), fetch={"kind": "yahoo", "symbol": "GOOG", "start": "2024-01-02", "end": "2024-01-05"}
    )


def test_prices_from_yahoo(tmp_path, monkeypatch):
    asked = {}

    def prices(symbol: str, **options: object) -> pd.DataFrame:
        asked.update(options, symbol=symbol)
        index = pd.DatetimeIndex(["2024-01-03", "2024-01-02"], tz="America/New_York", name="Date")
        columns = ["Adj Close", "Close", "High", "Low", "Open", "Volume"]
        return pd.DataFrame([[1.5, 2, 3, 1, 2, 10], [1.25, 2, 3, 1, 2, 20]], index=index, columns=columns)

    monkeypatch.setitem(sys.modules, "yfinance", types.SimpleNamespace(download=prices))
    table = load_table(yahoo(tmp_path / "goog.csv"))
    assert table.column_names == ["Date", *PRICE_COLUMNS]
    assert [str(day) for day in table["Date"].to_pylist()] == ["2024-01-02", "2024-01-03"]
    assert table["Adj_Close"].to_pylist() == [1.25, 1.5]
    assert (asked["symbol"], asked["auto_adjust"], str(asked["end"])) == ("GOOG", False, "2024-01-05")


def test_yahoo_without_package_or_prices(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(ConfigError, match="extra `fetch`"):
        load_table(yahoo(tmp_path / "goog.csv"))
    nothing = types.SimpleNamespace(download=lambda *_, **__: pd.DataFrame())
    monkeypatch.setitem(sys.modules, "yfinance", nothing)
    with pytest.raises(SourceError, match=r"put a copy of the file at .*goog\.csv"):
        load_table(yahoo(tmp_path / "goog.csv"))
    assert not (tmp_path / "goog.csv").exists()


def test_a_download_without_a_lake_touches_nothing_of_others(home, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / ".tmp-other.lock").touch()
    (tmp_path / ".tmp-other").mkdir()
    assert len(load_table(of_url(f"{home}/x.csv"))) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-other", ".tmp-other.lock"]


def test_a_full_disk_is_no_matter_of_the_server(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fsspec.implementations.http.HTTPFileSystem.get_file", full)
    with pytest.raises(StorageError, match="No space left"):
        load_table(of_url("http://127.0.0.1:1/x.csv"), tmp_path)
