"""The name under which Ray's workers look for the messages that tritonclient generated."""

from tritonclient.grpc.service_pb2 import *  # noqa: F403 - all of them
