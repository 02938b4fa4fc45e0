"""Asking the Hub: pages of a list, one model, a file; politely, and with errors in sentences. All
requests go through the session of huggingface_hub, so its settings (token, proxy, offline) hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from lineage.errors import LineageError, NotFound

RETRIED = (429, 500, 502, 503, 504)
PATIENCE = 8
"""How often a request is tried again; the pauses grow, or are as long as the Hub asks for."""
TIMEOUT = (5.0, 60.0)
"""Seconds to connect, and without an answer."""


class HubUnavailable(LineageError):
    """The Hub could not be asked: offline, not reached, or it refused, with an HTTP `status`."""

    status: int | None = None


class NoAccess(NotFound):
    """The Hub shows nothing of a repository: it was removed, is private, is gated, or was never
    there. It says which only to who may know."""


class Hub:
    """The Hub at `endpoint`; by default where huggingface_hub says, with its token."""

    def __init__(self, endpoint: str | None = None, token: str | bool | None = None) -> None:
        from huggingface_hub import HfApi

        self.api = HfApi(endpoint=endpoint, token=token)
        self.endpoint = str(self.api.endpoint).rstrip("/")
        self.reached = False

    def get(self, path: str, params: Any = None, what: str = "the list of models") -> Any:
        """The response to a GET of `path` on the endpoint, once it is a good one; `what` is asked
        for, in an error. A connection that fails is tried again once the Hub has answered before:
        else there is no network, which is told at once."""
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            hf_raise_for_status,
            http_backoff,
        )

        known: dict[str, Any] = {} if self.reached else {"retry_on_exceptions": ()}
        with answered(what):
            response = http_backoff(
                "GET",
                f"{self.endpoint}{path}",
                params=params,
                headers=build_hf_headers(token=self.api.token, library_name="lineage"),
                timeout=TIMEOUT,
                max_retries=PATIENCE,
                retry_on_status_codes=RETRIED,
                **known,
            )
            self.reached = True
            hf_raise_for_status(response)
        return response

    def model(self, repo: str, revision: str | None = None) -> dict[str, Any]:
        """What the Hub says of a model, with the LFS pointers of its files, and evaluation results
        where there are any. Raises NoAccess."""
        path = f"/api/models/{quote(repo)}"
        if revision:
            path += f"/revision/{quote(revision, safe='')}"
        row: dict[str, Any] = _json(self.get(path, {"blobs": "true"}, repo), repo, dict)
        if not isinstance(row.get("id"), str):
            raise _no_hub(repo)
        siblings = row.get("siblings") or ()
        if any(str(one.get("rfilename", "")).startswith(".eval_results/") for one in siblings):
            known = _json(self.get(path, {"expand": "evalResults"}, repo), repo, dict)
            row["evalResults"] = known.get("evalResults")
        return row

    def card(self, repo: str) -> str:
        """The README.md of a repository; empty where there is none. Raises NoAccess."""
        from huggingface_hub.errors import EntryNotFoundError

        try:
            text: str = self.get(f"/{quote(repo)}/resolve/main/README.md", what=repo).text
        except HubUnavailable as error:
            if isinstance(error.__cause__, EntryNotFoundError):
                return ""
            raise
        return text

    def pages(
        self, params: Mapping[str, str | Sequence[str]], cursor: str | None = None
    ) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
        """Pages of a list of models, each with the query that leads to the next one, from `cursor`
        (such a query) on. Only the query is taken from a link: no token goes to another host."""
        query: Any = params
        path = "/api/models"
        if cursor is not None:
            path, query = f"{path}?{cursor}", None
        while True:
            response = self.get(path, query)
            link = response.links.get("next", {}).get("url")
            following = urlsplit(link).query if link else None
            yield _json(response, "the list of models", list), following
            if not following:
                return
            path, query = f"/api/models?{following}", None


def _way_out(status: int) -> str:
    """What to do about an answer that is an error; empty where only the answer says it."""
    if status in (401, 403):
        return " `hf auth login` says who asks, with a token that may."
    if status == 429 or status >= 500:
        return " Run it again later: what came in so far is kept."
    return ""


def _json(response: Any, what: str, kind: type) -> Any:
    """The JSON of a response; a page of a proxy, for one, is none."""
    try:
        value = response.json()
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise _no_hub(what)
    return value


def _no_hub(what: str) -> HubUnavailable:
    return HubUnavailable(
        f"what answered for {what} is no Hub: it sent no such JSON. Is there a proxy between, "
        "or another HF_ENDPOINT?"
    )


@contextmanager
def answered(what: str) -> Iterator[None]:
    """The errors of the client as LineageErrors."""
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise HubUnavailable(
            "HF_HUB_OFFLINE is set, so the Hub is not asked. Unset it to go on."
        ) from None
    except errors.GatedRepoError:
        raise NoAccess(
            f"{what}: the repository is gated. Ask for access on its page, then `hf auth login`."
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise NoAccess(
            f"{what}: the Hub shows no such repository or revision: removed, private or misspelt."
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        said = " ".join((error.server_message or "it does not say why").split())[:300].rstrip(".")
        refused = HubUnavailable(
            f"the Hub refused to give {what}: {said} (HTTP {status}).{_way_out(status)}"
        )
        refused.status = status
        raise refused from error
    except Exception as error:
        # httpx in some versions of the client, requests in others: neither is ours to import
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "requests"):
            raise
        said = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise HubUnavailable(
            f"the Hub could not be reached for {what}: {said}. Check the "
            "network, the proxy and HF_ENDPOINT, and run it again: what came in so far is kept."
        ) from error
