"""An S3 API server on the loopback: moto's, which answers the unmodified AWS clients. Knows no adaptx code."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BUCKET = "adapters"
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def serve() -> Iterator[dict[str, str]]:
    """A server with one empty bucket while the block runs; what its clients need in their environment. Skips without."""
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    moto = pytest.importorskip("moto.server", reason="moto's server is not installed")
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would note every request
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket=BUCKET)
        yield {"AWS_ENDPOINT_URL": url, **KEYS}
    finally:
        server.stop()
