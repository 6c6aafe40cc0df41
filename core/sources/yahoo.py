"""Daily prices from Yahoo Finance."""

from __future__ import annotations

import importlib
from datetime import date
from pathlib import Path

import pandas as pd

from core.catalog import YahooFetch
from core.errors import ConfigError, SourceError

PRICE_COLUMNS = ("Open", "High", "Low", "Close", "Adj_Close", "Volume")


def write_prices(fetch: YahooFetch, path: Path) -> None:
    """Write a symbol's prices to a CSV: `Date` and `PRICE_COLUMNS`, oldest first.

    Raises:
        ConfigError: the package yfinance is not installed.
        SourceError: Yahoo gives no prices.
    """
    try:
        yfinance = importlib.import_module("yfinance")
    except ImportError as error:
        raise ConfigError(
            "prices from Yahoo need the package yfinance: install the extra `fetch`, or put a copy of the file "
            "at `source.path`"
        ) from error
    try:
        frame: pd.DataFrame = yfinance.download(
            fetch.symbol,
            start=fetch.start or date(1900, 1, 1),
            end=fetch.end,
            auto_adjust=False,
            progress=False,
            multi_level_index=False,
        )
    # Errors of its own, of curl, of JSON: all of them mean that there are no prices now.
    except Exception as error:
        raise SourceError(f"Yahoo cannot be reached for {fetch.symbol}: {error}") from error
    if frame is None or frame.empty:
        raise SourceError(f"Yahoo gives no prices of {fetch.symbol}; check the symbol and the network")
    frame = frame.rename(columns={"Adj Close": "Adj_Close"})[list(PRICE_COLUMNS)]
    frame.index = pd.DatetimeIndex(frame.index).tz_localize(None).normalize().rename("Date")
    frame.sort_index().to_csv(path, date_format="%Y-%m-%d")
