"""An object store on loopback: moto's S3 server, spoken to over HTTP as any other."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest

from pipelines.tables.storage_paths import storage_path_of


@contextmanager
def object_store(bucket: str = "petar") -> Iterator[str]:
    """URL of an empty bucket, while the block lasts; skips the test where moto is not installed."""
    s3fs = pytest.importorskip("s3fs")
    moto_server = pytest.importorskip("moto.server")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # The buckets of an earlier store of this process are still there.
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "petar")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "petar")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # A client of an earlier store of this process would ask that one.
        s3fs.S3FileSystem.clear_instance_cache()
        storage_path_of(f"s3://{bucket}").fs.mkdir(bucket)  # type: ignore[union-attr]
        yield f"s3://{bucket}"
    server.stop()
