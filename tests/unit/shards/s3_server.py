"""A loopback store that speaks S3 (moto's), in a process of its own, which lets in whoever has its
key alone. As a program it prints its port, and ends when nobody holds its input any more."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

BUCKET = "bucket"
MAY_DO_ALL = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}


@dataclass(frozen=True)
class S3:
    """The store, with one bucket."""

    endpoint: str
    keys: dict[str, str] = field(repr=False)
    """Settings of the environment that let somebody in."""
    client: Any = field(repr=False)
    """boto3's."""

    def names(self, folder: str) -> dict[str, bytes]:
        """What lies in a folder of the bucket."""
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{folder}/")
        return {one["Key"].rpartition("/")[2]: self.get(one["Key"]) for one in found["Contents"]}

    def get(self, key: str) -> bytes:
        """An object of the bucket."""
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def put(self, key: str, data: bytes) -> None:
        """Put an object into the bucket."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def delete(self, key: str) -> None:
        """Delete an object of the bucket."""
        self.client.delete_object(Bucket=BUCKET, Key=key)


@contextmanager
def s3_served() -> Iterator[S3]:
    """Serve until the context ends."""
    command = [sys.executable, "-m", "tests.unit.shards.s3_server"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        try:
            endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
            yield opened(endpoint)
        finally:
            process.kill()


def opened(endpoint: str) -> S3:
    """The store with its bucket, and closed to others from now on."""
    import boto3

    where = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    free = {**where, "aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
    boto3.client("s3", **free).create_bucket(Bucket=BUCKET)
    iam = boto3.client("iam", **free)
    iam.create_user(UserName="user")
    key = iam.create_access_key(UserName="user")["AccessKey"]
    iam.put_user_policy(UserName="user", PolicyName="all", PolicyDocument=json.dumps(MAY_DO_ALL))
    reset = urllib.request.Request(
        f"{endpoint}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(reset).close()
    keys = {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    client = boto3.client(
        "s3", **where, aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )  # fmt: skip
    return S3(endpoint, keys, client)


def main() -> None:
    """Serve."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    sys.stdout.write(f"{server.get_host_and_port()[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
