"""A scan as a value: where it is, and when to go on after an error.

No I/O and no clock: the clients move the messages.
"""

from __future__ import annotations

from podroute import answers
from podroute.calls import Method
from podroute.errors import Error
from podroute.upserts import FIRST_PAUSE_S, LONGEST_PAUSE_S, may_resume
from podroute.v1 import vector_service_pb2 as vectors
from podroute.values import ScannedRecord

DEFAULT_PAGE = 100

Response = vectors.ScanResponse


class Scan:
    """The state of one `scan`.

    Args:
        method: the RPC.
        request: what to read; its `resume_token` follows what was read.
        timeout_s: for all of it; None: no bound.
        patience_s: how long to go on without a record while the router or the pod is away.
    """

    def __init__(
        self, *, method: Method[Response], request: vectors.ScanRequest, timeout_s: float | None, patience_s: float
    ) -> None:
        self.method = method
        self.request = request
        self.timeout_s = timeout_s
        self.patience_s = patience_s
        self._pause_s = FIRST_PAUSE_S

    def take(self, response: Response) -> list[ScannedRecord]:
        """The records of a response; a new stream would begin after them."""
        records = [answers.scanned_record(each) for each in response.records]
        self.request.resume_token = response.resume_token
        self._pause_s = FIRST_PAUSE_S
        return records

    def pause_s(self, error: Error, failing_s: float) -> float:
        """How long to wait before a new stream.

        Args:
            error: what the last one ended with; raised where a new one would not help.
            failing_s: seconds since the first failure after the last response.
        """
        pause_s = max(self._pause_s, error.retry_after_s or 0.0)
        if not may_resume(error, self.timeout_s) or failing_s + pause_s > self.patience_s:
            raise error
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        return pause_s
