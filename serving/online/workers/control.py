"""The private socket between the supervisor and a worker: questions and answers, either way, many at once.

A message is its length in 4 bytes, big-endian, then a JSON object. A question is `{"id", "ask", "with"}`, its answer
`{"id", "answer"}` or `{"id", "error", "message"}`, the name of a class of `contract.errors` or "" for anything else.
"""

import itertools
import json
import logging
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from ...contract import errors
from ...contract.errors import WidedeepError

_LOG = logging.getLogger(__name__)
_LENGTH = struct.Struct("!I")
_ERRORS = {
    name: error for name, error in vars(errors).items() if isinstance(error, type) and issubclass(error, WidedeepError)
}

Answer = Any
"""Whatever JSON can say."""

Question = Callable[..., Answer]
"""Answers a question; its keyword arguments are what the question came with."""


class ConnectionLost(Exception):
    """The other process has gone, or never answered before it went."""


class Connection:
    """One end of the socket. `ask` may be called from any thread; each question is answered on a thread of its own.

    Order of calls: `start`, any number of `ask`, `close`. Owner: the process at this end.
    """

    def __init__(self, end: socket.socket, *, lost: Callable[[], None], name: str) -> None:
        """Store the parts; `start` starts reading.

        Args:
            end: this process's end of a stream socket.
            lost: called once, from the reading thread, when the other end has gone.
            name: of the other end, for the names of threads.
        """
        self._end = end
        self._questions: Mapping[str, Question] = {}
        self._lost = lost
        self._name = name
        self._ids = itertools.count()
        self._sending = threading.Lock()
        self._waiting: dict[int, Future[Answer]] = {}
        self.is_lost = False

    def start(self, questions: Mapping[str, Question]) -> None:
        """Read what comes, until the other end goes; `questions` are those that it may ask, by name."""
        self.answer(questions)
        threading.Thread(target=self._read, name=f"widedeep-control-{self._name}", daemon=True).start()

    def answer(self, questions: Mapping[str, Question]) -> None:
        """Let the other end ask more."""
        self._questions = {**self._questions, **questions}

    def begin(self, question: str, **arguments: Answer) -> "Future[Answer]":
        """Send a question; the future holds the answer, or the error that the other end raised, or ConnectionLost."""
        number = next(self._ids)
        future: Future[Answer] = Future()
        self._waiting[number] = future
        try:
            self._send({"id": number, "ask": question, "with": arguments})
        except OSError:
            self.is_lost = True
        if self.is_lost:
            self._fail(number)
        return future

    def ask(self, question: str, **arguments: Answer) -> Answer:
        """Send a question and wait for its answer.

        Raises:
            WidedeepError: what the other end raised.
            ConnectionLost: it went before it answered.
        """
        return self.begin(question, **arguments).result()

    def close(self) -> None:
        """End the connection; the other end sees that this one has gone."""
        try:
            self._end.shutdown(socket.SHUT_RDWR)
        except OSError:
            _LOG.debug("the other end of %s had gone", self._name)

    def _read(self) -> None:
        with self._end, self._end.makefile("rb") as stream:
            try:
                while len(head := stream.read(_LENGTH.size)) == _LENGTH.size:
                    self._take(json.loads(stream.read(_LENGTH.unpack(head)[0])))
            except (OSError, ValueError) as error:  # a process that dies may leave half a message
                _LOG.debug("connection to %s: %s", self._name, error)
            self.is_lost = True
            for number in list(self._waiting):
                self._fail(number)
            self._lost()

    def _take(self, message: Mapping[str, Any]) -> None:
        if "ask" in message:
            threading.Thread(target=self._answer, args=(message,), name="widedeep-answer", daemon=True).start()
            return
        future = self._waiting.pop(message["id"], None)
        if future is None:
            return
        if "error" in message:
            known = _ERRORS.get(message["error"])
            future.set_exception(known(message["message"]) if known else RuntimeError(message["message"]))
        else:
            future.set_result(message["answer"])

    def _answer(self, message: Mapping[str, Any]) -> None:
        reply: dict[str, Answer] = {"id": message["id"]}
        try:
            reply["answer"] = self._questions[message["ask"]](**message["with"])
        except Exception as error:
            is_deliberate = isinstance(error, WidedeepError)
            if not is_deliberate:
                _LOG.error("%s failed", message["ask"], exc_info=error)
            reply |= {"error": type(error).__name__ if is_deliberate else "", "message": str(error)}
        try:
            self._send(reply)
        except OSError:
            _LOG.debug("%s went before its answer", self._name)

    def _send(self, message: Mapping[str, Answer]) -> None:
        data = json.dumps(message).encode()
        with self._sending:
            self._end.sendall(_LENGTH.pack(len(data)) + data)

    def _fail(self, number: int) -> None:
        future = self._waiting.pop(number, None)
        if future is not None:
            future.set_exception(ConnectionLost(f"{self._name} has gone"))
