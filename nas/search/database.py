"""A study in a shared database, so that others can watch it. Its URL is a secret that only the environment knows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.base.errors import StudyCorrupt, UsageError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


@dataclass(frozen=True)
class Database:
    """Study `study_name` in the database whose URL the environment variable `variable` holds."""

    variable: str
    study_name: str

    def __str__(self) -> str:
        return f"study {self.study_name} in the database of ${self.variable}"

    def storage(self, *, create: bool) -> RDBStorage:
        """Connection to the database; `create` makes Optuna's tables where they are missing."""
        from optuna.storages import RDBStorage

        url = self.url().replace("{", "{{").replace("}", "}}")  # Optuna takes it for a template
        engine = {"pool_pre_ping": True}  # a connection that broke while candidates trained is opened anew
        return RDBStorage(url, engine, skip_table_creation=not create)

    def url(self) -> str:
        """The URL, with the driver that the extra `postgres` installs. Raises UsageError where there is none."""
        url = os.environ.get(self.variable, "").strip()
        if not url:
            raise UsageError(
                f"search.storage_env: the environment variable {self.variable} is not set; it must hold the URL of the "
                f"database with this run's study (export {self.variable}=postgresql://USER:PASSWORD@HOST/DATABASE)"
            )
        kind, _, rest = url.partition("://")
        return f"postgresql+psycopg://{rest}" if kind in ("postgresql", "postgres") else url

    def check_driver(self) -> None:
        """Imports the driver that the URL needs. Raises UsageError where there is none, or no URL."""
        from sqlalchemy.engine import make_url

        with self.guarded():
            make_url(self.url()).get_dialect().import_dbapi()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turns the errors of a database into our own, without the URL or its password."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except ImportError:
            raise UsageError(
                f"search.storage_env: the driver for the database of ${self.variable} is not installed; for PostgreSQL "
                f"`pip install '.[postgres]'`"
            ) from None
        except (SQLAlchemyError, StorageInternalError) as error:
            raise StudyCorrupt(
                f"{self}: {self._told(error)}; check that the database can be reached and try again: finished trials "
                f"are kept"
            ) from None

    def _told(self, error: BaseException) -> str:
        """What the database said, in one line without secrets."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import SQLAlchemyError

        told = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        text = (str(getattr(told, "orig", None) or told).strip().splitlines() or [""])[0]
        url = self.url()
        try:
            secrets = {url, make_url(url).password}
        except (SQLAlchemyError, ValueError):
            return "the URL cannot be understood (allowed: postgresql://USER:PASSWORD@HOST/DATABASE, sqlite:///FILE)"
        for secret in filter(None, secrets):
            text = text.replace(str(secret), "***")
        return f"{type(told).__name__}: {text}"
