"""The bucket of moto behind HTTP, for a machine of several processes; judges as S3 and IAM would. Used by pytest."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from moto.moto_proxy.proxy3 import ProxyRequestHandler

from tests.instance.samples import BUCKET

READS = ("GET", "HEAD")
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class BucketOverHttp(ProxyRequestHandler):  # type: ignore[misc]
    """Hands each request to moto and notes its key, but lists nothing and tells nobody that an object is absent.

    S3 answers 403 for an absent object to whom it does not let list the bucket:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html (Permissions).
    """

    client: ClassVar[Any]
    asked: ClassVar[list[tuple[str, str]]]

    def do_GET(self) -> None:  # noqa: N802 - http.server finds it by this name
        """Answer any method."""
        key = unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").removeprefix("/")
        self.asked.append((self.command, key))
        if self.command in READS and not self._there(key):
            self._deny()
        else:
            super().do_GET()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _there(self, key: str) -> bool:
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=key).get("Contents", [])
        return bool(key) and key in [item["Key"] for item in found]

    def _deny(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", str(len(DENIED)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(DENIED)

    def _get_host_and_path(self, req: Any) -> tuple[str, str]:
        return "http://s3.us-east-1.amazonaws.com", req.path


@contextmanager
def served(client: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Serve moto's bucket; yield the address, and the list that takes method and key of each request."""
    asked: list[tuple[str, str]] = []
    handler = type("Handler", (BucketOverHttp,), {"client": client, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
